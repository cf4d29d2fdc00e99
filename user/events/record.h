/* SPDX-License-Identifier: MIT */
/* struct pst_event -> what people read: one JSON line, or a row of a summary. Pure. */
#ifndef EVENTS_RECORD_H
#define EVENTS_RECORD_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/domain.h"
#include "pst_abi.h"

/* Names the rule behind a number; NULL or "" when there is none. */
typedef const char *(*record_rule_fn)(const void *context, uint32_t rule, char *text, size_t size);

/* What the policy has to say about a denial; "" where it has nothing to say. */
#define RECORD_LABEL_MAX 512 /* a name of 253 characters and its place */
#define RECORD_FIX_MAX	 1024
#define RECORD_NOTE_MAX	 512
struct record_advice {
	char nearest[RECORD_LABEL_MAX]; /* label of the rule that comes closest */
	char fix[RECORD_FIX_MAX];	/* the edit that would allow it */
	char note[RECORD_NOTE_MAX];	/* for the summary: what to know or to type next */
};

/* name: as record_name() gives it. *ret_advice is all zero before. */
typedef void (*record_advise_fn)(const void *context, const struct pst_event *event,
				 const char *name, struct record_advice *ret_advice);

struct record_words {
	record_rule_fn rule;
	record_advise_fn advise; /* NULL: nobody knows */
	const void *context;
	uint64_t wall_minus_boot_ns; /* turns boot time stamps into wall clock time */
	const char *sandbox;	     /* what people call it; NULL: its number */
};

/* One line of JSON with its newline: time, sandbox, verdict, step, reason, rule, name, address, port, protocol,
 * nearest, fix, hook, pid, comm, count, and age of an expired lease. What there is none of (a rule, the address of a
 * socket() call) is null. */
void record_json(const struct pst_event *event, uint64_t count, const struct record_words *words,
		 struct buf *out);

/* "tcp"; the number of a protocol that has no word; "" when none is known. `text` may go unused. */
#define RECORD_PROTOCOL_MAX 8
const char *record_protocol(const struct pst_event *event, char text[RECORD_PROTOCOL_MAX]);
/* The name that was asked for, or one that the address was the answer for; "" when none is known. Fit for a terminal,
 * whatever the sandbox put into it. */
const char *record_name(const struct pst_event *event, char text[DOMAIN_MAX + 1]);
/* Whether it was asked for: the address is then the resolver's, not the name's. */
bool record_is_question(const struct pst_event *event);
/* The rule behind the event as words->rule names it; NULL: none. */
const char *record_rule(const struct pst_event *event, const struct record_words *words, char *text,
			size_t size);

/* Equal events (verdict, reason, rule, name, address, port, protocol) counted together, in order of first sight.
 * Holds at most SUMMARY_MAX rows; what does not fit is counted in `unlisted`. */
#define SUMMARY_MAX 1024

struct summary_row {
	struct pst_event event; /* the first */
	uint64_t count;
};

/* All zero: empty. */
struct summary {
	struct summary_row *rows;
	uint16_t *slots; /* hash of what makes events equal -> place in rows + 1; 0: free */
	size_t n_rows;
	uint64_t unlisted;
};

/* 0, or -ENOMEM at the first event. */
int summary_add(struct summary *s, const struct pst_event *event);
void summary_done(struct summary *s);
/* Rows sorted by count, most first; at most `max_rows` and a line that counts the others. */
void summary_print(const struct summary *s, size_t max_rows, const struct record_words *words,
		   struct buf *out);

#endif
