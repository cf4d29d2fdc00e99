/* SPDX-License-Identifier: MIT */
/* Names as the relay resolves them: who is asked what, what is believed, who may ask while others fill the queue. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <arpa/inet.h>

#include "relay_fixture.h"
#include "tests/lib/dns_wire.h"

#define NAME_AT	    12
#define REPLY	    0x8180
#define REPLY_TC    0x8380
#define TYPE_A	    1
#define TYPE_AAAA   28
#define RCODE(code) (REPLY | (code))

struct place {
	struct fixture *f;
	struct relay_sandbox *one, *other;
	int udp, tcp; /* the resolver */
	uint16_t port;
};

struct result {
	struct addr addrs[16];
	size_t count;
	unsigned calls;
};

static void on_resolved(void *context, const struct addr *addrs, size_t count)
{
	struct result *result = context;

	assert_true(count <= 16);
	memcpy(result->addrs, addrs, count * sizeof(*addrs));
	result->count = count;
	result->calls++;
}

static void items_resolver(struct buf *items, const char *text)
{
	struct addr addr;

	assert_int_equal(addr_parse(text, &addr, NULL), 0);
	items_add(items, PST_RELAY_ITEM_RESOLVER, &addr, sizeof(addr));
}

static struct buf policy(const char *resolver)
{
	struct buf items = {.data = NULL};

	items_policy(&items, 1, 0);
	items_resolver(&items, resolver);
	return items;
}

static int bound(int type, uint16_t *port)
{
	struct endpoint at = {.addr = {.bytes = {[10] = 0xff, 0xff, 127, 0, 0, 1}}, .port = *port};
	struct sockaddr_storage address;
	socklen_t size = endpoint_write(&at, &address);
	int fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_true(fd >= 0);
	if (bind(fd, (struct sockaddr *)&address, size) < 0) {
		close(fd);
		return -1;
	}
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
	assert_int_equal(endpoint_read(&address, &at), 0);
	*port = at.port;
	return fd;
}

static int setup(void **state)
{
	struct place *p = calloc(1, sizeof(*p));
	struct buf items;
	void *f = NULL;

	if (!p || fixture_setup(&f) < 0)
		return -1;
	p->f = f;
	/* A port of UDP may be taken for TCP. */
	do {
		p->port = 0;
		p->udp = bound(SOCK_DGRAM, &p->port);
		p->tcp = bound(SOCK_STREAM, &p->port);
	} while (p->tcp < 0 && close(p->udp) == 0);
	if (listen(p->tcp, 8) < 0)
		return -1;
	resolver_set(p->f->relay.resolver, p->port, 2048);
	items = policy("127.0.0.1");
	p->one = add_sandbox(f, 5, &items);
	items = policy("127.0.0.1");
	p->other = add_sandbox(f, 6, &items);
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	struct place *p = *state;
	void *f = p->f;

	close(p->udp);
	close(p->tcp);
	free(p);
	return fixture_teardown(&f);
}

/* ---- the resolver ---- */

struct question {
	uint8_t bytes[512];
	ssize_t size;
	struct sockaddr_storage from;
	unsigned type;
};

static bool hears(const struct place *p, struct question *q)
{
	socklen_t size = sizeof(q->from);

	q->size =
		recvfrom(p->udp, q->bytes, sizeof(q->bytes), 0, (struct sockaddr *)&q->from, &size);
	if (q->size < NAME_AT)
		return false;
	q->type = q->bytes[NAME_AT + strlen((char *)q->bytes + NAME_AT) + 2];
	return true;
}

/* The reply to it, with that address (NULL: none). */
static void compose(const struct question *q, unsigned flags, const char *address,
		    struct dns_wire *w)
{
	const struct dns_wire_header header = {.txid = (uint16_t)(q->bytes[0] << 8 | q->bytes[1]),
					       .flags = (uint16_t)flags,
					       .questions = 1,
					       .answers = address != NULL};

