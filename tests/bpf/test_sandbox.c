/* SPDX-License-Identifier: MIT */
/* A sandbox from load to detach on the real kernel: what is in force when, and what a failure leaves. */
#define _GNU_SOURCE
#include "kern_fixture.h"

#include <bpf/bpf.h>

#include "kern/object.h"
#include "kern/ring.h"
#include "table/trie.h"

static struct pst_sandbox read_record_at(int map, const struct run *run)
{
	struct pst_sandbox record;
	uint64_t id;

	assert_int_equal(cgroup_id(run->cgroup, &id), 0);
	assert_int_equal(bpf_map_lookup_elem(map, &id, &record), 0);
	return record;
}

static struct pst_sandbox read_record(const struct run *run)
{
	cleanup_close int map = run_open_map(run, "pst_sandbox");

	return read_record_at(map, run);
}

/* The inner map that an outer one holds at `slot`, described. */
static struct bpf_map_info inner_info(const struct run *run, const char *outer, uint32_t slot)
{
	cleanup_close int map = run_open_map(run, outer);
	cleanup_close int inner = -1;
	struct bpf_map_info info = {};
	uint32_t id, size = sizeof(info);

	assert_int_equal(bpf_map_lookup_elem(map, &slot, &id), 0);
	inner = bpf_map_get_fd_by_id(id);
	assert_true(inner >= 0);
	assert_int_equal(bpf_obj_get_info_by_fd(inner, &info, &size), 0);
	return info;
}

static int count_effective(int cgroup)
{
	static const enum bpf_attach_type types[] = {
		BPF_CGROUP_INET_EGRESS,	    BPF_CGROUP_INET_INGRESS, BPF_CGROUP_INET4_CONNECT,
		BPF_CGROUP_INET6_CONNECT,   BPF_CGROUP_UDP4_SENDMSG, BPF_CGROUP_UDP6_SENDMSG,
		BPF_CGROUP_INET_SOCK_CREATE};
	int total = 0;

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		uint32_t ids[16], count = 16;

		assert_int_equal(bpf_prog_query(cgroup, types[i], 0, NULL, ids, &count), 0);
		total += (int)count;
	}
	return total;
}

static void denies_everything_between_attach_and_flip(void **state)
{
	struct run run = run_make(*state, NULL);

	run_load(&run);
	run_apply_default(&run, PST_VERDICT_ALLOW);
	assert_allowed(run.cgroup, "198.51.100.1");
	run_attach(&run);
	assert_denied(run.cgroup, "198.51.100.1");
	run_flip(&run);
	assert_allowed(run.cgroup, "198.51.100.1");
	run_end(*state, &run);
}

static void puts_a_new_policy_in_force_by_the_flip_alone(void **state)
{
	struct run run = run_start(*state, NULL, PST_VERDICT_ALLOW);

	run_apply_default(&run, PST_VERDICT_DENY);
	assert_allowed(run.cgroup, "198.51.100.1");
	run_flip(&run);
	assert_denied(run.cgroup, "198.51.100.1");
	run_end(*state, &run);
}

static void fills_the_slot_that_is_not_in_force(void **state)
{
	struct run run = run_start(*state, NULL, PST_VERDICT_ALLOW);
	uint32_t slot = read_record(&run).policy_slot;

	for (int i = 0; i < 3; i++) {
		uint32_t id = inner_info(&run, "pst_cidr4", slot).id;

		run_apply_default(&run, PST_VERDICT_ALLOW);
		assert_int_equal(inner_info(&run, "pst_cidr4", slot).id, id);
		assert_int_equal(read_record(&run).policy_slot, slot);
		run_flip(&run);
		assert_int_equal(read_record(&run).policy_slot, slot ^ 1);
		slot ^= 1;
	}
	run_end(*state, &run);
}

static void keeps_the_flow_table_over_a_change(void **state)
{
	struct run run = run_start(*state, NULL, PST_VERDICT_ALLOW);
	uint32_t slot = read_record(&run).state_slot;
	uint32_t flows = inner_info(&run, "pst_flows", slot).id;
	uint32_t rules = inner_info(&run, "pst_rules", slot).id;

	run_apply_default(&run, PST_VERDICT_ALLOW);
	run_flip(&run);
	slot = read_record(&run).state_slot;
	assert_int_equal(inner_info(&run, "pst_flows", slot).id, flows);
	assert_int_not_equal(inner_info(&run, "pst_rules", slot).id, rules);
	run_end(*state, &run);
}

