/* SPDX-License-Identifier: MIT */
/*
 * Flips between two policies while two processes inside send as fast as they can: every packet is judged by one of
 * them as a whole. What a mix of their tables would show is Z and T:OUT, which both deny, and W and T:IN, which both
 * allow, each for another reason. PST_LONG=1: 100,000 flips.
 */
#define _GNU_SOURCE
#include "kern_fixture.h"

#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdatomic.h>
#include <sys/mman.h>

#include "kern/host.h"
#include "kern/netns.h"
#include "table/trie.h"

#define SENDERS	    2
#define PORT_IN	    7001
#define PORT_OUT    7002
#define FLIPS	    10000 /* of each of the two tests */
#define LIGHT	    50	  /* ... in a VM: a fiftieth */
#define ARRAYS_WAIT 20	  /* ... where every other one waits for a grace period: a twentieth */
#define LONG	    5	  /* times as many */

enum policies { A, B, ALL };

/*    A: default allow   B: default deny
 * X  nothing said       nothing said
 * Y  denied             allowed
 * Z  denied             nothing said      with B's trie and A's default it leaves
 * W  nothing said       allowed           with A's trie and B's default it is denied
 * T  ports: line 1      ports: line 2     with the other's ports OUT leaves and IN is denied */
static const struct target {
	const char *addr;
	uint16_t port;
	bool allowed[3];
} targets[] = {
	{"198.51.100.1", PORT_IN, {true, false, true}},	  /* X */
	{"198.51.100.2", PORT_IN, {false, true, true}},	  /* Y */
	{"198.51.100.3", PORT_IN, {false, false, true}},  /* Z */
	{"198.51.100.4", PORT_IN, {true, true, true}},	  /* W */
	{"198.51.100.5", PORT_IN, {true, true, true}},	  /* T:IN */
	{"198.51.100.5", PORT_OUT, {false, false, true}}, /* T:OUT */
};
#define TARGETS (sizeof(targets) / sizeof(targets[0]))
enum { Y = 1, Z, W, T };

/* How it sends: judged by sendmsg4 and by the packet hook, or by the packet hook alone. */
enum { UNCONNECTED, CONNECTED, WAYS };

struct counts {
	uint64_t sent[TARGETS][WAYS], denied[TARGETS][WAYS];
	uint64_t settled; /* judged while no flip was under way */
	uint64_t mixed;	  /* judged as neither of the two */
	uint64_t stale;	  /* settled, and not as the policy in force says */
	uint64_t odd;	  /* another errno */
	int ready;
};

struct shared {
	_Atomic uint64_t
		epoch; /* odd: a flip is under way; else the number of flips so far, twice */
	atomic_bool stop;
	struct counts counts[SENDERS];
};

struct flips {
	struct place *place;
	struct kern_host *kern;
	struct kern_attachment *at;
	struct shared *shared;
	char dir[96], name[40];
	int cgroup, sniffer;
	uint32_t loads;
	bool tries; /* B's prefixes are in the trie of large policies, A's are not */
	pid_t senders[SENDERS];
};

/* ---- the way out: a veth whose far end answers nothing, and a sniffer there ---- */

static void run(const char *command)
{
	char line[1024];
	int r;

	/* Where /bin/sh is busybox's, its own ip would come first. */
	(void)snprintf(line, sizeof(line), "ip() { /usr/sbin/ip \"$@\"; }; %s", command);
	r = system(line);
	if (r)
		fail_msg("%s: exit %d", command, r);
}

/* Sees nothing but Z and T:OUT. */
static int open_sniffer(const char *device)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 12),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ETH_P_IP, 0, 5),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 30),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0xc6336403, 2, 0),
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 36),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PORT_OUT, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, 64),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	const struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};
	struct sockaddr_ll own = {.sll_family = AF_PACKET,
				  .sll_protocol = htons(ETH_P_ALL),
				  .sll_ifindex = (int)if_nametoindex(device)};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)),
			 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&own, sizeof(own)), 0);
	return fd;
}

static unsigned sniffed(const struct flips *flips)
{
	char frame[64];
	unsigned n = 0;

	while (recv(flips->sniffer, frame, sizeof(frame), 0) >= 0)
		n++;
	return n;
}

