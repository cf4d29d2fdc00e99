/* SPDX-License-Identifier: MIT */
/* Bytes both ways over real TCP: all of them, in order, with each side's end and each side's reset. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "relay_fixture.h"

#define LOTS (8u * 1024 * 1024)

struct piped {
	struct fixture *f;
	struct relay_sandbox *sandbox;
	int client, server; /* the far ends */
};

static struct session *new_session(struct relay_sandbox *sandbox, int fd)
{
	struct session *session = calloc(1, sizeof(*session));

	assert_non_null(session);
	session->fd = fd;
	session->sandbox = sandbox;
	session->policy = relay_policy_ref(sandbox->policy);
	session->verdict = PST_VERDICT_ALLOW;
	session->rule = 4;
	sandbox->sessions = session;
	sandbox->n_sessions++;
	sandbox->relay->sessions++;
	return session;
}

/* So that what a test sends is more than the kernel holds. */
static void make_small(int fd)
{
	static const int size = 65536;

	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)), 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)), 0);
}

/* client <-> pump <-> server; `head` was read of the client before. */
static struct piped start(void **state, const char *head)
{
	struct piped p = {.f = *state};
	struct buf items = {.data = NULL};
	struct session *session;
	int near[2], far[2];

	items_policy(&items, 1, 0);
	p.sandbox = add_sandbox(p.f, 5, &items);
	tcp_pair(near);
	tcp_pair(far);
	for (unsigned i = 0; i < 2; i++) {
		make_small(near[i]);
		make_small(far[i]);
	}
	p.client = near[0];
	p.server = far[0];
	session = new_session(p.sandbox, near[1]);
	if (head) {
		session->head = (uint8_t *)strdup(head);
		session->head_size = strlen(head);
	}
	assert_int_equal(pump_start(session, far[1]), 0);
	return p;
}

static void end(struct piped *p)
{
	close(p->client);
	close(p->server);
}

static bool reads(int fd, const char *wanted)
{
	char got[64];
	ssize_t n = recv(fd, got, sizeof(got), 0);

	return n == (ssize_t)strlen(wanted) && memcmp(got, wanted, (size_t)n) == 0;
}

static bool has_ended(int fd)
{
	char got;

	return recv(fd, &got, 1, 0) == 0;
}

static bool is_reset(int fd)
{
	char got;

	return recv(fd, &got, 1, 0) < 0 && errno == ECONNRESET;
}

static void what_was_read_to_know_the_name_goes_first(void **state)
{
	struct piped p = start(state, "first ");

	assert_int_equal(send(p.client, "second", 6, 0), 6);
	UNTIL(p.f, p.sandbox->sessions->bytes_out == 12);
	UNTIL(p.f, reads(p.server, "first second"));
	end(&p);
}

static void a_server_may_speak_first(void **state)
{
	struct piped p = start(state, NULL);

	assert_int_equal(send(p.server, "220 hello", 9, 0), 9);
	UNTIL(p.f, reads(p.client, "220 hello"));
	assert_int_equal(p.sandbox->sessions->bytes_in, 9);
	assert_int_equal(p.sandbox->sessions->bytes_out, 0);
	end(&p);
}

/* One side at a time: `first` ends, the other one still sends, then ends as well. */
static void ends_apart(void **state, bool client_first)
{
	struct piped p = start(state, NULL);
	int first = client_first ? p.client : p.server, second = client_first ? p.server : p.client;

	assert_int_equal(send(first, "question", 8, 0), 8);
	assert_int_equal(shutdown(first, SHUT_WR), 0);
	UNTIL(p.f, reads(second, "question"));
	UNTIL(p.f, has_ended(second));
	assert_int_equal(p.sandbox->n_sessions, 1);
	assert_int_equal(send(second, "answer", 6, 0), 6);
	UNTIL(p.f, reads(first, "answer"));
	assert_int_equal(p.sandbox->n_sessions, 1);
	assert_int_equal(shutdown(second, SHUT_WR), 0);
	UNTIL(p.f, p.sandbox->n_sessions == 0);
	UNTIL(p.f, has_ended(first));
	end(&p);
}

static void a_client_that_ends_first_hears_the_answer(void **state)
{
	ends_apart(state, true);
}

static void a_server_that_ends_first_hears_the_rest(void **state)
{
	ends_apart(state, false);
}

static void resets(void **state, bool client_first)
{
	struct piped p = start(state, NULL);
	int first = client_first ? p.client : p.server, second = client_first ? p.server : p.client;

	assert_int_equal(send(first, "x", 1, 0), 1);
	UNTIL(p.f, reads(second, "x"));
	reset_socket(first);
	UNTIL(p.f, p.sandbox->n_sessions == 0);
	UNTIL(p.f, is_reset(second));
	close(second);
}

static void a_reset_of_the_client_reaches_the_server(void **state)
{
	resets(state, true);
}

