/* SPDX-License-Identifier: MIT */
/*
 * The real object, loaded as for devices alone, with maps of one sandbox; and its two programs by BPF_PROG_TEST_RUN, on
 * the loopback device of a network namespace of our own. The slots differ, so that one taken for another shows.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <arpa/inet.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/cleanup.h"
#include "base/loop.h"
#include "kern/always.h"
#include "kern/device_links.h"
#include "kern/object.h"
#include "tests/agree/frames/leg.h"

#define MAX_ROWS 4096

enum slot {
	SLOT_POLICY = 1,
	SLOT_STATE,
	SLOT_HITS,
	SLOT_NAMES,
	SLOT_FLOWS, /* FRAME_FLOWS */
	SLOT_FEW,   /* FRAME_FEW */
	SLOT_RELAY,
	SLOT_COUNT
};

/* An inner map whose keys are known, so that it can be emptied: replacing it would wait for RCU. */
struct inner {
	int fd;
	size_t key_size;
	char *keys;
	size_t n_keys;
};

struct leg {
	struct kern_object object;
	struct inner inner[KERN_OUTER_COUNT];
	int few_fd; /* the small flow table */
	int tracked_fd;
	int packet_fd;
	uint32_t device_slot;
	uint64_t netns;
	int n_cpus;
	uint64_t *percpu;
};

static int slot_of(int map)
{
	switch (map) {
	case KERN_MAP_FLOWS:
		return SLOT_STATE;
	case KERN_MAP_RULES:
		return SLOT_HITS;
	case KERN_MAP_QUESTIONS:
	case KERN_MAP_LEASES:
	case KERN_MAP_LEARNED:
		return SLOT_NAMES;
	case KERN_MAP_TRACKED:
		return SLOT_FLOWS;
	case KERN_MAP_ORIGINS:
		return SLOT_RELAY;
	}
	return SLOT_POLICY;
}

static uint32_t entries_of(int map)
{
	if (map == KERN_MAP_TRACKED)
		return FRAME_FLOWS;
	return map == KERN_MAP_QUESTIONS ? PST_QUESTIONS : MAX_ROWS;
}

static int put(const struct leg *leg, int map, uint32_t slot, int fd)
{
	return bpf_map_update_elem(leg->object.map_fd[map], &slot, &fd, BPF_ANY);
}

static int make_inner(struct leg *leg, int map)
{
	struct inner *inner = &leg->inner[map];
	int r = kern_inner_new(&leg->object, map, entries_of(map), &inner->fd);

	if (r < 0)
		return r;
	inner->key_size = leg->object.inner[map].key_size;
	inner->keys = calloc(MAX_ROWS, inner->key_size);
	return inner->keys ? put(leg, map, (uint32_t)slot_of(map), inner->fd) : -ENOMEM;
}

static int make_inners(struct leg *leg)
{
	int r = 0;

	for (int map = 0; !r && map < KERN_OUTER_COUNT; map++)
		r = make_inner(leg, map);
	if (!r)
		r = kern_inner_new(&leg->object, KERN_MAP_TRACKED, FRAME_FEW, &leg->few_fd);
	return r ? r : put(leg, KERN_MAP_TRACKED, SLOT_FEW, leg->few_fd);
}

/* lo of a namespace of its own, up, and a socket that sees what is sent there. */
static int open_net(struct leg *leg)
{
	struct ifreq up = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	struct sockaddr_ll lo = {.sll_family = AF_PACKET,
				 .sll_protocol = htons(ETH_P_ALL),
				 .sll_ifindex = LEG_IFINDEX};

	socklen_t size = sizeof(leg->netns);

	if (unshare(CLONE_NEWNET))
		return -errno;
	leg->packet_fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (leg->packet_fd < 0 ||
	    getsockopt(leg->packet_fd, SOL_SOCKET, SO_NETNS_COOKIE, &leg->netns, &size) ||
	    ioctl(leg->packet_fd, SIOCSIFFLAGS, &up) ||
	    bind(leg->packet_fd, (struct sockaddr *)&lo, sizeof(lo)))
		return -errno;
	return 0;
}

static int open_leg(struct leg *leg, struct error *err)
{
	const struct kern_object_options options = {.without_cgroup = true,
						    .with_device = true,
						    .with_relay = true,
						    .devices = 4,
						    .slots = SLOT_COUNT};
	int r = open_net(leg);

	if (r < 0)
		return error_set(err, r, "no network namespace: %s", strerror(-r));
	r = kern_object_load(&leg->object, &options, err);
	if (r < 0)
		return r;
	r = make_inners(leg);
	return r < 0 ? error_set(err, r, "maps: %s", strerror(-r)) : 0;
}

