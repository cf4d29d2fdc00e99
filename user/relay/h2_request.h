/* SPDX-License-Identifier: MIT */
/* Fields of an HTTP/2 request -> the head of one HTTP/1.1 request. Pure. */
#ifndef RELAY_H2_REQUEST_H
#define RELAY_H2_REQUEST_H

#include "base/buf.h"
#include "pst_reason.h"
#include "relay/head.h"

struct h2_request {
	struct buf method, scheme, authority, path; /* what the pseudo-headers say */
	struct buf fields;			    /* lines */
	struct buf cookie; /* crumbs, put together again (RFC 9113 8.2.3) */
	size_t size;	   /* as RFC 9113 6.5.2 counts */
	unsigned n_hosts, n_lengths;
	bool has_fields; /* no pseudo-header may come any more */
	bool is_bad;	 /* not what a request may be */
	bool is_long;	 /* more than `most`: the rest was left out */
};

void h2_request_done(struct h2_request *request);
void h2_request_add(struct h2_request *request, const struct head_text *name,
		    const struct head_text *value, size_t most);
/* PST_REASON_UNSET: `ret_text` is a head, with a blank line at its end and no other within it. PST_REASON_AMBIGUOUS,
 * _HEAD_SIZE or _RELAY_FAILED otherwise. has_body: END_STREAM has not come with the head. */
enum pst_reason h2_request_write(const struct h2_request *request, bool has_body,
				 struct buf *ret_text);

#endif
