/* SPDX-License-Identifier: MIT */
/* Large policies under a daemon: their arrays come with them and go with them, whoever dies in between. */
#define _GNU_SOURCE
#include "host_fixture.h"

#include "table/trie.h"

#define CONTROL "192.0.2.2"

static const int arrays[] = {KERN_MAP_TRIE_ROOTS, KERN_MAP_TRIE_NODES, KERN_MAP_TRIE_LEAVES,
			     KERN_MAP_TRIE_ROWS};
#define ARRAYS (sizeof(arrays) / sizeof(arrays[0]))

/* As many rows as it takes, and one for OUTSIDE; the default is the opposite of what that one says. */
struct large {
	struct table_row4 rows[TABLE_TRIE_FROM + 1];
	struct table_row6 root6;
	struct pst_ports unused;
	struct table table;
};

static struct large *make_large(uint8_t verdict)
{
	struct large *large = calloc(1, sizeof(*large));
	struct table_row4 *last = &large->rows[TABLE_TRIE_FROM];

	assert_non_null(large);
	for (uint32_t i = 1; i < TABLE_TRIE_FROM; i++)
		large->rows[i] = (struct table_row4){
			.key = {.prefixlen = 24, .addr = {20, (uint8_t)(i >> 8), (uint8_t)i}},
			.value = {.rule = 2, .decided = 1, .verdict = PST_VERDICT_DENY}};
	*last = (struct table_row4){.key = {.prefixlen = 32},
				    .value = {.rule = 1, .decided = 1, .verdict = verdict}};
	assert_int_equal(inet_pton(AF_INET, OUTSIDE, last->key.addr), 1);
	large->table = (struct table){.rows4 = large->rows,
				      .n_rows4 = TABLE_TRIE_FROM + 1,
				      .rows6 = &large->root6,
				      .n_rows6 = 1,
				      .ports = &large->unused,
				      .n_ports = 1,
				      .n_rules = 3,
				      .loopback = PST_LOOPBACK_HOST,
				      .default_verdict = !verdict};
	assert_int_equal(table_trie(&large->table, 0), 0);
	assert_int_equal(large->table.flags, PST_SANDBOX_TRIE4);
	return large;
}

static void free_large(struct large *large)
{
	table_trie_done(&large->table.trie);
	free(large);
}

static struct kern_policy *load_large(struct host *host, uint8_t verdict)
{
	const uint8_t hash[KERN_HASH_SIZE] = {verdict, 0, 77};
	struct large *large = make_large(verdict);
	struct kern_policy *policy = NULL;
	struct error err = {{0}};

	check(kern_policy_load(host->kern, &large->table, hash, &policy, &err));
	free_large(large);
	return policy;
}

static void put_in_force(struct host *host, struct one *one, struct kern_policy *policy)
{
	struct error err = {{0}};

	check(kern_attachment_stage(one->at, policy, kern_host_next_generation(host->kern), &err));
	kern_policy_put(policy);
	check(kern_attachment_flip(one->at, &err));
}

static uint32_t entries_at(const struct host *host, int map, uint32_t slot)
{
	cleanup_close int fd = -1;
	struct bpf_map_info info = {};
	uint32_t size = sizeof(info);

	if (kern_inner_open(&host->kern->object, map, slot, &fd) < 0)
		return 0;
	assert_int_equal(bpf_obj_get_info_by_fd(fd, &info, &size), 0);
	return info.max_entries;
}

/* One leaf is all that these rows need. */
static void assert_arrays_at(const struct host *host, uint32_t slot)
{
	for (size_t i = 0; i < ARRAYS; i++)
		assert_true(entries_at(host, arrays[i], slot) > 1 ||
			    arrays[i] == KERN_MAP_TRIE_LEAVES);
}

/* The worker does it, after a grace period. */
static void await_no_arrays_at(const struct host *host, uint32_t slot)
{
	uint64_t end = loop_boot_ns() + FIXTURE_DEADLINE_NS;
	size_t empty = 0;

	while (empty < ARRAYS && loop_boot_ns() < end) {
		empty = 0;
		for (size_t i = 0; i < ARRAYS; i++)
			empty += entries_at(host, arrays[i], slot) == 1;
		sched_yield();
	}
	assert_int_equal(empty, ARRAYS);
}

static void assert_enforced(const struct one *one, uint8_t verdict)
{
	bool allows = verdict == PST_VERDICT_ALLOW;

	assert_denied(one->cgroup, allows ? CONTROL : OUTSIDE);
	assert_allowed(one->cgroup, allows ? OUTSIDE : CONTROL);
	/* Whatever the default, in a prefix of many. */
	assert_denied(one->cgroup, "20.1.2.3");
}

static void arrays_come_with_a_large_policy_and_go_with_it(void **state)
{
	struct host host = start_host(*state);
	struct one one = attach(&host);
	uint32_t slot;

	for (uint8_t verdict = 0; verdict < 2; verdict++) {
		put_in_force(&host, &one, load_large(&host, verdict));
		assert_int_equal(kern_attachment_record(one.at)->flags, PST_SANDBOX_TRIE4);
		slot = kern_attachment_record(one.at)->policy_slot;
		assert_arrays_at(&host, slot);
		assert_enforced(&one, verdict);
		/* Then so many others that nobody will ask for this one again. */
		for (uint8_t salt = 0; salt <= KERN_IDLE_POLICIES + 1; salt++)
			put_in_force(&host, &one, load(&host, verdict, salt, 3));
		assert_int_equal(kern_attachment_record(one.at)->flags, 0);
		assert_int_equal(connect_inside(one.cgroup, "20.1.2.3") == EPERM, !verdict);
		await_no_arrays_at(&host, slot);
	}
	detach(&host, &one);
	end_host(&host);
}