static void make_net(struct flips *flips)
{
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	run("ip link add near0 type veth peer name far0 address 02:00:00:00:00:02 && "
	    "ip link set near0 up && ip addr add 192.0.2.1/24 dev near0 && ip link set far0 up && "
	    "ip neigh replace 192.0.2.2 lladdr 02:00:00:00:00:02 dev near0 && "
	    "ip route add default via 192.0.2.2");
	flips->sniffer = open_sniffer("far0");
}

/* ---- policies ---- */

static struct table_row4 row(const char *addr, uint8_t verdict, uint32_t ports)
{
	struct table_row4 row = {
		.key = {.prefixlen = 32},
		.value = {.rule = 1, .decided = 1, .verdict = verdict, .ports = ports}};

	assert_int_equal(inet_pton(AF_INET, addr, &row.key.addr), 1);
	return row;
}

static struct pst_ports only(uint16_t port)
{
	return (struct pst_ports){.count = 2,
				  .range = {{.rule = 1,
					     .first = port,
					     .last = port,
					     .protocols = PST_TCP | PST_UDP,
					     .verdict = PST_VERDICT_ALLOW},
					    {.rule = 2,
					     .first = 0,
					     .last = 65535,
					     .protocols = PST_TCP | PST_UDP | PST_ICMP,
					     .verdict = PST_VERDICT_DENY}}};
}

static struct kern_policy *load(struct flips *flips, enum policies which, bool fresh)
{
	struct table_row4 rows_a[] = {{.key = {.prefixlen = 0}},
				      row(targets[Y].addr, PST_VERDICT_DENY, 0),
				      row(targets[Z].addr, PST_VERDICT_DENY, 0),
				      row(targets[T].addr, 0, 1)};
	struct table_row4 rows_b[] = {{.key = {.prefixlen = 0}},
				      row(targets[Y].addr, PST_VERDICT_ALLOW, 0),
				      row(targets[W].addr, PST_VERDICT_ALLOW, 0),
				      row(targets[T].addr, 0, 2)};
	struct pst_ports ports_a[] = {{.count = 0}, only(PORT_IN), only(PORT_OUT)};
	struct pst_ports ports_b[] = {{.count = 0}, only(PORT_OUT), only(PORT_IN)};
	struct table_row6 root6 = {.key = {.prefixlen = 0}};
	struct table table = {.rows4 = which == B ? rows_b : rows_a,
			      .n_rows4 = which == ALL ? 1 : 4,
			      .rows6 = &root6,
			      .n_rows6 = 1,
			      .ports = which == B ? ports_b : ports_a,
			      .n_ports = 3,
			      .n_rules = 3,
			      .loopback = PST_LOOPBACK_HOST,
			      .default_verdict = which == B ? PST_VERDICT_DENY : PST_VERDICT_ALLOW};
	uint8_t hash[KERN_HASH_SIZE] = {(uint8_t)which, 1};
	struct kern_policy *policy = NULL;
	struct error err = {{0}};

	/* Another policy as far as the pool knows: its tables are filled anew, where others were before. */
	if (fresh)
		memcpy(hash + 4, &flips->loads, sizeof(flips->loads));
	flips->loads++;
	if (flips->tries && which == B)
		assert_int_equal(table_trie(&table, 1), 0);
	check(kern_policy_load(flips->kern, &table, hash, &policy, &err));
	table_trie_done(&table.trie);
	return policy;
}

static void change(struct flips *flips, enum policies which, bool fresh)
{
	struct kern_policy *policy = load(flips, which, fresh);
	struct error err = {{0}};

	check(kern_attachment_stage(flips->at, policy, kern_host_next_generation(flips->kern),
				    &err));
	kern_policy_put(policy);
	atomic_fetch_add(&flips->shared->epoch, 1);
	check(kern_attachment_flip(flips->at, &err));
	atomic_fetch_add(&flips->shared->epoch, 1);
}

/* ---- inside ---- */

static struct sockaddr_in address_of(size_t target)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(targets[target].port)};

	if (inet_pton(AF_INET, targets[target].addr, &to.sin_addr) != 1)
		_exit(250);
	return to;
}

static int open_connected(size_t target)
{
	struct sockaddr_in to = address_of(target);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)))
		_exit(249);
	return fd;
}

/* The flips so far, of which the first is to B; B is in force after an odd number of them. */
static enum policies policy_at(uint64_t epoch)
{
	return epoch / 2 % 2 ? B : A;
}

