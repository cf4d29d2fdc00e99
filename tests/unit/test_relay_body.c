/* SPDX-License-Identifier: MIT */
/* Bodies: payload without framing, whatever the pieces they come in. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

#include "base/buf.h"
#include "relay/body.h"

/* Feeds `text` in pieces; the payload, and how many bytes were taken. */
static enum body_status feed(struct body *body, const char *text, size_t step, struct buf *payload,
			     size_t *ret_used)
{
	size_t size = strlen(text), at = 0;
	enum body_status status = BODY_MORE;

	while (at < size && status >= 0 && status != BODY_DONE) {
		size_t piece = size - at < step ? size - at : step, used = 0, run_size = 0;
		const uint8_t *run = NULL;

		status = body_step(body, (const uint8_t *)text + at, piece, &used, &run, &run_size);
		if (status == BODY_DATA)
			buf_add(payload, run, run_size);
		at += used;
	}
	if (status == BODY_DATA) {
		size_t used;
		const uint8_t *run;

		status = body_step(body, NULL, 0, &used, &run, &used);
	}
	*ret_used = at;
	return status;
}

static void chunks_become_their_payload(void **state)
{
	static const struct {
		const char *text, *payload, *rest;
	} rows[] = {
		{"0\r\n\r\n", "", ""},
		{"5\r\nhello\r\n0\r\n\r\nGET", "hello", "GET"},
		{"5\r\nhello\r\n6;x\r\n world\r\n0;y=\"z\"\r\n\r\n", "hello world", ""},
		{"00a\r\n0123456789\r\n000\r\nA: b\r\nC:\r\n\r\nX", "0123456789", "X"},
		{"B\r\n0\r\n\r\nGET / \r\n0\r\n\r\n", "0\r\n\r\nGET / ", ""},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		for (size_t step = 1; step < 60; step++) {
			struct buf payload = {.data = NULL};
			struct body body;
			size_t used;

			body_start(&body, BODY_CHUNKED, 0);
			assert_false(body_may_end(&body));
			assert_int_equal(feed(&body, rows[i].text, step, &payload, &used),
					 BODY_DONE);
			assert_string_equal(payload.data ? payload.data : "", rows[i].payload);
			assert_string_equal(rows[i].text + used, rows[i].rest);
			assert_true(body_may_end(&body));
			buf_done(&payload);
		}
	}
}

static void a_length_is_counted(void **state)
{
	struct buf payload = {.data = NULL};
	struct body body;
	size_t used;

	(void)state;
	body_start(&body, BODY_LENGTH, 5);
	assert_int_equal(feed(&body, "hel", 2, &payload, &used), BODY_MORE);
	assert_false(body_may_end(&body));
	assert_int_equal(feed(&body, "loGET", 9, &payload, &used), BODY_DONE);
	assert_int_equal(used, 2);
	assert_string_equal(payload.data, "hello");
	body_start(&body, BODY_LENGTH, 0);
	assert_true(body_may_end(&body));
	body_start(&body, BODY_NONE, 7);
	assert_true(body_may_end(&body));
	buf_done(&payload);
}

static void until_close_it_may_always_end(void **state)
{
	struct buf payload = {.data = NULL};
	struct body body;
	size_t used;

	(void)state;
	body_start(&body, BODY_UNTIL_CLOSE, 0);
	assert_true(body_may_end(&body));
	assert_int_equal(feed(&body, "0\r\n\r\n", 9, &payload, &used), BODY_MORE);
	assert_string_equal(payload.data, "0\r\n\r\n");
	buf_done(&payload);
}

static void a_bad_body_stays_bad(void **state)
{
	struct buf payload = {.data = NULL};
	struct body body;
	size_t used;

	(void)state;
	body_start(&body, BODY_CHUNKED, 0);
	assert_int_equal(feed(&body, "5\n", 9, &payload, &used), BODY_BAD);
	assert_int_equal(feed(&body, "\r\nhello\r\n0\r\n\r\n", 9, &payload, &used), BODY_BAD);
	assert_int_equal(payload.size, 0);
	buf_done(&payload);
}

static void extensions_are_bounded_over_all_chunks(void **state)
{
	struct buf payload = {.data = NULL};
	enum body_status status = BODY_MORE;
	struct body body;
	unsigned chunks = 0;
	size_t used;

	(void)state;
	body_start(&body, BODY_CHUNKED, 0);
	while (status == BODY_MORE && chunks < 100000) {
		status = feed(&body, "1;0123456789\r\nx\r\n", 99, &payload, &used);
		chunks++;
	}
	assert_int_equal(status, BODY_BAD);
	assert_in_range(chunks, BODY_MAX_EXTENSIONS / 12, BODY_MAX_EXTENSIONS / 8);
	buf_done(&payload);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(chunks_become_their_payload),
		cmocka_unit_test(a_length_is_counted),
		cmocka_unit_test(until_close_it_may_always_end),
		cmocka_unit_test(a_bad_body_stays_bad),
		cmocka_unit_test(extensions_are_bounded_over_all_chunks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
