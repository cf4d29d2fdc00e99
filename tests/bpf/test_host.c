/* SPDX-License-Identifier: MIT */
/* A daemon's kernel side: many attachments, shared policies, pools of slots; left behind and found again. */
#define _GNU_SOURCE
#include "host_fixture.h"

static void denies_until_the_first_flip(void **state)
{
	struct host host = start_host(*state);
	struct one one = attach(&host);

	assert_int_equal(connect_inside(one.cgroup, OUTSIDE), EPERM);
	stage(&host, &one, PST_VERDICT_ALLOW, 0);
	assert_int_equal(connect_inside(one.cgroup, OUTSIDE), EPERM);
	change(&host, &one, PST_VERDICT_ALLOW, 0);
	assert_int_not_equal(connect_inside(one.cgroup, OUTSIDE), EPERM);
	change(&host, &one, PST_VERDICT_DENY, 0);
	assert_int_equal(connect_inside(one.cgroup, OUTSIDE), EPERM);
	detach(&host, &one);
	end_host(&host);
}

static void a_change_of_one_leaves_the_others_alone(void **state)
{
	struct host host = start_host(*state);
	struct one a = attach(&host), b = attach(&host);

	change(&host, &a, PST_VERDICT_ALLOW, 0);
	change(&host, &b, PST_VERDICT_ALLOW, 0);
	assert_int_equal(kern_attachment_record(a.at)->policy_slot,
			 kern_attachment_record(b.at)->policy_slot);
	assert_int_not_equal(kern_attachment_record(a.at)->hits_slot,
			     kern_attachment_record(b.at)->hits_slot);
	change(&host, &a, PST_VERDICT_DENY, 0);
	assert_int_equal(connect_inside(a.cgroup, OUTSIDE), EPERM);
	assert_int_not_equal(connect_inside(b.cgroup, OUTSIDE), EPERM);
	detach(&host, &a);
	assert_int_not_equal(connect_inside(b.cgroup, OUTSIDE), EPERM);
	detach(&host, &b);
	end_host(&host);
}

static void what_was_detached_denies_nothing_and_comes_back_denying(void **state)
{
	struct host host = start_host(*state);
	struct one one = attach(&host);
	struct kern_attach again = {.name = one.name, .id = 99, .cgroup_level = 2};
	struct error err = {{0}};

	change(&host, &one, PST_VERDICT_ALLOW, 0);
	kern_attachment_detach(one.at);
	kern_attachment_free(one.at);
	assert_int_not_equal(connect_inside(one.cgroup, OUTSIDE), EPERM);
	again.cgroup_fd = one.cgroup;
	check(kern_attachment_new(host.kern, &again, &one.at, &err));
	assert_int_equal(connect_inside(one.cgroup, OUTSIDE), EPERM);
	detach(&host, &one);
	end_host(&host);
}

/* The daemon dies and comes back: nothing changes meanwhile, and everything can be changed afterwards. */
static void a_new_daemon_finds_what_the_old_one_left(void **state)
{
	struct host host = start_host(*state);
	struct one allowed = attach(&host), denied = attach(&host);
	struct pst_sandbox before;
	const uint8_t hash[KERN_HASH_SIZE] = {PST_VERDICT_ALLOW, 0, 1};
	struct error err = {{0}};

	change(&host, &allowed, PST_VERDICT_ALLOW, 0);
	change(&host, &denied, PST_VERDICT_DENY, 0);
	before = *kern_attachment_record(allowed.at);
	kern_attachment_free(allowed.at);
	kern_attachment_free(denied.at);
	kern_host_close(host.kern);
	assert_int_not_equal(connect_inside(allowed.cgroup, OUTSIDE), EPERM);
	assert_int_equal(connect_inside(denied.cgroup, OUTSIDE), EPERM);

	host.kern = open_host(&host);
	assert_int_not_equal(connect_inside(allowed.cgroup, OUTSIDE), EPERM);
	assert_int_equal(connect_inside(denied.cgroup, OUTSIDE), EPERM);
	check(kern_attachment_adopt(host.kern, allowed.name, 0, hash, &allowed.at, &err));
	check(kern_attachment_adopt(host.kern, denied.name, 0, NULL, &denied.at, &err));
	assert_int_equal(kern_host_adopted(host.kern), 0);
	assert_memory_equal(kern_attachment_record(allowed.at), &before, sizeof(before));
	assert_true(kern_host_next_generation(host.kern) > before.generation);
	change(&host, &denied, PST_VERDICT_ALLOW, 0);
	/* Known by its hash: not loaded again. */
	assert_int_equal(kern_attachment_record(denied.at)->policy_slot, before.policy_slot);
	assert_int_not_equal(connect_inside(denied.cgroup, OUTSIDE), EPERM);
	change(&host, &allowed, PST_VERDICT_DENY, 7);
	assert_int_equal(connect_inside(allowed.cgroup, OUTSIDE), EPERM);
	detach(&host, &allowed);
	detach(&host, &denied);
	end_host(&host);
}

