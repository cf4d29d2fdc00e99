/* SPDX-License-Identifier: MIT */
/*
 * Denied frames -> what an application in a namespace behind a veth gets to see: the errors that its kernel makes
 * of our answers. Each first with everything allowed, when there is none. Needs root.
 */
#define _GNU_SOURCE
#include "answer_fixture.h"

#include <netinet/ip_icmp.h>
#include <netinet/icmp6.h>
#include <netinet/udp.h>

#include "tests/lib/dns_wire.h"

#define LARGE 60000

static const char *const address[2] = {"198.51.100.9", "2001:db8:1::9"};

static struct {
	struct net *net;
	struct answers answers;
	int listener[3], datagrams; /* TCP ANSWER_PORT and the two behind it; UDP ANSWER_PORT */
} the;

static socklen_t to(bool is6, uint16_t port, struct sockaddr_storage *ret_address)
{
	struct sockaddr_in6 *a6 = (struct sockaddr_in6 *)ret_address;
	struct sockaddr_in *a4 = (struct sockaddr_in *)ret_address;

	memset(ret_address, 0, sizeof(*ret_address));
	ret_address->ss_family = is6 ? AF_INET6 : AF_INET;
	a4->sin_port = htons(port);
	assert_int_equal(inet_pton(ret_address->ss_family, address[is6],
				   is6 ? (void *)&a6->sin6_addr : (void *)&a4->sin_addr),
			 1);
	return is6 ? sizeof(*a6) : sizeof(*a4);
}

