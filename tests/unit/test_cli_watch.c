/* SPDX-License-Identifier: MIT */
/* The live stream: its lines, what is folded on a terminal, what the filters let through. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/answer.h"
#include "cli/watch_filter.h"
#include "cli/watch_screen.h"

#define HEAD "{\"time\":\"2026-11-22T05:01:02.003Z\",\"sandbox\":\"agent-7\","
#define TAIL ",\"pid\":4711,\"comm\":\"curl\",\"count\":1}"

static const char direct[] = HEAD
	"\"verdict\":\"deny\",\"step\":11,\"reason\":\"default-deny\",\"rule\":null,\"name\":null,"
	"\"address\":\"1.2.3.4\",\"port\":443,\"protocol\":\"tcp\",\"hook\":\"connect\"" TAIL;
static const char named[] = HEAD
	"\"verdict\":\"deny\",\"step\":10,\"reason\":\"rule\",\"rule\":\"denyOut[0] 1.2.3.0/24\","
	"\"name\":\"api.example.com\",\"address\":\"1.2.3.4\",\"port\":443,\"protocol\":\"tcp\"" TAIL;
static const char question[] = HEAD
	"\"verdict\":\"deny\",\"reason\":\"name-gate\",\"rule\":null,\"name\":\"evil.example\","
	"\"address\":\"10.0.0.2\",\"port\":53,\"protocol\":\"udp\"" TAIL;
static const char ping6[] =
	HEAD "\"verdict\":\"allow\",\"reason\":\"allow-default\",\"rule\":null,\"name\":null,"
	     "\"address\":\"2001:db8::1\",\"port\":0,\"protocol\":\"icmp\"" TAIL;
static const char web6[] =
	HEAD "\"verdict\":\"would-deny\",\"reason\":\"lease-expired\",\"rule\":null,\"name\":null,"
	     "\"address\":\"2001:db8::1\",\"port\":80,\"protocol\":\"tcp\",\"age\":400" TAIL;
static const char socket47[] =
	HEAD "\"verdict\":\"deny\",\"reason\":\"protocol\",\"rule\":null,\"name\":null,"
	     "\"address\":null,\"port\":0,\"protocol\":\"47\",\"hook\":\"socket\",\"pid\":9,"
	     "\"comm\":\"a\\u001b[2Jb\",\"count\":5}";
static const char lost[] = "{\"lost\":12}";

struct line {
	struct json json;
	struct verdict verdict;
};

static void read_line(const char *text, struct line *ret_line)
{
	struct error err = {0};

	*ret_line = (struct line){0};
	assert_int_equal(answer_parse(text, strlen(text), &ret_line->json, &err), 0);
	assert_int_equal(verdict_read(&ret_line->json, &ret_line->verdict, &err), 0);
}

static void add(struct watch_screen *screen, const char *text, struct buf *out)
{
	struct line line;

	read_line(text, &line);
	assert_int_equal(watch_screen_add(screen, &line.verdict, out), 0);
	json_done(&line.json);
}

static void is_shown_as(const char *text, const char *golden)
{
	struct watch_screen screen = {0};
	struct buf out = {0};

	add(&screen, text, &out);
	assert_string_equal(out.data, golden);
	watch_screen_done(&screen);
	buf_done(&out);
}

static void shows_a_verdict_in_one_line(void **state)
{
	(void)state;
	is_shown_as(direct,
		    "05:01:02      1  deny        agent-7       curl[4711]          "
		    "1.2.3.4:443/tcp           default-deny: no rule allows the destination\n");
	is_shown_as(named, "05:01:02      1  deny        agent-7       curl[4711]          "
			   "api.example.com:443/tcp (1.2.3.4)  rule: denyOut[0] 1.2.3.0/24\n");
}

static void shows_questions_sockets_and_ipv6(void **state)
{
	(void)state;
	is_shown_as(
		question,
		"05:01:02      1  deny        agent-7       curl[4711]          "
		"dns evil.example (10.0.0.2)  name-gate: the question asks for a name that no rule allows\n");
	is_shown_as(
		ping6,
		"05:01:02      1  allow       agent-7       curl[4711]          "
		"2001:db8::1 icmp          allow-default: the policy allows what no rule denies\n");
	is_shown_as(web6, "05:01:02      1  would-deny  agent-7       curl[4711]          "
			  "[2001:db8::1]:80/tcp      lease-expired (400 s ago): "
			  "the DNS answer for this address is too old\n");
}

static void lets_no_process_drive_the_terminal(void **state)
{
	(void)state;
	is_shown_as(
		socket47,
		"05:01:02      5  deny        agent-7       a?[2Jb[9]           "
		"a socket of protocol 47   protocol: only TCP, UDP and ICMP echo leave a sandbox\n");
}

static void shows_what_was_lost(void **state)
{
	(void)state;
	is_shown_as(lost,
		    "--:--:--     12  lost        more happened than this stream could take\n");
}

static void prints_each_event_where_there_is_no_terminal(void **state)
{
	struct watch_screen screen = {0};
	struct buf out = {0};
	size_t size;

	(void)state;
	add(&screen, direct, &out);
	size = out.size;
	add(&screen, direct, &out);
	assert_int_equal(out.size, 2 * size);
	assert_memory_equal(out.data, out.data + size, size);
	watch_screen_done(&screen);
	buf_done(&out);
}

/* A terminal, as far as these bytes need one: what it shows in the end. */
struct terminal {
	char rows[400][128];
	size_t row, column;
	unsigned height, lowest;
};

