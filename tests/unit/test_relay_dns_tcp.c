/* SPDX-License-Identifier: MIT */
/* The relay's DNS service on streams: many questions a connection, resolvers asked by TCP as well, and ends. */
#include "tests/unit/dns_fixture.h"

#include <sys/ioctl.h>

static struct message heard, asked;

static int setup(void **state)
{
	int pair[2];
	struct dns *d;

	assert_int_equal(dns_setup(state), 0);
	d = *state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair),
			 0);
	d->stream_fd = pair[0];
	d->session.fd = pair[1];
	d->session.sandbox = &d->sandbox;
	memcpy(d->session.origin.addr, d->resolvers[0].bytes, 16);
	return 0;
}

static void start(struct dns *d)
{
	assert_int_equal(dns_stream_start(&d->session), 0);
}

/* With its length in front. */
static size_t frame(uint8_t *to, const struct dns_wire *w)
{
	to[0] = (uint8_t)(w->size >> 8);
	to[1] = (uint8_t)w->size;
	memcpy(to + 2, w->bytes, w->size);
	return w->size + 2;
}

static void asks(struct dns *d, uint16_t txid, const char *name)
{
	uint8_t bytes[1024];
	struct dns_wire w;
	size_t size;

	dns_question(&w, txid, name, DNS_TYPE_A);
	size = frame(bytes, &w);
	assert_int_equal(send(d->stream_fd, bytes, size, MSG_NOSIGNAL), size);
}

static bool is_there(int fd, size_t size)
{
	int count = 0;

	assert_int_equal(ioctl(fd, FIONREAD, &count), 0);
	return (size_t)count >= size;
}

/* One message with its length, of a blocking or nonblocking stream. */
static void read_message(struct dns *d, int fd, struct message *m)
{
	uint8_t length[2];

	UNTIL(d, is_there(fd, 2));
	assert_int_equal(recv(fd, length, 2, 0), 2);
	m->size = (size_t)(length[0] << 8 | length[1]);
	UNTIL(d, is_there(fd, m->size));
	assert_int_equal(recv(fd, m->bytes, m->size, 0), m->size);
}

static int accepted(struct dns *d, int resolver)
{
	int fd = -1;

	UNTIL(d, (fd = accept4(d->listen_fd[resolver], NULL, NULL, SOCK_NONBLOCK)) >= 0);
	return fd;
}

/* The question is at the resolver, on a connection of its own. */
static int resolver_hears(struct dns *d, int resolver)
{
	int fd = accepted(d, resolver);

	read_message(d, fd, &asked);
	return fd;
}

static void resolver_says(int fd, unsigned flags, const char *address)
{
	uint8_t bytes[1024];
	struct dns_wire w;
	size_t size;

	dns_reply(&w, &asked, flags, address);
	size = frame(bytes, &w);
	assert_int_equal(send(fd, bytes, size, MSG_NOSIGNAL), size);
}

static void expect_rcode(struct dns *d, uint16_t txid, unsigned rcode)
{
	read_message(d, d->stream_fd, &heard);
	assert_int_equal(SAID_TXID(&heard), txid);
	assert_int_equal(RCODE(&heard), rcode);
}

static void expect_end(struct dns *d, bool reset)
{
	UNTIL(d, d->has_ended);
	assert_int_equal(d->was_reset, reset);
}

static void the_gate_holds_on_streams(void **state)
{
	struct dns *d = *state;

	start(d);
	asks(d, 5, "evil.net");
	expect_rcode(d, 5, DNS_NXDOMAIN);
	assert_int_equal(d->n_events, 1);
	assert_int_equal(d->events[0].protocol, PST_TCP);
	assert_string_equal(d->events[0].name, "evil.net");
	asks(d, 6, "evil.org");
	expect_rcode(d, 6, DNS_NXDOMAIN);
	assert_int_equal(accept(d->listen_fd[0], NULL, NULL), -1);
	assert_false(d->has_ended);
}

