/* SPDX-License-Identifier: MIT */
/* What is in force for a device follows it: renamed, moved, gone, re-created; changed, mended, and given back. */
#define _GNU_SOURCE
#include "device_host.h"

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
	/* Linux 6.1 waits a grace period for each slot. */
	for (uint64_t end = loop_boot_ns() + 6 * FIXTURE_DEADLINE_NS;
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

/* A map of another layout, pinned in the place of one that an earlier build has left. */
static void pin_other(const struct host *host, const char *name, enum bpf_map_type type,
		      uint32_t value_size, uint32_t entries)
{
	cleanup_close int fd = bpf_map_create(type, name, 4, value_size, entries, NULL);
	char path[160];

	assert_true(fd >= 0);
	(void)snprintf(path, sizeof(path), "%s/maps/%s", host->dir, name);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(bpf_obj_pin(fd, path), 0);
}

static void takes_over_from_a_build_with_other_maps(void **state)
{
	struct wires *wires = *state;
	struct host host = start_host(wires);
	struct wire wire = wire_make(wires);
	struct one one = attach(&host, &wire, KERN_TC_AUTO);
	uint64_t before[PST_REASON_MAX], after[PST_REASON_MAX];
	char path[160];

	change(&host, &one, PST_VERDICT_ALLOW);
	leave(&one);
	kern_host_close(host.kern);
	pin_other(&host, "pst_quotas", BPF_MAP_TYPE_ARRAY, 8, 64 * 2 + 1024);
	pin_other(&host, "pst_counters", BPF_MAP_TYPE_PERCPU_ARRAY, 16, PST_REASON_MAX);
	/* Of another build. */
	(void)snprintf(path, sizeof(path), "rm %s/build-*", host.dir);
	assert_int_equal(system(path), 0);
	for (int i = 0; i < 2; i++) {
		host.kern = open_host(&host);
		assert_int_equal(try_adopt(&host, &one, 0), 0);
		assert_true(gets_out(wires, &wire));
		assert_int_equal(kern_host_counters(host.kern, before), 0);
		change(&host, &one, PST_VERDICT_DENY);
		assert_false(gets_out(wires, &wire));
		assert_int_equal(kern_host_counters(host.kern, after), 0);
		assert_true(after[PST_REASON_DEFAULT_DENY] > before[PST_REASON_DEFAULT_DENY]);
		change(&host, &one, PST_VERDICT_ALLOW);
		assert_true(gets_out(wires, &wire));
		/* The next time by what is pinned. */
		leave(&one);
		kern_host_close(host.kern);
	}
	host.kern = open_host(&host);
	assert_int_equal(try_adopt(&host, &one, 0), 0);
	detach(&one);
	wire_end(&wire);
	end_host(&host);
}

/* An earlier daemon of this build found that there are no programs of devices here. */
static void judges_cgroups_where_devices_cannot_be_judged(void **state)
{
	static const char *const gone[] = {"maps/pst_tracked",	 "maps/pst_netdevs",
					   "maps/pst_devices",	 "maps/pst_listeners",
					   "maps/pst_relays",	 "progs/pst_from_device",
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

int main(void)
{
	const struct CMUnitTest tests[] = {
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
		cmocka_unit_test(takes_over_from_a_build_with_other_maps),
		cmocka_unit_test(judges_cgroups_where_devices_cannot_be_judged),
		cmocka_unit_test(sweeps_what_a_killed_run_left),
		cmocka_unit_test(finds_devices_by_name),
		cmocka_unit_test(learns_who_is_behind),
	};

	return cmocka_run_group_tests(tests, open_all, close_all);
}