static void feed(struct terminal *t, const struct buf *out)
{
	for (const char *p = out->data; p && *p; p++) {
		unsigned count = 0;
		char command = 0;

		if (*p == '\n') {
			t->row++;
			t->column = 0;
			t->lowest = t->row > t->lowest ? (unsigned)t->row : t->lowest;
		} else if (*p == '\r') {
			t->column = 0;
		} else if (*p == '\033') {
			/* "\033[3A" or "\033[K" */
			assert_int_equal(*++p, '[');
			while (p[1] >= '0' && p[1] <= '9')
				count = count * 10 + (unsigned)(*++p - '0');
			command = *++p;
			assert_non_null(strchr("ABK", command));
			if (command == 'A')
				t->row -= count;
			else if (command == 'B')
				t->row += count;
			else
				t->rows[t->row][t->column] = '\0';
			/* Never above what the screen shows. */
			assert_true(t->row + t->height > t->lowest);
			assert_true(t->row <= t->lowest);
		} else {
			assert_true(t->column < sizeof(t->rows[0]) - 1);
			t->rows[t->row][t->column++] = *p;
		}
	}
}

/* `n` distinct destinations, from 1.2.3.0 on, then all of them again. */
static void show_twice(struct watch_screen *screen, unsigned n, struct terminal *t)
{
	for (unsigned i = 0; i < 2 * n; i++) {
		struct buf out = {0};
		char text[512];

		snprintf(text, sizeof(text),
			 HEAD "\"verdict\":\"deny\",\"reason\":\"default-deny\","
			      "\"address\":\"1.2.3.%u\",\"port\":443,\"protocol\":\"tcp\"" TAIL,
			 i % n);
		add(screen, text, &out);
		feed(t, &out);
		buf_done(&out);
	}
}

