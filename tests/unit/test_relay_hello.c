/* SPDX-License-Identifier: MIT */
/* ClientHellos: those of real clients, cut in every way, and those that are not quite right. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "relay/relay.h"

#define CORPUS "tests/fuzz/corpus/relay_hello/"
#define MAX    4096

struct bytes {
	uint8_t at[MAX];
	size_t size;
};

static struct bytes load(const char *name)
{
	struct bytes bytes = {.size = 0};
	char path[256], *text;

	snprintf(path, sizeof(path), CORPUS "%s", name);
	assert_int_equal(io_read_file(path, MAX, &text, &bytes.size, NULL), 0);
	memcpy(bytes.at, text, bytes.size);
	free(text);
	return bytes;
}

static void add(struct bytes *bytes, const void *at, size_t size)
{
	assert_true(bytes->size + size <= MAX);
	memcpy(bytes->at + bytes->size, at, size);
	bytes->size += size;
}

static void add16(struct bytes *bytes, size_t number)
{
	add(bytes, (const uint8_t[]){(uint8_t)(number >> 8), (uint8_t)number}, 2);
}

/* A hello of TLS 1.2 with these extensions, in one record. */
static struct bytes make(const struct bytes *extensions)
{
	static const uint8_t start[] = {3, 3}, random[32] = {0},
			     middle[] = {0, 0, 2, 0x13, 0x01, 1, 0};
	struct bytes out = {.size = 0};
	size_t body = sizeof(start) + sizeof(random) + sizeof(middle) + 2 + extensions->size;

	add(&out, "\x16\x03\x01", 3);
	add16(&out, body + 4);
	add(&out, "\x01\x00", 2);
	add16(&out, body);
	add(&out, start, sizeof(start));
	add(&out, random, sizeof(random));
	add(&out, middle, sizeof(middle));
	add16(&out, extensions->size);
	add(&out, extensions->at, extensions->size);
	return out;
}

static void add_name(struct bytes *extensions, const char *name, size_t size)
{
	add16(extensions, 0);
	add16(extensions, size + 5);
	add16(extensions, size + 3);
	add(extensions, "", 1);
	add16(extensions, size);
	add(extensions, name, size);
}

static enum hello_status parse(const struct bytes *bytes, struct hello *hello)
{
	memset(hello, 0, sizeof(*hello));
	return hello_parse(bytes->at, bytes->size, hello);
}

static void reads_what_real_clients_send(void **state)
{
	static const struct {
		const char *file, *name;
		bool http11, h2;
	} rows[] = {
		{"openssl", "api.example.com", false, false},
		{"openssl-alpn", "api.example.com", true, true},
		{"openssl-tls12", "api.example.com", false, false},
		{"openssl-no-name", "", false, false},
		{"curl", "api.example.com", true, true},
		{"curl-http1", "api.example.com", true, false},
		{"node", "api.example.com", false, false},
		{"node-h2", "api.example.com", false, true},
		{"python", "api.example.com", false, false},
		{"python-urllib", "api.example.com", true, false}, /* API.Example.com */
		{"wget-address", "", false, false},
		{"made-two-records", "api.example.com", false, false},
		{"made-one-byte-records", "api.example.com", false, false},
		{"made-early-data", "api.example.com", false, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct bytes bytes = load(rows[i].file);
		struct hello hello;

		assert_int_equal(parse(&bytes, &hello), HELLO_DONE);
		assert_string_equal(hello.name, rows[i].name);
		assert_int_equal(hello.alpn_http11, rows[i].http11);
		assert_int_equal(hello.alpn_h2, rows[i].h2);
		assert_false(hello.has_ech);
	}
}

static void asks_for_more_until_the_last_byte(void **state)
{
	static const char *const files[] = {"openssl", "curl", "node", "made-two-records",
					    "made-one-byte-records"};

	(void)state;
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		struct bytes bytes = load(files[i]);
		struct hello hello;

		for (size_t size = 0; size < bytes.size; size++)
			assert_int_equal(hello_parse(bytes.at, size, &hello), HELLO_MORE);
		assert_int_equal(hello_parse(bytes.at, bytes.size, &hello), HELLO_DONE);
	}
}

static void refuses_what_is_no_handshake_at_once(void **state)
{
	static const char *const rows[] = {"GET / HTTP/1.1\r\n", "SSH-2.0-x",
					   "\x80\x2e\x01\x03\x01", "\x15\x03\x01\x00\x02\x01\x00",
					   "\x16\x02"};
	struct hello hello;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(hello_parse((const uint8_t *)rows[i], strlen(rows[i]), &hello),
				 HELLO_BAD);
	/* Another message than a ClientHello, an empty record, one that is too long. */
	assert_int_equal(hello_parse((const uint8_t *)"\x16\x03\x01\x00\x04\x02", 6, &hello),
			 HELLO_BAD);
	assert_int_equal(hello_parse((const uint8_t *)"\x16\x03\x01\x00\x00", 5, &hello),
			 HELLO_BAD);
	assert_int_equal(hello_parse((const uint8_t *)"\x16\x03\x01\x40\x01", 5, &hello),
			 HELLO_BAD);
	assert_int_equal(
		hello_parse((const uint8_t *)"\x16\x03\x01\x00\x04\x01\x01\x00\x00", 9, &hello),
		HELLO_TOO_LONG);
}

