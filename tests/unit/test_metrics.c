/* SPDX-License-Identifier: MIT */
/* The text that Prometheus scrapes: judged by promtool where it is installed, and always by a check of our own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "events/metrics.h"

static const struct metrics_count states[] = {{"running", 2}, {"paused", 1}, {"gone", 0}};
static const struct metrics_count pools[] = {{"policy", 3}, {"names", 2}};
static const struct metrics_rule rules[] = {
	{0, {.connections = 1, .packets = 2, .bytes = 300}},
	{7, {.connections = 4, .packets = 50, .bytes = 60000}},
};
static const struct metrics_sandbox sandboxes[] = {
	{.id = "agent-1",
	 .changed_ms = 1795302000125,
	 .quota = {.lost = 9, .leases_refused = 2},
	 .rules = rules,
	 .n_rules = 2},
	{.id = "a_2", .quota = {.answers_held_back = 6}, .has_flows = true, .flows = 31},
};
static const struct metrics_count kinds[] = {{"cgroup", 2}, {"netdev", 1}};

static struct metrics example(void)
{
	struct metrics m = {
		.version = "0.1.0",
		.is_ready = true,
		.started_ms = 1795302000007,
		.states = states,
		.n_states = 3,
		.kinds = kinds,
		.n_kinds = 2,
		.flows = 33,
		.pools = pools,
		.n_pools = 2,
		.changes = 4,
		.refused = 2,
		.failed = 1,
		.change_ns_sum = 1234567890,
		.ended = 5,
		.events = 11,
		.requests = {0, 0, 20, 0, 3, 1},
		.resident_bytes = 1 << 20,
		.open_fds = 40,
		.cpu_us = 1500000,
		.sandboxes = sandboxes,
		.n_sandboxes = 2,
		.sandboxes_unlabelled = 6,
		.rules_unlabelled = 99,
	};

	m.denials[PST_REASON_DEFAULT_DENY] = 17;
	m.denials[PST_REASON_ALWAYS_DENIED] = 3;
	m.denials[63] = 2; /* a reason that this build has no word for */
	m.totals.lost = 12;
	m.totals.questions_refused = 8;
	m.totals.answers_held_back = 10;
	m.totals.replies[PST_REPLY_TRUNCATED] = 6;
	return m;
}

static void print(const struct metrics *m, struct buf *out)
{
	metrics_print(m, out);
	assert_int_equal(buf_status(out), 0);
}

static void assert_line(const struct buf *out, const char *line)
{
	char text[256];

	snprintf(text, sizeof(text), "\n%s\n", line);
	if (!strstr(out->data, text))
		fail_msg("no line '%s' in:\n%s", line, out->data);
}

static void counts_are_under_their_labels(void **state)
{
	struct metrics m = example();
	cleanup_buf struct buf out = {0};

	(void)state;
	print(&m, &out);
	assert_line(&out, "postern_build_info{version=\"0.1.0\",abi=\"1\"} 1");
	assert_line(&out, "postern_ready 1");
	assert_line(&out, "postern_start_time_seconds 1795302000.007000");
	assert_line(&out, "postern_process_cpu_seconds_total 1.500000");
	assert_line(&out, "postern_process_resident_memory_bytes 1048576");
	assert_line(&out, "postern_sandboxes{state=\"paused\"} 1");
	assert_line(&out, "postern_slots{pool=\"names\"} 2");
	assert_line(&out, "postern_sandboxes_by_kind{kind=\"netdev\"} 1");
	assert_line(&out, "postern_tracked_flows 33");
	assert_line(&out, "postern_answers_held_back_total 10");
	assert_line(&out, "postern_sandbox_tracked_flows{sandbox=\"a_2\"} 31");
	assert_line(&out, "postern_sandbox_answers_held_back_total{sandbox=\"a_2\"} 6");
	assert_null(strstr(out.data, "tracked_flows{sandbox=\"agent-1\"}"));
	assert_line(&out, "postern_policy_changes_total{result=\"refused\"} 2");
	assert_line(&out, "postern_policy_change_duration_seconds_sum 1.234567");
	assert_line(&out, "postern_policy_change_duration_seconds_count 4");
	assert_line(&out, "postern_denials_total{reason=\"default-deny\"} 17");
	assert_line(&out, "postern_denials_total{reason=\"unknown\"} 2");
	assert_line(&out, "postern_events_lost_total 12");
	assert_line(&out, "postern_quota_refusals_total{quota=\"questions\"} 8");
	assert_line(&out, "postern_dns_replies_total{result=\"truncated\"} 6");
	assert_line(&out, "postern_http_requests_total{status=\"4xx\"} 3");
	assert_line(&out, "postern_sandboxes_unlabelled 6");
	assert_line(
		&out,
		"postern_sandbox_policy_changed_timestamp_seconds{sandbox=\"agent-1\"} 1795302000.125");
	assert_line(&out, "postern_sandbox_events_lost_total{sandbox=\"agent-1\"} 9");
	assert_line(&out,
		    "postern_sandbox_quota_refusals_total{sandbox=\"agent-1\",quota=\"leases\"} 2");
	assert_line(&out, "postern_sandbox_rule_bytes_total{sandbox=\"agent-1\",rule=\"7\"} 60000");
	assert_line(&out,
		    "postern_sandbox_rule_connections_total{sandbox=\"agent-1\",rule=\"0\"} 1");
	assert_line(&out, "postern_sandbox_rules_unlabelled 99");
}