static void a_question_by_tcp_is_asked_by_tcp_and_leased_first(void **state)
{
	struct dns *d = *state;
	int fd;

	start(d);
	asks(d, 5, "eXample.com");
	fd = resolver_hears(d, 0);
	assert_memory_equal(asked.bytes + 12, "\7eXample\3com", 12);
	resolver_says(fd, REPLY_FLAGS, "192.0.2.1");
	UNTIL(d, d->n_requests == 1);
	dns_rest(d);
	assert_false(is_there(d->stream_fd, 1));
	dns_starter_says(d, 0, 0);
	expect_rcode(d, 5, DNS_NOERROR);
	assert_int_equal(heard.bytes[7], 1);
	assert_false(dns_hears(d->resolver_fd[0], &heard));
	close(fd);
}

static void the_resolver_that_was_asked_is_asked_first(void **state)
{
	struct dns *d = *state;

	d->policy->n_resolvers = 3;
	memcpy(d->session.origin.addr, d->resolvers[2].bytes, 16);
	start(d);
	asks(d, 5, "example.com");
	close(resolver_hears(d, 2));
	close(resolver_hears(d, 0));
	close(resolver_hears(d, 1));
	expect_rcode(d, 5, DNS_SERVFAIL);
}

static void answers_come_as_their_replies_do(void **state)
{
	struct message first;
	struct dns *d = *state;
	int one, two;

	start(d);
	asks(d, 1, "example.com");
	asks(d, 2, "a.example.org");
	one = resolver_hears(d, 0);
	first = asked;
	two = resolver_hears(d, 0);
	resolver_says(two, REPLY_FLAGS | DNS_NXDOMAIN, NULL);
	expect_rcode(d, 2, DNS_NXDOMAIN);
	asked = first;
	resolver_says(one, REPLY_FLAGS, NULL);
	expect_rcode(d, 1, DNS_NOERROR);
	close(one);
	close(two);
}

static void a_question_may_come_byte_by_byte(void **state)
{
	uint8_t bytes[1024];
	struct dns *d = *state;
	struct dns_wire w;
	size_t size;

	start(d);
	dns_question(&w, 9, "evil.net", DNS_TYPE_A);
	size = frame(bytes, &w);
	for (size_t i = 0; i < size; i++) {
		assert_int_equal(send(d->stream_fd, bytes + i, 1, 0), 1);
		UNTIL(d, !is_there(d->session.fd, 1));
	}
	expect_rcode(d, 9, DNS_NXDOMAIN);
}

static void what_was_read_before_counts(void **state)
{
	static uint8_t head[64];
	struct dns *d = *state;
	struct dns_wire w;

	dns_question(&w, 9, "evil.net", DNS_TYPE_A);
	d->session.head = head;
	d->session.head_size = frame(head, &w);
	start(d);
	expect_rcode(d, 9, DNS_NXDOMAIN);
}

static void more_questions_than_wait_at_once_are_all_answered(void **state)
{
	int fds[3 * DNS_STREAM_ASKS];
	struct dns *d = *state;
	unsigned open = 0;

	start(d);
	for (uint16_t i = 0; i < 3 * DNS_STREAM_ASKS; i++)
		asks(d, i, "example.com");
	assert_int_equal(shutdown(d->stream_fd, SHUT_WR), 0);
	UNTIL(d, d->sandbox.dns->n_asks == DNS_STREAM_ASKS);
	dns_stop_clock(d);
	dns_rest(d);
	assert_int_equal(d->sandbox.dns->n_asks, DNS_STREAM_ASKS);
	for (; open < 3 * DNS_STREAM_ASKS; open++) {
		fds[open] = resolver_hears(d, 0);
		resolver_says(fds[open], REPLY_FLAGS, NULL);
		read_message(d, d->stream_fd, &heard);
	}
	expect_end(d, false);
	while (open > 0)
		close(fds[--open]);
}

static void who_takes_no_answers_is_not_read_from(void **state)
{
	struct dns *d = *state;
	uint8_t bytes[1024];
	struct dns_wire w;
	size_t size, sent = 0;
	uint64_t until_ns = loop_monotonic_ns() + DEADLINE_NS;

	start(d);
	dns_question(&w, 9, "evil.net", DNS_TYPE_A);
	size = frame(bytes, &w);
	for (int quiet = 0; quiet < 50; quiet++) {
		assert_true(loop_monotonic_ns() < until_ns);
		while (send(d->stream_fd, bytes, size, MSG_NOSIGNAL) == (ssize_t)size) {
			sent++;
			quiet = 0;
			dns_turn(d);
		}
		dns_turn(d);
	}
	assert_true(d->session.dns->out_size >= DNS_STREAM_BYTES);
	assert_true(d->session.dns->out_size < DNS_STREAM_BYTES + 2048);
	assert_true(d->session.dns->out_room <= 4 * DNS_STREAM_BYTES);
	assert_true(sent > 1000);
}