static void raises_the_generation_at_every_flip(void **state)
{
	struct run run = run_start(*state, NULL, PST_VERDICT_ALLOW);
	struct pst_sandbox before = read_record(&run), after;

	assert_true(before.generation > 0 && before.generation <= loop_boot_ns());
	for (int i = 0; i < 100; i++) {
		run_flip(&run);
		after = read_record(&run);
		assert_true(after.generation > before.generation);
		assert_int_equal(after.policy_slot, before.policy_slot);
		before = after;
	}
	run_end(*state, &run);
}

static void writes_the_record_of_this_sandbox(void **state)
{
	struct run run = run_start(*state, NULL, PST_VERDICT_ALLOW);
	struct pst_sandbox record = read_record(&run);
	uint64_t id;

	assert_int_equal(cgroup_id(run.cgroup, &id), 0);
	assert_int_equal(record.id, 42);
	assert_int_equal(record.cgroup_id, id);
	assert_int_equal(record.cgroup_level, 3);
	assert_int_equal(record.netns_cookie, 1);
	assert_int_equal(record.rules, 1);
	assert_int_equal(record.default_verdict, PST_VERDICT_ALLOW);
	run_end(*state, &run);
}

static void refuses_to_flip_without_a_policy(void **state)
{
	struct run run = run_make(*state, NULL);
	struct error err = {{0}};

	run_load(&run);
	assert_int_equal(kern_sandbox_flip(run.sandbox, &err), -EINVAL);
	run_attach(&run);
	assert_int_equal(kern_sandbox_flip(run.sandbox, &err), -EINVAL);
	assert_string_not_equal(err.text, "");
	assert_denied(run.cgroup, "198.51.100.1");
	run_end(*state, &run);
}

static void refuse_table(struct run *run, struct table_row4 *rows, size_t count)
{
	struct table_row6 root6 = {.key = {.prefixlen = 0}};
	struct table table = {.rows4 = rows,
			      .n_rows4 = count,
			      .rows6 = &root6,
			      .n_rows6 = 1,
			      .default_verdict = PST_VERDICT_ALLOW};
	struct pst_sandbox before = read_record(run), after;
	struct error err = {{0}};

	assert_int_equal(kern_sandbox_apply(run->sandbox, &table, &err), -EINVAL);
	assert_string_not_equal(err.text, "");
	after = read_record(run);
	assert_memory_equal(&after, &before, sizeof(before));
	assert_denied(run->cgroup, "198.51.100.1");
	/* Nor does a flip bring it in: the policy before stays, under a new generation. */
	run_flip(run);
	after = read_record(run);
	assert_int_equal(after.policy_slot, before.policy_slot);
	assert_denied(run->cgroup, "198.51.100.1");
}

static void keeps_the_policy_when_a_table_has_no_root(void **state)
{
	struct run run = run_start(*state, NULL, PST_VERDICT_DENY);
	struct table_row4 row = {.key = {.prefixlen = 8, .addr = {192}}};

	refuse_table(&run, &row, 1);
	run_end(*state, &run);
}

static void keeps_the_policy_when_the_kernel_refuses_a_row(void **state)
{
	struct run run = run_start(*state, NULL, PST_VERDICT_DENY);
	struct table_row4 rows[2] = {{.key = {.prefixlen = 0}}, {.key = {.prefixlen = 33}}};

	refuse_table(&run, rows, 2);
	run_end(*state, &run);
}

static void loads_every_row_of_a_table_larger_than_a_batch(void **state)
{
	enum { N = 10000 };
	struct run run = run_start(*state, NULL, PST_VERDICT_ALLOW);
	struct table_row4 *rows = calloc(N, sizeof(*rows));
	struct table_row6 root6 = {.key = {.prefixlen = 0}};
	struct table table = {.rows4 = rows, .n_rows4 = N, .rows6 = &root6, .n_rows6 = 1};
	struct error err = {{0}};
	cleanup_close int inner = -1;

	assert_non_null(rows);
	for (uint32_t i = 1; i < N; i++)
		rows[i] = (struct table_row4){
			.key = {.prefixlen = 32, .addr = {10, 0, (uint8_t)(i >> 8), (uint8_t)i}},
			.value = {.rule = i}};
	check(kern_sandbox_apply(run.sandbox, &table, &err));
	run_flip(&run);
	inner = bpf_map_get_fd_by_id(
		inner_info(&run, "pst_cidr4", read_record(&run).policy_slot).id);
	assert_true(inner >= 0);
	for (uint32_t i = 0; i < N; i++) {
		struct pst_cidr value;

		assert_int_equal(bpf_map_lookup_elem(inner, &rows[i].key, &value), 0);
		assert_int_equal(value.rule, i);
	}
	free(rows);
	run_end(*state, &run);
}

