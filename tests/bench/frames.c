/* SPDX-License-Identifier: MIT */
/*
 * One run of the programs of devices, by BPF_PROG_TEST_RUN: frames PARENT ROUNDS, in a network namespace with devices
 * wire0, wire1 and wire2. Prints frame.CASE in ns a run. What can be repeated is, thousands of times on one frame; what
 * changes something is run once on each of many frames, and the state put back before. To be compared with frame.empty
 * and frame.empty_once.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <bpf/bpf.h>
#include <net/ethernet.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "kern/ring.h"
#include "tests/bench/lib/device.h"
#include "tests/bench/lib/names.h"

#define PREFIXES    1000
#define NAMES	    100
#define BATCHES	    15
#define REPETITIONS 2000
#define ONCE	    101
#define ONCE_LARGE  7
#define SANDBOX	    (10U << 24 | 77U << 16 | 2)
#define DNS_PORT    53
#define NEVER	    (1ULL << 62)
#define PASSED	    UINT32_MAX /* TC_ACT_UNSPEC */
#define DROPPED	    2	       /* TC_ACT_SHOT */
#define ANSWERED    7	       /* TC_ACT_REDIRECT */

enum place { CIDRS = 0, NAMED, LARGE, PLACES };

struct place_of {
	struct bench_device device;
	struct pst_device record;
	int program[BENCH_WAYS];
	int quotas, flows;
	struct kern_ring *ring;
};

struct frames {
	struct place_of place[PLACES];
	uint32_t inside, outside; /* an address that the policies allow, and one that they deny */
	int empty;
};

struct frame {
	struct ether_header ethernet;
	struct iphdr ip;
	union {
		struct udphdr udp;
		struct tcphdr tcp;
	};
	char data[BENCH_MESSAGE_SIZE];
} __attribute__((packed));

/* A frame, and where it goes. */
struct shot {
	struct frame frame;
	size_t size;
	int program;
	uint32_t ifindex, expect;
};

static void begin(struct shot *shot, unsigned char protocol, uint32_t to, uint16_t port,
		  uint16_t own_port)
{
	static const unsigned char box[ETH_ALEN] = {2, 0, 0, 0, 0x77, 2};
	struct frame *f = &shot->frame;
	size_t l4 = protocol == IPPROTO_TCP ? sizeof(f->tcp) : sizeof(f->udp) + 8;

	memset(f, 0, sizeof(*f));
	memcpy(f->ethernet.ether_shost, box, sizeof(box));
	f->ethernet.ether_type = htons(ETHERTYPE_IP);
	f->ip.version = 4;
	f->ip.ihl = 5;
	f->ip.ttl = 64;
	f->ip.protocol = protocol;
	f->ip.saddr = htonl(SANDBOX);
	f->ip.daddr = htonl(to);
	f->udp.source = htons(own_port); /* the ports are where TCP's are */
	f->udp.dest = htons(port);
	if (protocol == IPPROTO_TCP)
		f->tcp.doff = 5;
	else
		f->udp.len = htons((uint16_t)l4);
	f->ip.tot_len = htons((uint16_t)(sizeof(f->ip) + l4));
	shot->size = offsetof(struct frame, udp) + l4;
}

/* The same from the other side. */
static void turn(struct shot *shot)
{
	struct frame *f = &shot->frame;
	uint16_t port = f->udp.source;
	uint32_t addr = f->ip.saddr;

	f->ip.saddr = f->ip.daddr;
	f->ip.daddr = addr;
	f->udp.source = f->udp.dest;
	f->udp.dest = port;
}

static void aim(struct shot *shot, const struct place_of *place, enum bench_way way,
		uint32_t expect)
{
	shot->program = place->program[way];
	shot->ifindex = place->device.ifindex;
	shot->expect = expect;
}

