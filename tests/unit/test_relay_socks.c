/* SPDX-License-Identifier: MIT */
/* SOCKS5 as a client speaks it: what it says, what it takes of a proxy's replies, what it makes of wrong ones. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

#include "relay/relay.h"

static const struct relay_proxy open_proxy = {.host = "proxy.example", .port = 1080};
static const struct relay_proxy closed_proxy = {
	.host = "proxy.example", .username = "me", .password = "secret", .port = 1080};
static const struct relay_target by_name = {.name = "api.example.com", .port = 443};
static const struct relay_target by_ipv4 = {.addr = {.bytes = {[10] = 0xff, 0xff, 192, 0, 2, 1}},
					    .port = 0x1234};
static const struct relay_target by_ipv6 = {.addr = {.bytes = {0x20, 0x01, 0x0d, 0xb8, [15] = 1}},
					    .port = 22};

struct bytes {
	const char *at;
	size_t size;
};
#define B(text) ((struct bytes){(text), sizeof(text) - 1})

static const char granted[] = "\5\0\0\1\0\0\0\0\0\0";

static enum socks_status hear(struct socks *socks, struct bytes said, size_t *ret_used)
{
	return socks_step(socks, (const uint8_t *)said.at, said.size, ret_used);
}

/* The whole of `said` is taken, and leads there. */
static void hears(struct socks *socks, struct bytes said, enum socks_status status)
{
	size_t used;

	assert_int_equal(hear(socks, said, &used), status);
	assert_int_equal(used, said.size);
}

static void says(const struct socks *socks, struct bytes what)
{
	assert_int_equal(socks->out_size, what.size);
	assert_memory_equal(socks->out, what.at, what.size);
}

static void begin(struct socks *socks, const struct relay_proxy *proxy,
		  const struct relay_target *target)
{
	size_t used = 1;

	socks_start(socks, proxy, target);
	assert_int_equal(socks_step(socks, NULL, 0, &used), SOCKS_WRITE);
	assert_int_equal(used, 0);
}

static void fails(struct socks *socks, struct bytes said, unsigned reply)
{
	size_t used;

	assert_int_equal(hear(socks, said, &used), SOCKS_FAILED);
	assert_int_equal(socks->reply, reply);
	/* And stays so. */
	assert_int_equal(hear(socks, B(granted), &used), SOCKS_FAILED);
	assert_int_equal(used, 0);
}

static void a_name_goes_as_a_name(void **state)
{
	struct socks socks;

	(void)state;
	begin(&socks, &open_proxy, &by_name);
	says(&socks, B("\5\1\0"));
	hears(&socks, B("\5\0"), SOCKS_WRITE);
	says(&socks, B("\5\1\0\3\x0f"
		       "api.example.com\1\xbb"));
	hears(&socks, B(granted), SOCKS_DONE);
}

static void addresses_go_as_addresses(void **state)
{
	struct socks socks;

	(void)state;
	begin(&socks, &open_proxy, &by_ipv4);
	hears(&socks, B("\5\0"), SOCKS_WRITE);
	says(&socks, B("\5\1\0\1\xc0\0\2\1\x12\x34"));
	begin(&socks, &open_proxy, &by_ipv6);
	hears(&socks, B("\5\0"), SOCKS_WRITE);
	says(&socks, B("\5\1\0\4\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1\0\x16"));
}

static void a_password_is_said_when_it_is_asked_for(void **state)
{
	struct socks socks;

	(void)state;
	begin(&socks, &closed_proxy, &by_name);
	says(&socks, B("\5\2\0\2"));
	hears(&socks, B("\5\2"), SOCKS_WRITE);
	says(&socks, B("\1\2me\6secret"));
	hears(&socks, B("\1\0"), SOCKS_WRITE);
	assert_int_equal(socks.out[3], 3);
	hears(&socks, B(granted), SOCKS_DONE);
}

static void a_proxy_that_needs_no_password_gets_none(void **state)
{
	struct socks socks;

	(void)state;
	begin(&socks, &closed_proxy, &by_name);
	hears(&socks, B("\5\0"), SOCKS_WRITE);
	assert_int_equal(socks.out[1], 1); /* CONNECT */
	hears(&socks, B(granted), SOCKS_DONE);
}

static void the_longest_credentials_and_names_fit(void **state)
{
	struct relay_proxy proxy = {.host = "p", .port = 1};
	struct relay_target target = {.port = 1};
	struct socks socks;

	(void)state;
	memset(proxy.username, 'u', 255);
	memset(proxy.password, 'p', 255);
	memset(target.name, 'n', 255);
	begin(&socks, &proxy, &target);
	hears(&socks, B("\5\2"), SOCKS_WRITE);
	assert_int_equal(socks.out_size, 3 + 255 + 255);
	hears(&socks, B("\1\0"), SOCKS_WRITE);
	assert_int_equal(socks.out_size, 4 + 1 + 255 + 2);
}

