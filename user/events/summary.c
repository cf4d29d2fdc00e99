/* SPDX-License-Identifier: MIT */
/* Many events -> few rows, counted, most first. Bounded: a flood of destinations fills it and is counted. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/addr.h"
#include "events/record.h"
#include "events/words.h"

#define SLOTS	 (2 * SUMMARY_MAX) /* a power of two, at most half full */
#define RULE_MAX 512
#define DEST_MAX (DOMAIN_MAX + CIDR_TEXT_MAX + 32)

/* What lies behind prefixlen is arbitrary. */
static size_t name_size(const struct pst_event *event)
{
	size_t size = event->name.prefixlen / 8;

	return size < PST_NAME_SIZE ? size : PST_NAME_SIZE;
}

static bool same(const struct pst_event *a, const struct pst_event *b)
{
	return a->name.prefixlen == b->name.prefixlen &&
	       memcmp(a->name.name, b->name.name, name_size(a)) == 0 && a->verdict == b->verdict &&
	       a->reason == b->reason && a->rule == b->rule && a->port == b->port &&
	       a->protocol == b->protocol && (a->protocol || a->ip_protocol == b->ip_protocol) &&
	       memcmp(a->addr, b->addr, sizeof(a->addr)) == 0;
}

static uint32_t mix(uint32_t hash, uint32_t value)
{
	hash = (hash ^ value) * 0x9e3779b1u;
	return hash ^ hash >> 15;
}

/* Of what same() compares. */
static uint32_t hash_event(const struct pst_event *event)
{
	uint32_t hash = mix(event->rule, (uint32_t)event->verdict << 8 | event->reason);
	uint32_t words[4];

	hash = mix(hash, (uint32_t)event->port << 8 | event->protocol);
	memcpy(words, event->addr, sizeof(words));
	for (size_t i = 0; i < 4; i++)
		hash = mix(hash, words[i]);
	for (size_t i = 0; i < name_size(event); i++)
		hash = mix(hash, (uint8_t)event->name.name[i]);
	return hash;
}

static int summary_init(struct summary *s)
{
	struct summary_row *rows = calloc(SUMMARY_MAX, sizeof(*rows));
	uint16_t *slots = calloc(SLOTS, sizeof(*slots));

	if (!rows || !slots) {
		free(rows);
		free(slots);
		return -ENOMEM;
	}
	s->rows = rows;
	s->slots = slots;
	return 0;
}

int summary_add(struct summary *s, const struct pst_event *event)
{
	int r = s->rows ? 0 : summary_init(s);
	size_t i;

	if (r)
		return r;
	i = hash_event(event) & (SLOTS - 1);
	while (s->slots[i] && !same(&s->rows[s->slots[i] - 1].event, event))
		i = (i + 1) & (SLOTS - 1);
	if (s->slots[i]) {
		s->rows[s->slots[i] - 1].count++;
	} else if (s->n_rows == SUMMARY_MAX) {
		s->unlisted++;
	} else {
		s->rows[s->n_rows++] = (struct summary_row){.event = *event, .count = 1};
		s->slots[i] = (uint16_t)s->n_rows;
	}
	return 0;
}

void summary_done(struct summary *s)
{
	free(s->rows);
	free(s->slots);
	*s = (struct summary){0};
}

/* Most first; equal counts in order of first sight, which is the order of the rows themselves. */
static int compare(const void *left, const void *right)
{
	const struct summary_row *a = *(const struct summary_row *const *)left;
	const struct summary_row *b = *(const struct summary_row *const *)right;

	if (a->count != b->count)
		return a->count > b->count ? -1 : 1;
	return (a > b) - (a < b);
}

/* "1.2.3.4:443/tcp", "[2001:db8::1]:53/udp", "1.2.3.4 icmp"; of a name "example.com:443/tcp" and so on. */
static void print_place(const char *host, bool bracket, const struct pst_event *event,
			char text[DEST_MAX])
{
	char protocol_text[RECORD_PROTOCOL_MAX];
	const char *protocol = record_protocol(event, protocol_text);

	if (event->protocol & (PST_TCP | PST_UDP))
		snprintf(text, DEST_MAX, "%s%s%s:%u/%s", bracket ? "[" : "", host,
			 bracket ? "]" : "", event->port, protocol);
	else
		snprintf(text, DEST_MAX, "%s%s%s", host, *protocol ? " " : "", protocol);
}

/* With a name: "example.com:443/tcp (1.2.3.4)"; a question for one: "dns example.com (1.2.3.4)". Else the address's
 * place, or "a socket of protocol 47", or "a unix socket". */
static void print_dest(const struct pst_event *event, const char *name, char text[DEST_MAX])
{
	char protocol_text[RECORD_PROTOCOL_MAX], address[CIDR_TEXT_MAX];
	const char *protocol = record_protocol(event, protocol_text);
	struct addr a;

	memcpy(a.bytes, event->addr, sizeof(a.bytes));
	addr_print(&a, address);
	if (event->hook == PST_HOOK_SOCKET) {
		snprintf(text, DEST_MAX, "a socket%s%s", *protocol ? " of protocol " : "",
			 protocol);
	} else if (event->hook == PST_HOOK_UNIX) {
		snprintf(text, DEST_MAX, "a unix socket");
	} else if (!*name) {
		print_place(address, !addr_is_ipv4(&a), event, text);
	} else if (record_is_question(event)) {
		snprintf(text, DEST_MAX, "dns %s (%s)", name, address);
	} else {
		size_t used;

		print_place(name, false, event, text);
		used = strlen(text);
		snprintf(text + used, DEST_MAX - used, " (%s)", address);
	}
}

static void print_row(const struct summary_row *row, const struct record_words *words,
		      struct buf *out)
{
	const struct pst_event *event = &row->event;
	char dest[DEST_MAX], text[RULE_MAX], name[DOMAIN_MAX + 1];
	const char *rule = record_rule(event, words, text, sizeof(text));
	struct record_advice advice = {0};

	record_name(event, name);
	if (words->advise)
		words->advise(words->context, event, name, &advice);
	print_dest(event, name, dest);
	buf_printf(out, "%8" PRIu64 "  %-10s  %-24s  %s: %s%s%s\n", row->count,
		   words_verdict(event->verdict), dest, words_reason(event->reason),
		   rule ? rule : words_reason_text(event->reason), *advice.note ? "; " : "",
		   advice.note);
}

void summary_print(const struct summary *s, size_t max_rows, const struct record_words *words,
		   struct buf *out)
{
	const struct summary_row *order[SUMMARY_MAX];
	uint64_t others = s->unlisted;

	for (size_t i = 0; i < s->n_rows; i++)
		order[i] = &s->rows[i];
	if (s->n_rows)
		qsort(order, s->n_rows, sizeof(order[0]), compare);
	for (size_t i = 0; i < s->n_rows; i++) {
		if (i < max_rows)
			print_row(order[i], words, out);
		else
			others += order[i]->count;
	}
	if (others)
		buf_printf(out, "%8" PRIu64 "  to other destinations\n", others);
}
