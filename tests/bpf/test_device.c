/* SPDX-License-Identifier: MIT */
/* Devices: how programs hang on them, what is in force for one, and that all of it follows the device. */
#define _GNU_SOURCE
#include "device_fixture.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "kern/host.h"
#include "kern/host_object.h"
#include "kern/quiet.h"
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

/* `salt` makes policies of equal meaning different. */
static void stage(struct host *host, struct one *one, uint8_t verdict, uint8_t salt)
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
	const uint8_t hash[KERN_HASH_SIZE] = {verdict, salt, 1};
	struct kern_policy *policy = NULL;
	struct error err = {{0}};

	check(kern_policy_load(host->kern, &table, hash, &policy, &err));
	check(kern_attachment_stage(one->at, policy, kern_host_next_generation(host->kern), &err));
	kern_policy_put(policy);
}

static void change(struct host *host, struct one *one, uint8_t verdict)
{
	struct error err = {{0}};

	stage(host, one, verdict, 0);
	check(kern_attachment_flip(one->at, &err));
}

static int change_fails(struct host *host, struct one *one)
{
	struct error err = {{0}};

	stage(host, one, PST_VERDICT_ALLOW, 0);
	return kern_attachment_flip(one->at, &err);
}

static struct kern_device_info info_of(const struct one *one)
{
	struct kern_device_info info;

	assert_int_equal(kern_attachment_device(one->at, &info), 0);
	return info;
}

/* What the daemon does when it starts again. */
static void restart_host(struct host *host)
{
	kern_host_close(host->kern);
	host->kern = open_host(host);
}

static int try_adopt(struct host *host, struct one *one, uint64_t where)
{
	struct error err = {{0}};
	int r = kern_attachment_adopt(host->kern, one->name, where, NULL, &one->at, &err);

	if (r < 0)
		one->at = NULL;
	if (r < 0 && r != -ENOENT)
		fail_msg("%s", err.text);
	assert_int_equal(kern_host_adopted(host->kern), 0);
	return r;
}

static void leave(struct one *one)
{
	kern_attachment_free(one->at);
	one->at = NULL;
}

static bool has_tcx(void)
{
	return !kern_tc_try(KERN_TC_TCX);
}

static void denies_until_the_first_flip_in(struct wires *wires, enum kern_tc tc)
{
	struct host *host = wires->host;
	struct wire wire = wire_make(wires);
	struct one one;

	assert_true(gets_out(wires, &wire));
	assert_true(gets_in(wires, &wire));
	one = attach(host, &wire, tc);
	assert_false(gets_out(wires, &wire));
	assert_false(gets_in(wires, &wire));
	change(host, &one, PST_VERDICT_ALLOW);
	assert_true(gets_out(wires, &wire));
	assert_true(gets_in(wires, &wire));
	change(host, &one, PST_VERDICT_DENY);
	assert_false(gets_out(wires, &wire));
	change(host, &one, PST_VERDICT_ALLOW);
	assert_true(gets_out(wires, &wire));
	assert_int_equal(kern_attachment_close(one.at), 0);
	assert_false(gets_out(wires, &wire));
	detach(&one);
	assert_true(gets_out(wires, &wire));
	assert_true(gets_in(wires, &wire));
	wire_end(&wire);
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

/* ---- who else is there ---- */

/* Says "pass", and that is the last word. */
static int load_foreign(enum bpf_prog_type type, int verdict)
{
	const struct bpf_insn pass[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = verdict},
		{.code = BPF_JMP | BPF_EXIT},
	};
	int fd = bpf_prog_load(type, "foreign", "GPL", pass, 2, NULL);

	assert_true(fd >= 0);
	return fd;
}

static void is_asked_before_a_program_that_was_there(void **state)
{
	struct wires *wires = *state;
	struct host *host = wires->host;
	struct wire wire = wire_make(wires);
	struct kern_foreign foreign[4];
	cleanup_close int first = load_foreign(BPF_PROG_TYPE_SCHED_CLS, 0);
	cleanup_close int last = load_foreign(BPF_PROG_TYPE_SCHED_CLS, 0);
	int before, behind;
	struct one one;

	if (!has_tcx())
		skip();
	behind = tcx_attach(last, wire.ifindex, TCX_INGRESS);
	assert_true(behind >= 0);
	one = attach(host, &wire, KERN_TC_AUTO);
	assert_int_equal(info_of(&one).tc, KERN_TC_TCX);
	assert_false(gets_out(wires, &wire));
	change(host, &one, PST_VERDICT_ALLOW);
	assert_true(gets_out(wires, &wire));
	assert_int_equal(kern_device_foreign(wire.ifindex, info_of(&one).from_program, foreign, 4),
			 0);
	/* Ahead of ours, which is not asked then: that is told. */
	change(host, &one, PST_VERDICT_DENY);
	assert_false(gets_out(wires, &wire));
	before = tcx_attach(first, wire.ifindex, TCX_INGRESS);
	assert_true(before >= 0);
	assert_true(gets_out(wires, &wire));
	assert_int_equal(kern_device_foreign(wire.ifindex, info_of(&one).from_program, foreign, 4),
			 1);
	assert_string_equal(foreign[0].where, "tcx");
	assert_string_equal(foreign[0].name, "foreign");
	close(before);
	assert_false(gets_out(wires, &wire));
	detach(&one);
	close(behind);
	wire_end(&wire);
}