static void judge(struct counts *counts, size_t target, int way, bool sent, uint64_t before,
		  uint64_t after)
{
	const bool *allowed = targets[target].allowed;

	if (sent)
		counts->sent[target][way]++;
	else
		counts->denied[target][way]++;
	counts->mixed += sent != allowed[A] && sent != allowed[B];
	if (before != after || before % 2)
		return;
	counts->settled++;
	counts->stale += sent != allowed[policy_at(before)];
}

static void send_one(struct shared *shared, struct counts *counts, size_t target, const int *fds)
{
	struct sockaddr_in to = address_of(target);
	int way = fds[target] >= 0 ? CONNECTED : UNCONNECTED;
	int fd = way == CONNECTED ? fds[target] : fds[TARGETS];
	uint64_t before = atomic_load(&shared->epoch);
	ssize_t r = sendto(fd, "flip", 4, 0, way == CONNECTED ? NULL : (struct sockaddr *)&to,
			   way == CONNECTED ? 0 : sizeof(to));
	uint64_t after = atomic_load(&shared->epoch);

	if (r < 0 && errno != EPERM)
		counts->odd++;
	else
		judge(counts, target, way, r > 0, before, after);
}

static void send_all(struct shared *shared, struct counts *counts)
{
	int connected[TARGETS + 1], unconnected[TARGETS + 1];

	memset(unconnected, -1, sizeof(unconnected));
	unconnected[TARGETS] = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	for (size_t i = 0; i < TARGETS; i++)
		connected[i] = open_connected(i);
	counts->ready = 1;
	/* What follows is judged by A or B: until the first flip is done ALL is in force. */
	while (atomic_load(&shared->epoch) < 2 && !atomic_load(&shared->stop))
		;
	while (!atomic_load(&shared->stop)) {
		for (size_t i = 0; i < TARGETS; i++) {
			send_one(shared, counts, i, connected);
			send_one(shared, counts, i, unconnected);
		}
	}
}

static void start_senders(struct flips *flips)
{
	uint64_t end = loop_boot_ns() + FIXTURE_DEADLINE_NS;

	for (int i = 0; i < SENDERS; i++) {
		flips->senders[i] = fork();
		assert_true(flips->senders[i] >= 0);
		if (flips->senders[i])
			continue;
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		enter(flips->cgroup);
		send_all(flips->shared, &flips->shared->counts[i]);
		_exit(0);
	}
	for (int i = 0; i < SENDERS; i++) {
		volatile int *ready = &flips->shared->counts[i].ready;

		while (!*ready && loop_boot_ns() < end)
			sched_yield();
		assert_int_equal(*ready, 1);
	}
}

static void stop_senders(struct flips *flips)
{
	atomic_store(&flips->shared->stop, true);
	for (int i = 0; i < SENDERS; i++) {
		int status;

		assert_int_equal(waitpid(flips->senders[i], &status, 0), flips->senders[i]);
		assert_int_equal(status, 0);
	}
}

/* ---- the test ---- */