/* A socket of the sandbox, connected; its errno when that failed. */
static int try_connect(bool is6, int type, int protocol, uint16_t port, int *ret_fd)
{
	const struct timeval limit = {.tv_sec = 10};
	struct sockaddr_storage at;
	socklen_t size = to(is6, port, &at);
	int r;

	net_go(the.net->here);
	*ret_fd = socket(at.ss_family, type | SOCK_CLOEXEC, protocol);
	assert_true(*ret_fd >= 0);
	assert_int_equal(setsockopt(*ret_fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)), 0);
	assert_int_equal(setsockopt(*ret_fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
	r = connect(*ret_fd, (struct sockaddr *)&at, size);
	return r < 0 ? errno : 0;
}

static int connected(bool is6, int type, uint16_t port)
{
	int fd;

	assert_int_equal(try_connect(is6, type, 0, port, &fd), 0);
	return fd;
}

static void allow(bool everything)
{
	answers_refill(&the.answers);
	the.answers.is->deny = !everything;
	the.answers.is->deny_in = 0;
}

/* What a socket's reader is told; 0: there is something to read. */
static int next_error(int fd)
{
	struct pollfd poller = {.fd = fd, .events = POLLIN};
	char byte[2];

	assert_int_equal(poll(&poller, 1, FIXTURE_DEADLINE_NS / 1000000), 1);
	return recv(fd, byte, sizeof(byte), MSG_DONTWAIT) < 0 ? errno : 0;
}

static bool has_something(int fd, int wait_ms)
{
	struct pollfd poller = {.fd = fd, .events = POLLIN};

	return poll(&poller, 1, wait_ms) > 0;
}

/* ---- TCP ---- */

static void connecting_is_refused(void **state)
{
	uint64_t start;
	int fd;

	(void)state;
	for (int is6 = 0; is6 < 2; is6++) {
		for (int both = 0; both < 2; both++) {
			uint16_t port = both ? ANSWER_PORT_BOTH : ANSWER_PORT;

			allow(true);
			close(connected(is6, SOCK_STREAM, port));
			allow(false);
			start = loop_boot_ns();
			assert_int_equal(try_connect(is6, SOCK_STREAM, 0, port, &fd), ECONNREFUSED);
			print_message("IPv%d: refused after %u us\n", is6 ? 6 : 4,
				      (unsigned)((loop_boot_ns() - start) / 1000));
			close(fd);
		}
	}
}

struct pair {
	int client, server;
};

static struct pair pair_open(bool is6, uint16_t port)
{
	int listener = the.listener[port - ANSWER_PORT];
	struct pair pair;

	allow(true);
	/* Of connections that only tried to. */
	while (has_something(listener, 0))
		close(accept4(listener, NULL, NULL, SOCK_CLOEXEC));
	pair.client = connected(is6, SOCK_STREAM, port);
	assert_true(has_something(listener, FIXTURE_DEADLINE_NS / 1000000));
	pair.server = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	assert_true(pair.server >= 0);
	assert_int_equal(send(pair.client, "a", 1, 0), 1);
	assert_int_equal(next_error(pair.server), 0);
	assert_int_equal(send(pair.server, "b", 1, 0), 1);
	assert_int_equal(next_error(pair.client), 0);
	return pair;
}

static void pair_close(struct pair pair)
{
	close(pair.client);
	close(pair.server);
}

static void an_open_connection_is_reset(void **state)
{
	static char data[LARGE];
	const size_t sizes[] = {1, 100, LARGE};
	uint64_t gso;

	(void)state;
	for (int i = 0; i < 2 * 2 * 3; i++) {
		bool is6 = i % 2, both = i / 2 % 2;
		struct pair pair = pair_open(is6, both ? ANSWER_PORT_BOTH : ANSWER_PORT);
		size_t size = sizes[i / 4];

		allow(false);
		gso = the.answers.is->gso;
		/* The reset may come before all is sent. */
		assert_true(send(pair.client, data, size, MSG_NOSIGNAL) > 0);
		assert_int_equal(next_error(pair.client), ECONNRESET);
		assert_int_equal(send(pair.client, data, 1, MSG_NOSIGNAL), -1);
		assert_int_equal(errno, EPIPE);
		/* The peer hears of it when it is told to: else it would have to find out by itself. */
		if (both)
			assert_int_equal(next_error(pair.server), ECONNRESET);
		else
			assert_false(has_something(pair.server, 0));
		assert_true(size < LARGE || the.answers.is->gso > gso);
		pair_close(pair);
	}
}

/* The sandbox only reads: its ACKs are denied. */
static void a_download_is_reset(void **state)
{
	static char data[LARGE];

	(void)state;
	for (int is6 = 0; is6 < 2; is6++) {
		struct pair pair = pair_open(is6, ANSWER_PORT_BOTH);
		int r;

		while (send(pair.server, data, sizeof(data), MSG_NOSIGNAL) > 0) {
			/* as much as fits */
		}
		allow(false);
		do
			r = recv(pair.client, data, sizeof(data), 0) < 0 ? errno : 0;
		while (!r);
		assert_int_equal(r, ECONNRESET);
		while (send(pair.server, data, 1, MSG_NOSIGNAL) > 0)
			assert_int_equal(next_error(pair.server), ECONNRESET);
		pair_close(pair);
	}
}

static void what_the_peer_sends_resets_the_connection(void **state)
{
	static char data[LARGE];

	(void)state;
	for (int i = 0; i < 2 * 2; i++) {
		struct pair pair = pair_open(i % 2, ANSWER_PORT_IN);
		uint64_t seen = the.answers.is->seen_in;

		the.answers.is->deny_in = 1;
		assert_true(send(pair.server, data, i / 2 ? sizeof(data) : 1, 0) > 0);
		assert_int_equal(next_error(pair.client), ECONNRESET);
		assert_true(the.answers.is->seen_in > seen);
		pair_close(pair);
	}
	for (int is6 = 0; is6 < 2; is6++) {
		struct pair pair = pair_open(is6, ANSWER_PORT_IN);

		the.answers.is->deny_in = 1;
		shutdown(pair.server, SHUT_WR);
		assert_int_equal(next_error(pair.client), ECONNRESET);
		pair_close(pair);
	}
	allow(true);
}

/* ---- UDP and echo ---- */

static void udp_says_that_the_host_cannot_be_reached(void **state)
{
	static char data[4000];
	const int segment = 1000;
	const int errors[2] = {EHOSTUNREACH, EACCES};

	(void)state;
	for (int i = 0; i < 2 * 3; i++) {
		bool is6 = i % 2, gso = i / 4;
		size_t size = i / 2 ? sizeof(data) / (gso ? 1 : 4) : 0;
		int fd = connected(is6, SOCK_DGRAM, ANSWER_PORT);
		uint64_t seen;

		if (gso)
			assert_int_equal(
				setsockopt(fd, SOL_UDP, UDP_SEGMENT, &segment, sizeof(segment)), 0);
		allow(true);
		assert_int_equal(send(fd, data, size, 0), size);
		assert_true(has_something(the.datagrams, FIXTURE_DEADLINE_NS / 1000000));
		while (recv(the.datagrams, data, sizeof(data), MSG_DONTWAIT) >= 0) {
			/* all segments */
		}
		assert_false(has_something(fd, 0));
		allow(false);
		seen = the.answers.is->gso;
		assert_int_equal(send(fd, data, size, 0), size);
		assert_int_equal(next_error(fd), errors[is6]);
		assert_false(has_something(the.datagrams, 0));
		assert_int_equal(the.answers.is->gso, seen + gso);
		close(fd);
	}
}

static void a_ping_says_that_the_host_cannot_be_reached(void **state)
{
	static const uint8_t echo[2][8] = {{ICMP_ECHO}, {ICMP6_ECHO_REQUEST}};
	const int errors[2] = {EHOSTUNREACH, EACCES};
	int fd;

	(void)state;
	for (int is6 = 0; is6 < 2; is6++) {
		assert_int_equal(
			try_connect(is6, SOCK_DGRAM, is6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP, 0, &fd),
			0);
		allow(true);
		assert_int_equal(send(fd, echo[is6], 8, 0), 8);
		assert_int_equal(next_error(fd), 0);
		allow(false);
		assert_int_equal(send(fd, echo[is6], 8, 0), 8);
		assert_int_equal(next_error(fd), errors[is6]);
		close(fd);
	}
}

/* ---- DNS ---- */

static void a_question_is_answered_with_no_such_name(void **state)
{
	static const struct dns_wire_header asks = {0x1234, 0x0100, 1, 0, 0, 1};
	static const uint8_t cookie[12] = {0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8},
			     blocked[8] = {0, 6, 0, 15, 0, 2, 0, 15};
	static struct dns_wire question;
	uint8_t answer[512];

	(void)state;
	dns_wire_header(&question, &asks);
	dns_wire_question(&question, "blocked.example.com", 28);
	dns_wire_opt(&question, cookie, sizeof(cookie));
	for (int is6 = 0; is6 < 2; is6++) {
		int fd = connected(is6, SOCK_DGRAM, ANSWER_PORT_DNS);
		size_t size = 12 + 21 + 4 + 11 + 6;

		allow(false);
		assert_int_equal(send(fd, question.bytes, question.size, 0), question.size);
		assert_true(has_something(fd, FIXTURE_DEADLINE_NS / 1000000));
		assert_int_equal(recv(fd, answer, sizeof(answer), 0), size);
		assert_int_equal(get16(answer), 0x1234);
		assert_int_equal(get16(answer + 2), 0x8183);
		assert_memory_equal(answer + 12, question.bytes + 12, 21 + 4);
		assert_memory_equal(answer + size - 8, blocked, 8);
		close(fd);
	}
}

/* ---- all ---- */

static int suite_open(void **state)
{
	(void)state;
	the.net = net_open();
	shell("sysctl -qw net.ipv4.ping_group_range='0 0'");
	the.answers = answers_load();
	net_go(the.net->there);
	answers_put_on(&the.answers, "pst-b");
	for (uint16_t i = 0; i < 3; i++)
		the.listener[i] = net_bind(SOCK_STREAM, "::", (uint16_t)(ANSWER_PORT + i));
	the.datagrams = net_bind(SOCK_DGRAM, "::", ANSWER_PORT);
	return 0;
}

static int suite_close(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++)
		close(the.listener[i]);
	close(the.datagrams);
	net_close(the.net);
	answers_done(&the.answers);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(connecting_is_refused),
		cmocka_unit_test(an_open_connection_is_reset),
		cmocka_unit_test(a_download_is_reset),
		cmocka_unit_test(what_the_peer_sends_resets_the_connection),
		cmocka_unit_test(udp_says_that_the_host_cannot_be_reached),
		cmocka_unit_test(a_ping_says_that_the_host_cannot_be_reached),
		cmocka_unit_test(a_question_is_answered_with_no_such_name),
	};

	return cmocka_run_group_tests(tests, suite_open, suite_close);
}
