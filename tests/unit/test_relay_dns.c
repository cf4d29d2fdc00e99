/* SPDX-License-Identifier: MIT */
/* The relay's DNS service on datagrams: what reaches a resolver, what comes back, and when. */
#include "tests/unit/dns_fixture.h"

static struct message heard, asked;

/* The question is at the resolver. */
static void ask(struct dns *d, const char *name)
{
	dns_asks(d, 0x1234, name, DNS_TYPE_A);
	UNTIL(d, dns_hears(d->resolver_fd[0], &asked));
}

/* The reply is at the sandbox: of the question 0x1234, from the address that was asked. */
static void expect_rcode(struct dns *d, unsigned rcode)
{
	UNTIL(d, dns_hears(d->client_fd, &heard));
	assert_int_equal(SAID_TXID(&heard), 0x1234);
	assert_int_equal(RCODE(&heard), rcode);
	assert_int_equal(((struct sockaddr_in *)&heard.from)->sin_addr.s_addr,
			 inet_addr("127.0.0.2"));
}

static void expect_silence(struct dns *d, int fd)
{
	dns_rest(d);
	assert_false(dns_hears(fd, &heard));
}

static void off_the_list_no_such_name_comes_at_once_and_nothing_leaves(void **state)
{
	struct dns *d = *state;

	dns_asks(d, 0x1234, "evil.net", DNS_TYPE_A);
	expect_rcode(d, DNS_NXDOMAIN);
	expect_silence(d, d->resolver_fd[0]);
	assert_int_equal(d->n_events, 1);
	assert_int_equal(d->events[0].reason, PST_REASON_NAME_GATE);
	assert_int_equal(d->events[0].verdict, PST_VERDICT_DENY);
	assert_int_equal(d->events[0].protocol, PST_UDP);
	assert_int_equal(d->events[0].port, 53);
	assert_int_equal(d->events[0].header.sandbox, 7);
	assert_string_equal(d->events[0].name, "evil.net");
	assert_memory_equal(d->events[0].addr, d->resolvers[0].bytes, 16);
}

static void a_question_leaves_with_its_own_bytes_and_another_number(void **state)
{
	static const unsigned char cookie[] = {0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8};
	struct dns *d = *state;
	unsigned same = 0;
	struct dns_wire w;

	for (int i = 0; i < 8; i++) {
		dns_question(&w, 0x1234, "eXaMpLe.CoM", DNS_TYPE_A);
		dns_wire_patch(&w, 10, 1);
		dns_wire_opt(&w, cookie, sizeof(cookie));
		dns_send_to(d, "127.0.0.2", w.bytes, w.size);
		UNTIL(d, dns_hears(d->resolver_fd[0], &asked));
		assert_int_equal(asked.size, w.size);
		assert_memory_equal(asked.bytes + 2, w.bytes + 2, w.size - 2);
		same += SAID_TXID(&asked) == 0x1234;
	}
	assert_true(same < 3);
	assert_int_equal(d->n_events, 0);
}

static void ports_of_questions_differ(void **state)
{
	struct dns *d = *state;
	unsigned same = 0;
	in_port_t port = 0;

	for (int i = 0; i < 8; i++) {
		ask(d, "example.com");
		same += ((struct sockaddr_in *)&asked.from)->sin_port == port;
		port = ((struct sockaddr_in *)&asked.from)->sin_port;
	}
	assert_true(same < 3);
}