	dns_wire_header(w, &header);
	dns_wire_bytes(w, q->bytes + NAME_AT, strlen((const char *)q->bytes + NAME_AT) + 1 + 4);
	if (address)
		dns_wire_address(w, "@12", 60, address);
}

static void says(const struct place *p, const struct question *q, unsigned flags,
		 const char *address)
{
	struct dns_wire w;

	compose(q, flags, address, &w);
	assert_int_equal(sendto(p->udp, w.bytes, w.size, 0, (const struct sockaddr *)&q->from,
				sizeof(struct sockaddr_in)),
			 w.size);
}

/* Both questions of a lookup: [0] for A, [1] for AAAA. */
static void hears_both(const struct place *p, struct question q[2])
{
	struct question heard;

	for (unsigned i = 0; i < 2; i++) {
		UNTIL(p->f, hears(p, &heard));
		q[heard.type == TYPE_AAAA] = heard;
	}
	assert_int_equal(q[0].type, TYPE_A);
	assert_int_equal(q[1].type, TYPE_AAAA);
}

static struct resolve *asks(struct relay_sandbox *sandbox, const char *name, struct result *result)
{
	struct resolve *resolve = NULL;

	memset(result, 0, sizeof(*result));
	assert_int_equal(relay_resolve(sandbox, name, on_resolved, result, &resolve), 0);
	assert_non_null(resolve);
	return resolve;
}

static bool is_address(const struct addr *addr, const char *text)
{
	struct addr wanted;

	assert_int_equal(addr_parse(text, &wanted, NULL), 0);
	return addr_equal(addr, &wanted);
}

/* ---- tests ---- */

static void both_types_are_asked_for_and_what_is_known_is_not_asked_again(void **state)
{
	struct place *p = *state;
	struct question q[2];
	struct result result;

	(void)asks(p->one, "api.example.com", &result);
	hears_both(p, q);
	says(p, &q[0], REPLY, "192.0.2.1");
	says(p, &q[1], REPLY, "2001:db8::1");
	UNTIL(p->f, result.calls == 1);
	assert_int_equal(result.count, 2);
	assert_true(is_address(&result.addrs[0], "2001:db8::1"));
	assert_true(is_address(&result.addrs[1], "192.0.2.1"));
	assert_int_equal(p->one->n_lookups, 0);
	/* Of the other sandbox, too: its resolvers are the same. */
	(void)asks(p->other, "api.example.com", &result);
	UNTIL(p->f, result.calls == 1);
	assert_int_equal(result.count, 2);
	assert_false(hears(p, &q[0]));
}

static void a_reply_to_another_question_is_not_believed(void **state)
{
	struct place *p = *state;
	struct question q[2], forged;
	struct result result;

	(void)asks(p->one, "api.example.com", &result);
	hears_both(p, q);
	forged = q[0];
	forged.bytes[0] ^= 0xff;
	says(p, &forged, REPLY, "192.0.2.66");
	forged = q[0];
	forged.bytes[NAME_AT + 1] ^= 0x20;
	says(p, &forged, REPLY, "192.0.2.66");
	says(p, &q[0], REPLY, "192.0.2.1");
	says(p, &q[1], REPLY, NULL);
	UNTIL(p->f, result.calls == 1);
	assert_int_equal(result.count, 1);
	assert_true(is_address(&result.addrs[0], "192.0.2.1"));
}