static void counts_a_repeat_in_the_line_it_repeats(void **state)
{
	struct watch_screen screen = {0};
	struct terminal t = {.height = 24};
	struct buf out = {0};

	(void)state;
	watch_screen_resize(&screen, 24, 100);
	add(&screen, direct, &out);
	add(&screen, named, &out);
	add(&screen, lost, &out);
	add(&screen, direct, &out);
	add(&screen, socket47, &out);
	add(&screen, lost, &out);
	add(&screen, direct, &out);
	feed(&t, &out);
	assert_string_equal(t.rows[0],
			    "05:01:02      3  deny   agent-7  curl[4711]  1.2.3.4:443/tcp  "
			    "default-deny: no rule allows the dest");
	assert_string_equal(t.rows[1], "05:01:02      1  deny   agent-7  curl[4711]  "
				       "api.example.com:443/tcp (1.2.3.4)  rule: denyOut[0] 1.");
	assert_string_equal(t.rows[2],
			    "--:--:--     24  lost   more happened than this stream could take");
	assert_string_equal(t.rows[3], "05:01:02      5  deny   agent-7  a?[2Jb[9]  "
				       "a socket of protocol 47  protocol: only TCP, UDP and IC");
	assert_int_equal(t.row, 4);
	assert_int_equal(t.column, 0);
	watch_screen_done(&screen);
	buf_done(&out);
}

static void rewrites_only_what_is_on_the_screen(void **state)
{
	struct watch_screen screen = {0};
	struct terminal t = {.height = 10};

	(void)state;
	/* Nine lines and the cursor fit: every repeat finds its line. */
	watch_screen_resize(&screen, 10, 80);
	show_twice(&screen, 9, &t);
	assert_int_equal(t.lowest, 9);
	for (unsigned i = 0; i < 9; i++)
		assert_memory_equal(t.rows[i], "05:01:02      2  deny", 21);
	watch_screen_done(&screen);

	/* Ten do not: each has scrolled away before it comes again. */
	screen = (struct watch_screen){0};
	t = (struct terminal){.height = 10};
	watch_screen_resize(&screen, 10, 80);
	show_twice(&screen, 10, &t);
	assert_int_equal(t.lowest, 20);
	assert_memory_equal(t.rows[19], "05:01:02      1  deny", 21);
	watch_screen_done(&screen);
}

static void remembers_no_more_lines_than_it_has_room_for(void **state)
{
	struct watch_screen screen = {0};
	struct terminal t = {.height = 400};

	(void)state;
	watch_screen_resize(&screen, 400, 80);
	show_twice(&screen, 180, &t);
	assert_int_equal(t.lowest, 180);
	assert_int_equal(screen.n, 180);
	watch_screen_done(&screen);
	watch_screen_resize(&screen, 1000, 80);
	for (unsigned i = 0; i < WATCH_SCREEN_ROWS + 44; i++) {
		struct buf out = {0};
		char text[256];

		snprintf(text, sizeof(text),
			 HEAD "\"verdict\":\"deny\",\"reason\":\"x\",\"port\":%u" TAIL, i);
		add(&screen, text, &out);
		buf_done(&out);
	}
	assert_int_equal(screen.n, WATCH_SCREEN_ROWS);
	watch_screen_done(&screen);
}

static void begins_anew_when_the_terminal_changes_its_size(void **state)
{
	struct watch_screen screen = {0};
	struct terminal t = {.height = 24};
	struct buf out = {0};

	(void)state;
	watch_screen_resize(&screen, 24, 100);
	add(&screen, direct, &out);
	watch_screen_resize(&screen, 24, 100);
	add(&screen, direct, &out);
	watch_screen_resize(&screen, 24, 90);
	add(&screen, direct, &out);
	feed(&t, &out);
	assert_memory_equal(t.rows[0], "05:01:02      2  deny", 21);
	assert_memory_equal(t.rows[1], "05:01:02      1  deny", 21);
	assert_int_equal(t.row, 2);
	watch_screen_done(&screen);
	buf_done(&out);
}