static void the_reply_waits_for_the_lease(void **state)
{
	struct dns *d = *state;

	ask(d, "Example.Com");
	dns_resolver_says(d, 0, &asked, REPLY_FLAGS, "192.0.2.1");
	UNTIL(d, d->n_requests == 1);
	expect_silence(d, d->client_fd);
	assert_string_equal(d->requests[0].lease.name, "example.com");
	assert_int_equal(d->requests[0].lease.header.sandbox, 7);
	assert_int_equal(d->requests[0].lease.count, 1);
	assert_int_equal(d->requests[0].lease.answers[0].ttl_s, 300);
	assert_memory_equal(d->requests[0].lease.answers[0].addr,
			    "\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\2\1", 16);
	dns_starter_says(d, 0, 0);
	expect_rcode(d, DNS_NOERROR);
	assert_int_equal(heard.bytes[7], 1);
	/* The question in it as it was asked, not as it was matched. */
	assert_memory_equal(heard.bytes + 12, "\7Example\3Com", 12);
	assert_int_equal(d->sandbox.dns->held, 0);
}

static void the_starters_refusal_is_a_failure(void **state)
{
	struct dns *d = *state;

	ask(d, "example.com");
	dns_resolver_says(d, 0, &asked, REPLY_FLAGS, "192.0.2.1");
	UNTIL(d, d->n_requests == 1);
	dns_starter_says(d, 0, -EPERM);
	expect_rcode(d, DNS_SERVFAIL);
	assert_int_equal(heard.bytes[7], 0);
}

static void the_starters_silence_is_a_failure(void **state)
{
	struct dns *d = *state;

	ask(d, "example.com");
	dns_resolver_says(d, 0, &asked, REPLY_FLAGS, "192.0.2.1");
	UNTIL(d, d->n_requests == 1);
	event_active(d->sandbox.dns->asks->timer, EV_TIMEOUT, 1);
	expect_rcode(d, DNS_SERVFAIL);
	assert_int_equal(d->n_forgotten, 1);
	expect_silence(d, d->client_fd);
}

static void a_starter_that_is_gone_is_a_failure(void **state)
{
	struct dns *d = *state;

	d->takes_none = true;
	ask(d, "example.com");
	dns_resolver_says(d, 0, &asked, REPLY_FLAGS, "192.0.2.1");
	expect_rcode(d, DNS_SERVFAIL);
}

static void replies_without_addresses_need_no_lease(void **state)
{
	static const unsigned flags[] = {REPLY_FLAGS, REPLY_FLAGS | DNS_NXDOMAIN,
					 REPLY_FLAGS | DNS_SERVFAIL, REPLY_FLAGS | 0x200};
	struct dns *d = *state;

	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		ask(d, "example.com");
		dns_resolver_says(d, 0, &asked, flags[i], NULL);
		expect_rcode(d, flags[i] & 15);
		assert_int_equal(heard.bytes[2], flags[i] >> 8);
	}
	assert_int_equal(d->n_requests, 0);
}

static void a_truncated_reply_passes_and_teaches_nothing(void **state)
{
	struct dns *d = *state;

	ask(d, "example.com");
	dns_resolver_says(d, 0, &asked, REPLY_FLAGS | 0x200, "192.0.2.1");
	expect_rcode(d, DNS_NOERROR);
	assert_true(heard.bytes[2] & 2);
	assert_int_equal(d->n_requests, 0);
}

static void a_reply_too_long_to_be_read_becomes_a_truncated_one(void **state)
{
	struct dns *d = *state;
	struct dns_wire w;

	ask(d, "example.com");
	dns_reply(&w, &asked, REPLY_FLAGS, "192.0.2.1");
	while (w.size <= PST_DNS_MAX_MESSAGE)
		dns_wire_u8(&w, 0);
	dns_says(d->resolver_fd[0], &asked, w.bytes, w.size);
	expect_rcode(d, DNS_NOERROR);
	assert_true(heard.bytes[2] & 2);
	assert_int_equal(heard.bytes[7], 0);
	assert_int_equal(d->n_requests, 0);
}