/* One that needs more than all may have ends; what it had is there for others then. */
static void streams_have_no_more_room_than_all_may_have(void **state)
{
	struct dns *d = *state;

	start(d);
	d->sandbox.dns->room = DNS_STREAMS_ROOM - 1024;
	asks(d, 9, "evil.net");
	expect_rcode(d, 9, 3);
	assert_int_equal(d->sandbox.dns->room, DNS_STREAMS_ROOM - 1024);
	d->sandbox.dns->room = DNS_STREAMS_ROOM - 1023;
	asks(d, 10, "evil.net");
	expect_end(d, true);
	assert_int_equal(d->sandbox.dns->room, DNS_STREAMS_ROOM - 1023);
}

static void a_length_that_no_question_has_is_the_end(void **state)
{
	static const uint8_t lengths[][2] = {{0, 0}, {0, 11}, {2, 1}, {255, 255}};
	struct dns *d = *state;

	for (size_t i = 0; i < 4; i++) {
		if (i > 0) {
			assert_int_equal(dns_teardown(state), 0);
			assert_int_equal(setup(state), 0);
			d = *state;
		}
		start(d);
		assert_int_equal(send(d->stream_fd, lengths[i], 2, 0), 2);
		expect_end(d, true);
		assert_int_equal(d->n_events, 1);
		assert_int_equal(d->events[0].reason, PST_REASON_MALFORMED);
	}
}

static void half_a_question_and_silence_is_the_end(void **state)
{
	struct dns *d = *state;

	start(d);
	assert_int_equal(send(d->stream_fd, "\0\50half", 6, 0), 6);
	UNTIL(d, d->session.dns->in_size == 6);
	assert_true(evtimer_pending(d->session.dns->idle, NULL));
	event_active(d->session.dns->idle, EV_TIMEOUT, 1);
	expect_end(d, false);
}

static void bytes_without_a_question_do_not_keep_it_open(void **state)
{
	struct timeval before, after;
	struct dns *d = *state;

	d->relay.limits.idle_ms = 20000;
	start(d);
	assert_true(evtimer_pending(d->session.dns->idle, &before));
	for (int i = 0; i < 20; i++) {
		assert_int_equal(send(d->stream_fd, "\0", 1, 0), 1);
		UNTIL(d, !is_there(d->session.fd, 1));
		if (i == 0)
			assert_int_equal(send(d->stream_fd, "\377", 1, 0), 1);
	}
	assert_true(evtimer_pending(d->session.dns->idle, &after));
	assert_int_equal(before.tv_sec, after.tv_sec);
	assert_int_equal(before.tv_usec, after.tv_usec);
}

static void who_has_asked_and_said_the_end_gets_the_answer(void **state)
{
	struct dns *d = *state;
	int fd;

	start(d);
	asks(d, 5, "example.com");
	assert_int_equal(shutdown(d->stream_fd, SHUT_WR), 0);
	fd = resolver_hears(d, 0);
	resolver_says(fd, REPLY_FLAGS, NULL);
	expect_rcode(d, 5, DNS_NOERROR);
	expect_end(d, false);
	close(fd);
}

static void who_is_gone_is_not_waited_for(void **state)
{
	struct dns *d = *state;
	int fd;

	start(d);
	asks(d, 5, "example.com");
	fd = resolver_hears(d, 0);
	dns_close(&d->stream_fd);
	resolver_says(fd, REPLY_FLAGS, "192.0.2.1");
	UNTIL(d, d->n_requests == 1 || d->has_ended);
	if (!d->has_ended)
		dns_starter_says(d, 0, 0);
	UNTIL(d, d->has_ended);
	assert_int_equal(d->relay.questions, 0);
	close(fd);
}