int leg_new(struct leg **ret_leg, struct error *err)
{
	struct leg *leg = calloc(1, sizeof(*leg));
	int r;

	if (!leg)
		return -ENOMEM;
	kern_object_init(&leg->object);
	for (int map = 0; map < KERN_OUTER_COUNT; map++)
		leg->inner[map].fd = -1;
	leg->few_fd = leg->packet_fd = -1;
	leg->n_cpus = libbpf_num_possible_cpus();
	leg->percpu = leg->n_cpus > 0 ? calloc((size_t)leg->n_cpus, sizeof(uint64_t)) : NULL;
	r = leg->percpu ? open_leg(leg, err) : -ENOMEM;
	if (r < 0) {
		leg_free(leg);
		return r;
	}
	*ret_leg = leg;
	return 0;
}

void leg_free(struct leg *leg)
{
	if (!leg)
		return;
	for (int map = 0; map < KERN_OUTER_COUNT; map++) {
		cleanup_close_(&leg->inner[map].fd);
		free(leg->inner[map].keys);
	}
	cleanup_close_(&leg->few_fd);
	cleanup_close_(&leg->packet_fd);
	kern_object_done(&leg->object);
	free(leg->percpu);
	free(leg);
}

/* ---- what is looked up ---- */

static int insert(struct inner *inner, const void *key, const void *value)
{
	if (inner->n_keys == MAX_ROWS)
		return -E2BIG;
	memcpy(inner->keys + inner->n_keys++ * inner->key_size, key, inner->key_size);
	return bpf_map_update_elem(inner->fd, key, value, BPF_ANY);
}

static void empty(struct inner *inner)
{
	while (inner->n_keys) {
		inner->n_keys--;
		(void)bpf_map_delete_elem(inner->fd, inner->keys + inner->n_keys * inner->key_size);
	}
}

/* What the programs wrote as well. */
static void remove_all(int map)
{
	char key[64];

	while (!bpf_map_get_next_key(map, NULL, key))
		(void)bpf_map_delete_elem(map, key);
}

static int load_table(struct leg *leg, const struct table *t)
{
	struct inner *inner = leg->inner;
	int r = 0;

	empty(&inner[KERN_MAP_CIDR4]);
	empty(&inner[KERN_MAP_CIDR6]);
	empty(&inner[KERN_MAP_NAMES]);
	for (size_t i = 0; !r && i < t->n_names; i++) {
		const struct table_name_row *row = &t->names[i];
		struct pst_name value = {.rule = row->rule, .ports = row->ports};
		struct pst_name_key key = {.prefixlen = 8u * row->key_size};

		memcpy(key.name, row->key, row->key_size);
		r = insert(&inner[KERN_MAP_NAMES], &key, &value);
	}
	for (size_t i = 0; !r && i < t->n_rows4; i++)
		r = insert(&inner[KERN_MAP_CIDR4], &t->rows4[i].key, &t->rows4[i].value);
	for (size_t i = 0; !r && i < t->n_rows6; i++)
		r = insert(&inner[KERN_MAP_CIDR6], &t->rows6[i].key, &t->rows6[i].value);
	for (uint32_t i = 1; !r && i < t->n_ports; i++)
		r = bpf_map_update_elem(inner[KERN_MAP_PORTS].fd, &i, &t->ports[i], BPF_ANY);
	return r;
}

int leg_policy(struct leg *leg, struct world *w)
{
	cleanup_table struct table *table = NULL;
	struct error err = {{0}};
	struct pst_sandbox *record = &w->device.sandbox;
	uint32_t own = record->flags & (PST_SANDBOX_DHCP | PST_SANDBOX_SILENT);
	int r = table_compile(&w->c.policy, &w->c.env, &table, &err);

	if (!r)
		r = load_table(leg, table);
	if (r)
		return r;
	table_fill_record(table, record);
	record->flags |= own;
	record->policy_slot = SLOT_POLICY;
	record->state_slot = SLOT_STATE;
	record->hits_slot = SLOT_HITS;
	record->names_slot = SLOT_NAMES;
	record->track_slot = w->max_flows == FRAME_FEW ? SLOT_FEW : SLOT_FLOWS;
	record->ifindex = LEG_IFINDEX;
	record->netns_cookie = leg->netns;
	/* Where nobody listens: BPF_PROG_TEST_RUN gives no frame to a socket. */
	record->relay_port = w->c.relay_port;
	record->relay_slot = SLOT_RELAY;
	return 0;
}