static void keeps_verdicts_apart_that_differ(void **state)
{
	static const char *const changes[][2] = {
		{"\"deny\"", "\"would-deny\""},
		{"default-deny", "untrusted-resolver"},
		{"agent-7", "agent-8"},
		{"1.2.3.4", "1.2.3.5"},
		{":443", ":80"},
		{"tcp", "udp"},
		{"\"name\":null", "\"name\":\"x\""},
		{"\"rule\":null", "\"rule\":\"x\""},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		const char *at = strstr(direct, changes[i][0]);
		struct watch_screen screen = {0};
		struct buf out = {0};
		char other[512];

		assert_non_null(at);
		snprintf(other, sizeof(other), "%.*s%s%s", (int)(at - direct), direct,
			 changes[i][1], at + strlen(changes[i][0]));
		watch_screen_resize(&screen, 24, 80);
		add(&screen, direct, &out);
		add(&screen, other, &out);
		assert_int_equal(screen.n, 2);
		watch_screen_done(&screen);
		buf_done(&out);
	}
}

/* Who does it again does not matter. */
static void folds_over_processes(void **state)
{
	struct watch_screen screen = {0};
	struct buf out = {0};
	char other[512];
	size_t head = strlen(direct) - strlen(TAIL);

	(void)state;
	snprintf(other, sizeof(other), "%.*s,\"pid\":5,\"comm\":\"wget\",\"count\":40}", (int)head,
		 direct);
	watch_screen_resize(&screen, 24, 80);
	add(&screen, direct, &out);
	out.size = 0;
	add(&screen, other, &out);
	assert_int_equal(screen.n, 1);
	assert_non_null(strstr(out.data, "     41  deny   agent-7  wget[5]"));
	watch_screen_done(&screen);
	buf_done(&out);
}

static bool admits(const char *to, const char *text)
{
	struct watch_filter filter = {0};
	struct error err = {0};
	struct line line;
	bool admitted;

	assert_int_equal(watch_filter_set_to(&filter, to, &err), 0);
	read_line(text, &line);
	admitted = watch_filter_admits(&filter, &line.verdict);
	json_done(&line.json);
	return admitted;
}

static void filters_by_destination(void **state)
{
	(void)state;
	assert_true(admits("1.2.3.4", direct));
	assert_true(admits("1.2.3.4:443/tcp", direct));
	assert_true(admits("1.2.0.0/16:400-500", direct));
	assert_true(admits("0.0.0.0/0", web6));
	assert_true(admits("2001:db8::/32", ping6));
	assert_true(admits("*.example.com", named));
	assert_true(admits("api.example.com:443", named));
	assert_true(admits("1.2.3.4", named));
	assert_true(admits("9.9.9.9", lost));

	assert_false(admits("1.2.3.5", direct));
	assert_false(admits("1.2.3.4:80", direct));
	assert_false(admits("1.2.3.4:443/udp", direct));
	assert_false(admits("2001:db8::1", direct));
	assert_false(admits("[2001:db8::1]:1-65535", ping6));
	assert_false(admits("example.com", named));
	assert_false(admits("*", direct));
	assert_false(admits("0.0.0.0/0", socket47));
}

static void asks_the_daemon_for_what_it_can_tell_apart(void **state)
{
	struct watch_filter filter = {0};
	struct buf path = {0};
	struct error err = {0};

	(void)state;
	watch_filter_path(&filter, &path);
	assert_string_equal(path.data, "/v1/events");
	path.size = 0;
	filter.sandbox = "agent-7";
	assert_int_equal(watch_filter_set_verdict(&filter, "would-deny", &err), 0);
	assert_int_equal(watch_filter_set_to(&filter, "API.Example.com:443", &err), 0);
	watch_filter_path(&filter, &path);
	assert_string_equal(path.data,
			    "/v1/events?sandbox=agent-7&verdict=would-deny&name=api.example.com");
	path.size = 0;
	filter = (struct watch_filter){0};
	assert_int_equal(watch_filter_set_to(&filter, "1.2.3.4", &err), 0);
	watch_filter_path(&filter, &path);
	assert_string_equal(path.data, "/v1/events");
	buf_done(&path);
}

