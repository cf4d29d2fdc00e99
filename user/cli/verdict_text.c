/* SPDX-License-Identifier: MIT */
/* One verdict as people read it, in the words of the summary of a run (events/summary.c). */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/answer.h"
#include "cli/verdict_text.h"
#include "events/words.h"
#include "pst_abi.h"

int verdict_read(const struct json *json, struct verdict *ret_verdict, struct error *err)
{
	const struct json_node *o = json->nodes;
	struct verdict v = {
		.verdict = answer_text(json, o, "verdict"),
		.reason = answer_text(json, o, "reason"),
		.rule = answer_text(json, o, "rule"),
		.name = answer_text(json, o, "name"),
		.address = answer_text(json, o, "address"),
		.protocol = answer_text(json, o, "protocol"),
		.nearest = answer_text(json, o, "nearest"),
		.fix = answer_text(json, o, "fix"),
		.lack = answer_text(json, o, "lack"),
		.step = answer_number(json, o, "step"),
		.port = answer_number(json, o, "port"),
		.time = answer_text(json, o, "time"),
		.sandbox = answer_text(json, o, "sandbox"),
		.comm = answer_text(json, o, "comm"),
		.hook = answer_text(json, o, "hook"),
		.pid = answer_number(json, o, "pid"),
		.count = answer_number(json, o, "count"),
		.age_s = answer_number(json, o, "age"),
		.lost = answer_number(json, o, "lost"),
	};

	if (!*v.verdict && !v.lost)
		return error_set(err, -EINVAL, "posternd's answer has no \"verdict\"");
	*ret_verdict = v;
	return 0;
}

static bool is_host_name(const struct verdict *v)
{
	return strcmp(v->verdict, words_verdict(PST_VERDICT_RELAY)) == 0 &&
	       strcmp(v->reason, words_reason(PST_REASON_HOST_NAME)) == 0;
}

/* At the gate, and before the relay has read a name, nothing was asked yet: the reason's own words are those of a
 * refusal, or of what is settled. */
static const char *reason_text(const struct verdict *v)
{
	if (strcmp(v->verdict, words_verdict(PST_VERDICT_GATE)) == 0)
		return "each question is held against the names that a rule allows";
	if (is_host_name(v) && !*v->rule)
		return "the relay lets it out when a rule covers the name in SNI or Host";
	for (unsigned i = 0; i < PST_REASON_MAX; i++) {
		if (strcmp(v->reason, words_reason(i)) == 0)
			return words_reason_text(i);
	}
	return "a reason that only a newer postern knows";
}

void verdict_explain(const struct verdict *v, struct buf *out)
{
	buf_printf(out, "%s %s %" PRIu64 ": %s\n", *v->name ? v->name : v->address, v->protocol,
		   v->port, v->verdict);
	buf_printf(out, "  step     %" PRIu64 "\n  reason   %s: %s\n", v->step, v->reason,
		   reason_text(v));
	if (*v->rule)
		buf_printf(out, "  rule     %s\n", v->rule);
	if (*v->nearest)
		buf_printf(out, "  nearest  %s%s%s\n", v->nearest, *v->lack ? ": " : "", v->lack);
	if (*v->fix)
		buf_printf(out, "  fix      %s\n", v->fix);
}

static bool has_ports(const struct verdict *v)
{
	return strcmp(v->protocol, "tcp") == 0 || strcmp(v->protocol, "udp") == 0;
}

/* The address is then the resolver's, not the name's. */
static bool is_question(const struct verdict *v)
{
	return *v->name && (strcmp(v->reason, words_reason(PST_REASON_NAME_GATE)) == 0 ||
			    strcmp(v->reason, words_reason(PST_REASON_DNS_BUSY)) == 0);
}

static void add_place(const struct verdict *v, const char *host, struct buf *out)
{
	bool bracket = strchr(host, ':') != NULL;

	if (has_ports(v))
		buf_printf(out, "%s%s%s:%" PRIu64 "/%s", bracket ? "[" : "", host,
			   bracket ? "]" : "", v->port, v->protocol);
	else
		buf_printf(out, "%s%s%s", host, *v->protocol ? " " : "", v->protocol);
}

/* "example.com:443/tcp (1.2.3.4)", "dns example.com (1.2.3.4)", "1.2.3.4:443/tcp", "a socket of protocol 47". */
static void add_destination(const struct verdict *v, struct buf *out)
{
	if (!*v->name && !*v->address) {
		buf_printf(out, "a socket%s%s", *v->protocol ? " of protocol " : "", v->protocol);
	} else if (!*v->name) {
		add_place(v, v->address, out);
	} else {
		if (is_question(v))
			buf_printf(out, "dns %s", v->name);
		else
			add_place(v, v->name, out);
		if (*v->address)
			buf_printf(out, " (%s)", v->address);
	}
}

/* "2026-11-22T04:45:38.123Z" -> "04:45:38"; the time is UTC. */
static void add_time(const struct verdict *v, struct buf *out)
{
	const char *clock = strchr(v->time, 'T');

	if (clock && strlen(clock) > 8)
		buf_printf(out, "%.8s", clock + 1);
	else
		buf_puts(out, "--:--:--");
}

/* Least widths of verdict, sandbox, process and destination. */
struct widths {
	int verdict, sandbox, process, destination;
};

void verdict_line(const struct verdict *v, uint64_t count, bool narrow, struct buf *out)
{
	static const struct widths wide = {10, 12, 18, 24}, thin = {5, 0, 0, 0};
	const struct widths *w = narrow ? &thin : &wide;
	cleanup_buf struct buf process = {0}, destination = {0};

	add_time(v, out);
	buf_printf(out, " %6" PRIu64 "  ", count);
	if (v->lost) {
		buf_printf(out, "%-*s  more happened than this stream could take%s%s", w->verdict,
			   "lost", *v->sandbox ? ": " : "", v->sandbox);
		return;
	}
	buf_printf(&process, "%s[%" PRIu64 "]", *v->comm ? v->comm : "?", v->pid);
	add_destination(v, &destination);
	if (buf_status(&process) < 0 || buf_status(&destination) < 0) {
		out->failed = true;
		return;
	}
	buf_printf(out, "%-*s  %-*s  %-*s  %-*s  %s", w->verdict, v->verdict, w->sandbox,
		   v->sandbox, w->process, v->pid || *v->comm ? process.data : "-", w->destination,
		   destination.data, v->reason);
	if (v->age_s)
		buf_printf(out, " (%" PRIu64 " s ago)", v->age_s);
	buf_printf(out, ": %s", *v->rule ? v->rule : reason_text(v));
}

void verdict_key(const struct verdict *v, struct buf *out)
{
	/* No text has a newline: answer_parse() sees to it. */
	if (v->lost)
		buf_printf(out, "lost\n%s", v->sandbox);
	else
		buf_printf(out, "%s\n%s\n%s\n%s\n%s\n%s\n%" PRIu64 "\n%s", v->verdict, v->sandbox,
			   v->reason, v->rule, v->name, v->address, v->port, v->protocol);
}