static void add_filter(const struct wire *wire, int prog, uint32_t priority)
{
	struct bpf_tc_hook hook = {
		.sz = sizeof(hook), .ifindex = (int)wire->ifindex, .attach_point = BPF_TC_INGRESS};
	LIBBPF_OPTS(bpf_tc_opts, options, .prog_fd = prog, .handle = 7, .priority = priority);
	KERN_QUIET;

	(void)bpf_tc_hook_create(&hook);
	assert_int_equal(bpf_tc_attach(&hook, &options), 0);
}

static void names_programs_that_are_asked_first(void **state)
{
	struct wires *wires = *state;
	struct host *host = wires->host;
	struct wire wire = wire_make(wires);
	cleanup_close int xdp = load_foreign(BPF_PROG_TYPE_XDP, 2 /* XDP_PASS */);
	cleanup_close int filter = load_foreign(BPF_PROG_TYPE_SCHED_CLS, 0);
	struct kern_foreign foreign[8];
	struct one one;

	one = attach(host, &wire, KERN_TC_CLSACT);
	assert_int_equal(info_of(&one).tc, KERN_TC_CLSACT);
	change(host, &one, PST_VERDICT_DENY);
	/* Behind ours: it changes nothing, and nobody has to know. */
	add_filter(&wire, filter, 5);
	assert_false(gets_out(wires, &wire));
	assert_int_equal(kern_device_foreign(wire.ifindex, info_of(&one).from_program, foreign, 8),
			 0);
	assert_int_equal(bpf_xdp_attach((int)wire.ifindex, xdp, 1U << 1 /* generic */, NULL), 0);
	assert_int_equal(kern_device_foreign(wire.ifindex, info_of(&one).from_program, foreign, 8),
			 1);
	assert_string_equal(foreign[0].where, "xdp");
	/* In our priority, later than ours: asked first. */
	add_filter(&wire, filter, 1);
	assert_int_equal(kern_device_foreign(wire.ifindex, info_of(&one).from_program, foreign, 8),
			 2);
	assert_string_equal(foreign[1].where, "clsact");
	assert_true(gets_out(wires, &wire));
	detach(&one);
	/* Only ours was taken away. */
	assert_int_equal(kern_device_foreign(wire.ifindex, 0, foreign, 8), 3);
	wire_end(&wire);
}

static void refuses_a_device_that_has_a_sandbox(void **state)
{
	struct wires *wires = *state;
	struct host *host = wires->host;
	struct wire wire = wire_make(wires);
	struct one first = attach(host, &wire, KERN_TC_AUTO), second = {.at = NULL};
	struct error err = {{0}};

	change(host, &first, PST_VERDICT_ALLOW);
	assert_int_equal(try_attach(host, &wire, KERN_TC_AUTO, &second, &err), -EBUSY);
	assert_non_null(strstr(err.text, first.name));
	assert_true(gets_out(wires, &wire));
	detach(&first);
	second = attach(host, &wire, KERN_TC_CLSACT);
	assert_false(gets_out(wires, &wire));
	detach(&second);
	wire_end(&wire);
}

/* ---- found again ---- */

static void adopts_what_is_attached_in(struct wires *wires, enum kern_tc tc)
{
	struct host *host = wires->host;
	struct wire allowed = wire_make(wires), denied = wire_make(wires);
	struct one one = attach(host, &allowed, tc), other = attach(host, &denied, tc);
	struct pst_sandbox record;

	change(host, &one, PST_VERDICT_ALLOW);
	change(host, &other, PST_VERDICT_DENY);
	leave(&one);
	leave(&other);
	kern_host_close(host->kern);
	assert_true(gets_out(wires, &allowed));
	assert_false(gets_out(wires, &denied));
	host->kern = open_host(host);
	assert_int_equal(kern_host_peek(host->kern, one.name, 0, &record), 0);
	assert_int_equal(record.id, one.id);
	assert_int_equal(kern_attachment_adopt(host->kern, other.name, 0, NULL, &other.at, NULL),
			 0);
	assert_int_equal(try_adopt(host, &one, 0), 0);
	assert_int_equal(kern_attachment_record(one.at)->id, one.id);
	assert_false(kern_attachment_was_open(one.at));
	assert_int_equal(info_of(&one).ifindex, allowed.ifindex);
	assert_int_equal(info_of(&one).own.n_macs, 1);
	assert_true(gets_out(wires, &allowed));
	assert_false(gets_out(wires, &denied));
	change(host, &one, PST_VERDICT_DENY);
	change(host, &other, PST_VERDICT_ALLOW);
	assert_false(gets_out(wires, &allowed));
	assert_true(gets_out(wires, &denied));
	detach(&one);
	detach(&other);
	assert_true(gets_out(wires, &allowed));
	wire_end(&allowed);
	wire_end(&denied);
}

static void adopts_what_is_attached(void **state)
{
	adopts_what_is_attached_in(*state, KERN_TC_AUTO);
}

static void adopts_what_is_attached_by_clsact(void **state)
{
	adopts_what_is_attached_in(*state, KERN_TC_CLSACT);
}