/* A prefix each in a table of ours and in one of the kernel's, put in force in turn. */
static struct table table_of(struct table_row4 rows[2], struct table_row6 *root6, uint8_t verdict,
			     bool in_trie)
{
	struct table table = {.rows4 = rows, .n_rows4 = 2, .rows6 = root6, .n_rows6 = 1};

	rows[1] = (struct table_row4){.key = {.prefixlen = 32, .addr = {198, 51, 100, 7}},
				      .value = {.rule = 1, .decided = 1, .verdict = verdict}};
	table.default_verdict = !verdict;
	if (in_trie)
		assert_int_equal(table_trie(&table, 1), 0);
	return table;
}

static void keeps_a_large_policy_in_arrays(void **state)
{
	static const char *const outers[] = {"pst_trie_roots", "pst_trie_nodes", "pst_trie_leaves",
					     "pst_trie_rows"};
	struct run run = run_start(*state, NULL, PST_VERDICT_ALLOW);
	struct table_row6 root6 = {.key = {.prefixlen = 0}};
	struct error err = {{0}};

	for (int i = 0; i < 6; i++) {
		struct table_row4 rows[2] = {{.key = {.prefixlen = 0}}};
		bool in_trie = i % 3 != 2;
		struct table table = table_of(rows, &root6, (uint8_t)(i % 2), in_trie);
		uint32_t flags = in_trie ? PST_SANDBOX_TRIE4 | PST_SANDBOX_TRIE6 : 0;
		uint32_t slot;

		check(kern_sandbox_apply(run.sandbox, &table, &err));
		run_flip(&run);
		assert_int_equal(read_record(&run).flags, flags);
		slot = read_record(&run).policy_slot;
		/* What a policy before it had there is given back. */
		for (size_t k = 0; k < 4; k++) {
			struct bpf_map_info info = inner_info(&run, outers[k], slot);

			assert_string_equal(info.name, outers[k]);
			assert_int_not_equal(info.btf_value_type_id, 0);
			if (!in_trie)
				assert_int_equal(info.max_entries, 1);
			else if (!k)
				assert_int_equal(info.max_entries, table.trie.n_roots);
		}
		if (i % 2) {
			assert_allowed(run.cgroup, "198.51.100.7");
			assert_denied(run.cgroup, "198.51.100.8");
		} else {
			assert_denied(run.cgroup, "198.51.100.7");
			assert_allowed(run.cgroup, "198.51.100.8");
		}
		table_trie_done(&table.trie);
	}
	run_end(*state, &run);
}

static void names_inner_maps_and_gives_them_types(void **state)
{
	static const char *const outers[] = {"pst_cidr4", "pst_cidr6", "pst_ports", "pst_rules",
					     "pst_flows"};
	struct run run = run_start(*state, NULL, PST_VERDICT_ALLOW);

	for (size_t i = 0; i < sizeof(outers) / sizeof(outers[0]); i++) {
		struct bpf_map_info info = inner_info(&run, outers[i], 0);

		assert_string_equal(info.name, outers[i]);
		assert_int_not_equal(info.btf_id, 0);
		assert_int_not_equal(info.btf_key_type_id, 0);
		assert_int_not_equal(info.btf_value_type_id, 0);
	}
	run_end(*state, &run);
}

static void pins_links_and_maps_until_the_detach(void **state)
{
	struct run run = run_start(*state, NULL, PST_VERDICT_ALLOW);

	assert_true(is_pinned(run.pin_dir, "links/pst_egress"));
	assert_true(is_pinned(run.pin_dir, "links/pst_ingress"));
	assert_true(is_pinned(run.pin_dir, "links/pst_connect4"));
	assert_true(is_pinned(run.pin_dir, "links/pst_setsockopt"));
	for (int i = 0; i < KERN_MAP_COUNT; i++) {
		char path[64];

		(void)snprintf(path, sizeof(path), "maps/%s", kern_map_name(i));
		assert_int_equal(is_pinned(run.pin_dir, path), !kern_map_is_of_devices(i));
	}
	kern_sandbox_detach(run.sandbox);
	assert_int_equal(access(run.pin_dir, F_OK), -1);
	assert_int_equal(count_effective(run.cgroup), 0);
	kern_sandbox_detach(run.sandbox);
	run_end(*state, &run);
}

static void stays_enforced_when_the_loader_is_gone(void **state)
{
	struct run run = run_start(*state, NULL, PST_VERDICT_DENY);

	kern_sandbox_free(run.sandbox);
	run.sandbox = NULL;
	assert_denied(run.cgroup, "198.51.100.1");
	run_end(*state, &run);
}