static void forged_replies_are_ignored_and_the_true_one_is_taken(void **state)
{
	struct message forged;
	struct dns *d = *state;
	int elsewhere;
	uint16_t port = 0;

	ask(d, "example.com");
	forged = asked;
	forged.bytes[1] ^= 1;
	dns_resolver_says(d, 0, &forged, REPLY_FLAGS, "203.0.113.1");
	forged = asked;
	forged.bytes[13] ^= 0x20; /* another case */
	dns_resolver_says(d, 0, &forged, REPLY_FLAGS, "203.0.113.2");
	elsewhere = dns_bind(SOCK_DGRAM, "127.0.0.11", &port);
	{
		struct dns_wire w;

		dns_reply(&w, &asked, REPLY_FLAGS, "203.0.113.3");
		dns_says(elsewhere, &asked, w.bytes, w.size);
		dns_says(d->resolver_fd[1], &asked, w.bytes, w.size);
		dns_says(d->resolver_fd[0], &asked, asked.bytes, asked.size);
		dns_says(d->resolver_fd[0], &asked, w.bytes, 11);
	}
	expect_silence(d, d->client_fd);
	assert_int_equal(d->n_requests, 0);
	dns_resolver_says(d, 0, &asked, REPLY_FLAGS, "192.0.2.1");
	UNTIL(d, d->n_requests == 1);
	assert_int_equal(d->requests[0].lease.answers[0].addr[15], 1);
	assert_int_equal(d->requests[0].lease.answers[0].addr[12], 192);
	dns_starter_says(d, 0, 0);
	expect_rcode(d, DNS_NOERROR);
	close(elsewhere);
}

static void a_second_reply_is_ignored(void **state)
{
	struct dns *d = *state;

	ask(d, "example.com");
	dns_resolver_says(d, 0, &asked, REPLY_FLAGS, "192.0.2.1");
	dns_resolver_says(d, 0, &asked, REPLY_FLAGS, "192.0.2.2");
	UNTIL(d, d->n_requests == 1);
	dns_starter_says(d, 0, 0);
	expect_rcode(d, DNS_NOERROR);
	expect_silence(d, d->client_fd);
	assert_int_equal(d->n_requests, 1);
}

static void a_resolver_that_is_not_there_is_followed_by_the_next(void **state)
{
	struct dns *d = *state;

	d->policy->n_resolvers = 3;
	dns_close(&d->resolver_fd[0]);
	dns_asks(d, 0x1234, "example.com", DNS_TYPE_A);
	UNTIL(d, dns_hears(d->resolver_fd[1], &asked));
	dns_resolver_says(d, 1, &asked, REPLY_FLAGS, NULL);
	expect_rcode(d, DNS_NOERROR);
}

static void a_resolver_that_is_silent_is_followed_by_the_next(void **state)
{
	struct dns *d = *state;
	struct message late;

	d->policy->n_resolvers = 2;
	ask(d, "example.com");
	late = asked;
	event_active(d->sandbox.dns->asks->timer, EV_TIMEOUT, 1);
	UNTIL(d, dns_hears(d->resolver_fd[1], &asked));
	dns_resolver_says(d, 0, &late, REPLY_FLAGS, "203.0.113.1");
	dns_resolver_says(d, 1, &asked, REPLY_FLAGS, "192.0.2.1");
	UNTIL(d, d->n_requests == 1);
	assert_int_equal(d->requests[0].lease.answers[0].addr[12], 192);
	dns_starter_says(d, 0, 0);
	expect_rcode(d, DNS_NOERROR);
}

static void a_resolver_that_fails_or_babbles_is_followed_by_the_next(void **state)
{
	struct dns *d = *state;

	d->policy->n_resolvers = 3;
	ask(d, "example.com");
	dns_resolver_says(d, 0, &asked, REPLY_FLAGS | DNS_REFUSED, NULL);
	UNTIL(d, dns_hears(d->resolver_fd[1], &asked));
	{
		struct dns_wire w;

		dns_reply(&w, &asked, REPLY_FLAGS, "192.0.2.1");
		dns_says(d->resolver_fd[1], &asked, w.bytes, w.size - 1);
	}
	UNTIL(d, dns_hears(d->resolver_fd[2], &asked));
	dns_resolver_says(d, 2, &asked, REPLY_FLAGS | DNS_SERVFAIL, NULL);
	expect_rcode(d, DNS_SERVFAIL);
	assert_int_equal(d->n_requests, 0);
}

