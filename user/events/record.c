/* SPDX-License-Identifier: MIT */
/* One event -> one line of JSON. Never fails but for memory, which the buffer remembers. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/addr.h"
#include "events/record.h"
#include "events/words.h"

#define NS_PER_S  1000000000ULL
#define NS_PER_MS 1000000ULL
#define RULE_MAX  512

/* RFC 3339 in UTC, to the millisecond. */
static void add_time(struct buf *out, uint64_t wall_ns)
{
	time_t seconds = (time_t)(wall_ns / NS_PER_S);
	struct tm tm = {0};

	gmtime_r(&seconds, &tm);
	buf_printf(out, "{\"time\":\"%04d-%02d-%02dT%02d:%02d:%02d.%03uZ\"", tm.tm_year + 1900,
		   tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
		   (unsigned)(wall_ns % NS_PER_S / NS_PER_MS));
}

static void add_string(struct buf *out, const char *key, const char *text)
{
	buf_printf(out, ",\"%s\":", key);
	if (text)
		buf_json_string(out, text);
	else
		buf_puts(out, "null");
}

/* Null for what is empty. */
static void add_text(struct buf *out, const char *key, const char *text)
{
	add_string(out, key, *text ? text : NULL);
}

/* comm is whatever the process chose, and the kernel may cut it within a character. */
static void add_comm(struct buf *out, const char comm[16])
{
	char text[17] = "";

	for (size_t i = 0; i < 16 && comm[i]; i++)
		text[i] = (unsigned char)comm[i] < 0x80 ? comm[i] : '?';
	add_string(out, "comm", text);
}

const char *record_protocol(const struct pst_event *event, char text[RECORD_PROTOCOL_MAX])
{
	if (event->protocol || !event->ip_protocol)
		return words_protocol(event->protocol);
	snprintf(text, RECORD_PROTOCOL_MAX, "%u", event->ip_protocol);
	return text;
}

const char *record_name(const struct pst_event *event, char text[DOMAIN_MAX + 1])
{
	return domain_from_key(&event->name, text);
}

bool record_is_question(const struct pst_event *event)
{
	return event->name.prefixlen &&
	       (event->reason == PST_REASON_NAME_GATE || event->reason == PST_REASON_DNS_BUSY);
}

const char *record_rule(const struct pst_event *event, const struct record_words *words, char *text,
			size_t size)
{
	const char *label = NULL;

	if (event->rule && words->rule)
		label = words->rule(words->context, event->rule, text, size);
	return label && *label ? label : NULL;
}

void record_json(const struct pst_event *event, uint64_t count, const struct record_words *words,
		 struct buf *out)
{
	char protocol[RECORD_PROTOCOL_MAX], address[CIDR_TEXT_MAX], rule[RULE_MAX];
	bool has_address = event->hook != PST_HOOK_SOCKET && event->hook != PST_HOOK_UNIX;
	struct record_advice advice = {0};
	char name[DOMAIN_MAX + 1];
	struct addr a;

	record_name(event, name);
	if (words->advise)
		words->advise(words->context, event, name, &advice);
	memcpy(a.bytes, event->addr, sizeof(a.bytes));
	add_time(out, event->time_ns + words->wall_minus_boot_ns);
	if (words->sandbox)
		add_string(out, "sandbox", words->sandbox);
	else
		buf_printf(out, ",\"sandbox\":%" PRIu64, (uint64_t)event->sandbox);
	add_string(out, "verdict", words_verdict(event->verdict));
	buf_printf(out, ",\"step\":%u", event->step);
	add_string(out, "reason", words_reason(event->reason));
	add_string(out, "rule", record_rule(event, words, rule, sizeof(rule)));
	add_text(out, "name", name);
	add_string(out, "address", has_address ? addr_print(&a, address) : NULL);
	buf_printf(out, ",\"port\":%u", event->port);
	add_string(out, "protocol", record_protocol(event, protocol));
	add_text(out, "nearest", advice.nearest);
	add_text(out, "fix", advice.fix);
	if (event->reason == PST_REASON_LEASE_EXPIRED)
		buf_printf(out, ",\"age\":%u", event->age_s);
	add_string(out, "hook", words_hook(event->hook));
	buf_printf(out, ",\"pid\":%u", event->pid);
	add_comm(out, event->comm);
	buf_printf(out, ",\"count\":%" PRIu64 "}\n", count);
}