static void adopts_without_pins_in(struct wires *wires, enum kern_tc tc)
{
	struct host *host = wires->host;
	struct wire wire = wire_make(wires);
	struct one one = attach(host, &wire, tc);
	uint64_t where = KERN_ON_DEVICE(wire.ifindex);
	struct pst_sandbox record;
	char dir[160];

	(void)snprintf(dir, sizeof(dir), "%s/sandboxes/%s", host->dir, one.name);
	change(host, &one, PST_VERDICT_ALLOW);
	assert_int_equal(pin_remove_dir(dir), 0);
	/* Without pins, links live as long as somebody holds them: here the daemon of before, as when it is being replaced. */
	assert_true(gets_out(wires, &wire));
	if (tc == KERN_TC_CLSACT) {
		leave(&one);
		restart_host(host);
		assert_int_equal(kern_host_peek(host->kern, one.name, 0, &record), -ENOENT);
		assert_int_equal(kern_host_peek(host->kern, one.name, where, &record), 0);
		assert_int_equal(try_adopt(host, &one, where), 0);
		assert_true(is_pinned(dir, "device"));
	} else {
		struct kern_attachment *held = one.at;
		struct kern_host *old = host->kern;

		host->kern = open_host(host);
		assert_int_equal(kern_host_peek(host->kern, one.name, where, &record), 0);
		assert_int_equal(try_adopt(host, &one, where), 0);
		assert_true(is_pinned(dir, "pst_from_device"));
		kern_attachment_free(held);
		kern_host_close(old);
	}
	assert_int_equal(kern_attachment_record(one.at)->id, one.id);
	assert_true(gets_out(wires, &wire));
	change(host, &one, PST_VERDICT_DENY);
	assert_false(gets_out(wires, &wire));
	detach(&one);
	wire_end(&wire);
}

static void adopts_without_pins(void **state)
{
	if (!has_tcx())
		skip();
	adopts_without_pins_in(*state, KERN_TC_TCX);
}

static void adopts_without_pins_by_clsact(void **state)
{
	adopts_without_pins_in(*state, KERN_TC_CLSACT);
}

static void never_flipped_it_is_found_and_denies(void **state)
{
	struct wires *wires = *state;
	struct host *host = wires->host;
	struct wire wire = wire_make(wires);
	const struct kern_attach_device device = {
		.ifindex = wire.ifindex, .own = own_of(&wire), .flags = PST_SANDBOX_SILENT};
	struct one one = attach(host, &wire, KERN_TC_AUTO);
	struct kern_attach how = {
		.name = one.name, .id = one.id, .device = &device, .netns_cookie = wires->cookie};
	struct pst_sandbox record = {.id = 1};
	struct error err = {{0}};

	leave(&one);
	restart_host(host);
	assert_int_equal(kern_host_peek(host->kern, one.name, 0, &record), 0);
	assert_int_equal(record.id, 0);
	assert_int_equal(try_adopt(host, &one, 0), 0);
	assert_int_equal(kern_attachment_record(one.at)->generation, 0);
	check(kern_attachment_identify(one.at, &how, &err));
	assert_false(gets_out(wires, &wire));
	leave(&one);
	restart_host(host);
	assert_int_equal(kern_host_peek(host->kern, one.name, 0, &record), 0);
	assert_int_equal(record.id, one.id);
	assert_int_equal(record.generation, 0);
	assert_int_equal(try_adopt(host, &one, 0), 0);
	assert_false(gets_out(wires, &wire));
	change(host, &one, PST_VERDICT_ALLOW);
	assert_true(gets_out(wires, &wire));
	assert_int_equal(kern_attachment_record(one.at)->flags, PST_SANDBOX_SILENT);
	detach(&one);
	wire_end(&wire);
}

