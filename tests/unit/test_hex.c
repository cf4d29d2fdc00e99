/* SPDX-License-Identifier: MIT */
/* Hexadecimal digits, for what query strings, JSON's escapes and hashes have of them. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "base/hex.h"

static void exactly_22_characters_are_digits(void **state)
{
	static const char digits[] = "0123456789abcdefABCDEF";
	unsigned found = 0;

	(void)state;
	for (int c = 0; c < 256; c++) {
		const char *at = c ? strchr(digits, c) : NULL;
		int value = at ? (int)(at - digits) : -1;

		assert_int_equal(hex_digit((char)c), value < 16 ? value : value - 6);
		found += at != NULL;
	}
	assert_int_equal(found, 22);
}

static void bytes_are_read_high_digit_first(void **state)
{
	uint8_t bytes[5] = {0};

	(void)state;
	assert_int_equal(hex_read("00fF1a80zz", 4, bytes), 0);
	assert_memory_equal(bytes, "\x00\xff\x1a\x80\x00", 5);
}

static void a_text_that_is_no_hash_is_refused(void **state)
{
	static const char *const bad[] = {"",	  "0",	  "00f",  "00 f", "0x0f",
					  "00g0", "000g", " 00f", "-1-1"};
	uint8_t bytes[2];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(hex_read(bad[i], sizeof(bytes), bytes), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(exactly_22_characters_are_digits),
		cmocka_unit_test(bytes_are_read_high_digit_first),
		cmocka_unit_test(a_text_that_is_no_hash_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
