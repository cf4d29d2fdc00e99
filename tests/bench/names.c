/* SPDX-License-Identifier: MIT */
/*
 * Questions and replies again and again, everything in the caches: names PARENT NETNS OBJECT ROUNDS COUNT....
 * Prints names.COUNT.CASE.postern, and what it is compared with (.arm: what prepares a run, and nothing else; .empty),
 * in ns a run, by BPF_PROG_TEST_RUN: the mean of many repetitions, the median over several names.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <bpf/bpf.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "tests/bench/lib/names.h"
#include "tests/bench/lib/object.h"
#include "tests/bench/names.h"

#define PACKETS	    9
#define REPETITIONS 1000 /* as many entries fit into the tables, twice */
#define MAX_COUNTS  4
#define HOUR_NS	    3600000000000ULL
#define CLIENT	    (198U << 24 | 18U << 16 | 1)
#define CLIENT_PORT 40000
#define SAME_ADDR   (11U << 24 | 1)

struct packet {
	struct ether_header ethernet;
	struct iphdr ip;
	struct udphdr udp;
	unsigned char payload[BENCH_MESSAGE_SIZE];
} __attribute__((packed));

enum kind { NEW_NAME, NEW_ADDR, SAME, FORGED, GATE, KINDS };

static const struct {
	const char *name, *program;
	bool is_learned, fresh_name, fresh_addr;
} cases[KINDS] = {
	[NEW_NAME] = {"new_name", "bench_reply", true, true, true},
	[NEW_ADDR] = {"new_addr", "bench_reply", true, false, true},
	[SAME] = {"same", "bench_reply", true, false, false},
	[FORGED] = {"forged", "bench_reply", false, false, false},
	[GATE] = {"gate", "bench_question", false, false, false},
};

struct scene {
	struct bench_sandbox sandbox;
	struct bpf_object *object;
	unsigned count, ifindex;
	int arms, questions, leases, learned;
};

static size_t wrap(struct packet *packet, const struct bench_message *message, bool is_reply)
{
	uint32_t ends[2] = {CLIENT, BENCH_RESOLVER_ADDR};
	uint16_t ports[2] = {CLIENT_PORT, 53};

	*packet = (struct packet){.ethernet.ether_type = htons(ETHERTYPE_IP)};
	packet->ip.version = 4;
	packet->ip.ihl = 5;
	packet->ip.ttl = 64;
	packet->ip.protocol = IPPROTO_UDP;
	packet->ip.tot_len =
		htons((uint16_t)(sizeof(struct iphdr) + sizeof(struct udphdr) + message->size));
	packet->ip.saddr = htonl(ends[is_reply]);
	packet->ip.daddr = htonl(ends[!is_reply]);
	packet->udp.source = htons(ports[is_reply]);
	packet->udp.dest = htons(ports[!is_reply]);
	packet->udp.len = htons((uint16_t)(sizeof(struct udphdr) + message->size));
	memcpy(packet->payload, message->bytes, message->size);
	return offsetof(struct packet, payload) + message->size;
}

static double run(const struct scene *scene, const char *program, struct packet *packet,
		  size_t size, unsigned repeat)
{
	struct __sk_buff context = {.ifindex = scene->ifindex};
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = packet, .data_size_in = (__u32)size,
		    .ctx_in = &context, .ctx_size_in = sizeof(context), .repeat = (int)repeat);
	int r = bpf_prog_test_run_opts(bench_program(scene->object, program), &options);

	if (r < 0)
		bench_fail("BPF_PROG_TEST_RUN", r);
	if (options.retval != 1)
		bench_fail("an allowed packet was refused", EPERM);
	return options.duration;
}

static void set_arms(const struct scene *scene, const struct bench_arms *arms)
{
	uint32_t zero = 0;

	if (bpf_map_update_elem(scene->arms, &zero, arms, BPF_ANY))
		bench_fail("bench_arms", errno);
}

/* Asks by the gate itself, and finds the question it left in the table. */
static uint32_t ask(const struct scene *scene, struct packet *packet, size_t size)
{
	struct bench_arms arms = {.place = PST_QUESTIONS}; /* none */
	struct pst_question q = {0};

	for (uint32_t i = 0; i < PST_QUESTIONS; i++) {
		if (bpf_map_update_elem(scene->questions, &i, &q, BPF_ANY))
			bench_fail("clearing the questions", errno);
	}
	set_arms(scene, &arms);
	run(scene, "bench_question", packet, size, 1);
	for (uint32_t i = 0; i < PST_QUESTIONS; i++) {
		if (bpf_map_lookup_elem(scene->questions, &i, &q) == 0 && q.stamp)
			return i;
	}
	bench_fail("the gate recorded no question", ENOENT);
}

