/* SPDX-License-Identifier: MIT */
/* Log lines: what is written, and what is not. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

static int saved_stderr, reader;

/* stderr becomes a pipe that the test reads. */
static int capture(void **state)
{
	int fds[2];

	(void)state;
	if (pipe(fds) < 0)
		return -1;
	saved_stderr = dup(STDERR_FILENO);
	reader = fds[0];
	if (dup2(fds[1], STDERR_FILENO) < 0)
		return -1;
	return close(fds[1]);
}

static int release(void **state)
{
	(void)state;
	log_set_level(LOG_LEVEL_INFO);
	close(reader);
	if (dup2(saved_stderr, STDERR_FILENO) < 0)
		return -1;
	return close(saved_stderr);
}

/* What was written since; the last line is a mark, so that nothing blocks. */
static void assert_logged(const char *expected)
{
	char text[4096];
	ssize_t size;

	assert_int_equal(write(STDERR_FILENO, "|", 1), 1);
	size = read(reader, text, sizeof(text) - 1);
	assert_true(size > 0);
	text[size - 1] = '\0';
	assert_string_equal(text, expected);
}

static void writes_one_line_with_the_program(void **state)
{
	(void)state;
	log_error("%s: %d", "subject", 7);
	log_info("second");
	assert_logged("postern: subject: 7\npostern: second\n");
}

static void leaves_out_what_is_below_the_level(void **state)
{
	(void)state;
	log_debug("not at first");
	assert_logged("");
	log_set_level(LOG_LEVEL_DEBUG);
	log_debug("now");
	log_set_level(LOG_LEVEL_ERROR);
	log_warning("not now");
	assert_logged("postern: now\n");
}

static void a_stranger_cannot_fake_a_line(void **state)
{
	(void)state;
	log_error("name 'a\npostern: all is well\033[2J'");
	assert_logged("postern: name 'a?postern: all is well?[2J'\n");
}

static void a_long_line_is_cut_and_still_ends(void **state)
{
	char expected[1025] = "postern: ", text[2000];

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	log_error("%s", text);
	memset(expected + 9, 'x', 1013);
	strcpy(expected + 9 + 1013, "\n");
	assert_logged(expected);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(writes_one_line_with_the_program, capture, release),
		cmocka_unit_test_setup_teardown(leaves_out_what_is_below_the_level, capture,
						release),
		cmocka_unit_test_setup_teardown(a_stranger_cannot_fake_a_line, capture, release),
		cmocka_unit_test_setup_teardown(a_long_line_is_cut_and_still_ends, capture,
						release),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
