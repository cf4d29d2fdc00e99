/* SPDX-License-Identifier: MIT */
/* What a run blocked -> the summary on stderr and the JSON report. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "cli/advice.h"
#include "cli/run_report.h"
#include "events/words.h"

#define ROWS_SHOWN    20
#define ADVISED_RULES 10000000u

static const char *name_rule(const void *context, uint32_t rule, char *text, size_t size)
{
	const struct run_report *report = context;

	return policy_rule_label(report->policy, rule, text, size);
}

static void advise_on(const void *context, const struct pst_event *event, const char *name,
		      struct record_advice *ret_advice)
{
	const struct run_report *report = context;

	if (report->explain.policy)
		advise(&report->explain, event, name, ret_advice);
}

static struct record_words words_of(const struct run_report *report)
{
	return (struct record_words){
		.rule = name_rule,
		.advise = advise_on,
		.context = report,
		.wall_minus_boot_ns = report->wall_minus_boot_ns,
	};
}

static uint64_t itemised(const struct summary *summary)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < summary->n_rows; i++)
		sum += summary->rows[i].count;
	return sum;
}

/* An event may be read before its counter is: then what was itemised is the better number. */
uint64_t run_report_blocked(const struct run_report *report)
{
	uint64_t sum = 0, known = itemised(report->summary);

	for (size_t i = 0; i < PST_REASON_MAX; i++)
		sum += PST_REASON_ALLOWS(i) ? 0 : report->counters[i];
	return sum > known ? sum : known;
}

static void add_dns_line(struct buf *out, uint64_t count, const char *noun, const char *plural,
			 const char *why)
{
	if (count)
		buf_printf(out, "postern: DNS: %" PRIu64 " %s not %s\n", count,
			   count == 1 ? noun : plural, why);
}

/* Answers that may be missed. Late and repeated ones are everyday life: told only beside a denial, which they may
 * explain. */
static void add_dns(const struct run_report *report, struct buf *out, bool blocked)
{
	static const struct {
		unsigned reply;
		const char *why;
	} lines[] = {
		{PST_REPLY_TRUNCATED, "learned: truncated, and TCP needs the relay"},
		{PST_REPLY_OVERSIZE, "learned: larger than 4096 bytes"},
		{PST_REPLY_MALFORMED, "learned: malformed"},
		{PST_REPLY_UNTRUSTED, "learned: not from where the resolver is"},
		{PST_REPLY_UNASKED, "learned: late, repeated or forged"},
	};
	const struct pst_quota *q = &report->quota;

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		if (blocked || lines[i].reply != PST_REPLY_UNASKED)
			add_dns_line(out, q->replies[lines[i].reply], "reply", "replies",
				     lines[i].why);
	}
	add_dns_line(out, q->leases_refused, "address", "addresses", "learned: no place left");
	add_dns_line(out, q->names_displaced, "name", "names",
		     "kept: too many lead to one address");
	add_dns_line(out, q->questions_refused, "question", "questions",
		     "followed: too many without an answer");
}
PST_ASSERT("the text about oversize", PST_DNS_MAX_MESSAGE == 4096);

void run_report_text(const struct run_report *report, struct buf *out)
{
	uint64_t blocked = run_report_blocked(report), listed = itemised(report->summary);
	struct record_words words = words_of(report);
	size_t n = report->summary->n_rows;

	if (blocked)
		buf_printf(out, "postern: %s %zu destination%s:\n",
			   report->policy->audit ? "audit: would have blocked" : "blocked", n,
			   n == 1 ? "" : "s");
	summary_print(report->summary, ROWS_SHOWN, &words, out);
	if (blocked > listed)
		buf_printf(out, "%8" PRIu64 "  further denials were not itemised\n",
			   blocked - listed);
	add_dns(report, out, blocked);
}