static void leaves_nothing_attached_when_pinning_fails(void **state)
{
	struct run run = run_make(*state, NULL);
	struct error err = {{0}};

	run_load(&run);
	run_apply_default(&run, PST_VERDICT_DENY);
	assert_true(kern_sandbox_attach(run.sandbox, "/nowhere/pst", &err) < 0);
	assert_non_null(strstr(err.text, "/nowhere/pst"));
	assert_int_equal(count_effective(run.cgroup), 0);
	assert_int_equal(kern_sandbox_flip(run.sandbox, &err), -EINVAL);
	run_end(*state, &run);
}

static void keeps_members_denied_after_a_detach(void **state)
{
	struct run run = run_start(*state, NULL, PST_VERDICT_ALLOW);
	pid_t member = member_start(run.cgroup);

	assert_allowed(run.cgroup, "198.51.100.1");
	kern_sandbox_detach(run.sandbox);
	assert_denied(run.cgroup, "198.51.100.1");
	assert_true(is_pinned(run.pin_dir, "links/pst_egress"));
	child_kill(member, run.cgroup);
	kern_sandbox_detach(run.sandbox);
	assert_int_equal(access(run.pin_dir, F_OK), -1);
	run_end(*state, &run);
}

static void leaves_a_zeroed_record_behind(void **state)
{
	static const struct pst_sandbox zero;
	struct run run = run_start(*state, NULL, PST_VERDICT_ALLOW);
	cleanup_close int map = run_open_map(&run, "pst_sandbox");
	struct pst_sandbox record = read_record_at(map, &run);

	assert_memory_not_equal(&record, &zero, sizeof(zero));
	kern_sandbox_detach(run.sandbox);
	record = read_record_at(map, &run);
	assert_memory_equal(&record, &zero, sizeof(zero));
	run_end(*state, &run);
}

static struct table_always_row always_row4(uint8_t len, const char *address, uint32_t kind)
{
	struct table_always_row row = {.key = {.prefixlen = 96U + len, .addr = {[10] = 0xff, 0xff}},
				       .value = {.kind = kind}};

	assert_int_equal(inet_pton(AF_INET, address, row.key.addr + 12), 1);
	return row;
}

static void replaces_the_always_denied_set(void **state)
{
	struct run run = run_start(*state, NULL, PST_VERDICT_ALLOW);
	struct table_always_row rows[3] = {{.value = {.kind = PST_ALWAYS_OPEN}},
					   always_row4(0, "0.0.0.0", PST_ALWAYS_OPEN)};
	struct error err = {{0}};

	rows[2] = always_row4(24, "198.51.100.0", PST_ALWAYS_RANGE);
	check(kern_sandbox_set_always(run.sandbox, rows, 3, &err));
	assert_denied(run.cgroup, "198.51.100.1");
	assert_allowed(run.cgroup, "203.0.113.1");
	rows[2] = always_row4(24, "203.0.113.0", PST_ALWAYS_RANGE);
	check(kern_sandbox_set_always(run.sandbox, rows, 3, &err));
	assert_allowed(run.cgroup, "198.51.100.1");
	assert_denied(run.cgroup, "203.0.113.1");
	/* Without the root of IPv4 the root of all answers. */
	check(kern_sandbox_set_always(run.sandbox, rows, 1, &err));
	assert_allowed(run.cgroup, "203.0.113.1");
	run_end(*state, &run);
}

static void refuses_an_always_denied_set_without_root(void **state)
{
	struct run run = run_start(*state, NULL, PST_VERDICT_ALLOW);
	struct table_always_row row = {.key = {.prefixlen = 128},
				       .value = {.kind = PST_ALWAYS_RANGE}};
	struct error err = {{0}};

	assert_int_equal(kern_sandbox_set_always(run.sandbox, &row, 1, &err), -EINVAL);
	assert_int_equal(kern_sandbox_set_always(run.sandbox, &row, 0, &err), -EINVAL);
	assert_allowed(run.cgroup, "198.51.100.1");
	run_end(*state, &run);
}

static void counts_what_was_denied_by_reason(void **state)
{
	struct run run = run_start(*state, NULL, PST_VERDICT_DENY);
	uint64_t before[PST_REASON_MAX], after[PST_REASON_MAX];
	struct pst_quota quota;

	assert_int_equal(kern_sandbox_counters(run.sandbox, before), 0);
	for (int i = 0; i < 3; i++)
		assert_denied(run.cgroup, "198.51.100.1");
	assert_int_equal(kern_sandbox_counters(run.sandbox, after), 0);
	assert_int_equal(after[PST_REASON_DEFAULT_DENY], before[PST_REASON_DEFAULT_DENY] + 3);
	assert_int_equal(kern_sandbox_quota(run.sandbox, &quota), 0);
	assert_int_equal(quota.lost, 0);
	assert_true(quota.next_ns > 0);
	run_end(*state, &run);
}

