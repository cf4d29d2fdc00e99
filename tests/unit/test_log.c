/* SPDX-License-Identifier: MIT */
/* Log lines: what is written, and what is not. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <json-c/json.h>

#include "base/log.h"
#include "base/loop.h"

static int saved_stderr, reader;
static const char *const none = NULL;

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
	log_set_format(LOG_FORMAT_TEXT);
	log_set_program("postern");
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

static void the_daemon_has_its_own_name(void **state)
{
	(void)state;
	log_set_program("posternd");
	log_info("ready");
	log_event(LOG_LEVEL_INFO, "attached", "sandbox.id", "a", "absent", none, "policy.hash",
		  "0f");
	log_event(LOG_LEVEL_DEBUG, "below the level", "sandbox.id", "a");
	log_event(LOG_LEVEL_INFO, "done");
	assert_logged("posternd: ready\n"
		      "posternd: attached: sandbox.id=a policy.hash=0f\n"
		      "posternd: done\n");
}

/* The line without its time, whose form is checked, and which json-c reads. */
static void assert_logged_json(const char *expected)
{
	static const char form[] = "{\"ts\":\"dddd-dd-ddTdd:dd:dd.dddddddddZ\",";
	char text[8192];
	struct json_object *json;
	ssize_t size = read(reader, text, sizeof(text) - 1);

	assert_true(size > (ssize_t)sizeof(form));
	text[size] = '\0';
	for (size_t i = 0; form[i]; i++) {
		if (form[i] == 'd' ? text[i] < '0' || text[i] > '9' : text[i] != form[i])
			fail_msg("%s", text);
	}
	assert_string_equal(text + sizeof(form) - 1, expected);
	assert_ptr_equal(strchr(text, '\n'), text + size - 1);
	json = json_tokener_parse(text);
	assert_non_null(json);
	json_object_put(json);
}

static void as_json_each_line_is_an_object(void **state)
{
	(void)state;
	log_set_format(LOG_FORMAT_JSON);
	log_error("%s: %d", "subject", 7);
	assert_logged_json("\"level\":\"error\",\"msg\":\"subject: 7\"}\n");
	log_warning("100%%");
	assert_logged_json("\"level\":\"warning\",\"msg\":\"100%\"}\n");
	log_event(LOG_LEVEL_INFO, "attached", "sandbox.id", "a", "absent", none, "policy.hash",
		  "0f");
	assert_logged_json(
		"\"level\":\"info\",\"msg\":\"attached\",\"sandbox.id\":\"a\",\"policy.hash\":\"0f\"}\n");
}

static void the_time_is_that_of_the_clock(void **state)
{
	uint64_t before_s = loop_wall_ns() / 1000000000u, after_s;
	struct tm tm = {0};
	char text[512];
	ssize_t size;
	time_t told;

	(void)state;
	log_set_format(LOG_FORMAT_JSON);
	log_info("now");
	after_s = loop_wall_ns() / 1000000000u;
	size = read(reader, text, sizeof(text) - 1);
	assert_true(size > 0);
	text[size] = '\0';
	assert_non_null(strptime(text + strlen("{\"ts\":\""), "%Y-%m-%dT%H:%M:%S", &tm));
	told = timegm(&tm);
	assert_true((uint64_t)told >= before_s && (uint64_t)told <= after_s);
}

static void as_json_a_stranger_cannot_fake_anything(void **state)
{
	(void)state;
	log_set_format(LOG_FORMAT_JSON);
	log_error("a\n{\"level\":\"info\"}\033[2J\xc2\x9b\x32J\xff");
	assert_logged_json(
		"\"level\":\"error\",\"msg\":\"a\\n{\\\"level\\\":\\\"info\\\"}\\u001b[2J??2J?\"}\n");
	log_event(LOG_LEVEL_ERROR, "m\r", "k\"", "v\", \"x\": \"\x7f");
	assert_logged_json(
		"\"level\":\"error\",\"msg\":\"m\\r\",\"k\\\"\":\"v\\\", \\\"x\\\": \\\"\\u007f\"}\n");
}

static void long_attributes_are_cut_and_the_line_still_ends(void **state)
{
	char expected[4096] = "\"level\":\"info\",\"msg\":\"m\",\"k\":\"", text[5000];
	size_t used = strlen(expected);

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	log_event(LOG_LEVEL_INFO, "m", "k", text, "l", text);
	assert_true(read(reader, text, sizeof(text)) == 1023);
	log_set_format(LOG_FORMAT_JSON);
	memset(text, 'x', sizeof(text) - 1);
	log_event(LOG_LEVEL_INFO, "m", "k", text, "l", "end");
	memset(expected + used, 'x', 1023);
	strcpy(expected + used + 1023, "\",\"l\":\"end\"}\n");
	assert_logged_json(expected);
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
		cmocka_unit_test_setup_teardown(the_daemon_has_its_own_name, capture, release),
		cmocka_unit_test_setup_teardown(as_json_each_line_is_an_object, capture, release),
		cmocka_unit_test_setup_teardown(the_time_is_that_of_the_clock, capture, release),
		cmocka_unit_test_setup_teardown(as_json_a_stranger_cannot_fake_anything, capture,
						release),
		cmocka_unit_test_setup_teardown(long_attributes_are_cut_and_the_line_still_ends,
						capture, release),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