static void a_stream_that_ends_takes_its_questions_along(void **state)
{
	struct dns *d = *state;
	struct message by_datagram;
	int fd;

	start(d);
	dns_asks(d, 3, "example.com", DNS_TYPE_A);
	UNTIL(d, dns_hears(d->resolver_fd[0], &by_datagram));
	asks(d, 5, "example.com");
	fd = resolver_hears(d, 0);
	__wrap_session_end(&d->session, true);
	assert_int_equal(d->sandbox.dns->n_asks, 1);
	dns_resolver_says(d, 0, &by_datagram, REPLY_FLAGS, NULL);
	UNTIL(d, dns_hears(d->client_fd, &heard));
	close(fd);
}

static void a_sandbox_without_datagrams_has_streams(void **state)
{
	struct dns *d = *state;
	uint16_t port = d->sandbox.dns->port;
	int fd;

	dns_service_free(d->sandbox.dns);
	d->sandbox.dns = NULL;
	start(d);
	assert_non_null(d->sandbox.dns);
	d->sandbox.dns->port = port;
	asks(d, 5, "example.com");
	fd = resolver_hears(d, 0);
	resolver_says(fd, REPLY_FLAGS, NULL);
	expect_rcode(d, 5, DNS_NOERROR);
	close(fd);
}

static void a_reply_may_come_in_pieces_and_be_long(void **state)
{
	static uint8_t bytes[2 + 65535];
	struct dns *d = *state;
	struct dns_wire w;
	size_t sent = 0;
	int fd;

	start(d);
	asks(d, 5, "example.com");
	fd = resolver_hears(d, 0);
	dns_reply(&w, &asked, REPLY_FLAGS, "192.0.2.1");
	bytes[0] = bytes[1] = 255;
	memcpy(bytes + 2, w.bytes, w.size);
	while (sent < sizeof(bytes)) {
		size_t size = sent < 100 ? 1 : sizeof(bytes) - sent;
		ssize_t n = send(fd, bytes + sent, size, MSG_NOSIGNAL);

		if (n > 0)
			sent += (size_t)n;
		dns_turn(d);
	}
	read_message(d, d->stream_fd, &heard);
	assert_int_equal(heard.size, 65535);
	/* Longer than what is learned from. */
	assert_int_equal(d->n_requests, 0);
	close(fd);
}

static void a_stream_with_another_answer_is_no_answer(void **state)
{
	struct dns *d = *state;
	int fd;

	d->policy->n_resolvers = 2;
	start(d);
	asks(d, 5, "example.com");
	fd = resolver_hears(d, 0);
	asked.bytes[0] ^= 1;
	resolver_says(fd, REPLY_FLAGS, "203.0.113.1");
	close(fd);
	fd = resolver_hears(d, 1);
	assert_int_equal(send(fd, "\0\5short", 7, MSG_NOSIGNAL), 7);
	expect_rcode(d, 5, DNS_SERVFAIL);
	assert_int_equal(d->n_requests, 0);
	close(fd);
}

static void a_resolver_without_tcp_is_followed_by_the_next(void **state)
{
	struct dns *d = *state;
	int fd;

	d->policy->n_resolvers = 2;
	dns_close(&d->listen_fd[0]);
	start(d);
	asks(d, 5, "example.com");
	fd = resolver_hears(d, 1);
	resolver_says(fd, REPLY_FLAGS, NULL);
	expect_rcode(d, 5, DNS_NOERROR);
	close(fd);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, dns_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_gate_holds_on_streams),
		TEST(a_question_by_tcp_is_asked_by_tcp_and_leased_first),
		TEST(the_resolver_that_was_asked_is_asked_first),
		TEST(answers_come_as_their_replies_do),
		TEST(a_question_may_come_byte_by_byte),
		TEST(what_was_read_before_counts),
		TEST(more_questions_than_wait_at_once_are_all_answered),
		TEST(who_takes_no_answers_is_not_read_from),
		TEST(streams_have_no_more_room_than_all_may_have),
		TEST(a_length_that_no_question_has_is_the_end),
		TEST(half_a_question_and_silence_is_the_end),
		TEST(bytes_without_a_question_do_not_keep_it_open),
		TEST(who_has_asked_and_said_the_end_gets_the_answer),
		TEST(who_is_gone_is_not_waited_for),
		TEST(a_stream_that_ends_takes_its_questions_along),
		TEST(a_sandbox_without_datagrams_has_streams),
		TEST(a_reply_may_come_in_pieces_and_be_long),
		TEST(a_stream_with_another_answer_is_no_answer),
		TEST(a_resolver_without_tcp_is_followed_by_the_next),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