static void missing_pins_are_found_again_by_id(void **state)
{
	struct host host = start_host(*state);
	struct one one = attach(&host);
	struct kern_host *old = host.kern;
	uint64_t cgroup;
	struct error err = {{0}};
	struct kern_attachment *before;

	change(&host, &one, PST_VERDICT_DENY, 0);
	cgroup = kern_attachment_record(one.at)->cgroup_id;
	assert_int_equal(pin_remove_dir(host.dir), 0);
	/* Somebody holds the links, or they would be gone: here the old daemon, which is on its way out. */
	assert_int_equal(connect_inside(one.cgroup, OUTSIDE), EPERM);
	host.kern = open_host(&host);
	before = one.at;
	check(kern_attachment_adopt(host.kern, one.name, cgroup, NULL, &one.at, &err));
	assert_int_equal(kern_host_adopted(host.kern), 0);
	kern_attachment_free(before);
	kern_host_close(old);
	assert_int_equal(connect_inside(one.cgroup, OUTSIDE), EPERM);
	change(&host, &one, PST_VERDICT_ALLOW, 0);
	assert_int_not_equal(connect_inside(one.cgroup, OUTSIDE), EPERM);
	detach(&host, &one);
	end_host(&host);
}

static void pins_removed_meanwhile_are_made_again(void **state)
{
	struct host host = start_host(*state);
	struct one one = attach(&host);
	struct error err = {{0}};

	change(&host, &one, PST_VERDICT_DENY, 0);
	assert_int_equal(kern_host_repair(host.kern, &err), 0);
	assert_int_equal(kern_attachment_repair(one.at, &err), 0);
	assert_int_equal(pin_remove_dir(host.dir), 0);
	assert_int_equal(kern_host_repair(host.kern, &err), 1);
	assert_int_equal(kern_attachment_repair(one.at, &err), 1);
	/* And so it outlives the daemon. */
	kern_attachment_free(one.at);
	kern_host_close(host.kern);
	assert_int_equal(connect_inside(one.cgroup, OUTSIDE), EPERM);
	host.kern = open_host(&host);
	check(kern_attachment_adopt(host.kern, one.name, 0, NULL, &one.at, &err));
	assert_int_equal(kern_host_adopted(host.kern), 0);
	assert_int_equal(connect_inside(one.cgroup, OUTSIDE), EPERM);
	detach(&host, &one);
	end_host(&host);
}

static void what_cannot_be_adopted_can_be_forgotten(void **state)
{
	struct host host = start_host(*state);
	struct one one = attach(&host);
	struct kern_attachment *before = one.at;
	char path[256];

	change(&host, &one, PST_VERDICT_DENY, 0);
	(void)snprintf(path, sizeof(path), "%s/sandboxes/%s", host.dir, one.name);
	assert_int_equal(access(path, F_OK), 0);
	kern_host_forget(host.kern, one.name);
	assert_int_not_equal(connect_inside(one.cgroup, OUTSIDE), EPERM);
	assert_int_equal(access(path, F_OK), -1);
	kern_host_forget(host.kern, "pst-never-there");
	one.at = before;
	detach(&host, &one);
	end_host(&host);
}

static void slots_come_back(void **state)
{
	struct host host = start_host(*state);
	struct one one = attach(&host);

	/* More changes, to as many policies, than there are slots; on Linux 6.1 each waits, so fewer there. */
	const unsigned changes = getenv("TEST_LIGHT") ? 300 : 2 * (2 * 64 + 1024) + 100;

	for (unsigned i = 0; i < changes; i++) {
		uint8_t hash[KERN_HASH_SIZE] = {9};
		struct kern_policy *policy = NULL;
		struct error err = {{0}};
		struct bare bare;
		struct table *table = bare_table(&bare, 0);

		table->n_rules = 3;
		memcpy(hash + 4, &i, sizeof(i));
		check(kern_policy_load(host.kern, table, hash, &policy, &err));
		check(kern_attachment_stage(one.at, policy, kern_host_next_generation(host.kern),
					    &err));
		kern_policy_put(policy);
		check(kern_attachment_flip(one.at, &err));
	}
	detach(&host, &one);
	end_host(&host);
}