static double run(const struct shot *shot, unsigned repetitions)
{
	struct __sk_buff ctx = {.ifindex = shot->ifindex};
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = &shot->frame,
		    .data_size_in = (uint32_t)shot->size, .ctx_in = &ctx,
		    .ctx_size_in = sizeof(ctx), .repeat = (int)repetitions);
	int r = bpf_prog_test_run_opts(shot->program, &options);

	if (r < 0)
		bench_fail("BPF_PROG_TEST_RUN", r);
	if (options.retval != shot->expect)
		bench_fail("a frame had another verdict", EPROTO);
	return options.duration;
}

static void repeat(const struct shot *shot, const char *name)
{
	double ns[BATCHES];

	for (unsigned i = 0; i < BATCHES; i++)
		ns[i] = run(shot, REPETITIONS);
	bench_sample(bench_median(ns, BATCHES), "frame.%s", name);
}

/* ---- state ---- */

/* Full buckets; and a table that is swept now, or not at all. */
static void set_quota(const struct place_of *place, uint64_t swept_ns)
{
	const struct pst_quota quota = {.swept_ns = swept_ns};

	if (bpf_map_update_elem(place->quotas, &place->record.sandbox.state_slot, &quota, BPF_ANY))
		bench_fail("the quota", errno);
}

static struct pst_peer_key filler(uint32_t i)
{
	struct pst_peer_key key = {.port = 443, .protocol = PST_TCP};

	memcpy(key.addr + 12, &i, sizeof(i));
	key.addr[10] = key.addr[11] = 0xff;
	key.local_port = (uint16_t)i;
	return key;
}

/* As many flows as there is room for, of that age. */
static void fill(const struct place_of *place, uint32_t count, uint64_t last_ns)
{
	const struct pst_tracked flow = {
		.last_ns = last_ns, .kind = PST_FLOW_OUT, .state = PST_TRACK_OPEN};

	for (uint32_t i = 0; i < count; i++) {
		struct pst_peer_key key = filler(i);

		if (bpf_map_update_elem(place->flows, &key, &flow, BPF_ANY))
			bench_fail("filling a flow table", errno);
	}
}

static void empty(const struct place_of *place, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		struct pst_peer_key key = filler(i);

		if (bpf_map_delete_elem(place->flows, &key))
			bench_fail("emptying a flow table", errno);
	}
}

static int ignore(void *context, const struct pst_event *event)
{
	(void)context;
	(void)event;
	return 0;
}

/* ---- what changes something ---- */

/* Each frame comes from another port. */
static double run_next(const struct place_of *place, struct shot *shot, unsigned i)
{
	double ns;

	shot->frame.udp.source = htons((uint16_t)(20000 + i));
	ns = run(shot, 1);
	if (kern_ring_consume(place->ring) < 0)
		bench_fail("the events", EIO);
	return ns;
}

static void once(const struct place_of *place, struct shot *shot, uint64_t swept_ns,
		 const char *name)
{
	double ns[ONCE];

	for (unsigned i = 0; i < ONCE; i++) {
		set_quota(place, swept_ns);
		ns[i] = run_next(place, shot, i);
	}
	bench_sample(bench_median(ns, ONCE), "frame.%s", name);
}

static void sweep(const struct place_of *place, struct shot *shot, uint32_t room, uint64_t last_ns,
		  const char *name)
{
	double ns[ONCE_LARGE];

	for (unsigned i = 0; i < ONCE_LARGE; i++) {
		if (!i || shot->expect == PASSED)
			fill(place, room, last_ns);
		set_quota(place, 0);
		ns[i] = run_next(place, shot, i);
		if (shot->expect == PASSED)
			bench_clear(place->flows, sizeof(struct pst_peer_key));
	}
	if (shot->expect != PASSED)
		empty(place, room);
	bench_sample(bench_median(ns, ONCE_LARGE), "frame.%s", name);
}