static void where_no_resolver_is_there_the_question_fails(void **state)
{
	struct dns *d = *state;

	d->policy->n_resolvers = 2;
	dns_close(&d->resolver_fd[0]);
	dns_close(&d->resolver_fd[1]);
	dns_asks(d, 0x1234, "example.com", DNS_TYPE_A);
	expect_rcode(d, DNS_SERVFAIL);
	d->policy->n_resolvers = 0;
	dns_asks(d, 0x1234, "example.com", DNS_TYPE_A);
	expect_rcode(d, DNS_SERVFAIL);
}

static void questions_in_flight_are_bounded(void **state)
{
	struct dns *d = *state;

	for (unsigned i = 0; i < PST_QUESTIONS; i++) {
		dns_asks(d, (uint16_t)i, "example.com", DNS_TYPE_A);
		if (i % 16 == 0) {
			UNTIL(d, d->sandbox.dns->n_asks == i + 1);
			dns_stop_clock(d);
		}
	}
	UNTIL(d, d->sandbox.dns->n_asks == PST_QUESTIONS);
	assert_int_equal(d->relay.questions, PST_QUESTIONS);
	dns_asks(d, 0x1234, "example.com", DNS_TYPE_A);
	expect_rcode(d, DNS_SERVFAIL);
	assert_int_equal(d->n_events, 1);
	assert_int_equal(d->events[0].reason, PST_REASON_DNS_BUSY);
	assert_string_equal(d->events[0].name, "example.com");
	/* What needs no resolver is answered all the same. */
	dns_asks(d, 0x1234, "evil.net", DNS_TYPE_A);
	expect_rcode(d, DNS_NXDOMAIN);
}

static void where_the_relay_is_full_who_has_few_is_served(void **state)
{
	struct dns *d = *state;

	d->relay.questions = DNS_TOTAL;
	for (unsigned i = 0; i < DNS_SHARE; i++) {
		ask(d, "example.com");
		dns_stop_clock(d);
	}
	dns_asks(d, 0x1234, "example.com", DNS_TYPE_A);
	expect_rcode(d, DNS_SERVFAIL);
	d->relay.questions -= DNS_TOTAL;
}

static void leases_asked_for_at_once_are_bounded(void **state)
{
	struct dns *d = *state;
	unsigned answered = 0;

	for (unsigned i = 0; i < 2 * DNS_LEASES; i++) {
		ask(d, "example.com");
		dns_resolver_says(d, 0, &asked, REPLY_FLAGS, "192.0.2.1");
		dns_rest(d);
		dns_stop_clock(d);
	}
	UNTIL(d, d->n_requests == DNS_LEASES);
	dns_rest(d);
	assert_int_equal(d->n_requests, DNS_LEASES);
	assert_false(dns_hears(d->client_fd, &heard));
	for (unsigned i = 0; i < 2 * DNS_LEASES; i++) {
		UNTIL(d, d->n_requests > i);
		dns_starter_says(d, i, i % 3 ? 0 : -EPERM);
		expect_rcode(d, i % 3 ? DNS_NOERROR : DNS_SERVFAIL);
		answered++;
	}
	assert_int_equal(d->n_requests, answered);
	assert_int_equal(d->sandbox.dns->n_leases, 0);
	assert_int_equal(d->sandbox.dns->n_asks, 0);
}

