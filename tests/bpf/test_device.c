/* SPDX-License-Identifier: MIT */
/* Devices: how programs hang on them, who else does, and how what is attached is found again. */
#define _GNU_SOURCE
#include "device_host.h"

#include "kern/quiet.h"
#include "kern/tcx.h"

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
	/* Without pins, links live as long as somebody holds them: here the daemon of before. */
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
	};

	return cmocka_run_group_tests(tests, open_all, close_all);
}