static void measure_hits(const struct frames *frames)
{
	const struct place_of *place = &frames->place[CIDRS];
	struct shot shot;

	begin(&shot, IPPROTO_UDP, frames->inside, BENCH_PORT, 10000);
	aim(&shot, place, BENCH_FROM, PASSED);
	shot.program = frames->empty;
	repeat(&shot, "empty");
	aim(&shot, place, BENCH_FROM, PASSED);
	repeat(&shot, "hit_udp");
	turn(&shot);
	aim(&shot, place, BENCH_TO, PASSED);
	repeat(&shot, "in_udp");
	begin(&shot, IPPROTO_TCP, frames->inside, BENCH_PORT, 10000);
	shot.frame.tcp.syn = 1;
	aim(&shot, place, BENCH_FROM, PASSED);
	(void)run(&shot, 1);
	shot.frame.tcp.syn = 0;
	shot.frame.tcp.ack = 1;
	repeat(&shot, "hit_tcp");
	shot.frame.ethernet.ether_shost[5]++;
	shot.expect = DROPPED;
	repeat(&shot, "spoofed");
	shot.frame.ethernet.ether_shost[5]--;
	turn(&shot);
	aim(&shot, place, BENCH_TO, PASSED);
	repeat(&shot, "in_tcp");
	bench_clear(place->flows, sizeof(struct pst_peer_key));
}

static void measure_first(const struct frames *frames)
{
	const struct place_of *place = &frames->place[CIDRS];
	struct shot shot;

	begin(&shot, IPPROTO_UDP, frames->inside, BENCH_PORT, 0);
	aim(&shot, place, BENCH_FROM, PASSED);
	shot.program = frames->empty;
	once(place, &shot, NEVER, "empty_once");
	aim(&shot, place, BENCH_FROM, PASSED);
	once(place, &shot, NEVER, "first_udp");
	once(place, &shot, NEVER, "hit_once");
	bench_clear(place->flows, sizeof(struct pst_peer_key));
	begin(&shot, IPPROTO_TCP, frames->inside, BENCH_PORT, 0);
	shot.frame.tcp.syn = 1;
	once(place, &shot, NEVER, "first_tcp");
	bench_clear(place->flows, sizeof(struct pst_peer_key));
}

static void measure_denied(const struct frames *frames)
{
	const struct place_of *named = &frames->place[NAMED];
	struct bench_message question;
	struct shot shot;

	begin(&shot, IPPROTO_TCP, frames->outside, BENCH_PORT, 0);
	shot.frame.tcp.syn = 1;
	aim(&shot, &frames->place[CIDRS], BENCH_FROM, ANSWERED);
	once(&frames->place[CIDRS], &shot, NEVER, "reset");
	begin(&shot, IPPROTO_UDP, frames->outside, BENCH_PORT, 0);
	once(&frames->place[CIDRS], &shot, NEVER, "prohibited");
	begin(&shot, IPPROTO_UDP, BENCH_RESOLVER_ADDR, DNS_PORT, 0);
	bench_question(&question, 7, "not.on.the.list.example");
	memcpy((char *)&shot.frame + offsetof(struct frame, udp) + sizeof(struct udphdr),
	       question.bytes, question.size);
	shot.frame.udp.len = htons((uint16_t)(sizeof(shot.frame.udp) + question.size));
	shot.frame.ip.tot_len =
		htons((uint16_t)(sizeof(shot.frame.ip) + sizeof(shot.frame.udp) + question.size));
	shot.size = offsetof(struct frame, udp) + sizeof(shot.frame.udp) + question.size;
	aim(&shot, named, BENCH_FROM, ANSWERED);
	once(named, &shot, NEVER, "nxdomain");
}