static void reads_hits_of_the_rules_in_force_only(void **state)
{
	struct run run = run_make(*state, NULL);
	struct pst_rule_hits hits[2];

	run_load(&run);
	assert_int_equal(kern_sandbox_rule_hits(run.sandbox, hits, 1), -EINVAL);
	run_apply_default(&run, PST_VERDICT_DENY);
	run_attach(&run);
	run_flip(&run);
	memset(hits, 0xff, sizeof(hits));
	assert_int_equal(kern_sandbox_rule_hits(run.sandbox, hits, 1), 0);
	assert_int_equal(hits[0].packets, 0);
	assert_int_equal(kern_sandbox_rule_hits(run.sandbox, hits, 2), -EINVAL);
	run_end(*state, &run);
}

static int take_event(void *context, const struct pst_event *event)
{
	*(struct pst_event *)context = *event;
	return 0;
}

static void reports_a_denial_through_the_ring(void **state)
{
	static const uint8_t address[16] = {[10] = 0xff, 0xff, 198, 51, 100, 1};
	struct run run = run_start(*state, NULL, PST_VERDICT_DENY);
	struct pst_event event = {.time_ns = 0};
	struct kern_ring *ring = NULL;
	struct pollfd ready = {.events = POLLIN};

	assert_int_equal(
		kern_ring_new(kern_sandbox_event_ring(run.sandbox), take_event, &event, &ring), 0);
	assert_int_equal(kern_ring_consume(ring), 0);
	assert_denied(run.cgroup, "198.51.100.1");
	ready.fd = kern_ring_fd(ring);
	assert_int_equal(poll(&ready, 1, 10000), 1);
	assert_int_equal(kern_ring_consume(ring), 1);
	assert_memory_equal(event.addr, address, sizeof(address));
	assert_int_equal(event.port, 9);
	assert_int_equal(event.sandbox, 42);
	assert_int_equal(event.reason, PST_REASON_DEFAULT_DENY);
	kern_ring_free(ring);
	run_end(*state, &run);
}

static void refuses_a_sandbox_without_an_id(void **state)
{
	struct run run = run_make(*state, NULL);
	struct kern_sandbox_options options = {.cgroup_fd = run.cgroup};
	struct error err = {{0}};

	assert_int_equal(kern_sandbox_load(&options, &run.sandbox, &err), -EINVAL);
	assert_null(run.sandbox);
	run_end(*state, &run);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(denies_everything_between_attach_and_flip),
		cmocka_unit_test(puts_a_new_policy_in_force_by_the_flip_alone),
		cmocka_unit_test(fills_the_slot_that_is_not_in_force),
		cmocka_unit_test(keeps_the_flow_table_over_a_change),
		cmocka_unit_test(raises_the_generation_at_every_flip),
		cmocka_unit_test(writes_the_record_of_this_sandbox),
		cmocka_unit_test(refuses_to_flip_without_a_policy),
		cmocka_unit_test(keeps_the_policy_when_a_table_has_no_root),
		cmocka_unit_test(keeps_the_policy_when_the_kernel_refuses_a_row),
		cmocka_unit_test(loads_every_row_of_a_table_larger_than_a_batch),
		cmocka_unit_test(keeps_a_large_policy_in_arrays),
		cmocka_unit_test(names_inner_maps_and_gives_them_types),
		cmocka_unit_test(pins_links_and_maps_until_the_detach),
		cmocka_unit_test(stays_enforced_when_the_loader_is_gone),
		cmocka_unit_test(leaves_nothing_attached_when_pinning_fails),
		cmocka_unit_test(keeps_members_denied_after_a_detach),
		cmocka_unit_test(leaves_a_zeroed_record_behind),
		cmocka_unit_test(replaces_the_always_denied_set),
		cmocka_unit_test(refuses_an_always_denied_set_without_root),
		cmocka_unit_test(counts_what_was_denied_by_reason),
		cmocka_unit_test(reads_hits_of_the_rules_in_force_only),
		cmocka_unit_test(reports_a_denial_through_the_ring),
		cmocka_unit_test(refuses_a_sandbox_without_an_id),
	};

	return cmocka_run_group_tests(tests, place_open, place_close);
}
