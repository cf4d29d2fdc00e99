/* SPDX-License-Identifier: MIT */
/*
 * The egress program again and again on one packet, everything in the caches: hot PARENT NETNS OBJECT COUNT ROUNDS.
 * Prints hot.CASE.postern and hot.CASE.empty in ns a run, by BPF_PROG_TEST_RUN: the mean of many repetitions, the
 * median over packets to different prefixes.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <net/ethernet.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>

#include "base/cleanup.h"
#include "tests/bench/lib/object.h"

#define PACKETS	    32
#define REPETITIONS 5000

struct packet {
	struct ether_header ethernet;
	struct iphdr ip;
	union {
		struct udphdr udp;
		struct tcphdr tcp;
	};
	char padding[8];
} __attribute__((packed));

static const struct {
	const char *name, *program;
	unsigned char protocol;
} cases[] = {
	{"tcp_cached", "bench_cached", IPPROTO_TCP},
	{"tcp", "bench_egress", IPPROTO_TCP},
	{"udp", "bench_egress", IPPROTO_UDP},
};

static void make_packet(struct packet *packet, unsigned char protocol, const struct sockaddr_in *to)
{
	*packet = (struct packet){.ethernet.ether_type = htons(ETHERTYPE_IP)};
	packet->ip.version = 4;
	packet->ip.ihl = 5;
	packet->ip.ttl = 64;
	packet->ip.protocol = protocol;
	packet->ip.tot_len = htons((uint16_t)(sizeof(*packet) - sizeof(packet->ethernet)));
	packet->ip.saddr = htonl(198U << 24 | 18U << 16 | 1);
	packet->ip.daddr = to->sin_addr.s_addr;
	packet->udp.source = htons(40000); /* the ports are where TCP's are */
	packet->udp.dest = to->sin_port;
	if (protocol == IPPROTO_UDP) {
		packet->udp.len = htons(sizeof(*packet) - offsetof(struct packet, udp));
		return;
	}
	packet->tcp.doff = 5;
	packet->tcp.ack = 1;
}

static double run(int program, struct packet *packet)
{
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = packet, .data_size_in = sizeof(*packet),
		    .repeat = REPETITIONS);
	int r = bpf_prog_test_run_opts(program, &options);

	if (r < 0)
		bench_fail("BPF_PROG_TEST_RUN", r);
	if (options.retval != 1)
		bench_fail("an allowed packet was refused", EPERM);
	return options.duration;
}

static double time_packets(const struct bpf_object *object, const char *name,
			   unsigned char protocol, const struct bench_cidr *cidrs)
{
	int program = bench_program(object, name);
	double ns[PACKETS];

	for (int i = 0; i < PACKETS; i++) {
		struct sockaddr_in to = bench_inside(&cidrs[i]);
		struct packet packet;

		make_packet(&packet, protocol, &to);
		ns[i] = run(program, &packet);
	}
	return bench_median(ns, PACKETS);
}

int main(int argc, char **argv)
{
	cleanup_free struct bench_cidr *cidrs = NULL;
	struct bench_sandbox sandbox;
	struct bpf_object *object;
	unsigned count, rounds;

	if (argc != 6)
		bench_fail("usage: hot PARENT NETNS OBJECT COUNT ROUNDS", EINVAL);
	count = bench_count(argv[4]);
	rounds = bench_count(argv[5]);
	cidrs = bench_cidrs(count);
	bench_enter_netns(argv[2]);
	bench_sandbox_make(&sandbox, argv[1], "hot", cidrs, count);
	object = bench_object(argv[3], &sandbox);
	bench_own_cpu();
	while (rounds--) {
		for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
			bench_sample(time_packets(object, "bench_empty", cases[i].protocol, cidrs),
				     "hot.%s.empty", cases[i].name);
			bench_sample(
				time_packets(object, cases[i].program, cases[i].protocol, cidrs),
				"hot.%s.postern", cases[i].name);
		}
	}
	bpf_object__close(object);
	bench_sandbox_close(&sandbox);
	return 0;
}