static void who_waits_to_be_leased_waits_no_longer_than_others(void **state)
{
	struct dns *d = *state;

	for (unsigned i = 0; i <= DNS_LEASES; i++) {
		ask(d, "example.com");
		dns_resolver_says(d, 0, &asked, REPLY_FLAGS, "192.0.2.1");
		dns_rest(d);
		dns_stop_clock(d);
	}
	UNTIL(d, d->n_requests == DNS_LEASES && d->sandbox.dns->asks->waits_for_lease);
	event_active(d->sandbox.dns->asks->timer, EV_TIMEOUT, 1);
	expect_rcode(d, DNS_SERVFAIL);
	assert_int_equal(d->n_requests, DNS_LEASES);
	/* A starter that takes no more: all that wait fail, one after the other. */
	for (unsigned i = 0; i < 20; i++) {
		ask(d, "example.com");
		dns_resolver_says(d, 0, &asked, REPLY_FLAGS, "192.0.2.1");
		dns_rest(d);
		dns_stop_clock(d);
	}
	UNTIL(d,
	      d->sandbox.dns->n_asks == DNS_LEASES + 20 && d->sandbox.dns->asks->waits_for_lease);
	dns_rest(d);
	d->takes_none = true;
	dns_starter_says(d, 0, 0);
	expect_rcode(d, DNS_NOERROR);
	for (unsigned i = 0; i < 20; i++)
		expect_rcode(d, DNS_SERVFAIL);
	assert_int_equal(d->sandbox.dns->n_asks, DNS_LEASES - 1);
}

static void replies_held_for_leases_are_bounded(void **state)
{
	struct dns *d = *state;

	ask(d, "example.com");
	d->sandbox.dns->held = DNS_HELD_BYTES - 10;
	dns_resolver_says(d, 0, &asked, REPLY_FLAGS, "192.0.2.1");
	expect_rcode(d, DNS_SERVFAIL);
	assert_int_equal(d->sandbox.dns->held, DNS_HELD_BYTES - 10);
}

static void an_audit_lets_off_list_questions_pass_and_tells(void **state)
{
	struct dns *d = *state;

	d->policy->flags |= PST_RELAY_AUDIT;
	ask(d, "evil.net");
	assert_int_equal(d->n_events, 1);
	assert_int_equal(d->events[0].verdict, PST_VERDICT_WOULD_DENY);
	dns_resolver_says(d, 0, &asked, REPLY_FLAGS, "192.0.2.1");
	expect_rcode(d, DNS_NOERROR);
	assert_int_equal(heard.bytes[7], 1);
	assert_int_equal(d->n_requests, 0);
	ask(d, "example.com");
	dns_resolver_says(d, 0, &asked, REPLY_FLAGS, "192.0.2.1");
	UNTIL(d, d->n_requests == 1);
	dns_starter_says(d, 0, -EPERM);
	expect_rcode(d, DNS_NOERROR);
}

static void without_a_gate_what_is_no_plain_question_passes_too(void **state)
{
	struct dns *d = *state;

	d->policy->flags = 0;
	dns_asks(d, 0x1234, "evil.net", DNS_TYPE_ANY);
	UNTIL(d, dns_hears(d->resolver_fd[0], &asked));
	dns_resolver_says(d, 0, &asked, REPLY_FLAGS, "192.0.2.1");
	expect_rcode(d, DNS_NOERROR);
	assert_int_equal(heard.bytes[7], 1);
	assert_int_equal(d->n_events, 0);
}