static void serve_stream(struct place *p, const char *address)
{
	struct question q = {.size = 0};
	struct dns_wire w;
	uint8_t length[2];
	int fd = -1;

	UNTIL(p->f, (fd = accept4(p->tcp, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0);
	UNTIL(p->f, recv(fd, length, 2, 0) == 2);
	UNTIL(p->f, (q.size = recv(fd, q.bytes, sizeof(q.bytes), 0)) > 0);
	assert_int_equal(q.size, length[0] << 8 | length[1]);
	compose(&q, REPLY, address, &w);
	length[0] = (uint8_t)(w.size >> 8);
	length[1] = (uint8_t)w.size;
	/* In pieces. */
	assert_int_equal(send(fd, length, 1, 0), 1);
	turn(p->f);
	assert_int_equal(send(fd, length + 1, 1, 0), 1);
	turn(p->f);
	assert_int_equal(send(fd, w.bytes, 20, 0), 20);
	turn(p->f);
	assert_int_equal(send(fd, w.bytes + 20, w.size - 20, 0), w.size - 20);
	turn(p->f);
	close(fd);
}

static void what_is_truncated_is_asked_for_by_tcp(void **state)
{
	struct place *p = *state;
	struct question q[2];
	struct result result;

	(void)asks(p->one, "big.example.com", &result);
	hears_both(p, q);
	says(p, &q[1], REPLY, NULL);
	says(p, &q[0], REPLY_TC, NULL);
	serve_stream(p, "192.0.2.9");
	UNTIL(p->f, result.calls == 1);
	assert_int_equal(result.count, 1);
	assert_true(is_address(&result.addrs[0], "192.0.2.9"));
}

static void what_is_longer_than_a_datagram_may_be_is_asked_for_by_tcp(void **state)
{
	static const uint8_t zeros[PST_DNS_MAX_MESSAGE];
	struct place *p = *state;
	struct question q[2];
	struct result result;
	struct dns_wire w;

	(void)asks(p->one, "long.example.com", &result);
	hears_both(p, q);
	says(p, &q[1], REPLY, NULL);
	compose(&q[0], REPLY, "192.0.2.66", &w);
	dns_wire_bytes(&w, zeros, sizeof(zeros));
	assert_int_equal(sendto(p->udp, w.bytes, w.size, 0, (struct sockaddr *)&q[0].from,
				sizeof(struct sockaddr_in)),
			 w.size);
	serve_stream(p, "192.0.2.9");
	UNTIL(p->f, result.calls == 1);
	assert_true(is_address(&result.addrs[0], "192.0.2.9"));
}

static void a_name_that_does_not_exist_is_settled_and_a_failure_is_asked_again(void **state)
{
	struct place *p = *state;
	struct question q[2], again;
	struct result result;

	(void)asks(p->one, "none.example.com", &result);
	hears_both(p, q);
	says(p, &q[0], RCODE(3), NULL);
	says(p, &q[1], RCODE(2), NULL);
	UNTIL(p->f, hears(p, &again));
	assert_int_equal(again.type, TYPE_AAAA);
	assert_int_equal(result.calls, 0);
	says(p, &again, RCODE(3), NULL);
	UNTIL(p->f, result.calls == 1);
	assert_int_equal(result.count, 0);
}

static void an_address_that_is_always_denied_is_left_out(void **state)
{
	struct place *p = *state;
	struct buf items = policy("127.0.0.1");
	struct question q[2];
	struct result result;

	items_range(&items, PST_RELAY_ITEM_CLOSED, "192.0.2.0/24");
	change_policy(p->one, &items);
	(void)asks(p->one, "api.example.com", &result);
	hears_both(p, q);
	says(p, &q[0], REPLY, "192.0.2.1");
	says(p, &q[1], REPLY, "2001:db8::1");
	UNTIL(p->f, result.calls == 1);
	assert_int_equal(result.count, 1);
	assert_true(is_address(&result.addrs[0], "2001:db8::1"));
}

/* Its answer is on its way when the operator takes the resolver out of the policy, as it lies. */
static void a_resolver_that_a_change_removes_is_not_believed_any_more(void **state)
{
	struct place *p = *state;
	struct buf items = policy("127.0.0.99");
	struct question q[2];
	struct result before, others;

	(void)asks(p->one, "api.example.com", &before);
	(void)asks(p->other, "api.example.com", &others);
	hears_both(p, q);
	change_policy(p->one, &items);
	says(p, &q[0], REPLY, "192.0.2.1");
	says(p, &q[1], REPLY, NULL);
	UNTIL(p->f, before.calls == 1 && others.calls == 1);
	assert_int_equal(before.count, 0);
	assert_int_equal(others.count, 1);
}

/* Names of a zone whose name server says nothing, until no more is asked for. Returns how many. */
static size_t fill(struct relay_sandbox *sandbox, struct resolve *resolves[], size_t most,
		   struct result *result)
{
	char name[64];
	size_t n = 0;
	int r;

	for (; n < most; n++) {
		snprintf(name, sizeof(name), "n%zu-%u.own.example", n, (unsigned)sandbox->id);
		r = relay_resolve(sandbox, name, on_resolved, result, &resolves[n]);
		if (r < 0) {
			assert_int_equal(r, -EBUSY);
			break;
		}
	}
	return n;
}

static void one_that_asks_for_much_leaves_room_for_the_others(void **state)
{
	struct place *p = *state;
	struct resolve *first[128], *second[128], *joined;
	struct result result = {.count = 0};
	size_t n, m;

	/* Half of it; of the rest half; and who has few may have some all the same. */
	resolver_set(p->f->relay.resolver, p->port, 64);
	n = fill(p->one, first, 128, &result);
	assert_int_equal(n, 32);
	m = fill(p->other, second, 128, &result);
	assert_int_equal(m, 16);
	resolver_set(p->f->relay.resolver, p->port, 8);
	for (size_t i = 0; i < m; i++)
		relay_resolve_cancel(second[i]);
	assert_int_equal(p->other->n_lookups, 0);
	m = fill(p->other, second, 128, &result);
	assert_int_equal(m, 16);
	/* To wait for what somebody asks for already takes no room, until that one has gone. */
	assert_int_equal(relay_resolve(p->other, "n0-5.own.example", on_resolved, &result, &joined),
			 0);
	assert_int_equal(p->other->n_lookups, 16);
	for (size_t i = 0; i < n; i++)
		relay_resolve_cancel(first[i]);
	assert_int_equal(p->one->n_lookups, 0);
	assert_int_equal(p->other->n_lookups, 17);
	relay_resolve_cancel(joined);
	for (size_t i = 0; i < m; i++)
		relay_resolve_cancel(second[i]);
	assert_int_equal(p->other->n_lookups, 0);
}

static void while_one_is_at_its_limit_another_one_is_served(void **state)
{
	struct place *p = *state;
	struct resolve *first[128];
	struct question q;
	struct result silent, served;
	size_t n;

	resolver_set(p->f->relay.resolver, p->port, 32);
	memset(&silent, 0, sizeof(silent));
	n = fill(p->one, first, 128, &silent);
	assert_int_equal(n, 16);
	assert_int_equal(relay_resolve(p->one, "one.example.com", on_resolved, &silent, &first[n]),
			 -EBUSY);
	(void)asks(p->other, "api.example.com", &served);
	while (!served.calls) {
		UNTIL(p->f, served.calls || hears(p, &q));
		if (!served.calls && memcmp(q.bytes + NAME_AT + 1, "api", 3) == 0)
			says(p, &q, REPLY, q.type == TYPE_A ? "192.0.2.1" : NULL);
	}
	assert_int_equal(served.count, 1);
	assert_int_equal(silent.calls, 0);
	for (size_t i = 0; i < n; i++)
		relay_resolve_cancel(first[i]);
}

static enum pst_reason dialled;

static void on_dialled(void *context, int fd, enum pst_reason reason)
{
	(void)context;
	if (fd >= 0)
		close(fd);
	dialled = reason;
}

static void a_full_queue_is_told_as_such(void **state)
{
	const struct relay_target target = {.name = "api.example.com", .port = 443};
	struct place *p = *state;
	struct resolve *first[128];
	struct result silent = {.count = 0};
	size_t n;

	resolver_set(p->f->relay.resolver, p->port, 0);
	n = fill(p->one, first, 128, &silent);
	dialled = PST_REASON_UNSET;
	assert_non_null(relay_dial(p->one, &target, on_dialled, NULL));
	UNTIL(p->f, dialled != PST_REASON_UNSET);
	assert_int_equal(dialled, PST_REASON_RELAY_BUSY);
	for (size_t i = 0; i < n; i++)
		relay_resolve_cancel(first[i]);
}

static int socket_at(const char *text, uint16_t *port, bool listens)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(*port)};
	socklen_t size = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_int_equal(inet_pton(AF_INET, text, &at.sin_addr), 1);
	if (listens) {
		assert_int_equal(bind(fd, (struct sockaddr *)&at, size), 0);
		assert_int_equal(listen(fd, 0), 0);
		assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &size), 0);
		*port = ntohs(at.sin_port);
	} else {
		(void)connect(fd, (struct sockaddr *)&at, size);
	}
	return fd;
}

