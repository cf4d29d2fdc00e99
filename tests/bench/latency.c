/* SPDX-License-Identifier: MIT */
/*
 * How long an answer takes to come, asked of the resolver itself without and with Postern, and of two forwarders:
 * latency PARENT NETNS RESOLVER FORWARDER FORWARDER_THAT_FILLS_A_SET ROUNDS. Prints latency.MODE.p50 and
 * latency.MODE.p99 in us: of the questions of a round, each for a name that nobody asked for before.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "tests/bench/lib/names.h"

#define QUESTIONS 300
#define ANSWERS	  7 /* the place of the low byte of their number */
#define EDNS_SIZE 11

enum mode { DIRECT = 0, POSTERN, FORWARD, NFTSET, MODES };

static const char *const mode_name[MODES] = {"direct", "postern", "forward", "nftset"};

struct sides {
	struct bench_sandbox sandbox;
	const char *resolver[MODES];
	int leases, learned;
	int home;
	unsigned asked;
};

static int open_socket(const char *resolver)
{
	const struct timeval patience = {.tv_sec = 5};
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(53)};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || inet_pton(AF_INET, resolver, &to.sin_addr) != 1 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) ||
	    connect(fd, (const struct sockaddr *)&to, sizeof(to)))
		bench_fail(resolver, errno);
	return fd;
}

static double ask(int fd, unsigned number)
{
	struct bench_message question;
	unsigned char reply[BENCH_MESSAGE_SIZE];
	char name[BENCH_NAME_SIZE];
	uint64_t start;
	ssize_t size;

	snprintf(name, sizeof(name), "n%u.race.example", number);
	bench_question(&question, (uint16_t)number, name);
	question.size -= EDNS_SIZE; /* the tests' name server knows none */
	question.bytes[11] = 0;
	start = bench_now_ns();
	if (send(fd, question.bytes, question.size, 0) != (ssize_t)question.size)
		bench_fail("asking", errno);
	size = recv(fd, reply, sizeof(reply), 0);
	if (size < (ssize_t)question.size || reply[ANSWERS] != 1)
		bench_fail("no answer", size < 0 ? errno : EBADMSG);
	return (double)(bench_now_ns() - start) / 1e3;
}

static void measure(struct sides *sides, enum mode mode)
{
	double us[QUESTIONS];
	int fd;

	if (mode == POSTERN)
		bench_enter_cgroup(sides->sandbox.cgroup_fd);
	fd = open_socket(sides->resolver[mode]);
	for (int i = 0; i < QUESTIONS; i++)
		us[i] = ask(fd, sides->asked++);
	close(fd);
	if (mode == POSTERN)
		bench_enter_cgroup(sides->home);
	bench_sample(bench_median(us, QUESTIONS), "latency.%s.p50", mode_name[mode]);
	/* Sorted by now. */
	bench_sample(us[QUESTIONS * 99 / 100], "latency.%s.p99", mode_name[mode]);
	bench_clear(sides->leases, sizeof(struct pst_addr));
	bench_clear(sides->learned, sizeof(struct pst_name_id));
}

static void open_sandbox(struct sides *sides, const char *parent)
{
	cleanup_buf struct buf text = {0};
	cleanup_policy struct policy *policy = NULL;
	cleanup_table struct table *table = NULL;

	buf_printf(&text,
		   "{\"allowOut\": [\"*.race.example:*\"], \"denyOut\": [\"0.0.0.0/0\"],\n"
		   "\"dns\": {\"resolvers\": [\"%s\"]}}\n",
		   sides->resolver[POSTERN]);
	policy = bench_parse(&text);
	table = bench_compile(policy);
	bench_sandbox_open(&sides->sandbox, parent, "latency", table, NULL);
	sides->leases = bench_state_table(&sides->sandbox, "pst_leases");
	sides->learned = bench_state_table(&sides->sandbox, "pst_learned");
}

int main(int argc, char **argv)
{
	struct sides sides = {0};
	unsigned rounds;

	if (argc != 7)
		bench_fail("usage: latency PARENT NETNS RESOLVER FORWARDER FORWARDER ROUNDS",
			   EINVAL);
	sides.resolver[DIRECT] = sides.resolver[POSTERN] = argv[3];
	sides.resolver[FORWARD] = argv[4];
	sides.resolver[NFTSET] = argv[5];
	rounds = bench_count(argv[6]);
	sides.home = bench_home_cgroup();
	bench_enter_netns(argv[2]);
	open_sandbox(&sides, argv[1]);
	for (unsigned round = 0; round < rounds; round++) {
		for (unsigned i = 0; i < MODES; i++)
			measure(&sides, (enum mode)((round + i) % MODES));
	}
	if (bench_quota(&sides.sandbox).replies[PST_REPLY_LEARNED] != rounds * QUESTIONS)
		bench_fail("replies that were not learned from", EINVAL);
	close(sides.leases);
	close(sides.learned);
	bench_sandbox_close(&sides.sandbox);
	return 0;
}