int leg_host(struct leg *leg, const struct world *w)
{
	const int *fds = leg->object.map_fd;
	cleanup_free struct table_always_row *rows = NULL;
	size_t count;
	int r = table_always(&w->c.always, &rows, &count);

	return r ? r : kern_always_write(fds[KERN_MAP_ALWAYS], fds[KERN_MAP_OPEN], rows, count);
}

/* What the sandbox has learned: after leg_policy(), whose port sets it names. */
int leg_leases(struct leg *leg, const struct world *w)
{
	cleanup_table struct table *table = NULL;
	static struct agree_rows rows;
	struct error err = {{0}};
	int r = table_compile(&w->c.policy, &w->c.env, &table, &err);

	remove_all(leg->inner[KERN_MAP_LEASES].fd);
	remove_all(leg->inner[KERN_MAP_LEARNED].fd);
	leg->inner[KERN_MAP_LEASES].n_keys = leg->inner[KERN_MAP_LEARNED].n_keys = 0;
	if (r)
		return r;
	agree_rows(&w->c, table, loop_boot_ns(), &rows);
	for (size_t i = 0; !r && i < rows.n_leases; i++)
		r = insert(&leg->inner[KERN_MAP_LEASES], &rows.leases[i].addr,
			   &rows.leases[i].value);
	for (size_t i = 0; !r && i < rows.n_learned; i++)
		r = insert(&leg->inner[KERN_MAP_LEARNED], &rows.learned[i].id,
			   &rows.learned[i].value);
	return r;
}

/* As the loader does: into an element that is not in force, which is named then. */
int leg_device(struct leg *leg, const struct world *w)
{
	uint64_t ref = PST_DEVICE_REF(w->device.sandbox.generation, leg->device_slot ^ 1);
	const int *fds = leg->object.map_fd;
	uint32_t ifindex = LEG_IFINDEX;
	int r;

	leg->device_slot ^= 1;
	r = bpf_map_update_elem(fds[KERN_MAP_DEVICES], &leg->device_slot, &w->device, BPF_ANY);
	return r ? r : bpf_map_update_elem(fds[KERN_MAP_NETDEVS], &ifindex, &ref, BPF_ANY);
}

int leg_break_record(struct leg *leg, const struct world *w, unsigned how)
{
	uint64_t ref = PST_DEVICE_REF(w->device.sandbox.generation + 1, leg->device_slot);
	struct pst_device other = w->device;
	const int *fds = leg->object.map_fd;
	uint32_t ifindex = LEG_IFINDEX;

	switch (how % LEG_BREAKS) {
	case 0:
		return bpf_map_delete_elem(fds[KERN_MAP_NETDEVS], &ifindex);
	case 1:
		return bpf_map_update_elem(fds[KERN_MAP_NETDEVS], &ifindex, &ref, BPF_ANY);
	case 2:
		other.sandbox.ifindex++;
		break;
	case 3:
		other.sandbox.generation = 0;
		ref = PST_DEVICE_REF(0, leg->device_slot);
		(void)bpf_map_update_elem(fds[KERN_MAP_NETDEVS], &ifindex, &ref, BPF_ANY);
		break;
	}
	return bpf_map_update_elem(fds[KERN_MAP_DEVICES], &leg->device_slot, &other, BPF_ANY);
}

int leg_forget(struct leg *leg, const struct world *w)
{
	leg->tracked_fd = w->max_flows == FRAME_FEW ? leg->few_fd : leg->inner[KERN_MAP_TRACKED].fd;
	remove_all(leg->tracked_fd);
	return leg_questions(leg, false);
}

int leg_questions(struct leg *leg, bool full)
{
	static struct pst_question none[PST_QUESTIONS];

	for (size_t i = 0; i < PST_QUESTIONS; i++)
		none[i].stamp = full ? loop_boot_ns() : 0;
	return kern_fill_array(leg->inner[KERN_MAP_QUESTIONS].fd, none, PST_QUESTIONS,
			       sizeof(none[0]));
}

bool leg_has_question(struct leg *leg, const struct asked *asked)
{
	const struct dns_question *q = &asked->question;
	struct pst_question found;

	for (uint32_t i = 0; i < PST_QUESTIONS; i++)
		if (!bpf_map_lookup_elem(leg->inner[KERN_MAP_QUESTIONS].fd, &i, &found) &&
		    found.stamp && found.stamp != PST_CLAIMED && found.port == asked->port &&
		    found.txid == q->txid && found.size == q->size &&
		    memcmp(found.resolver, asked->resolver.bytes, 16) == 0 &&
		    memcmp(found.wire, q->wire, q->size) == 0)
			return true;
	return false;
}