/* RFC 3339 in UTC, to the second. */
static void add_time(struct buf *out, const char *key, uint64_t wall_ns)
{
	time_t seconds = (time_t)(wall_ns / 1000000000u);
	char text[32] = "";
	struct tm tm = {0};

	gmtime_r(&seconds, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	buf_printf(out, ",\"%s\":\"%s\"", key, text);
}

/* Arguments are bytes; JSON is UTF-8. Bytes beyond ASCII are shown as '?'. */
static void add_word(struct buf *out, const char *word)
{
	cleanup_free char *text = strdup(word);

	if (!text) {
		out->failed = true;
		return;
	}
	for (char *p = text; *p; p++) {
		if ((unsigned char)*p >= 0x80)
			*p = '?';
	}
	buf_json_string(out, text);
}

static void add_command(struct buf *out, char **command)
{
	buf_puts(out, "{\"command\":[");
	for (size_t i = 0; command[i]; i++) {
		buf_puts(out, i ? "," : "");
		add_word(out, command[i]);
	}
	buf_puts(out, "]");
}

static void add_reasons(struct buf *out, const uint64_t *counters)
{
	const char *separator = "";

	buf_puts(out, ",\"reasons\":{");
	for (unsigned i = 0; i < PST_REASON_MAX; i++) {
		if (PST_REASON_ALLOWS(i) || !counters[i])
			continue;
		buf_printf(out, "%s\"%s\":%" PRIu64, separator, words_reason(i), counters[i]);
		separator = ",";
	}
	buf_puts(out, "}");
}

static void add_dns_counts(struct buf *out, const struct pst_quota *q)
{
	buf_printf(out,
		   ",\"dns\":{\"leasesRefused\":%" PRIu64 ",\"namesDisplaced\":%" PRIu64
		   ",\"questionsRefused\":%" PRIu64 ",\"replies\":{",
		   (uint64_t)q->leases_refused, (uint64_t)q->names_displaced,
		   (uint64_t)q->questions_refused);
	for (unsigned i = 0; i < PST_REPLY_KINDS; i++)
		buf_printf(out, "%s\"%s\":%" PRIu64, i ? "," : "", words_reply(i),
			   (uint64_t)q->replies[i]);
	buf_puts(out, "}}");
}

/* Rules that nothing has used are left out: a policy may have 100,000. */
static void add_rules(struct buf *out, const struct run_report *report)
{
	const char *separator = "";
	char label[512];

	buf_puts(out, ",\"rules\":[");
	for (size_t i = 0; i < report->n_hits; i++) {
		const struct pst_rule_hits *hits = &report->hits[i];

		if (!hits->connections && !hits->packets)
			continue;
		policy_rule_label(report->policy, (unsigned)i, label, sizeof(label));
		buf_printf(out, "%s{\"rule\":", separator);
		buf_json_string(out, i ? label : "default");
		buf_printf(out,
			   ",\"connections\":%" PRIu64 ",\"packets\":%" PRIu64 ",\"bytes\":%" PRIu64
			   "}",
			   (uint64_t)hits->connections, (uint64_t)hits->packets,
			   (uint64_t)hits->bytes);
		separator = ",";
	}
	buf_puts(out, "]");
}

/* record_json() ends each with a newline, for streams; the report is one line. */
static void add_event(struct buf *out, const struct summary_row *row,
		      const struct record_words *words)
{
	record_json(&row->event, row->count, words, out);
	if (buf_status(out) == 0)
		out->data[--out->size] = '\0';
}

/* What is advised looks at every rule of the policy, for each row: of 100,000 rules the first 100 rows have it. */
static void add_events(struct buf *out, const struct run_report *report)
{
	struct record_words words = words_of(report);
	size_t advised = ADVISED_RULES / (report->policy->n_rules + 1);

	buf_puts(out, ",\"events\":[");
	for (size_t i = 0; i < report->summary->n_rows; i++) {
		buf_puts(out, i ? "," : "");
		if (i >= advised)
			words.advise = NULL;
		add_event(out, &report->summary->rows[i], &words);
	}
	buf_puts(out, "]");
}

void run_report_json(const struct run_report *report, struct buf *out)
{
	uint64_t blocked = run_report_blocked(report), listed = itemised(report->summary);

	add_command(out, report->command);
	buf_printf(out, ",\"exit\":%d", report->exit_code);
	add_time(out, "started", report->started_ns);
	add_time(out, "ended", report->ended_ns);
	buf_printf(out, ",\"kind\":\"%s\",\"audit\":%s,\"assurance\":\"%s\"",
		   report->netdev ? "netdev" : "cgroup", report->policy->audit ? "true" : "false",
		   report->weak ? "weak" : "strong");
	buf_printf(out, ",\"blocked\":%" PRIu64 ",\"notItemised\":%" PRIu64, blocked,
		   blocked - listed);
	add_reasons(out, report->counters);
	add_dns_counts(out, &report->quota);
	add_rules(out, report);
	add_events(out, report);
	if (report->has_relay)
		buf_printf(out,
			   ",\"relayed\":{\"connections\":%" PRIu64 ",\"bytesOut\":%" PRIu64
			   ",\"bytesIn\":%" PRIu64 "}",
			   report->relayed_connections, report->relayed_out, report->relayed_in);
	buf_puts(out, ",\"policy\":");
	if (policy_print(report->policy, out) < 0)
		out->failed = true;
	buf_puts(out, "}\n");
}

/* /dev/stderr, a pipe, a terminal: written to, never replaced. */
static int write_through(const char *path, const struct buf *text, struct error *err)
{
	cleanup_close int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
	int r;

	if (fd < 0)
		return error_set(err, -errno, "%s: %s", path, strerror(errno));
	r = io_write_all(fd, text->data, text->size);
	return r < 0 ? error_set(err, r, "%s: %s", path, strerror(-r)) : 0;
}

static int write_file(const char *path, const struct buf *text, struct error *err)
{
	struct stat st;

	if (lstat(path, &st) == 0 && !S_ISREG(st.st_mode))
		return write_through(path, text, err);
	return io_replace_file(path, text->data, text->size, err);
}

static int take_groups(gid_t **ret_groups)
{
	int count = getgroups(0, NULL);
	gid_t *groups = count < 0 ? NULL : calloc((size_t)count + 1, sizeof(*groups));

	if (!groups || getgroups(count, groups) != count) {
		free(groups);
		return -EPERM;
	}
	*ret_groups = groups;
	return count;
}

/* So that the user owns the report, and no link leads where the user may not. Only the effective ids
 * and the groups change, and change back. */
static int write_as(const struct run_identity *identity, const char *path, const struct buf *text,
		    struct error *err)
{
	cleanup_free gid_t *groups = NULL;
	int r, count = take_groups(&groups);

	if (count < 0 || setgroups((size_t)identity->n_groups, identity->groups) < 0 ||
	    setegid(identity->gid) < 0 || seteuid(identity->uid) < 0)
		r = error_set(err, -EPERM, "cannot act as user %u", identity->uid);
	else
		r = write_file(path, text, err);
	if (seteuid(0) < 0 || setegid(0) < 0 || count < 0 || setgroups((size_t)count, groups) < 0)
		return error_set(err, -EIO, "cannot act as root again");
	return r;
}

/* A place as a descriptor: no symbolic link was followed, and none put there later is. */
static int open_directory_of(const char *path, const char **ret_name)
{
	const struct open_how how = {
		.flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
		.resolve = RESOLVE_NO_SYMLINKS,
	};
	const char *slash = strrchr(path, '/');
	cleanup_free char *directory =
		slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
	int fd;

	if (!directory)
		return -ENOMEM;
	fd = (int)syscall(SYS_openat2, AT_FDCWD, directory, &how, sizeof(how));
	if (fd < 0)
		return -errno;
	*ret_name = slash ? slash + 1 : path;
	return fd;
}

/*
 * Where the user may not write, root does, for an operator who wants the report in /var/log. But CMD
 * ran as the user and may have put a link at `path`: root never writes through anything, it only puts
 * a file in place of a file.
 */
static int write_as_root(const char *path, const struct buf *text, struct error *err)
{
	const char *name = path;
	cleanup_close int directory = open_directory_of(path, &name);
	cleanup_free char *place = NULL;
	struct stat st;
	int r;

	if (directory < 0)
		return error_set(err, directory, "%s: %s", path, strerror(-directory));
	if (fstatat(directory, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISREG(st.st_mode))
		return error_set(err, -EACCES, "%s: the user may not write it, and it is no file",
				 path);
	if (asprintf(&place, "/proc/self/fd/%d/%s", directory, name) < 0) {
		place = NULL;
		return error_set(err, -ENOMEM, "out of memory");
	}
	r = io_replace_file(place, text->data, text->size, NULL);
	return r < 0 ? error_set(err, r, "%s: %s", path, strerror(-r)) : 0;
}

int run_report_write(const char *path, const struct run_report *report,
		     const struct run_identity *identity, struct error *err)
{
	cleanup_buf struct buf text = {0};
	int r;

	run_report_json(report, &text);
	if (buf_status(&text) < 0)
		return error_set(err, -ENOMEM, "out of memory");
	if (identity->is_root)
		return write_file(path, &text, err);
	r = write_as(identity, path, &text, err);
	if (r == -EACCES || r == -EPERM)
		r = write_as_root(path, &text, err);
	return r;
}
