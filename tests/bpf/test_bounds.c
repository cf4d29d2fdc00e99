/* SPDX-License-Identifier: MIT */
/* What happens when a bound of the kernel side is reached: events, the ring, the table of UDP peers. */
#include "kern_fixture.h"

#include <bpf/bpf.h>

#include "kern/ring.h"

/* 198.51.0.0/16 answers on the child's own loopback device, and is no host address to the policy. */
static const char set_up_network[] = "ip link set lo up && ip addr add 198.51.0.0/16 dev lo";

static int send_to(int fd, uint32_t host)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9)};

	to.sin_addr.s_addr = htonl(0xc6330000u + host);
	return sendto(fd, "x", 1, MSG_DONTWAIT, (struct sockaddr *)&to, sizeof(to)) == 1 ? 0
											 : errno;
}

/* Sends a datagram to `count` hosts from `first` on, inside; every one must end with `expected`. */
static void send_inside(const struct run *run, uint32_t first, uint32_t count, int expected)
{
	pid_t pid = fork();
	int status = 0;

	assert_true(pid >= 0);
	if (!pid) {
		int fd;

		if (unshare(CLONE_NEWNET) || system(set_up_network))
			_exit(97);
		enter(run->cgroup);
		fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		for (uint32_t i = 0; fd >= 0 && i < count; i++) {
			if (send_to(fd, first + i) != expected)
				_exit(1);
		}
		_exit(fd < 0 ? 98 : 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static int open_flows(const struct run *run)
{
	cleanup_close int outer = run_open_map(run, "pst_flows");
	uint32_t slot = 0, id;
	int fd;

	assert_int_equal(bpf_map_lookup_elem(outer, &slot, &id), 0);
	fd = bpf_map_get_fd_by_id(id);
	assert_true(fd >= 0);
	return fd;
}

static struct pst_quota quota_of(const struct run *run)
{
	struct pst_quota quota;

	assert_int_equal(kern_sandbox_quota(run->sandbox, &quota), 0);
	return quota;
}

static uint64_t denied(const struct run *run)
{
	uint64_t counts[PST_REASON_MAX];

	assert_int_equal(kern_sandbox_counters(run->sandbox, counts), 0);
	return counts[PST_REASON_DEFAULT_DENY];
}

static int count_event(void *context, const struct pst_event *event)
{
	uint64_t *events = context;

	assert_int_equal(event->reason, PST_REASON_DEFAULT_DENY);
	assert_int_equal(event->port, 9);
	(*events)++;
	return 0;
}

static uint64_t read_events(const struct run *run)
{
	struct kern_ring *ring = NULL;
	uint64_t events = 0;

	assert_int_equal(
		kern_ring_new(kern_sandbox_event_ring(run->sandbox), count_event, &events, &ring),
		0);
	assert_true(kern_ring_consume(ring) >= 0);
	kern_ring_free(ring);
	return events;
}

static void counts_every_denial_as_an_event_or_as_lost(void **state)
{
	enum { N = 3000 };
	struct run run = run_start(*state, NULL, PST_VERDICT_DENY);
	uint64_t events;

	send_inside(&run, 1, N, EPERM);
	events = read_events(&run);
	assert_int_equal(denied(&run), N);
	assert_true(events >= PST_EVENT_BURST);
	assert_true(quota_of(&run).lost > 0);
	assert_int_equal(events + quota_of(&run).lost, N);
	run_end(*state, &run);
}

/* A bucket that is full again, as after a long silence. */
static void refill(const struct run *run)
{
	cleanup_close int map = run_open_map(run, "pst_quotas");
	struct pst_quota quota = quota_of(run);
	uint32_t slot = 0;

	quota.next_ns = 0;
	assert_int_equal(bpf_map_update_elem(map, &slot, &quota, BPF_EXIST), 0);
}

static void goes_on_denying_and_counting_when_the_ring_is_full(void **state)
{
	enum { ROUNDS = 10 };
	struct run run = run_start(*state, NULL, PST_VERDICT_DENY);
	uint64_t events;

	for (int i = 0; i < ROUNDS; i++) {
		refill(&run);
		send_inside(&run, 1, PST_EVENT_BURST, EPERM);
	}
	events = read_events(&run);
	assert_true(events < ROUNDS * PST_EVENT_BURST);
	assert_true(events > PST_RING_BYTES / (2 * sizeof(struct pst_event)));
	assert_int_equal(denied(&run), ROUNDS * PST_EVENT_BURST);
	assert_int_equal(events + quota_of(&run).lost, ROUNDS * PST_EVENT_BURST);
	run_end(*state, &run);
}

/* All keys at most PST_MAX_FLOWS, before anything is changed: an update moves its entry and a walk would
 * never end. */
static uint32_t read_keys(int flows, struct pst_peer_key keys[PST_MAX_FLOWS])
{
	struct pst_peer_key *last = NULL;
	uint32_t count = 0;

	while (count < PST_MAX_FLOWS && !bpf_map_get_next_key(flows, last, &keys[count]))
		last = &keys[count++];
	return count;
}

static uint32_t count_flows(int flows)
{
	struct pst_peer_key keys[PST_MAX_FLOWS];

	return read_keys(flows, keys);
}

static void refuses_to_remember_more_peers_than_the_table_holds(void **state)
{
	enum { MORE = 500 };
	struct run run = run_start(*state, NULL, PST_VERDICT_ALLOW);
	cleanup_close int flows = open_flows(&run);

	/* The policy allows them: that they are not remembered takes nothing away. But what comes then is no call. */
	send_inside(&run, 1, PST_MAX_FLOWS, 0);
	assert_int_equal(quota_of(&run).unsure_ns, 0);
	send_inside(&run, PST_MAX_FLOWS + 1, MORE, 0);
	assert_int_equal(count_flows(flows), PST_MAX_FLOWS);
	assert_int_equal(quota_of(&run).flows_refused, MORE);
	assert_int_not_equal(quota_of(&run).unsure_ns, 0);
	run_end(*state, &run);
}

/* As if nobody had spoken for a long time: idle since 1 ns after the boot, which may be seconds ago. */
static void age(int flows)
{
	struct pst_peer peer = {.last_ns = 1 - PST_UDP_IDLE_NS, .kind = PST_FLOW_OUT};
	struct pst_peer_key keys[PST_MAX_FLOWS];
	uint32_t count = read_keys(flows, keys);

	for (uint32_t i = 0; i < count; i++)
		assert_int_equal(bpf_map_update_elem(flows, &keys[i], &peer, BPF_EXIST), 0);
}

static void sweeps_peers_that_idled_out_when_the_table_is_full(void **state)
{
	struct run run = run_start(*state, NULL, PST_VERDICT_ALLOW);
	cleanup_close int flows = open_flows(&run);

	send_inside(&run, 1, PST_MAX_FLOWS, 0);
	assert_int_equal(count_flows(flows), PST_MAX_FLOWS);
	age(flows);
	send_inside(&run, PST_MAX_FLOWS + 1, 10, 0);
	assert_int_equal(count_flows(flows), 10);
	assert_int_equal(quota_of(&run).flows_refused, 0);
	run_end(*state, &run);
}

/* Policies take the two slots in turn: what was refused under an earlier one is refused all the same. */
static void quota_is_that_of_both_slots(void **state)
{
	struct run run = run_start(*state, NULL, PST_VERDICT_DENY);
	cleanup_close int map = run_open_map(&run, "pst_quotas");
	struct pst_quota quota;

	for (uint32_t slot = 0; slot < 2; slot++) {
		quota = (struct pst_quota){
			.lost = 1 + slot,
			.flows_refused = 10 + slot,
			.leases_swept_ns = 100 + slot,
			.leases_refused = 1000 + slot,
			.names_displaced = 2000 + slot,
			.questions_refused = 3000 + slot,
		};
		for (uint32_t i = 0; i < PST_REPLY_KINDS; i++)
			quota.replies[i] = 100 * i + slot;
		assert_int_equal(bpf_map_update_elem(map, &slot, &quota, BPF_EXIST), 0);
	}
	quota = quota_of(&run);
	assert_int_equal(quota.lost, 3);
	assert_int_equal(quota.flows_refused, 21);
	assert_int_equal(quota.leases_swept_ns, 101);
	assert_int_equal(quota.leases_refused, 2001);
	assert_int_equal(quota.names_displaced, 4001);
	assert_int_equal(quota.questions_refused, 6001);
	for (uint32_t i = 0; i < PST_REPLY_KINDS; i++)
		assert_int_equal(quota.replies[i], 200 * i + 1);
	run_end(*state, &run);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counts_every_denial_as_an_event_or_as_lost),
		cmocka_unit_test(goes_on_denying_and_counting_when_the_ring_is_full),
		cmocka_unit_test(refuses_to_remember_more_peers_than_the_table_holds),
		cmocka_unit_test(sweeps_peers_that_idled_out_when_the_table_is_full),
		cmocka_unit_test(quota_is_that_of_both_slots),
	};

	return cmocka_run_group_tests(tests, place_open, place_close);
}