/* ---- what is counted and remembered ---- */

int leg_quota(struct leg *leg, struct pst_quota *ret_quota)
{
	uint32_t slot = SLOT_STATE;

	return bpf_map_lookup_elem(leg->object.map_fd[KERN_MAP_QUOTAS], &slot, ret_quota);
}

int leg_set_quota(struct leg *leg, const struct pst_quota *quota)
{
	uint32_t slot = SLOT_STATE;

	return bpf_map_update_elem(leg->object.map_fd[KERN_MAP_QUOTAS], &slot, quota, BPF_ANY);
}

uint64_t leg_counter(struct leg *leg, uint32_t reason)
{
	uint64_t sum = 0;

	if (bpf_map_lookup_elem(leg->object.map_fd[KERN_MAP_COUNTERS], &reason, leg->percpu))
		return ~0ULL;
	for (int cpu = 0; cpu < leg->n_cpus; cpu++)
		sum += leg->percpu[cpu];
	return sum;
}

bool leg_hits(struct leg *leg, uint32_t rule, struct hits *ret_hits)
{
	struct pst_rule_hits hits;

	if (bpf_map_lookup_elem(leg->inner[KERN_MAP_RULES].fd, &rule, &hits))
		return false;
	*ret_hits = (struct hits){
		.connections = hits.connections, .packets = hits.packets, .bytes = hits.bytes};
	return true;
}

int leg_clear_hits(struct leg *leg)
{
	static const struct pst_rule_hits none[FRAME_RULES];

	return kern_fill_array(leg->inner[KERN_MAP_RULES].fd, none, FRAME_RULES, sizeof(none[0]));
}

bool leg_flow(struct leg *leg, const struct pst_peer_key *key, struct pst_tracked *ret_flow)
{
	return !bpf_map_lookup_elem(leg->tracked_fd, key, ret_flow);
}

int leg_set_flow(struct leg *leg, const struct pst_peer_key *key, const struct pst_tracked *flow)
{
	if (!flow)
		return bpf_map_delete_elem(leg->tracked_fd, key);
	return bpf_map_update_elem(leg->tracked_fd, key, flow, BPF_ANY);
}

size_t leg_count_flows(struct leg *leg)
{
	struct pst_peer_key key;
	size_t count = 0;

	for (void *at = NULL; !bpf_map_get_next_key(leg->tracked_fd, at, &key); at = &key)
		count++;
	return count;
}

bool leg_lease(struct leg *leg, const struct addr *a, struct pst_lease *ret_lease)
{
	struct inner *leases = &leg->inner[KERN_MAP_LEASES];

	return !bpf_map_lookup_elem(leases->fd, a, ret_lease);
}

/* ---- a frame ---- */

static uint64_t coarse_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* What left by the device; what came back over it is left out. */
static void take_sent(struct leg *leg, struct outcome *out)
{
	struct sockaddr_ll from;
	socklen_t size;
	ssize_t n;

	for (;;) {
		struct frame sent = {.size = 0};

		size = sizeof(from);
		n = recvfrom(leg->packet_fd, sent.bytes, sizeof(sent.bytes), 0,
			     (struct sockaddr *)&from, &size);
		if (n < 0)
			return;
		if (from.sll_pkttype != PACKET_OUTGOING)
			continue;
		sent.size = (size_t)n;
		out->n_sent++;
		out->sent = sent;
	}
}

int leg_run(struct leg *leg, const struct frame *f, struct outcome *out)
{
	struct __sk_buff in = {.ifindex = LEG_IFINDEX,
			       .mark = f->mark,
			       .gso_size = f->gso_size,
			       .gso_segs = f->gso_size ? 3 : 0};
	struct __sk_buff skb;
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = f->bytes, .data_size_in = (uint32_t)f->size,
		    .data_out = out->out.bytes, .data_size_out = sizeof(out->out.bytes),
		    .ctx_in = &in, .ctx_size_in = sizeof(in), .ctx_out = &skb,
		    .ctx_size_out = sizeof(skb));
	int fd = leg->object.device_fd[f->to_device ? KERN_TO_DEVICE : KERN_FROM_DEVICE];

	out->n_sent = 0;
	out->before_ns = coarse_ns();
	if (bpf_prog_test_run_opts(fd, &opts))
		return -errno;
	out->after_ns = coarse_ns();
	out->code = (int)opts.retval;
	out->out.size = opts.data_size_out;
	out->out.mark = skb.mark;
	out->out.gso_size = skb.gso_size;
	take_sent(leg, out);
	return 0;
}
