/* SPDX-License-Identifier: MIT */
/* The text buffer and the error text. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/error.h"

static void grows_and_stays_terminated(void **state)
{
	struct buf b = {0};

	(void)state;
	for (int i = 0; i < 1000; i++)
		buf_printf(&b, "%d,", i % 10);
	buf_puts(&b, "end");
	buf_add(&b, "xyz", 1);
	assert_int_equal(buf_status(&b), 0);
	assert_int_equal(b.size, 2004);
	assert_int_equal(strlen(b.data), b.size);
	assert_string_equal(b.data + 1998, "9,endx");
	buf_done(&b);
	assert_null(b.data);
}

static void takes_an_empty_text(void **state)
{
	struct buf b = {0};
	char *text = buf_take(&b);

	(void)state;
	assert_non_null(text);
	assert_string_equal(text, "");
	assert_null(b.data);
	free(text);
}

static void escapes_json_strings(void **state)
{
	struct buf b = {0};

	(void)state;
	buf_json_string(&b, "a\"b\\c\n\r\t\x01\x1f\x7f/\xc3\xbc");
	assert_string_equal(b.data, "\"a\\\"b\\\\c\\n\\r\\t\\u0001\\u001f\\u007f/\xc3\xbc\"");
	buf_done(&b);
}

static void json_strings_are_utf8_whatever_is_added(void **state)
{
	struct buf b = {0};

	(void)state;
	buf_json_string(&b,
			"\xff\x80|\xc0\xaf|\xe0\x80\x80|\xed\xa0\x80|\xf4\x90\x80\x80|\xe2\x82");
	buf_json_string(&b, "\xc2\x80\xe2\x82\xac\xf0\x9f\x98\x80\xf4\x8f\xbf\xbf\xed\x9f\xbf");
	assert_string_equal(b.data,
			    "\"??|\?\?|\?\?\?|\?\?\?|\?\?\?\?|\?\?\""
			    "\"\xc2\x80\xe2\x82\xac\xf0\x9f\x98\x80\xf4\x8f\xbf\xbf\xed\x9f\xbf\"");
	buf_done(&b);
}

static void stays_failed_after_a_failure(void **state)
{
	struct buf b = {0};

	(void)state;
	buf_puts(&b, "x");
	buf_add(&b, "x", SIZE_MAX / 2);
	buf_puts(&b, "y");
	assert_int_equal(buf_status(&b), -ENOMEM);
	assert_null(buf_take(&b));
	buf_done(&b);
	assert_int_equal(buf_status(&b), 0);
}

static void an_error_carries_code_and_text(void **state)
{
	struct error err;

	(void)state;
	assert_int_equal(error_set(&err, -EINVAL, "bad %s", "thing"), -EINVAL);
	assert_int_equal(error_prepend(&err, -EINVAL, "list[%d]: ", 3), -EINVAL);
	assert_string_equal(err.text, "list[3]: bad thing");
	assert_int_equal(error_set(NULL, -ENOENT, "nobody reads this"), -ENOENT);
	assert_int_equal(error_prepend(NULL, -ENOENT, "nor this"), -ENOENT);
}

static void an_error_never_carries_control_characters(void **state)
{
	struct error err;

	(void)state;
	error_set(&err, -EINVAL,
		  "a\033[31mb\nc\x7f\xc2\x9b"
		  "d\xc3\xbc");
	assert_string_equal(err.text, "a?[31mb?c???d\xc3\xbc");
}

static void a_long_error_is_cut_between_characters(void **state)
{
	struct error err;
	char text[ERROR_TEXT_MAX + 10];

	(void)state;
	for (size_t lead = 0; lead < 3; lead++) {
		memset(text, 'a', sizeof(text));
		for (size_t i = lead; i + 3 < sizeof(text); i += 3)
			memcpy(text + i, "\xe2\x82\xac", 3);
		text[sizeof(text) - 1] = '\0';
		error_set(&err, -EINVAL, "%s", text);
		assert_true(strlen(err.text) >= ERROR_TEXT_MAX - 3);
		assert_int_equal((strlen(err.text) - lead) % 3, 0);
	}
	error_prepend(&err, -EINVAL, "%s", "place: ");
	assert_memory_equal(err.text, "place: aa", 9);
	assert_true(strlen(err.text) < ERROR_TEXT_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(grows_and_stays_terminated),
		cmocka_unit_test(takes_an_empty_text),
		cmocka_unit_test(escapes_json_strings),
		cmocka_unit_test(json_strings_are_utf8_whatever_is_added),
		cmocka_unit_test(stays_failed_after_a_failure),
		cmocka_unit_test(an_error_carries_code_and_text),
		cmocka_unit_test(an_error_never_carries_control_characters),
		cmocka_unit_test(a_long_error_is_cut_between_characters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