static void a_new_daemon_finds_a_large_policy_in_force(void **state)
{
	const uint8_t hash[KERN_HASH_SIZE] = {PST_VERDICT_ALLOW, 0, 77};
	struct host host = start_host(*state);
	struct one one = attach(&host), other;
	struct pst_sandbox before;
	struct error err = {{0}};

	put_in_force(&host, &one, load_large(&host, PST_VERDICT_ALLOW));
	before = *kern_attachment_record(one.at);
	kern_attachment_free(one.at);
	kern_host_close(host.kern);
	assert_enforced(&one, PST_VERDICT_ALLOW);

	host.kern = open_host(&host);
	assert_enforced(&one, PST_VERDICT_ALLOW);
	check(kern_attachment_adopt(host.kern, one.name, 0, hash, &one.at, &err));
	assert_int_equal(kern_host_adopted(host.kern), 0);
	assert_memory_equal(kern_attachment_record(one.at), &before, sizeof(before));
	assert_enforced(&one, PST_VERDICT_ALLOW);
	/* Known by its hash, with what its record says of it. */
	other = attach(&host);
	put_in_force(&host, &other, load_large(&host, PST_VERDICT_ALLOW));
	assert_int_equal(kern_attachment_record(other.at)->policy_slot, before.policy_slot);
	assert_int_equal(kern_attachment_record(other.at)->flags, PST_SANDBOX_TRIE4);
	assert_enforced(&other, PST_VERDICT_ALLOW);
	put_in_force(&host, &one, load_large(&host, PST_VERDICT_DENY));
	assert_enforced(&one, PST_VERDICT_DENY);
	assert_enforced(&other, PST_VERDICT_ALLOW);
	detach(&host, &one);
	detach(&host, &other);
	end_host(&host);
}

/* Killed between the arrays and the record. */
static void what_died_before_the_flip_leaves_no_arrays(void **state)
{
	struct host host = start_host(*state);
	struct one one = attach(&host);
	struct error err = {{0}};
	uint32_t slot;

	put_in_force(&host, &one, load(&host, PST_VERDICT_DENY, 0, 3));
	slot = load_large(&host, PST_VERDICT_ALLOW)->slot;
	assert_arrays_at(&host, slot);
	kern_attachment_free(one.at);
	kern_host_close(host.kern);
	assert_denied(one.cgroup, OUTSIDE);

	host.kern = open_host(&host);
	assert_arrays_at(&host, slot);
	check(kern_attachment_adopt(host.kern, one.name, 0, NULL, &one.at, &err));
	assert_int_equal(kern_host_adopted(host.kern), 0);
	await_no_arrays_at(&host, slot);
	assert_denied(one.cgroup, OUTSIDE);
	put_in_force(&host, &one, load_large(&host, PST_VERDICT_ALLOW));
	assert_enforced(&one, PST_VERDICT_ALLOW);
	detach(&host, &one);
	end_host(&host);
}

/* More memory than there is, for each array in turn. */
static void keeps_the_policy_when_an_array_cannot_be_made(void **state)
{
	const uint8_t hash[KERN_HASH_SIZE] = {5, 5, 79};
	struct large *large = make_large(PST_VERDICT_ALLOW);
	struct table_trie *trie = &large->table.trie;
	size_t *const counts[] = {&trie->n_roots, &trie->n_nodes, &trie->n_leaves, &trie->n_rows};
	struct host host = start_host(*state);
	struct one one = attach(&host);
	struct pst_sandbox before;

	put_in_force(&host, &one, load_large(&host, PST_VERDICT_DENY));
	before = *kern_attachment_record(one.at);
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		struct kern_policy *policy = NULL;
		struct error err = {{0}};
		size_t count = *counts[i];
		int r;

		*counts[i] = UINT32_MAX;
		r = kern_policy_load(host.kern, &large->table, hash, &policy, &err);
		*counts[i] = count;
		assert_true(r == -ENOMEM || r == -E2BIG);
		assert_null(policy);
		assert_memory_equal(err.text, "cannot load the policy: ", 24);
		assert_memory_equal(kern_attachment_record(one.at), &before, sizeof(before));
		assert_enforced(&one, PST_VERDICT_DENY);
	}
	put_in_force(&host, &one, load_large(&host, PST_VERDICT_ALLOW));
	assert_enforced(&one, PST_VERDICT_ALLOW);
	free_large(large);
	detach(&host, &one);
	end_host(&host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(arrays_come_with_a_large_policy_and_go_with_it),
		cmocka_unit_test(a_new_daemon_finds_a_large_policy_in_force),
		cmocka_unit_test(what_died_before_the_flip_leaves_no_arrays),
		cmocka_unit_test(keeps_the_policy_when_an_array_cannot_be_made),
	};

	return cmocka_run_group_tests_name("tries", tests, place_open, place_close);
}