/* In one turn of the loop: the flood's share is answered, and the other's one question. */
static void a_flood_of_one_sandbox_keeps_no_other_waiting(void **state)
{
	struct dns *d = *state;
	struct relay_sandbox other = {.relay = &d->relay, .id = 8, .policy = d->policy};
	uint16_t port = 0, client_port = 0, flooded = d->service_port;
	int fd = dns_bind(SOCK_DGRAM, "0.0.0.0", &port),
	    flood = dns_bind(SOCK_DGRAM, "127.0.0.1", &client_port), client = d->client_fd;
	unsigned answered = 0;

	assert_int_equal(dns_service_new(&other, fd, -1, &other.dns), 0);
	d->client_fd = flood;
	for (uint16_t i = 0; i < 150; i++)
		dns_asks(d, i, "evil.net", DNS_TYPE_A);
	d->client_fd = client;
	d->service_port = port;
	dns_asks(d, 0x1234, "evil.net", DNS_TYPE_A);
	event_base_loop(d->relay.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
	assert_true(dns_hears(client, &heard));
	while (dns_hears(flood, &heard))
		answered++;
	assert_in_range(answered, 1, 149);
	d->service_port = flooded;
	for (; answered < 150; answered++)
		UNTIL(d, dns_hears(flood, &heard));
	dns_service_free(other.dns);
	close(flood);
}

static void what_is_no_question_gets_no_answer_from_a_resolver(void **state)
{
	struct dns *d = *state;
	struct dns_wire w;

	dns_question(&w, 0x1234, "example.com", DNS_TYPE_A);
	dns_wire_bytes(&w, "tunnel", 6);
	dns_send_to(d, "127.0.0.2", w.bytes, w.size);
	expect_rcode(d, DNS_FORMERR);
	w.bytes[2] |= 0x80;
	dns_send_to(d, "127.0.0.2", w.bytes, w.size);
	dns_send_to(d, "127.0.0.2", w.bytes, 5);
	dns_send_to(d, "127.0.0.2", w.bytes, 0);
	expect_silence(d, d->client_fd);
	expect_silence(d, d->resolver_fd[0]);
	assert_int_equal(d->n_events, 4);
	assert_int_equal(d->events[3].reason, PST_REASON_MALFORMED);
}

static void each_answer_comes_from_the_address_that_was_asked(void **state)
{
	struct dns *d = *state;
	struct dns_wire w;

	for (int i = 2; i < 7; i++) {
		char address[32];

		snprintf(address, sizeof(address), "127.0.0.%d", i);
		dns_question(&w, 1, "evil.net", DNS_TYPE_A);
		dns_send_to(d, address, w.bytes, w.size);
		UNTIL(d, dns_hears(d->client_fd, &heard));
		assert_int_equal(((struct sockaddr_in *)&heard.from)->sin_addr.s_addr,
				 inet_addr(address));
	}
}

static void ipv6_is_served_by_its_own_socket(void **state)
{
	struct sockaddr_in6 at = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK, 0),
	    client = socket(AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	struct dns_service *service;
	socklen_t size = sizeof(at);
	struct dns *d = *state;
	struct dns_wire w;

	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &size), 0);
	assert_int_equal(dns_service_new(&d->sandbox, -1, fd, &service), 0);
	dns_question(&w, 0x1234, "evil.net", DNS_TYPE_A);
	assert_int_equal(sendto(client, w.bytes, w.size, 0, (struct sockaddr *)&at, sizeof(at)),
			 w.size);
	UNTIL(d, dns_hears(client, &heard));
	assert_int_equal(RCODE(&heard), DNS_NXDOMAIN);
	assert_int_equal(((struct sockaddr_in6 *)&heard.from)->sin6_port, at.sin6_port);
	dns_service_free(service);
	close(client);
}

static void a_sandbox_that_goes_takes_its_questions_along(void **state)
{
	struct dns *d = *state;

	for (int i = 0; i < 5; i++)
		ask(d, "example.com");
	dns_resolver_says(d, 0, &asked, REPLY_FLAGS, "192.0.2.1");
	UNTIL(d, d->n_requests == 1);
	dns_service_free(d->sandbox.dns);
	d->sandbox.dns = NULL;
	assert_int_equal(d->n_forgotten, 1);
	assert_int_equal(d->relay.questions, 0);
	dns_rest(d);
}

/* ---- a change of the policy while a question is in flight ---- */

