/* SPDX-License-Identifier: MIT */
/*
 * Neighbours. One takes all that a sandbox can get, five threads at a time, the other lives on beside it:
 *   noisy attack RESOLVER PORT OPEN SHUT TIMES   names and questions without end, flows, denials, connections
 *   noisy steady RESOLVER PORT COUNT             learns COUNT addresses, and connects to them until its input ends
 * The second asks for a new name now and then, as a resolver's client does: three times. It prints "learned N" once it has
 * them, and in the end "connects N refused N silent N asked N lost N p50_us N p99_us N cpu_p99_us N error N": what a
 * connection took, and what it took of its thread's processor, which others that run meanwhile do not lengthen.
 */
#include "tool.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>

#define HEADER	   12
#define MESSAGE	   512
#define ANSWER_MS  3000
#define CONNECT_MS 10000
#define TRIES	   3
#define PAUSE_MS   10
#define ASK_EVERY  16
#define SAMPLES	   65536
#define KEPT	   1024

static struct {
	const char *resolver, *open, *shut, *port;
	unsigned times;
	atomic_uint asked, leased, flows, denied, connected;
} the;

static size_t put_label(uint8_t *at, const char *text)
{
	size_t n = strlen(text);

	at[0] = (uint8_t)n;
	memcpy(at + 1, text, n);
	return n + 1;
}

static size_t question(uint8_t *message, uint16_t id, const char *who, unsigned number)
{
	static const uint8_t tail[] = {0, 0, 1, 0, 1};
	const uint8_t header[HEADER] = {(uint8_t)(id >> 8), (uint8_t)id, 1, 0, 0, 1};
	size_t n = HEADER;
	char label[48];

	memcpy(message, header, HEADER);
	snprintf(label, sizeof(label), "%s%d-%u", who, (int)getpid(), number);
	n += put_label(message + n, label);
	n += put_label(message + n, "race");
	n += put_label(message + n, "example");
	memcpy(message + n, tail, sizeof(tail));
	return n + sizeof(tail);
}

static int connected(const char *address, int type)
{
	struct peer to = peer_of(address, "53");
	int fd = open_socket(AF_INET, type, 0);

	return connect(fd, &to.addr.any, to.len) ? -1 : fd;
}

/* One question, and its answer's address; 0, or -1 when none came in time. */
static int ask(int dns, const char *who, unsigned number, struct in_addr *ret_address)
{
	struct pollfd ready = {.fd = dns, .events = POLLIN};
	uint16_t id = (uint16_t)(number * 7);
	uint8_t message[MESSAGE];
	size_t size = question(message, id, who, number);
	ssize_t n;

	if (send(dns, message, size, 0) < 0)
		return -1;
	while (poll(&ready, 1, ANSWER_MS) > 0) {
		n = recv(dns, message, sizeof(message), MSG_DONTWAIT);
		if (n < HEADER + 4 || (message[0] << 8 | message[1]) != id)
			continue;
		memcpy(ret_address, message + n - 4, 4);
		return 0;
	}
	return -1;
}

/* ---- who takes all ---- */

static void *question_flood(void *unused)
{
	uint8_t message[MESSAGE];
	int dns = connected(the.resolver, SOCK_DGRAM);

	for (unsigned i = 0; i < the.times * 8; i++) {
		size_t size = question(message, (uint16_t)i, "q", i);

		(void)!send(dns, message, size, MSG_DONTWAIT);
		the.asked++;
	}
	close(dns);
	return unused;
}

/* The flood of questions is in the way of its own sandbox's: it asks until it was answered so often. */
static void *lease_fill(void *unused)
{
	int dns = connected(the.resolver, SOCK_DGRAM);
	struct in_addr address;

	for (unsigned i = 0; i < the.times * 50 && the.leased < the.times; i++) {
		if (!ask(dns, "l", i, &address))
			the.leased++;
		else
			usleep(1000);
	}
	close(dns);
	return unused;
}

/* As many peers as there are ports, each with a datagram. */
static void *flow_fill(void *unused)
{
	struct peer to = peer_of(the.open, the.port);
	int fd = open_socket(AF_INET, SOCK_DGRAM, 0);

	for (unsigned i = 0; i < the.times * 4; i++) {
		to.addr.v4.sin_port = htons((uint16_t)(1024 + i % 60000));
		the.flows += sendto(fd, "x", 1, MSG_DONTWAIT, &to.addr.any, to.len) == 1;
	}
	close(fd);
	return unused;
}

static void *event_flood(void *unused)
{
	struct peer to = peer_of(the.shut, the.port);

	for (unsigned i = 0; i < the.times * 4; i++) {
		int fd = open_socket(AF_INET, SOCK_DGRAM, 0);

		(void)!sendto(fd, "x", 1, MSG_DONTWAIT, &to.addr.any, to.len);
		the.denied++;
		close(fd);
	}
	return unused;
}