static void refuses_filters_that_cannot_be(void **state)
{
	struct watch_filter filter = {0};
	struct error err = {0};

	(void)state;
	assert_int_equal(watch_filter_set_verdict(&filter, "denied", &err), -EINVAL);
	assert_string_equal(err.text, "unknown verdict 'denied', expected allow, deny, would-deny "
				      "or relay");
	assert_int_equal(watch_filter_set_to(&filter, "1.2.3.4/33", &err), -EINVAL);
	assert_string_equal(err.text, "--to: bad CIDR prefix '/33', expected 0..32");
	assert_false(filter.has_to);
}

static void explains_as_the_daemon_does(void **state)
{
	static const char text[] =
		"{\"verdict\":\"deny\",\"step\":11,\"reason\":\"default-deny\",\"rule\":null,"
		"\"name\":\"a.com\",\"address\":null,\"port\":443,\"protocol\":\"tcp\","
		"\"nearest\":\"allowOut[0] *.a.com\",\"fix\":\"add \\\"a.com\\\" to allowOut\"}";
	struct buf out = {0};
	struct line line;

	(void)state;
	read_line(text, &line);
	verdict_explain(&line.verdict, &out);
	assert_string_equal(out.data, "a.com tcp 443: deny\n"
				      "  step     11\n"
				      "  reason   default-deny: no rule allows the destination\n"
				      "  nearest  allowOut[0] *.a.com\n"
				      "  fix      add \"a.com\" to allowOut\n");
	json_done(&line.json);
	buf_done(&out);
}

static void explains_what_only_the_relay_can_tell(void **state)
{
	static const char text[] =
		"{\"verdict\":\"relay\",\"step\":9,\"reason\":\"host-name\",\"rule\":null,"
		"\"name\":null,\"address\":\"192.0.2.1\",\"port\":443,\"protocol\":\"tcp\"}";
	struct buf out = {0};
	struct line line;

	(void)state;
	read_line(text, &line);
	verdict_explain(&line.verdict, &out);
	assert_string_equal(out.data,
			    "192.0.2.1 tcp 443: relay\n"
			    "  step     9\n"
			    "  reason   host-name: the relay lets it out when a rule covers "
			    "the name in SNI or Host\n");
	json_done(&line.json);
	buf_done(&out);
}

static void refuses_an_answer_without_a_verdict(void **state)
{
	struct error err = {0};
	struct json json = {0};
	struct verdict verdict;

	(void)state;
	assert_int_equal(answer_parse("{\"verdict\":7}", 13, &json, &err), 0);
	assert_int_equal(verdict_read(&json, &verdict, &err), -EINVAL);
	assert_string_equal(err.text, "posternd's answer has no \"verdict\"");
	json_done(&json);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shows_a_verdict_in_one_line),
		cmocka_unit_test(shows_questions_sockets_and_ipv6),
		cmocka_unit_test(lets_no_process_drive_the_terminal),
		cmocka_unit_test(shows_what_was_lost),
		cmocka_unit_test(prints_each_event_where_there_is_no_terminal),
		cmocka_unit_test(counts_a_repeat_in_the_line_it_repeats),
		cmocka_unit_test(rewrites_only_what_is_on_the_screen),
		cmocka_unit_test(remembers_no_more_lines_than_it_has_room_for),
		cmocka_unit_test(begins_anew_when_the_terminal_changes_its_size),
		cmocka_unit_test(keeps_verdicts_apart_that_differ),
		cmocka_unit_test(folds_over_processes),
		cmocka_unit_test(filters_by_destination),
		cmocka_unit_test(asks_the_daemon_for_what_it_can_tell_apart),
		cmocka_unit_test(refuses_filters_that_cannot_be),
		cmocka_unit_test(explains_as_the_daemon_does),
		cmocka_unit_test(explains_what_only_the_relay_can_tell),
		cmocka_unit_test(refuses_an_answer_without_a_verdict),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