/* A name of two addresses, the first of which takes no connection and says nothing. */
static void dials_past_silence(struct place *p)
{
	struct relay_target target = {.name = "api.example.com"};
	int fds[8], silent = socket_at("127.0.0.2", &target.port, true);
	int there = socket_at("127.0.0.3", &target.port, true);
	struct question q[2];
	struct dns_wire w;

	for (size_t i = 0; i < 8; i++)
		fds[i] = socket_at("127.0.0.2", &target.port, false);
	dialled = PST_REASON_MAX;
	assert_non_null(relay_dial(p->one, &target, on_dialled, NULL));
	hears_both(p, q);
	says(p, &q[1], REPLY, NULL);
	compose(&q[0], REPLY, "127.0.0.2", &w);
	dns_wire_address(&w, "@12", 0, "127.0.0.3");
	dns_wire_patch(&w, 6, 2);
	assert_int_equal(sendto(p->udp, w.bytes, w.size, 0, (struct sockaddr *)&q[0].from,
				sizeof(struct sockaddr_in)),
			 w.size);
	UNTIL(p->f, dialled != PST_REASON_MAX);
	for (size_t i = 0; i < 8; i++)
		close(fds[i]);
	close(silent);
	close(there);
}

/* They take descriptors, of which others want some, too. */
static void many_silent_addresses_of_one_are_tried_one_at_a_time(void **state)
{
	struct place *p = *state;
	struct buf items = policy("127.0.0.1");

	items_range(&items, PST_RELAY_ITEM_OPEN, "127.0.0.0/8");
	change_policy(p->one, &items);
	dials_past_silence(p);
	assert_int_equal(dialled, PST_REASON_UNSET);
	assert_int_equal(p->f->relay.n_spare, 0);
	assert_int_equal(p->one->n_spare, 0);
	p->f->relay.n_spare = p->one->n_spare = 1024;
	p->f->relay.limits.dial_ms = 800;
	dials_past_silence(p);
	assert_int_equal(dialled, PST_REASON_UNREACHED);
	assert_int_equal(p->one->n_spare, 1024);
	/* Others have filled it: who has few may try some all the same. */
	p->one->n_spare = 0;
	p->f->relay.limits.dial_ms = PST_RELAY_DIAL_MS;
	dials_past_silence(p);
	assert_int_equal(dialled, PST_REASON_UNSET);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(both_types_are_asked_for_and_what_is_known_is_not_asked_again),
		TEST(a_reply_to_another_question_is_not_believed),
		TEST(what_is_truncated_is_asked_for_by_tcp),
		TEST(what_is_longer_than_a_datagram_may_be_is_asked_for_by_tcp),
		TEST(a_name_that_does_not_exist_is_settled_and_a_failure_is_asked_again),
		TEST(an_address_that_is_always_denied_is_left_out),
		TEST(a_resolver_that_a_change_removes_is_not_believed_any_more),
		TEST(one_that_asks_for_much_leaves_room_for_the_others),
		TEST(while_one_is_at_its_limit_another_one_is_served),
		TEST(a_full_queue_is_told_as_such),
		TEST(many_silent_addresses_of_one_are_tried_one_at_a_time),
	};
#undef TEST

	return cmocka_run_group_tests(tests, NULL, NULL);
}