static void measure_full(const struct frames *frames)
{
	const struct place_of *place = &frames->place[CIDRS], *large = &frames->place[LARGE];
	struct shot shot;

	begin(&shot, IPPROTO_UDP, frames->inside, BENCH_PORT, 0);
	aim(&shot, place, BENCH_FROM, ANSWERED);
	fill(place, PST_TRACKED, bench_now_ns());
	once(place, &shot, NEVER, "full_udp");
	begin(&shot, IPPROTO_TCP, frames->inside, BENCH_PORT, 0);
	shot.frame.tcp.syn = 1;
	shot.expect = PASSED;
	once(place, &shot, NEVER, "full_tcp");
	empty(place, PST_TRACKED);
	begin(&shot, IPPROTO_UDP, frames->inside, BENCH_PORT, 0);
	aim(&shot, place, BENCH_FROM, ANSWERED);
	sweep(place, &shot, PST_TRACKED, bench_now_ns(), "sweep_kept");
	aim(&shot, place, BENCH_FROM, PASSED);
	sweep(place, &shot, PST_TRACKED, 0, "sweep_idle");
	aim(&shot, large, BENCH_FROM, ANSWERED);
	sweep(large, &shot, PST_MAX_TRACKED, bench_now_ns(), "sweep_large_kept");
	aim(&shot, large, BENCH_FROM, PASSED);
	sweep(large, &shot, PST_MAX_TRACKED, 0, "sweep_large_idle");
}

/* ---- the scene ---- */

static void open_maps(struct place_of *place)
{
	cleanup_close int devices = bench_pinned(&place->device.sandbox, "pst_devices");
	cleanup_close int tracked = bench_pinned(&place->device.sandbox, "pst_tracked");
	struct pst_device *record = &place->record;
	uint32_t id;

	place->quotas = bench_pinned(&place->device.sandbox, "pst_quotas");
	place->flows = -1;
	for (uint32_t slot = 0; slot < 2 && record->sandbox.ifindex != place->device.ifindex;
	     slot++)
		(void)bpf_map_lookup_elem(devices, &slot, record);
	if (!bpf_map_lookup_elem(tracked, &record->sandbox.track_slot, &id))
		place->flows = bpf_map_get_fd_by_id(id);
	if (record->sandbox.ifindex != place->device.ifindex || place->flows < 0)
		bench_fail("the record of a device", ENOENT);
}

static void open_place(struct place_of *place, const char *parent, const char *interface,
		       struct buf *text, uint32_t flows)
{
	cleanup_policy struct policy *policy = bench_parse(text);
	cleanup_table struct table *table = bench_compile(policy);
	int r;

	bench_device_open(&place->device, parent, interface, interface, table, flows);
	open_maps(place);
	for (enum bench_way way = 0; way < BENCH_WAYS; way++)
		place->program[way] = bench_device_program(place->device.ifindex, way);
	r = kern_ring_new(kern_sandbox_event_ring(place->device.sandbox.kern), ignore, NULL,
			  &place->ring);
	if (r < 0)
		bench_fail("the event ring", r);
}

static void open_all(struct frames *frames, const char *parent)
{
	cleanup_free struct bench_cidr *cidrs = bench_cidrs(PREFIXES);
	cleanup_buf struct buf text = {0}, names = {0};

	bench_policy_text(cidrs, PREFIXES, &text);
	bench_names_text("20.0.0.0/8", NAMES, &names);
	frames->inside = cidrs[0].base + 1;
	frames->outside = ntohl(bench_outside().sin_addr.s_addr);
	frames->empty = bench_empty_program();
	open_place(&frames->place[CIDRS], parent, "wire0", &text, 0);
	open_place(&frames->place[NAMED], parent, "wire1", &names, 0);
	open_place(&frames->place[LARGE], parent, "wire2", &text, PST_MAX_TRACKED);
}

int main(int argc, char **argv)
{
	struct frames frames = {0};
	unsigned rounds;

	if (argc != 3)
		bench_fail("usage: frames PARENT ROUNDS", EINVAL);
	rounds = bench_count(argv[2]);
	open_all(&frames, argv[1]);
	bench_own_cpu();
	while (rounds--) {
		measure_hits(&frames);
		measure_first(&frames);
		measure_denied(&frames);
		measure_full(&frames);
	}
	for (enum place i = 0; i < PLACES; i++) {
		kern_ring_free(frames.place[i].ring);
		bench_device_close(&frames.place[i].device);
	}
	return 0;
}