/* Bound addresses of every kind, byte by byte; what comes behind belongs to the destination. */
static void replies_come_in_pieces_and_nothing_behind_them_is_taken(void **state)
{
	static const struct bytes replies[] = {
		{granted, 10},
		{"\5\0\0\4\1\2\3\4\5\6\7\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\0\1", 22},
		{"\5\0\0\3\3abc\0\1", 10},
		{"\5\0\0\3\0\0\1", 7},
	};
	char said[64];
	struct socks socks;
	size_t used;

	(void)state;
	for (size_t i = 0; i < sizeof(replies) / sizeof(replies[0]); i++) {
		size_t size = replies[i].size;

		begin(&socks, &open_proxy, &by_name);
		hears(&socks, B("\5"), SOCKS_MORE);
		hears(&socks, B("\0"), SOCKS_WRITE);
		for (size_t at = 0; at + 1 < size; at++)
			hears(&socks, (struct bytes){replies[i].at + at, 1}, SOCKS_MORE);
		memcpy(said, replies[i].at + size - 1, 1);
		memcpy(said + 1, "220 hello", 9);
		assert_int_equal(hear(&socks, (struct bytes){said, 10}, &used), SOCKS_DONE);
		assert_int_equal(used, 1);
		assert_int_equal(hear(&socks, B("220"), &used), SOCKS_DONE);
		assert_int_equal(used, 0);
	}
}

/* A proxy that answers before it is asked: the rest stays for the next step. */
static void one_reply_is_taken_at_a_time(void **state)
{
	struct socks socks;
	size_t used;

	(void)state;
	begin(&socks, &open_proxy, &by_name);
	assert_int_equal(hear(&socks, B("\5\0\5\0\0\1\0\0\0\0\0\0"), &used), SOCKS_WRITE);
	assert_int_equal(used, 2);
}

static void a_proxy_that_refuses_is_heard(void **state)
{
	struct socks socks;

	(void)state;
	begin(&socks, &open_proxy, &by_name);
	fails(&socks, B("\5\xff"), 0xff);
	begin(&socks, &closed_proxy, &by_name);
	hears(&socks, B("\5\2"), SOCKS_WRITE);
	fails(&socks, B("\1\1"), 0xff);
	for (char code = 1; code < 9; code++) {
		char reply[] = {5, code};

		begin(&socks, &open_proxy, &by_name);
		hears(&socks, B("\5\0"), SOCKS_WRITE);
		fails(&socks, (struct bytes){reply, 2},
		      (unsigned)code); /* not waiting for the rest */
	}
}

static void what_is_no_socks5_is_refused_at_its_first_byte(void **state)
{
	struct socks socks;

	(void)state;
	begin(&socks, &open_proxy, &by_name);
	fails(&socks, B("\4"), 0);
	begin(&socks, &open_proxy, &by_name);
	fails(&socks, B("HTTP/1.1 400"), 0);
	begin(&socks, &open_proxy, &by_name);
	fails(&socks, B("\5\2"), 0); /* a password that nobody has offered */
	begin(&socks, &open_proxy, &by_name);
	fails(&socks, B("\5\1"), 0);
	begin(&socks, &closed_proxy, &by_name);
	hears(&socks, B("\5\2"), SOCKS_WRITE);
	fails(&socks, B("\5"), 0); /* RFC 1929 has a version of its own */
	begin(&socks, &open_proxy, &by_name);
	hears(&socks, B("\5\0"), SOCKS_WRITE);
	fails(&socks, B("\5\0\1"), 0);
	begin(&socks, &open_proxy, &by_name);
	hears(&socks, B("\5\0"), SOCKS_WRITE);
	fails(&socks, B("\5\0\0\2"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_name_goes_as_a_name),
		cmocka_unit_test(addresses_go_as_addresses),
		cmocka_unit_test(a_password_is_said_when_it_is_asked_for),
		cmocka_unit_test(a_proxy_that_needs_no_password_gets_none),
		cmocka_unit_test(the_longest_credentials_and_names_fit),
		cmocka_unit_test(replies_come_in_pieces_and_nothing_behind_them_is_taken),
		cmocka_unit_test(one_reply_is_taken_at_a_time),
		cmocka_unit_test(a_proxy_that_refuses_is_heard),
		cmocka_unit_test(what_is_no_socks5_is_refused_at_its_first_byte),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