static void a_question_that_the_next_policy_would_not_let_out_ends_at_once(void **state)
{
	struct dns *d = *state;

	d->policy->flags &= ~PST_RELAY_GATED;
	ask(d, "evil.net");
	/* The policy in force, told again. */
	dns_service_judge(d->sandbox.dns);
	expect_silence(d, d->client_fd);
	d->policy->flags |= PST_RELAY_GATED;
	dns_service_judge(d->sandbox.dns);
	expect_rcode(d, DNS_NXDOMAIN);
	assert_int_equal(d->events[0].reason, PST_REASON_NAME_GATE);
	dns_resolver_says(d, 0, &asked, REPLY_FLAGS, "192.0.2.1");
	expect_silence(d, d->client_fd);
	assert_int_equal(d->n_requests, 0);
	assert_int_equal(d->relay.questions, 0);
}

/* Who is taken out of the policy because it lies teaches no more, also where it has been asked already. */
static void a_resolver_that_the_next_policy_does_not_trust_is_not_listened_to(void **state)
{
	struct dns *d = *state;

	ask(d, "example.com");
	d->policy->resolvers[0].bytes[15] ^= 0xff;
	dns_service_judge(d->sandbox.dns);
	expect_rcode(d, DNS_SERVFAIL);
	dns_resolver_says(d, 0, &asked, REPLY_FLAGS, "192.0.2.1");
	expect_silence(d, d->client_fd);
	assert_int_equal(d->n_requests, 0);
}

static void nor_does_it_teach_when_its_reply_waits_for_a_lease(void **state)
{
	struct dns *d = *state;

	ask(d, "example.com");
	dns_resolver_says(d, 0, &asked, REPLY_FLAGS, "192.0.2.1");
	UNTIL(d, d->n_requests == 1);
	d->policy->resolvers[0].bytes[15] ^= 0xff;
	dns_service_judge(d->sandbox.dns);
	expect_rcode(d, DNS_SERVFAIL);
	assert_int_equal(d->n_forgotten, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, dns_setup, dns_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(off_the_list_no_such_name_comes_at_once_and_nothing_leaves),
		TEST(a_question_leaves_with_its_own_bytes_and_another_number),
		TEST(ports_of_questions_differ),
		TEST(the_reply_waits_for_the_lease),
		TEST(the_starters_refusal_is_a_failure),
		TEST(the_starters_silence_is_a_failure),
		TEST(a_starter_that_is_gone_is_a_failure),
		TEST(replies_without_addresses_need_no_lease),
		TEST(a_truncated_reply_passes_and_teaches_nothing),
		TEST(a_reply_too_long_to_be_read_becomes_a_truncated_one),
		TEST(forged_replies_are_ignored_and_the_true_one_is_taken),
		TEST(a_second_reply_is_ignored),
		TEST(a_resolver_that_is_not_there_is_followed_by_the_next),
		TEST(a_resolver_that_is_silent_is_followed_by_the_next),
		TEST(a_resolver_that_fails_or_babbles_is_followed_by_the_next),
		TEST(where_no_resolver_is_there_the_question_fails),
		TEST(questions_in_flight_are_bounded),
		TEST(where_the_relay_is_full_who_has_few_is_served),
		TEST(leases_asked_for_at_once_are_bounded),
		TEST(who_waits_to_be_leased_waits_no_longer_than_others),
		TEST(replies_held_for_leases_are_bounded),
		TEST(an_audit_lets_off_list_questions_pass_and_tells),
		TEST(without_a_gate_what_is_no_plain_question_passes_too),
		TEST(a_flood_of_one_sandbox_keeps_no_other_waiting),
		TEST(what_is_no_question_gets_no_answer_from_a_resolver),
		TEST(each_answer_comes_from_the_address_that_was_asked),
		TEST(ipv6_is_served_by_its_own_socket),
		TEST(a_sandbox_that_goes_takes_its_questions_along),
		TEST(a_question_that_the_next_policy_would_not_let_out_ends_at_once),
		TEST(a_resolver_that_the_next_policy_does_not_trust_is_not_listened_to),
		TEST(nor_does_it_teach_when_its_reply_waits_for_a_lease),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
