/* SPDX-License-Identifier: MIT */
/* Devices: how programs hang on them, what is in force for one, and that all of it follows the device. */
#define _GNU_SOURCE
#include "device_fixture.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "kern/host.h"
#include "kern/host_object.h"
#include "kern/tcx.h"

struct host {
	struct wires *wires;
	struct kern_host *kern;
	char dir[96];
};

static struct kern_host *open_host(const struct host *host)
{
	const struct kern_host_options options = {
		.dir = host->dir, .cgroup_root_fd = host->wires->place->root, .max_sandboxes = 64};
	const struct table_always_row root = {.value = {.kind = PST_ALWAYS_OPEN}};
	struct kern_host *kern = NULL;
	struct error err = {{0}};

	check(kern_host_open(&options, &kern, &err));
	check(kern_host_set_always(kern, &root, 1, &err));
	return kern;
}

static struct host start_host(struct wires *wires)
{
	struct host host = {.wires = wires};

	(void)snprintf(host.dir, sizeof(host.dir), "%s/postern-%d", wires->place->bpffs,
		       wires->place->runs++);
	host.kern = open_host(&host);
	assert_int_equal(kern_host_adopted(host.kern), 0);
	return host;
}

static void end_host(struct host *host)
{
	kern_host_close(host->kern);
	assert_int_equal(pin_remove_dir(host->dir), 0);
}

static struct kern_own own_of(const struct wire *wire)
{
	char mac[32], address[32];
	const char *macs[] = {mac}, *addresses[] = {address};
	struct kern_own own;
	struct error err = {{0}};

	(void)snprintf(mac, sizeof(mac), "02:00:00:00:02:%02x", wire->number);
	(void)snprintf(address, sizeof(address), "10.99.%d.2", wire->number);
	check(kern_own_parse(macs, 1, addresses, 1, &own, &err));
	return own;
}

struct one {
	char name[40];
	uint64_t id;
	struct kern_attachment *at;
};

static int try_attach(struct host *host, const struct wire *wire, enum kern_tc tc, struct one *one,
		      struct error *err)
{
	const struct kern_attach_device device = {
		.ifindex = wire->ifindex, .tc = tc, .own = own_of(wire)};
	struct kern_attach how = {
		.name = one->name, .device = &device, .netns_cookie = host->wires->cookie};

	(void)snprintf(one->name, sizeof(one->name), "pst-%d-%d", getpid(),
		       host->wires->place->runs);
	one->id = how.id = (uint64_t)++host->wires->place->runs;
	return kern_attachment_new(host->kern, &how, &one->at, err);
}

static struct one attach(struct host *host, const struct wire *wire, enum kern_tc tc)
{
	struct one one = {.at = NULL};
	struct error err = {{0}};

	check(try_attach(host, wire, tc, &one, &err));
	return one;
}

static void detach(struct one *one)
{
	kern_attachment_detach(one->at);
	kern_attachment_free(one->at);
	one->at = NULL;
}

static void change(struct host *host, struct one *one, uint8_t verdict)
{
	struct table_row4 root4 = {.key = {.prefixlen = 0}};
	struct table_row6 root6 = {.key = {.prefixlen = 0}};
	struct pst_ports unused = {.count = 0};
	struct table table = {.rows4 = &root4,
			      .n_rows4 = 1,
			      .rows6 = &root6,
			      .n_rows6 = 1,
			      .ports = &unused,
			      .n_ports = 1,
			      .n_rules = 3,
			      .inbound = PST_INBOUND_ALLOW,
			      .default_verdict = verdict};
	const uint8_t hash[KERN_HASH_SIZE] = {verdict, 1};
	struct kern_policy *policy = NULL;
	struct error err = {{0}};

	check(kern_policy_load(host->kern, &table, hash, &policy, &err));
	check(kern_attachment_stage(one->at, policy, kern_host_next_generation(host->kern), &err));
	kern_policy_put(policy);
	check(kern_attachment_flip(one->at, &err));
}

static void denies_until_the_first_flip_in(struct wires *wires, enum kern_tc tc)
{
	struct host host = start_host(wires);
	struct wire wire = wire_make(wires);
	struct one one;

	assert_true(gets_out(wires, &wire));
	assert_true(gets_in(wires, &wire));
	one = attach(&host, &wire, tc);
	assert_false(gets_out(wires, &wire));
	assert_false(gets_in(wires, &wire));
	change(&host, &one, PST_VERDICT_ALLOW);
	assert_true(gets_out(wires, &wire));
	assert_true(gets_in(wires, &wire));
	change(&host, &one, PST_VERDICT_DENY);
	assert_false(gets_out(wires, &wire));
	change(&host, &one, PST_VERDICT_ALLOW);
	assert_true(gets_out(wires, &wire));
	assert_int_equal(kern_attachment_close(one.at), 0);
	assert_false(gets_out(wires, &wire));
	detach(&one);
	assert_true(gets_out(wires, &wire));
	assert_true(gets_in(wires, &wire));
	wire_end(&wire);
	end_host(&host);
}

static void denies_until_the_first_flip(void **state)
{
	denies_until_the_first_flip_in(*state, KERN_TC_AUTO);
}

static void denies_until_the_first_flip_by_clsact(void **state)
{
	denies_until_the_first_flip_in(*state, KERN_TC_CLSACT);
}

static void runs_a_sandbox_in(struct wires *wires, enum kern_tc tc)
{
	struct wire wire = wire_make(wires);
	const struct kern_attach_device device = {
		.ifindex = wire.ifindex, .tc = tc, .own = own_of(&wire), .flows = 64};
	const struct kern_sandbox_options options = {
		.id = 42, .device = &device, .netns_cookie = wires->cookie};
	const struct table_always_row root = {.value = {.kind = PST_ALWAYS_OPEN}};
	struct run run = {.cgroup = -1};
	struct error err = {{0}};

	(void)snprintf(run.name, sizeof(run.name), "pst-%d-%d", getpid(), wires->place->runs++);
	check(pin_make_dir(wires->place->bpffs, run.name, &run.pin_dir, &err));
	check(kern_sandbox_load(&options, &run.sandbox, &err));
	check(kern_sandbox_set_always(run.sandbox, &root, 1, &err));
	run_apply_default(&run, PST_VERDICT_ALLOW);
	run_attach(&run);
	assert_false(gets_out(wires, &wire));
	run_flip(&run);
	assert_true(gets_out(wires, &wire));
	run_flip(&run);
	run_flip(&run);
	assert_true(gets_out(wires, &wire));
	run_apply_default(&run, PST_VERDICT_DENY);
	assert_true(gets_out(wires, &wire));
	run_flip(&run);
	assert_false(gets_out(wires, &wire));
	kern_sandbox_detach(run.sandbox);
	assert_true(gets_out(wires, &wire));
	assert_int_equal(access(run.pin_dir, F_OK), -1);
	kern_sandbox_free(run.sandbox);
	free(run.pin_dir);
	wire_end(&wire);
}

static void runs_a_sandbox(void **state)
{
	runs_a_sandbox_in(*state, KERN_TC_AUTO);
}

static void runs_a_sandbox_by_clsact(void **state)
{
	runs_a_sandbox_in(*state, KERN_TC_CLSACT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(denies_until_the_first_flip),
		cmocka_unit_test(denies_until_the_first_flip_by_clsact),
		cmocka_unit_test(runs_a_sandbox),
		cmocka_unit_test(runs_a_sandbox_by_clsact),
	};

	return cmocka_run_group_tests(tests, wires_open, wires_close);
}