static void *connection_flood(void *unused)
{
	const struct linger at_once = {.l_onoff = 1};
	struct peer to = peer_of(the.open, the.port);

	for (unsigned i = 0; i < the.times; i++) {
		int fd = open_socket(AF_INET, SOCK_STREAM, 0);

		setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
		the.connected += !connect(fd, &to.addr.any, to.len);
		close(fd);
	}
	return unused;
}

static int attack(void)
{
	void *(*const all[])(void *) = {question_flood, lease_fill, flow_fill, event_flood,
					connection_flood};
	pthread_t threads[sizeof(all) / sizeof(all[0])];

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (pthread_create(&threads[i], NULL, all[i], NULL))
			return 1;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		pthread_join(threads[i], NULL);
	printf("asked %u leased %u flows %u denied %u connected %u\n", the.asked, the.leased,
	       the.flows, the.denied, the.connected);
	return 0;
}

/* ---- who lives on ---- */

struct steady {
	struct in_addr kept[KEPT];
	unsigned n_kept, connects, refused, silent, asked, lost, n_took;
	int error; /* of the last that was refused */
	double took_us[SAMPLES], cpu_us[SAMPLES];
};

static int learn(struct steady *s, int dns, struct in_addr *ret_address)
{
	for (int i = 0; i < TRIES; i++)
		if (!ask(dns, "v", s->asked++, ret_address))
			return 0;
	s->lost++;
	return -1;
}

static double thread_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

/* Waits for no longer than a SYN that is sent again takes. */
static void call(struct steady *s, struct in_addr address)
{
	const struct linger at_once = {.l_onoff = 1};
	struct sockaddr_in to = {.sin_family = AF_INET,
				 .sin_port = htons((uint16_t)atoi(the.port)),
				 .sin_addr = address};
	int fd = open_socket(AF_INET, SOCK_STREAM, 0), r, error = 0;
	struct pollfd ready = {.fd = fd, .events = POLLOUT};
	socklen_t size = sizeof(error);
	double since = now_ms(), spent_us = thread_us();

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	fcntl(fd, F_SETFL, O_NONBLOCK);
	r = connect(fd, (struct sockaddr *)&to, sizeof(to));
	if (r && errno != EINPROGRESS)
		error = errno;
	else if (poll(&ready, 1, CONNECT_MS) <= 0)
		error = ETIMEDOUT;
	else
		getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
	s->connects++;
	s->refused += error && error != ETIMEDOUT;
	s->silent += error == ETIMEDOUT;
	s->error = error && error != ETIMEDOUT ? error : s->error;
	if (!error) {
		s->cpu_us[s->n_took % SAMPLES] = thread_us() - spent_us;
		s->took_us[s->n_took++ % SAMPLES] = (now_ms() - since) * 1000;
	}
	close(fd);
}

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* The percentile of n values, which are sorted. */
static double of(double *values, unsigned n, unsigned percent)
{
	qsort(values, n, sizeof(values[0]), ascending);
	return n ? values[n * percent / 100] : 0;
}

/* The pause between two calls, which is no flood: a sandbox's own tables are bounded, too. */
static int over(void)
{
	struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};

	return poll(&input, 1, PAUSE_MS) != 0;
}

static int steady(unsigned count)
{
	static struct steady s;
	int dns = connected(the.resolver, SOCK_DGRAM);
	struct in_addr fresh;
	unsigned n;

	while (s.n_kept < count && s.n_kept < KEPT && !learn(&s, dns, &s.kept[s.n_kept]))
		s.n_kept++;
	printf("learned %u\n", s.n_kept);
	fflush(stdout);
	/* Each of them at least once more, however soon it is over. */
	for (n = 0; !over() || n < 2 * s.n_kept; n++) {
		call(&s, s.kept[n % s.n_kept]);
		if (n % ASK_EVERY == 0 && !learn(&s, dns, &fresh))
			call(&s, fresh);
	}
	for (n = 0; n < s.n_kept; n++)
		call(&s, s.kept[n]);
	n = s.n_took < SAMPLES ? s.n_took : SAMPLES;
	printf("connects %u refused %u silent %u asked %u lost %u p50_us %.0f p99_us %.0f cpu_p99_us %.0f error %d\n",
	       s.connects, s.refused, s.silent, s.asked, s.lost, of(s.took_us, n, 50),
	       of(s.took_us, n, 99), of(s.cpu_us, n, 99), s.error);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc < 5)
		misuse("noisy attack RESOLVER PORT OPEN SHUT TIMES | noisy steady RESOLVER PORT COUNT");
	the.resolver = argv[2];
	the.port = argv[3];
	if (strcmp(argv[1], "steady") == 0)
		return steady((unsigned)atoi(argv[4]));
	if (argc != 7)
		misuse("noisy attack RESOLVER PORT OPEN SHUT TIMES");
	the.open = argv[4];
	the.shut = argv[5];
	the.times = (unsigned)atoi(argv[6]);
	return attack();
}