static void a_reset_of_the_server_reaches_the_client(void **state)
{
	resets(state, false);
}

/* The n-th byte of what is sent. */
static uint8_t byte_at(size_t n)
{
	return (uint8_t)(n ^ n >> 8 ^ n >> 16);
}

static size_t send_more(int fd, size_t at)
{
	uint8_t bytes[50000];
	size_t size = LOTS - at < sizeof(bytes) ? LOTS - at : sizeof(bytes);
	ssize_t sent;

	for (size_t i = 0; i < size; i++)
		bytes[i] = byte_at(at + i);
	sent = send(fd, bytes, size, MSG_NOSIGNAL);
	return sent < 0 ? 0 : (size_t)sent;
}

static size_t read_more(int fd, size_t at)
{
	uint8_t bytes[70000];
	ssize_t got = recv(fd, bytes, sizeof(bytes), 0);

	for (ssize_t i = 0; i < got; i++)
		assert_int_equal(bytes[i], byte_at(at + (size_t)i));
	return got < 0 ? 0 : (size_t)got;
}

/* The reader does not begin before nobody takes anything any more; and the end comes behind the last byte. */
static void a_slow_reader_gets_every_byte_and_holds_the_sender(void **state)
{
	struct piped p = start(state, NULL);
	size_t sent = 0, got = 0, before = 1;

	while (sent < LOTS && before != sent) {
		before = sent;
		for (unsigned i = 0; i < 50; i++) {
			sent += send_more(p.client, sent);
			turn(p.f);
		}
	}
	assert_true(sent < LOTS); /* what nobody reads is held back */
	assert_true(p.f->relay.kept > 0 && p.f->relay.kept <= 262144);
	while (got < LOTS) {
		sent += send_more(p.client, sent);
		turn(p.f);
		got += read_more(p.server, got);
	}
	assert_int_equal(p.f->relay.kept, 0);
	assert_int_equal(p.sandbox->sessions->bytes_out, LOTS);
	assert_int_equal(shutdown(p.client, SHUT_WR), 0);
	UNTIL(p.f, has_ended(p.server));
	end(&p);
}

static void an_end_waits_for_what_is_kept(void **state)
{
	struct piped p = start(state, NULL);
	size_t sent = 0, got = 0;

	while (p.f->relay.kept == 0) {
		sent += send_more(p.client, sent);
		turn(p.f);
	}
	assert_int_equal(shutdown(p.client, SHUT_WR), 0);
	UNTIL(p.f, (got += read_more(p.server, got)) == sent);
	UNTIL(p.f, has_ended(p.server));
	end(&p);
}

static void an_idle_connection_ends(void **state)
{
	struct fixture *f = *state;
	struct piped p;

	f->relay.limits.idle_ms = 50;
	p = start(state, NULL);
	UNTIL(f, p.sandbox->n_sessions == 0);
	UNTIL(f, is_reset(p.client));
	UNTIL(f, is_reset(p.server));
	end(&p);
}

static void what_was_moved_is_counted_by_rule(void **state)
{
	struct piped p = start(state, NULL);
	union heard heard;

	assert_int_equal(tally_start(&p.f->relay), 0);
	assert_int_equal(send(p.client, "12345", 5, 0), 5);
	UNTIL(p.f, reads(p.server, "12345"));
	UNTIL(p.f, hear(p.f, PST_RELAY_COUNT, &heard));
	assert_int_equal(heard.header.sandbox, 5);
	assert_int_equal(heard.count.rule, 4);
	assert_int_equal(heard.count.active, 1);
	assert_int_equal(heard.count.connections, 1);
	assert_int_equal(heard.count.bytes_out, 5);
	assert_int_equal(heard.count.bytes_in, 0);
	assert_int_equal(send(p.server, "12", 2, 0), 2);
	UNTIL(p.f, reads(p.client, "12"));
	session_end(p.sandbox->sessions, false);
	UNTIL(p.f, hear(p.f, PST_RELAY_COUNT, &heard));
	assert_int_equal(heard.count.active, 0);
	assert_int_equal(heard.count.connections, 0);
	assert_int_equal(heard.count.bytes_out, 0);
	assert_int_equal(heard.count.bytes_in, 2);
	end(&p);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		TEST(what_was_read_to_know_the_name_goes_first),
		TEST(a_server_may_speak_first),
		TEST(a_client_that_ends_first_hears_the_answer),
		TEST(a_server_that_ends_first_hears_the_rest),
		TEST(a_reset_of_the_client_reaches_the_server),
		TEST(a_reset_of_the_server_reaches_the_client),
		TEST(a_slow_reader_gets_every_byte_and_holds_the_sender),
		TEST(an_end_waits_for_what_is_kept),
		TEST(an_idle_connection_ends),
		TEST(what_was_moved_is_counted_by_rule),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