static void reasons_that_allow_are_no_denials(void **state)
{
	struct metrics m = example();
	cleanup_buf struct buf out = {0};

	(void)state;
	print(&m, &out);
	assert_null(strstr(out.data, "reason=\"allow-rule\""));
	assert_non_null(strstr(out.data, "reason=\"always-denied\""));
}

/* ---- the format ---- */

#define MAX_FAMILIES 64

struct checker {
	char families[MAX_FAMILIES][96];
	size_t n_families;
	char current[96], type[16];
	bool has_help;
	size_t samples;
};

static bool is_name(const char *text, size_t size)
{
	return size > strlen("postern_") && strncmp(text, "postern_", 8) == 0 &&
	       strspn(text, "abcdefghijklmnopqrstuvwxyz_") >= size;
}

/* "# HELP NAME TEXT" opens a family, once. */
static const char *check_help(struct checker *c, const char *line)
{
	size_t size = strcspn(line, " ");

	if (!is_name(line, size) || size >= sizeof(c->current) || strlen(line) < size + 2)
		return "bad HELP";
	snprintf(c->current, sizeof(c->current), "%.*s", (int)size, line);
	for (size_t i = 0; i < c->n_families; i++) {
		if (strcmp(c->families[i], c->current) == 0)
			return "a family in two places";
	}
	if (c->n_families == MAX_FAMILIES)
		return "too many families";
	strcpy(c->families[c->n_families++], c->current);
	c->has_help = true;
	c->type[0] = '\0';
	return NULL;
}

static const char *check_type(struct checker *c, const char *line)
{
	size_t size = strlen(c->current);
	bool is_total = size > 6 && strcmp(c->current + size - 6, "_total") == 0;

	if (!c->has_help || strncmp(line, c->current, size) != 0 || line[size] != ' ')
		return "TYPE without its HELP";
	snprintf(c->type, sizeof(c->type), "%s", line + size + 1);
	if (strcmp(c->type, "counter") != 0 && strcmp(c->type, "gauge") != 0 &&
	    strcmp(c->type, "summary") != 0)
		return "unknown TYPE";
	if ((strcmp(c->type, "counter") == 0) != is_total)
		return "_total is for counters";
	c->has_help = false;
	return NULL;
}

/* {a="b",c="d"}, values of [a-z0-9._-]. Returns what is behind; NULL: wrong. */
static const char *skip_labels(const char *p)
{
	if (*p != '{')
		return p;
	do {
		size_t name = strspn(++p, "abcdefghijklmnopqrstuvwxyz_");

		p += name;
		if (!name || strncmp(p, "=\"", 2) != 0)
			return NULL;
		p += 2 + strspn(p + 2, "abcdefghijklmnopqrstuvwxyz0123456789._-");
		if (*p++ != '"')
			return NULL;
	} while (*p == ',');
	return *p == '}' ? p + 1 : NULL;
}