static size_t used_of(const struct host *host, const char *name)
{
	struct kern_usage usage[8];
	size_t n = kern_host_usage(host->kern, usage, 8);

	for (size_t i = 0; i < n; i++) {
		if (strcmp(usage[i].name, name) == 0)
			return usage[i].used;
	}
	return 0;
}

static void what_is_closed_denies_holds_no_slots_and_can_get_a_policy_again(void **state)
{
	struct host host = start_host(*state);
	struct one one = attach(&host);
	struct error err = {{0}};

	change(&host, &one, PST_VERDICT_ALLOW, 0);
	assert_int_equal(used_of(&host, "state"), 1);
	assert_int_equal(kern_attachment_close(one.at), 0);
	assert_int_equal(connect_inside(one.cgroup, OUTSIDE), EPERM);
	check(kern_attachment_refresh(one.at, kern_host_next_generation(host.kern), &err));
	assert_int_equal(connect_inside(one.cgroup, OUTSIDE), EPERM);
	/* The worker takes them back after a grace period. */
	for (int left = 5000; left && used_of(&host, "hits") + used_of(&host, "state"); left--)
		(void)usleep(1000);
	assert_int_equal(used_of(&host, "hits"), 0);
	assert_int_equal(used_of(&host, "state"), 0);
	change(&host, &one, PST_VERDICT_ALLOW, 1);
	assert_int_not_equal(connect_inside(one.cgroup, OUTSIDE), EPERM);
	detach(&host, &one);
	end_host(&host);
}

static void the_reserved_slots_wait_for_one_grace_period(void **state)
{
	struct host host = start_host(*state);
	struct error err = {{0}};

	check(kern_host_reserve(host.kern, 700, false, &err));
	assert_int_equal(kern_host_reserve(host.kern, 5000, false, &err), -ENOSPC);
	end_host(&host);
}

static void a_policy_larger_than_a_ready_slot_fits(void **state)
{
	struct host host = start_host(*state);
	struct one one = attach(&host);
	struct kern_policy *policy = load(&host, PST_VERDICT_ALLOW, 3, 1000);
	struct pst_rule_hits hits[1001];
	struct error err = {{0}};

	check(kern_attachment_stage(one.at, policy, kern_host_next_generation(host.kern), &err));
	kern_policy_put(policy);
	check(kern_attachment_flip(one.at, &err));
	assert_int_equal(kern_attachment_hits(one.at, hits, 1001), 0);
	assert_int_not_equal(connect_inside(one.cgroup, OUTSIDE), EPERM);
	detach(&host, &one);
	end_host(&host);
}

static void a_removed_cgroup_is_told(void **state)
{
	struct host host = start_host(*state);
	struct one one = attach(&host);

	change(&host, &one, PST_VERDICT_ALLOW, 0);
	assert_true(kern_attachment_is_alive(one.at));
	close(one.cgroup);
	assert_int_equal(cgroup_remove_tree(host.place->root, one.path), 0);
	assert_false(kern_attachment_is_alive(one.at));
	kern_attachment_detach(one.at);
	kern_attachment_free(one.at);
	end_host(&host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(denies_until_the_first_flip),
		cmocka_unit_test(a_change_of_one_leaves_the_others_alone),
		cmocka_unit_test(what_was_detached_denies_nothing_and_comes_back_denying),
		cmocka_unit_test(a_new_daemon_finds_what_the_old_one_left),
		cmocka_unit_test(missing_pins_are_found_again_by_id),
		cmocka_unit_test(pins_removed_meanwhile_are_made_again),
		cmocka_unit_test(what_cannot_be_adopted_can_be_forgotten),
		cmocka_unit_test(slots_come_back),
		cmocka_unit_test(what_is_closed_denies_holds_no_slots_and_can_get_a_policy_again),
		cmocka_unit_test(the_reserved_slots_wait_for_one_grace_period),
		cmocka_unit_test(a_policy_larger_than_a_ready_slot_fits),
		cmocka_unit_test(a_removed_cgroup_is_told),
	};

	return cmocka_run_group_tests_name("host", tests, place_open, place_close);
}