static void start(struct flips *flips, struct place *place)
{
	const struct kern_host_options options = {
		.dir = flips->dir, .cgroup_root_fd = place->root, .max_sandboxes = 64};
	const struct table_always_row root = {.value = {.kind = PST_ALWAYS_OPEN}};
	struct kern_attach how = {.name = flips->name, .cgroup_level = 2};
	struct error err = {{0}};

	flips->place = place;
	flips->shared = mmap(NULL, sizeof(*flips->shared), PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(flips->shared != MAP_FAILED);
	make_net(flips);
	(void)snprintf(flips->dir, sizeof(flips->dir), "%s/flip-%d", place->bpffs, place->runs);
	(void)snprintf(flips->name, sizeof(flips->name), "pst-%d-%d", getpid(), place->runs++);
	check(kern_host_open(&options, &flips->kern, &err));
	check(kern_host_set_always(flips->kern, &root, 1, &err));
	check(kern_host_adopted(flips->kern));
	check(cgroup_create(place->root, flips->name, &flips->cgroup, &err));
	how.id = (uint64_t)place->runs;
	how.cgroup_fd = flips->cgroup;
	check(netns_cookie(&how.netns_cookie, &err));
	check(kern_attachment_new(flips->kern, &how, &flips->at, &err));
}

static void end(struct flips *flips)
{
	kern_attachment_detach(flips->at);
	kern_attachment_free(flips->at);
	kern_host_close(flips->kern);
	assert_int_equal(pin_remove_dir(flips->dir), 0);
	close(flips->cgroup);
	assert_int_equal(cgroup_remove_tree(flips->place->root, flips->name), 0);
	close(flips->sniffer);
	(void)munmap(flips->shared, sizeof(*flips->shared));
}

static struct counts sum(const struct shared *shared)
{
	struct counts sum = {0};

	for (int i = 0; i < SENDERS; i++) {
		const struct counts *one = &shared->counts[i];

		for (size_t t = 0; t < TARGETS; t++) {
			for (int way = 0; way < WAYS; way++) {
				sum.sent[t][way] += one->sent[t][way];
				sum.denied[t][way] += one->denied[t][way];
			}
		}
		sum.settled += one->settled;
		sum.mixed += one->mixed;
		sum.stale += one->stale;
		sum.odd += one->odd;
	}
	return sum;
}

/* Both policies were seen at work, in both ways of sending, or the silence proves nothing. */
static void judge_all(const struct counts *counts)
{
	assert_int_equal(counts->odd, 0);
	assert_int_equal(counts->mixed, 0);
	assert_int_equal(counts->stale, 0);
	assert_true(counts->settled > 0);
	for (size_t t = 0; t < TARGETS; t++) {
		for (int way = 0; way < WAYS; way++) {
			bool may_leave = targets[t].allowed[A] || targets[t].allowed[B];
			bool may_fail = !targets[t].allowed[A] || !targets[t].allowed[B];

			assert_int_equal(counts->sent[t][way] > 0, may_leave);
			assert_int_equal(counts->denied[t][way] > 0, may_fail);
		}
	}
}

/* The sniffer sees what it is to see: Z and T:OUT under the policy that allows all. */
static void sniff_control(const struct flips *flips)
{
	pid_t pid = fork();
	int status = 0;

	assert_true(pid >= 0);
	if (!pid) {
		enter(flips->cgroup);
		if (send(open_connected(Z), "flip", 4, 0) != 4 ||
		    send(open_connected(T + 1), "flip", 4, 0) != 4)
			_exit(1);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(sniffed(flips), 2);
}

static void flip_many(struct place *place, bool fresh, bool tries)
{
	const char *more = getenv("PST_LONG");
	unsigned count = FLIPS * (more && *more == '1' ? LONG : 1);
	struct flips flips = {.cgroup = -1, .tries = tries};
	uint64_t since;
	struct counts counts;

	/* On Linux 6.1 each slot that is made ready waits; arrays are waited for everywhere. */
	if (getenv("TEST_LIGHT"))
		count = fresh ? FLIPS / LIGHT : FLIPS / 10;
	else if (fresh && tries)
		count /= ARRAYS_WAIT;
	start(&flips, place);
	change(&flips, ALL, false);
	sniff_control(&flips);
	atomic_store(&flips.shared->epoch, 0);
	start_senders(&flips);
	since = loop_boot_ns();
	for (unsigned i = 1; i <= count; i++)
		change(&flips, i % 2 ? B : A, fresh);
	since = loop_boot_ns() - since;
	stop_senders(&flips);
	counts = sum(flips.shared);
	print_message("%u flips in %llu ms, %llu packets judged while none was under way\n", count,
		      (unsigned long long)since / 1000000, (unsigned long long)counts.settled);
	judge_all(&counts);
	assert_int_equal(sniffed(&flips), 0);
	change(&flips, ALL, false);
	sniff_control(&flips);
	end(&flips);
}

static void no_packet_is_judged_by_a_mix_of_two_policies(void **state)
{
	flip_many(*state, false, false);
}

/* Each flip takes tables that another policy had a moment ago. */
static void nor_by_tables_that_are_filled_anew(void **state)
{
	flip_many(*state, true, false);
}

/* One policy's prefixes are in the kernel's tries, the other's in ours. */
static void nor_by_tries_of_two_kinds(void **state)
{
	flip_many(*state, false, true);
}

/* Arrays and tries come and go under it; what both policies deny stays denied throughout. */
static void nor_by_tries_that_are_made_anew(void **state)
{
	flip_many(*state, true, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_packet_is_judged_by_a_mix_of_two_policies),
		cmocka_unit_test(nor_by_tables_that_are_filled_anew),
		cmocka_unit_test(nor_by_tries_of_two_kinds),
		cmocka_unit_test(nor_by_tries_that_are_made_anew),
	};

	return cmocka_run_group_tests_name("flip", tests, place_open, place_close);
}