static void takes_plain_names_only(void **state)
{
	static const struct {
		const char *name;
		size_t size;
		enum hello_status status;
	} rows[] = {
		{"a.example", 9, HELLO_DONE},
		{"A_b.Example", 11, HELLO_DONE},
		{"", 0, HELLO_BAD},
		{"a.example.", 10, HELLO_BAD},
		{"a.example\0b", 11, HELLO_BAD},
		{"1.2.3.4", 7, HELLO_BAD},
		{"::1", 3, HELLO_BAD},
		{"a b", 3, HELLO_BAD},
		{"*.example", 9, HELLO_BAD},
		{"b\xc3\xbc.example", 11, HELLO_BAD},
		{"a..example", 10, HELLO_BAD},
		{"a.example:443", 13, HELLO_BAD},
		{"a.example/evil", 14, HELLO_BAD},
		{"0x7f000001", 10, HELLO_BAD},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct bytes extensions = {.size = 0}, bytes;
		struct hello hello;

		add_name(&extensions, rows[i].name, rows[i].size);
		bytes = make(&extensions);
		assert_int_equal(parse(&bytes, &hello), rows[i].status);
	}
}

static void refuses_what_is_said_twice(void **state)
{
	struct bytes extensions = {.size = 0}, bytes;
	struct hello hello;

	(void)state;
	add_name(&extensions, "a.example", 9);
	add_name(&extensions, "b.example", 9);
	bytes = make(&extensions);
	assert_int_equal(parse(&bytes, &hello), HELLO_BAD);
	/* Two names in one list. */
	extensions.size = 0;
	add(&extensions, "\0\0\0\x0a\0\x08\0\0\1a\0\0\1b", 14);
	bytes = make(&extensions);
	assert_int_equal(parse(&bytes, &hello), HELLO_BAD);
	/* Any other extension, too; and the control. */
	extensions.size = 0;
	add(&extensions, "\0\x17\0\0\0\x17\0\0", 8);
	bytes = make(&extensions);
	assert_int_equal(parse(&bytes, &hello), HELLO_BAD);
	extensions.size = 4;
	bytes = make(&extensions);
	assert_int_equal(parse(&bytes, &hello), HELLO_DONE);
}

static void knows_encrypted_hellos(void **state)
{
	static const char *const types[] = {"\xfe\x0d\0\1x", "\xff\xce\0\1x", "\xff\x02\0\1x"};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct bytes extensions = {.size = 0}, bytes;
		struct hello hello;

		add(&extensions, types[i], 5);
		add_name(&extensions, "public.example", 14);
		bytes = make(&extensions);
		assert_int_equal(parse(&bytes, &hello), HELLO_DONE);
		assert_true(hello.has_ech);
		assert_string_equal(hello.name, "public.example");
	}
}

/* Each length in a real hello, one more and one less: never accepted as the same hello, and never read beyond. */
static void wrong_lengths_are_refused(void **state)
{
	struct bytes good = load("openssl");
	unsigned refused = 0;

	(void)state;
	for (size_t at = 5; at < good.size; at++) {
		uint8_t *exact = malloc(good.size);
		struct hello hello = {.name = ""};

		assert_non_null(exact);
		memcpy(exact, good.at, good.size);
		exact[at]++;
		refused += hello_parse(exact, good.size, &hello) != HELLO_DONE;
		free(exact);
	}
	assert_true(refused >= 20);
}

/* It is read anew behind each of them: a sandbox could keep the relay busy with few bytes. */
static void records_of_one_byte_are_not_read_for_ever(void **state)
{
	static const uint8_t start[] = {1, 0, 0x70, 0};
	static uint8_t bytes[6 * 1025];
	struct hello hello;

	(void)state;
	for (size_t i = 0; i < 1025; i++) {
		memcpy(bytes + 6 * i, "\x16\x03\x01\x00\x01", 5);
		bytes[6 * i + 5] = i < sizeof(start) ? start[i] : 3;
	}
	assert_int_equal(hello_parse(bytes, sizeof(bytes) - 6, &hello), HELLO_MORE);
	assert_int_equal(hello_parse(bytes, sizeof(bytes), &hello), HELLO_TOO_LONG);
}

static void nothing_may_follow_in_the_hellos_record(void **state)
{
	struct bytes bytes = load("openssl");
	struct hello hello;
	size_t record = (size_t)bytes.at[3] << 8 | bytes.at[4];

	(void)state;
	record += 4;
	bytes.at[3] = (uint8_t)(record >> 8);
	bytes.at[4] = (uint8_t)record;
	add(&bytes, "\x01\0\0\0", 4);
	assert_int_equal(parse(&bytes, &hello), HELLO_BAD);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_what_real_clients_send),
		cmocka_unit_test(asks_for_more_until_the_last_byte),
		cmocka_unit_test(refuses_what_is_no_handshake_at_once),
		cmocka_unit_test(takes_plain_names_only),
		cmocka_unit_test(refuses_what_is_said_twice),
		cmocka_unit_test(knows_encrypted_hellos),
		cmocka_unit_test(wrong_lengths_are_refused),
		cmocka_unit_test(records_of_one_byte_are_not_read_for_ever),
		cmocka_unit_test(nothing_may_follow_in_the_hellos_record),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
