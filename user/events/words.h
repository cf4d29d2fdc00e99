/* SPDX-License-Identifier: MIT */
/* The words of the ABI's enums: the same in explain, events, reports and logs. Pure. */
#ifndef EVENTS_WORDS_H
#define EVENTS_WORDS_H

const char *
words_verdict(unsigned verdict); /* "deny", "allow", "relay", "would-deny", ...; "?" if unknown */
const char *words_reason(unsigned reason);	/* "default-deny" */
const char *words_reason_text(unsigned reason); /* "no rule allows the destination" */
const char *words_protocol(unsigned protocol);	/* PST_TCP -> "tcp"; 0 -> "" */
const char *words_hook(unsigned hook);		/* "connect" */
const char *words_reply(unsigned reply);	/* PST_REPLY_TRUNCATED -> "truncated" */

#endif