static const char *check_sample(struct checker *c, const char *line)
{
	size_t size = strlen(c->current), digits;
	const char *p = line + size;

	if (!c->type[0] || strncmp(line, c->current, size) != 0)
		return "a sample outside its family";
	if (strcmp(c->type, "summary") == 0)
		p += strncmp(p, "_sum ", 5) == 0 ? 4 : strncmp(p, "_count ", 7) == 0 ? 6 : 0;
	p = skip_labels(p);
	if (!p || *p++ != ' ')
		return "bad labels";
	digits = strspn(p, "0123456789");
	p += digits;
	if (*p == '.')
		p += 1 + strspn(p + 1, "0123456789");
	if (!digits || *p)
		return "bad value";
	c->samples++;
	return NULL;
}

static const char *check_line(struct checker *c, const char *line)
{
	if (strncmp(line, "# HELP ", 7) == 0)
		return check_help(c, line + 7);
	if (strncmp(line, "# TYPE ", 7) == 0)
		return check_type(c, line + 7);
	return check_sample(c, line);
}

/* NULL, or what is wrong with the text. */
static const char *check(char *text, struct checker *c)
{
	const char *wrong = NULL;
	char *line = text, *end;

	*c = (struct checker){0};
	for (; !wrong && *line; line = end + 1) {
		end = strchr(line, '\n');
		if (!end)
			return "the last line has no end";
		*end = '\0';
		wrong = check_line(c, line);
	}
	return wrong;
}

static void text_is_what_prometheus_reads(void **state)
{
	struct metrics m = example();
	cleanup_buf struct buf out = {0};
	struct checker c;

	(void)state;
	print(&m, &out);
	assert_null(check(out.data, &c));
	assert_true(c.n_families > 25);
	assert_true(c.samples > 60);
}

static void assert_wrong(const char *text, const char *wrong)
{
	char copy[256];
	struct checker c;
	const char *found;

	snprintf(copy, sizeof(copy), "%s", text);
	found = check(copy, &c);
	assert_non_null(found);
	assert_string_equal(found, wrong);
}

static void check_finds_what_is_wrong(void **state)
{
	(void)state;
	assert_wrong("postern_x 1\n", "a sample outside its family");
	assert_wrong("# HELP postern_x y\npostern_x 1\n", "a sample outside its family");
	assert_wrong("# HELP postern_x y\n# TYPE postern_x counter\n", "_total is for counters");
	assert_wrong("# HELP postern_x y\n# TYPE postern_x gauge\npostern_x{a=\"A\"} 1\n",
		     "bad labels");
	assert_wrong("# HELP postern_x y\n# TYPE postern_x gauge\npostern_x -\n", "bad value");
	assert_wrong("# HELP postern_x y\n# HELP postern_x y\n", "a family in two places");
	assert_wrong("# HELP postern_x y\n# TYPE postern_x gauge\npostern_x 1",
		     "the last line has no end");
}

/* Its exit status; what it says goes to stderr. */
static int promtool(const struct buf *text, bool quiet)
{
	FILE *pipe = popen(quiet ? "promtool check metrics >/dev/null 2>&1"
				 : "promtool check metrics >&2",
			   "w");

	assert_non_null(pipe);
	(void)fwrite(text->data, 1, text->size, pipe);
	return pclose(pipe);
}

static void promtool_accepts_the_text(void **state)
{
	const struct metrics empty = {.version = "0.1.0"};
	struct metrics m = example();
	cleanup_buf struct buf full = {0}, bare = {0};
	struct buf wrong = {0};

	(void)state;
	if (system("command -v promtool >/dev/null") != 0)
		skip();
	buf_puts(&wrong, "# TYPE postern_x counter\npostern_x 1\npostern_x 1\n");
	assert_int_not_equal(promtool(&wrong, true), 0);
	buf_done(&wrong);
	print(&m, &full);
	assert_int_equal(promtool(&full, false), 0);
	print(&empty, &bare);
	assert_int_equal(promtool(&bare, false), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counts_are_under_their_labels),
		cmocka_unit_test(reasons_that_allow_are_no_denials),
		cmocka_unit_test(text_is_what_prometheus_reads),
		cmocka_unit_test(check_finds_what_is_wrong),
		cmocka_unit_test(promtool_accepts_the_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