/* Every repetition must have become what its case is about. */
static void check(const struct scene *scene, enum kind kind, const struct pst_quota *before)
{
	struct pst_quota after = bench_quota(&scene->sandbox);
	uint64_t learned = after.replies[PST_REPLY_LEARNED] - before->replies[PST_REPLY_LEARNED];
	uint64_t unasked = after.replies[PST_REPLY_UNASKED] - before->replies[PST_REPLY_UNASKED];

	if (learned != (cases[kind].is_learned ? REPETITIONS : 0) ||
	    unasked != (kind == FORGED ? REPETITIONS : 0) ||
	    after.leases_refused != before->leases_refused ||
	    after.questions_refused != before->questions_refused)
		bench_fail("not every packet did what was to be measured", EINVAL);
}

struct sample {
	double cost, arm, empty;
};

static struct sample time_one(const struct scene *scene, enum kind kind, unsigned i)
{
	struct bench_arms arms = {.stamp = bench_now_ns() + HOUR_NS,
				  .name = 1,
				  .fresh_name = cases[kind].fresh_name,
				  .fresh_addr = cases[kind].fresh_addr};
	struct bench_message question, reply;
	struct packet packet, asking;
	struct pst_quota before;
	struct sample sample;
	char name[BENCH_NAME_SIZE];
	size_t size, asking_size;

	bench_name(i, name);
	bench_question(&question, 7, name);
	bench_reply(&reply, kind == FORGED ? 8 : 7, name, SAME_ADDR);
	asking_size = wrap(&asking, &question, false);
	size = wrap(&packet, kind == GATE ? &question : &reply, kind != GATE);
	arms.place = ask(scene, &asking, asking_size);
	arms.addr_at = (uint32_t)reply.addr;
	if (kind == GATE)
		arms.stamp = 0;
	set_arms(scene, &arms);
	if (kind != NEW_NAME && kind != NEW_ADDR)
		run(scene, cases[kind].program, &packet, size, 1);
	sample.empty = run(scene, "bench_empty", &packet, size, REPETITIONS);
	sample.arm = run(scene, "bench_arm", &packet, size, REPETITIONS);
	before = bench_quota(&scene->sandbox);
	sample.cost = run(scene, cases[kind].program, &packet, size, REPETITIONS);
	check(scene, kind, &before);
	bench_clear(scene->leases, sizeof(struct pst_addr));
	bench_clear(scene->learned, sizeof(struct pst_name_id));
	return sample;
}

static void time_case(const struct scene *scene, enum kind kind)
{
	double cost[PACKETS], arm[PACKETS], empty[PACKETS];

	for (unsigned i = 0; i < PACKETS; i++) {
		struct sample sample = time_one(scene, kind, i * (scene->count / PACKETS));

		cost[i] = sample.cost;
		arm[i] = sample.arm;
		empty[i] = sample.empty;
	}
	bench_sample(bench_median(cost, PACKETS), "names.%u.%s.postern", scene->count,
		     cases[kind].name);
	bench_sample(bench_median(arm, PACKETS), "names.%u.%s.arm", scene->count, cases[kind].name);
	bench_sample(bench_median(empty, PACKETS), "names.%u.%s.empty", scene->count,
		     cases[kind].name);
}

static void open_scene(struct scene *scene, char **argv, unsigned count)
{
	char name[32];

	snprintf(name, sizeof(name), "names%u", count);
	scene->count = count;
	bench_names_make(&scene->sandbox, argv[1], name, "11.0.0.0/8", count);
	scene->object = bench_object(argv[3], &scene->sandbox);
	scene->ifindex = if_nametoindex("uplink");
	scene->arms = bpf_object__find_map_fd_by_name(scene->object, "bench_arms");
	scene->questions = bench_state_table(&scene->sandbox, "pst_questions");
	scene->leases = bench_state_table(&scene->sandbox, "pst_leases");
	scene->learned = bench_state_table(&scene->sandbox, "pst_learned");
}

static void close_scene(struct scene *scene)
{
	close(scene->questions);
	close(scene->leases);
	close(scene->learned);
	bpf_object__close(scene->object);
	bench_sandbox_close(&scene->sandbox);
}

int main(int argc, char **argv)
{
	struct scene scenes[MAX_COUNTS];
	int n = argc - 5;
	unsigned rounds;

	if (n < 1 || n > MAX_COUNTS)
		bench_fail("usage: names PARENT NETNS OBJECT ROUNDS COUNT...", EINVAL);
	rounds = bench_count(argv[4]);
	bench_enter_netns(argv[2]);
	for (int i = 0; i < n; i++)
		open_scene(&scenes[i], argv, bench_count(argv[5 + i]));
	bench_own_cpu();
	for (unsigned round = 0; round < rounds; round++) {
		for (int i = 0; i < n; i++) {
			for (enum kind kind = 0; kind < KINDS; kind++)
				time_case(&scenes[((int)round + i) % n], kind);
		}
	}
	for (int i = 0; i < n; i++)
		close_scene(&scenes[i]);
	return 0;
}