/* A daemon that dies between two writes, wherever that is. */
static void survives_a_kill_in_any_place(void **state)
{
	struct wires *wires = *state;
	const unsigned rounds = getenv("TEST_LIGHT") ? 2 : 12;
	struct host *host = wires->host;
	struct wire wire = wire_make(wires);
	struct one one = attach(host, &wire, KERN_TC_AUTO);

	change(host, &one, PST_VERDICT_DENY);
	for (unsigned i = 0; i < rounds; i++) {
		char ready;
		int pipes[2];
		pid_t pid;

		leave(&one);
		kern_host_close(host->kern);
		assert_int_equal(pipe(pipes), 0);
		pid = fork();
		assert_true(pid >= 0);
		if (!pid) {
			(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
			host->kern = open_host(host);
			assert_int_equal(try_adopt(host, &one, 0), 0);
			(void)!write(pipes[1], "", 1);
			for (;;)
				change(host, &one, PST_VERDICT_DENY);
		}
		close(pipes[1]);
		assert_int_equal(read(pipes[0], &ready, 1), 1);
		close(pipes[0]);
		/* Meanwhile. */
		for (unsigned k = 0; k < 20 + 7 * i; k++)
			assert_false(gets_out(wires, &wire));
		assert_int_equal(kill(pid, SIGKILL), 0);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
		assert_false(gets_out(wires, &wire));
		host->kern = open_host(host);
		assert_int_equal(try_adopt(host, &one, 0), 0);
		assert_int_equal(kern_attachment_record(one.at)->id, one.id);
		assert_int_not_equal(kern_attachment_record(one.at)->generation, 0);
		assert_false(gets_out(wires, &wire));
	}
	change(host, &one, PST_VERDICT_ALLOW);
	assert_true(gets_out(wires, &wire));
	detach(&one);
	wire_end(&wire);
}

/* ---- the device's life ---- */

static void follows_a_device_that_is_renamed(void **state)
{
	struct wires *wires = *state;
	struct host *host = wires->host;
	struct wire wire = wire_make(wires);
	struct one one = attach(host, &wire, KERN_TC_AUTO);

	change(host, &one, PST_VERDICT_DENY);
	assert_string_equal(info_of(&one).name, wire.name);
	shell("ip link set %s down; ip link set %s name pst-renamed; ip link set pst-renamed up; "
	      "ip neigh replace 10.99.%d.2 lladdr 02:00:00:00:02:%02x nud permanent dev pst-renamed",
	      wire.name, wire.name, wire.number, wire.number);
	(void)snprintf(wire.name, sizeof(wire.name), "pst-renamed");
	assert_true(kern_attachment_is_alive(one.at));
	assert_true(kern_attachment_is_linked(one.at));
	assert_string_equal(info_of(&one).name, "pst-renamed");
	assert_false(gets_out(wires, &wire));
	change(host, &one, PST_VERDICT_ALLOW);
	assert_true(gets_out(wires, &wire));
	detach(&one);
	wire_end(&wire);
}

static void ends_with_its_device_in(struct wires *wires, enum kern_tc tc)
{
	struct host *host = wires->host;
	struct wire wire = wire_make(wires);
	struct one one = attach(host, &wire, tc), again;
	uint32_t ifindex = wire.ifindex, slot = 0;
	char dir[160];

	(void)snprintf(dir, sizeof(dir), "%s/sandboxes/%s", host->dir, one.name);
	change(host, &one, PST_VERDICT_ALLOW);
	assert_int_equal(kern_device_named(&host->kern->object, ifindex, &slot), 0);
	assert_int_not_equal(slot, 0);
	shell("ip link del %s", wire.name);
	assert_false(kern_attachment_is_alive(one.at));
	assert_false(kern_attachment_is_linked(one.at));
	assert_true(info_of(&one).is_gone);
	assert_false(info_of(&one).has_left);
	assert_string_equal(info_of(&one).name, "");
	assert_int_equal(change_fails(host, &one), -ENODEV);
	/* Another one has its number, its name and its addresses: it is not judged, then by its own policy. */
	wire_plug(wires, &wire, ifindex);
	assert_int_equal(wire.ifindex, ifindex);
	assert_true(gets_out(wires, &wire));
	assert_false(kern_attachment_is_alive(one.at));
	assert_int_equal(change_fails(host, &one), -ENODEV);
	again = attach(host, &wire, tc);
	assert_false(gets_out(wires, &wire));
	change(host, &again, PST_VERDICT_ALLOW);
	assert_true(gets_out(wires, &wire));
	/* The end of the first is not that of the second. */
	detach(&one);
	assert_false(is_pinned(dir, ""));
	assert_true(gets_out(wires, &wire));
	change(host, &again, PST_VERDICT_DENY);
	assert_false(gets_out(wires, &wire));
	assert_true(kern_attachment_is_linked(again.at));
	detach(&again);
	wire_end(&wire);
}

static void ends_with_its_device(void **state)
{
	ends_with_its_device_in(*state, KERN_TC_AUTO);
}

static void ends_with_its_device_by_clsact(void **state)
{
	ends_with_its_device_in(*state, KERN_TC_CLSACT);
}

/* The device goes, and another takes its number, while no daemon runs. */
static void is_not_adopted_by_number_in(struct wires *wires, enum kern_tc tc)
{
	struct host *host = wires->host;
	struct wire wire = wire_make(wires);
	struct one one = attach(host, &wire, tc);
	uint32_t ifindex = wire.ifindex, slot;
	char dir[160];

	(void)snprintf(dir, sizeof(dir), "%s/sandboxes/%s", host->dir, one.name);
	change(host, &one, PST_VERDICT_ALLOW);
	leave(&one);
	kern_host_close(host->kern);
	shell("ip link del %s", wire.name);
	wire_plug(wires, &wire, ifindex);
	assert_int_equal(wire.ifindex, ifindex);
	host->kern = open_host(host);
	assert_int_equal(try_adopt(host, &one, KERN_ON_DEVICE(ifindex)), -ENOENT);
	assert_false(is_pinned(dir, ""));
	assert_int_equal(kern_device_named(&host->kern->object, ifindex, &slot), -ENOENT);
	assert_true(gets_out(wires, &wire));
	one = attach(host, &wire, tc);
	assert_false(gets_out(wires, &wire));
	detach(&one);
	wire_end(&wire);
}

static void is_not_adopted_by_number(void **state)
{
	is_not_adopted_by_number_in(*state, KERN_TC_AUTO);
}

static void is_not_adopted_by_number_by_clsact(void **state)
{
	is_not_adopted_by_number_in(*state, KERN_TC_CLSACT);
}

/* Into a namespace of its own, up, with the address that it had; what comes out of it there. */
static bool gets_out_elsewhere(const struct wires *wires, const struct wire *wire, int elsewhere)
{
	char own[32], peer[32];
	bool out;
	int fd;

	(void)snprintf(own, sizeof(own), "10.99.%d.1", wire->number);
	(void)snprintf(peer, sizeof(peer), "10.99.%d.2", wire->number);
	net_go(elsewhere);
	shell("ip addr replace %s/30 dev %s; ip link set %s up; "
	      "ip neigh replace %s lladdr 02:00:00:00:02:%02x nud permanent dev %s",
	      own, wire->name, wire->name, peer, wire->number, wire->name);
	fd = wire_socket(own, peer);
	net_go(wires->here);
	out = wire_comes(wire->inside, fd, wires->fence.inside, wires->fence.outside);
	close(fd);
	return out;
}

static void drops_all_of_a_device_that_left(void **state)
{
	struct wires *wires = *state;
	struct host *host = wires->host;
	struct wire wire = wire_make(wires);
	struct one one = {.at = NULL};
	struct wire other;
	uint32_t ifindex = wire.ifindex;
	int elsewhere;

	assert_int_equal(unshare(CLONE_NEWNET), 0);
	elsewhere = netns_open();
	net_go(wires->here);
	if (!has_tcx())
		skip();
	one = attach(host, &wire, KERN_TC_TCX);
	change(host, &one, PST_VERDICT_ALLOW);
	assert_true(gets_out(wires, &wire));
	shell("ip link set %s netns /proc/%d/fd/%d", wire.name, getpid(), elsewhere);
	/* Its number is another's, who may do everything. */
	other = (struct wire){.number = ++wires->made, .inside = -1, .outside = -1};
	(void)snprintf(other.name, sizeof(other.name), "pst-w%u", (unsigned)other.number % 1000);
	wire_plug(wires, &other, ifindex);
	assert_false(kern_attachment_is_alive(one.at));
	assert_true(info_of(&one).has_left);
	assert_int_not_equal(info_of(&one).from_program, 0);
	assert_int_equal(change_fails(host, &one), -ENODEV);
	assert_false(gets_out_elsewhere(wires, &wire, elsewhere));
	/* Found again it is no more than that. */
	leave(&one);
	restart_host(host);
	assert_int_equal(try_adopt(host, &one, KERN_ON_DEVICE(ifindex)), -ENOENT);
	assert_false(gets_out_elsewhere(wires, &wire, elsewhere));
	kern_host_forget(host->kern, one.name);
	assert_true(gets_out_elsewhere(wires, &wire, elsewhere));
	shell("ip link del %s", other.name);
	net_go(elsewhere);
	shell("ip link del %s", wire.name);
	net_go(wires->here);
	close(elsewhere);
	wire_end(&wire);
}

/* ---- what is done to it ---- */

static void take_clsact_away(const struct wire *wire)
{
	struct bpf_tc_hook hook = {.sz = sizeof(hook),
				   .ifindex = (int)wire->ifindex,
				   .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS};

	assert_int_equal(bpf_tc_hook_destroy(&hook), 0);
}

static void is_attached_again_in(struct wires *wires, enum kern_tc tc)
{
	struct host *host = wires->host;
	struct wire wire = wire_make(wires);
	struct one one = attach(host, &wire, tc);
	struct error err = {{0}};
	char path[200];
	int link;

	change(host, &one, PST_VERDICT_DENY);
	assert_int_equal(kern_attachment_repair(one.at, &err), 0);
	(void)snprintf(path, sizeof(path), "%s/sandboxes/%s", host->dir, one.name);
	assert_int_equal(pin_remove_dir(path), 0);
	assert_int_equal(kern_attachment_repair(one.at, &err), 1);
	assert_int_equal(kern_attachment_repair(one.at, &err), 0);
	if (info_of(&one).tc == KERN_TC_TCX) {
		(void)snprintf(path, sizeof(path), "%s/sandboxes/%s/pst_from_device", host->dir,
			       one.name);
		link = bpf_obj_get(path);
		assert_true(link >= 0);
		assert_int_equal(bpf_link_detach(link), 0);
		close(link);
	} else {
		take_clsact_away(&wire);
	}
	assert_true(gets_out(wires, &wire));
	assert_true(kern_attachment_is_alive(one.at));
	assert_false(kern_attachment_is_linked(one.at));
	assert_int_equal(kern_attachment_repair(one.at, &err), 1);
	assert_true(kern_attachment_is_linked(one.at));
	assert_false(gets_out(wires, &wire));
	leave(&one);
	restart_host(host);
	assert_int_equal(try_adopt(host, &one, 0), 0);
	assert_false(gets_out(wires, &wire));
	detach(&one);
	wire_end(&wire);
}

static void is_attached_again(void **state)
{
	is_attached_again_in(*state, KERN_TC_AUTO);
}

static void is_attached_again_by_clsact(void **state)
{
	is_attached_again_in(*state, KERN_TC_CLSACT);
}

static void changes_addresses_at_once(void **state)
{
	struct wires *wires = *state;
	struct host *host = wires->host;
	struct wire wire = wire_make(wires);
	struct one one = attach(host, &wire, KERN_TC_AUTO);
	struct kern_own right = own_of(&wire), wrong = right;
	struct error err = {{0}};

	change(host, &one, PST_VERDICT_ALLOW);
	assert_true(gets_out(wires, &wire));
	wrong.own[0].addr[15] ^= 1;
	check(kern_attachment_set_own(one.at, &wrong, &err));
	assert_false(gets_out(wires, &wire));
	check(kern_attachment_set_own(one.at, &right, &err));
	assert_true(gets_out(wires, &wire));
	wrong = right;
	wrong.mac[0].mac[5] ^= 1;
	check(kern_attachment_set_own(one.at, &wrong, &err));
	assert_false(gets_out(wires, &wire));
	/* A change of policy keeps them, and so does who finds it again. */
	change(host, &one, PST_VERDICT_ALLOW);
	assert_false(gets_out(wires, &wire));
	leave(&one);
	restart_host(host);
	assert_int_equal(try_adopt(host, &one, 0), 0);
	change(host, &one, PST_VERDICT_ALLOW);
	assert_false(gets_out(wires, &wire));
	check(kern_attachment_set_own(one.at, &right, &err));
	assert_true(gets_out(wires, &wire));
	detach(&one);
	wire_end(&wire);
}

struct sender {
	const struct wire *wire;
	atomic_bool stop;
	atomic_uint sent;
};

static void *send_all_the_time(void *context)
{
	struct sender *sender = context;

	while (!sender->stop) {
		if (send(sender->wire->inside, "pst", 3, MSG_DONTWAIT) == 3)
			sender->sent++;
	}
	return NULL;
}

static unsigned count_arrived(const struct wire *wire)
{
	unsigned n = 0;
	char bytes[8];

	while (recv(wire->outside, bytes, sizeof(bytes), MSG_DONTWAIT) >= 0)
		n++;
	return n;
}

/* Denied by one policy, and by the next: never by none. And back, with something that arrives as the control. */
static void lets_nothing_through_between_two_policies(void **state)
{
	struct wires *wires = *state;
	const unsigned changes = getenv("TEST_LIGHT") ? 100 : 1000;
	struct host *host = wires->host;
	struct wire wire = wire_make(wires);
	struct sender sender = {.wire = &wire};
	struct one one = attach(host, &wire, KERN_TC_AUTO);
	struct error err = {{0}};
	pthread_t thread;
	cpu_set_t all;

	CPU_ZERO(&all);
	for (size_t i = 0; i < CPU_SETSIZE; i++)
		CPU_SET(i, &all);
	change(host, &one, PST_VERDICT_DENY);
	(void)count_arrived(&wire);
	assert_int_equal(pthread_create(&thread, NULL, send_all_the_time, &sender), 0);
	(void)pthread_setaffinity_np(thread, sizeof(all), &all);
	for (unsigned i = 0; i < changes || sender.sent < 1000; i++) {
		if (i % 3 == 2) {
			check(kern_attachment_refresh(one.at, kern_host_next_generation(host->kern),
						      &err));
			continue;
		}
		stage(host, &one, PST_VERDICT_DENY, (uint8_t)(i % 2));
		check(kern_attachment_flip(one.at, &err));
		assert_int_equal(count_arrived(&wire), 0);
	}
	change(host, &one, PST_VERDICT_ALLOW);
	for (uint64_t end = loop_boot_ns() + FIXTURE_DEADLINE_NS;
	     !count_arrived(&wire) && loop_boot_ns() < end;)
		;
	sender.stop = true;
	(void)pthread_join(thread, NULL);
	assert_true(gets_out(wires, &wire));
	detach(&one);
	wire_end(&wire);
}

/* ---- what it takes ---- */

static size_t used(const struct kern_host *kern, const char *name)
{
	struct kern_usage usage[16];
	size_t n = kern_host_usage(kern, usage, 16);

	for (size_t i = 0; i < n; i++) {
		if (!strcmp(usage[i].name, name))
			return usage[i].used;
	}
	fail_msg("no pool '%s'", name);
	return 0;
}

static void await_used(const struct kern_host *kern, const char *name, size_t wanted)
{
	for (uint64_t end = loop_boot_ns() + FIXTURE_DEADLINE_NS;
	     used(kern, name) != wanted && loop_boot_ns() < end;)
		(void)usleep(1000);
	assert_int_equal(used(kern, name), wanted);
}

static void gives_everything_back(void **state)
{
	struct wires *wires = *state;
	/* More than there are elements: they are used again. */
	const unsigned changes = getenv("TEST_LIGHT") ? 300 : 2 * 64 + 1024 + 200;
	struct host *host = wires->host;
	struct wire wire = wire_make(wires);
	struct error err = {{0}};
	uint32_t slot;
	struct one one;

	assert_int_equal(host->kern->devices, 2 * 64 + 1024);
	for (int round = 0; round < 3; round++) {
		one = attach(host, &wire, KERN_TC_AUTO);
		for (unsigned i = 0; i < (round ? 3 : changes); i++)
			change(host, &one, PST_VERDICT_ALLOW);
		stage(host, &one, PST_VERDICT_DENY, 1);
		kern_attachment_unstage(one.at);
		check(kern_attachment_refresh(one.at, kern_host_next_generation(host->kern), &err));
		assert_true(gets_out(wires, &wire));
		await_used(host->kern, "device", 1);
		assert_int_equal(used(host->kern, "track"), 1);
		if (round == 1)
			assert_int_equal(kern_attachment_close(one.at), 0);
		detach(&one);
		assert_int_equal(kern_device_named(&host->kern->object, wire.ifindex, &slot),
				 -ENOENT);
	}
	await_used(host->kern, "device", 0);
	await_used(host->kern, "track", 0);
	await_used(host->kern, "state", 0);
	await_used(host->kern, "hits", 0);
	wire_end(&wire);
}

static int count_flow(void *context, const struct pst_peer_key *key,
		      const struct pst_tracked *tracked)
{
	unsigned *count = context;

	assert_int_equal(key->protocol, PST_UDP);
	assert_int_equal(key->port, WIRE_PORT);
	assert_int_equal(tracked->kind, PST_FLOW_OUT);
	(*count)++;
	return 0;
}

static void lists_flows_and_their_table(void **state)
{
	struct wires *wires = *state;
	struct host *host = wires->host;
	struct wire wire = wire_make(wires);
	struct one one = {.at = NULL};
	const struct kern_attach_device device = {
		.ifindex = wire.ifindex, .own = own_of(&wire), .flows = 40};
	const struct kern_attach how = {
		.name = "pst-flows", .id = 77, .device = &device, .netns_cookie = wires->cookie};
	struct kern_map_id ids[16];
	struct error err = {{0}};
	unsigned count = 0;
	size_t n;

	check(kern_attachment_new(host->kern, &how, &one.at, &err));
	assert_int_equal(kern_attachment_tracked(one.at, count_flow, &count), 0);
	change(host, &one, PST_VERDICT_ALLOW);
	assert_int_equal(info_of(&one).flows, 40);
	assert_true(gets_out(wires, &wire));
	assert_int_equal(kern_attachment_tracked(one.at, count_flow, &count), 0);
	assert_int_equal(count, 1);
	n = kern_attachment_maps(one.at, ids, 16);
	assert_string_equal(ids[n - 1].name, "pst_tracked");
	detach(&one);
	wire_end(&wire);
}

/* An earlier daemon of this build found that there are no programs of devices here. */
static void judges_cgroups_where_devices_cannot_be_judged(void **state)
{
	static const char *const gone[] = {"maps/pst_tracked", "maps/pst_netdevs",
					   "maps/pst_devices", "progs/pst_from_device",
					   "progs/pst_to_device"};
	struct wires *wires = *state;
	struct host host = start_host(wires);
	struct wire wire = wire_make(wires);
	struct one one = {.at = NULL};
	struct error err = {{0}};

	kern_host_close(host.kern);
	for (size_t i = 0; i < sizeof(gone) / sizeof(gone[0]); i++) {
		char path[160];

		(void)snprintf(path, sizeof(path), "%s/%s", host.dir, gone[i]);
		assert_int_equal(unlink(path), 0);
	}
	host.kern = open_host(&host);
	assert_int_equal(kern_host_adopted(host.kern), 0);
	assert_int_equal(try_attach(&host, &wire, KERN_TC_AUTO, &one, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.text, "postern doctor"));
	assert_int_equal(kern_host_repair(host.kern, &err), 0);
	assert_true(gets_out(wires, &wire));
	wire_end(&wire);
	end_host(&host);
}

/* A run that is killed leaves its pins, until its device is gone. */
static void sweeps_what_a_killed_run_left(void **state)
{
	struct wires *wires = *state;
	struct wire wire = wire_make(wires);
	char name[32], dir[128], ready;
	int pipes[2];
	pid_t pid;

	if (!has_tcx())
		skip();
	(void)snprintf(name, sizeof(name), "pst-%d-%d", getpid(), wires->place->runs++);
	(void)snprintf(dir, sizeof(dir), "%s/%s/%s", wires->place->bpffs, PIN_RUN_DIR, name);
	assert_int_equal(pipe(pipes), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		const struct kern_attach_device device = {.ifindex = wire.ifindex,
							  .own = own_of(&wire)};
		const struct kern_sandbox_options options = {.id = 43, .device = &device};
		struct run run = {.cgroup = -1};
		struct error err = {{0}};

		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		check(pin_make_dir(wires->place->bpffs, name, &run.pin_dir, &err));
		check(kern_sandbox_load(&options, &run.sandbox, &err));
		run_apply_default(&run, PST_VERDICT_DENY);
		run_attach(&run);
		(void)!write(pipes[1], "", 1);
		for (;;)
			pause();
	}
	close(pipes[1]);
	assert_int_equal(read(pipes[0], &ready, 1), 1);
	close(pipes[0]);
	assert_false(gets_out(wires, &wire));
	assert_int_equal(pin_sweep(wires->place->bpffs, wires->place->root), 0);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(pin_sweep(wires->place->bpffs, wires->place->root), 0);
	assert_true(is_pinned(dir, "links/pst_from_device"));
	assert_false(gets_out(wires, &wire));
	shell("ip link del %s", wire.name);
	assert_int_equal(pin_sweep(wires->place->bpffs, wires->place->root), 1);
	assert_false(is_pinned(dir, ""));
	wire_end(&wire);
}

/* ---- who is behind it ---- */

static void finds_devices_by_name(void **state)
{
	struct wires *wires = *state;
	struct wire wire = wire_make(wires);
	struct kern_device device;
	struct error err = {{0}};

	check(kern_device_find(wire.name, &device, &err));
	assert_int_equal(device.ifindex, wire.ifindex);
	assert_string_equal(device.name, wire.name);
	assert_true(device.has_macs);
	assert_true(device.is_up);
	assert_int_equal(device.master, 0);
	assert_int_equal(kern_device_find("pst-nobody", &device, &err), -ENODEV);
	assert_non_null(strstr(err.text, "'pst-nobody'"));
	assert_int_equal(kern_device_find("", &device, &err), -ENODEV);
	assert_int_equal(kern_device_find("a-name-that-is-too-long", &device, &err), -ENODEV);
	assert_int_equal(kern_device_find("lo", &device, &err), -EINVAL);
	wire_end(&wire);
}

static bool owns(const struct kern_own *own, const char *text)
{
	uint8_t addr[16] = {[10] = 0xff, [11] = 0xff};

	if (inet_pton(AF_INET, text, addr + 12) != 1)
		assert_int_equal(inet_pton(AF_INET6, text, addr), 1);
	for (uint32_t i = 0; i < own->n_own; i++) {
		if (!memcmp(own->own[i].addr, addr, 16))
			return true;
	}
	return false;
}

static void learns_who_is_behind(void **state)
{
	struct wires *wires = *state;
	struct wire wire = wire_make(wires);
	const char *said = "10.99.200.9";
	struct kern_own own = {.n_macs = 0};
	struct kern_device device;
	struct error err = {{0}};
	char known[32];

	(void)snprintf(known, sizeof(known), "10.99.%d.2", wire.number);
	shell("ip route add 10.99.201.7/32 dev %s; ip route add 10.99.202.0/24 dev %s; "
	      "ip -6 route add fd00::7/128 dev %s",
	      wire.name, wire.name, wire.name);
	/* As one who asks for the gateway in the name of others makes them. */
	shell("ip neigh add 192.0.2.53 lladdr 02:00:00:00:02:99 nud stale dev %s; "
	      "ip neigh add 10.99.202.8 lladdr 02:00:00:00:02:%02x nud stale dev %s; "
	      "ip -6 neigh add 2001:db8::53 lladdr 02:00:00:00:02:99 nud stale dev %s; "
	      "ip -6 neigh add fe80::77 lladdr 02:00:00:00:02:%02x nud stale dev %s",
	      wire.name, wire.number, wire.name, wire.name, wire.number, wire.name);
	check(kern_device_find(wire.name, &device, &err));
	check(kern_own_learn(&device, &own, &err));
	assert_false(owns(&own, "192.0.2.53"));
	assert_false(owns(&own, "2001:db8::53"));
	assert_true(owns(&own, "10.99.202.8"));
	assert_true(owns(&own, "fe80::77"));
	assert_true(owns(&own, known));
	assert_true(owns(&own, "10.99.201.7"));
	assert_true(owns(&own, "fd00::7"));
	assert_false(owns(&own, "10.99.202.0"));
	assert_false(owns(&own, "255.255.255.255"));
	assert_int_equal(own.n_macs, 1);
	assert_int_equal(own.mac[0].mac[4], 2);
	assert_int_equal(own.mac[0].mac[5], wire.number);
	/* What the operator says is not added to; the hardware address is that of the other end. */
	check(kern_own_parse(NULL, 0, &said, 1, &own, &err));
	check(kern_own_learn(&device, &own, &err));
	assert_true(owns(&own, said));
	assert_false(owns(&own, known));
	assert_int_equal(own.n_macs, 1);
	assert_int_equal(own.mac[0].mac[5], wire.number);
	/* Nothing is known of one that nobody has spoken through. */
	shell("ip neigh flush dev %s nud permanent; ip addr flush dev %s; ip -6 addr flush dev %s; "
	      "ip route flush dev %s; ip -6 route flush dev %s",
	      wire.name, wire.name, wire.name, wire.name, wire.name);
	own = (struct kern_own){.n_macs = 0};
	assert_int_equal(kern_own_learn(&device, &own, &err), -ENODATA);
	assert_non_null(strstr(err.text, "--addr"));
	wire_end(&wire);
}

/* One host for all: what a test leaves behind, the next one meets. */
static int open_all(void **state)
{
	struct wires *wires;
	struct host *host = calloc(1, sizeof(*host));

	assert_non_null(host);
	wires_open(state);
	wires = *state;
	*host = start_host(wires);
	wires->host = host;
	return 0;
}

static int close_all(void **state)
{
	struct wires *wires = *state;

	end_host(wires->host);
	free(wires->host);
	return wires_close(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(denies_until_the_first_flip),
		cmocka_unit_test(denies_until_the_first_flip_by_clsact),
		cmocka_unit_test(runs_a_sandbox),
		cmocka_unit_test(runs_a_sandbox_by_clsact),
		cmocka_unit_test(is_asked_before_a_program_that_was_there),
		cmocka_unit_test(names_programs_that_are_asked_first),
		cmocka_unit_test(refuses_a_device_that_has_a_sandbox),
		cmocka_unit_test(adopts_what_is_attached),
		cmocka_unit_test(adopts_what_is_attached_by_clsact),
		cmocka_unit_test(adopts_without_pins),
		cmocka_unit_test(adopts_without_pins_by_clsact),
		cmocka_unit_test(never_flipped_it_is_found_and_denies),
		cmocka_unit_test(survives_a_kill_in_any_place),
		cmocka_unit_test(follows_a_device_that_is_renamed),
		cmocka_unit_test(ends_with_its_device),
		cmocka_unit_test(ends_with_its_device_by_clsact),
		cmocka_unit_test(is_not_adopted_by_number),
		cmocka_unit_test(is_not_adopted_by_number_by_clsact),
		cmocka_unit_test(drops_all_of_a_device_that_left),
		cmocka_unit_test(is_attached_again),
		cmocka_unit_test(is_attached_again_by_clsact),
		cmocka_unit_test(changes_addresses_at_once),
		cmocka_unit_test(lets_nothing_through_between_two_policies),
		cmocka_unit_test(gives_everything_back),
		cmocka_unit_test(lists_flows_and_their_table),
		cmocka_unit_test(judges_cgroups_where_devices_cannot_be_judged),
		cmocka_unit_test(sweeps_what_a_killed_run_left),
		cmocka_unit_test(finds_devices_by_name),
		cmocka_unit_test(learns_who_is_behind),
	};

	return cmocka_run_group_tests(tests, open_all, close_all);
}
