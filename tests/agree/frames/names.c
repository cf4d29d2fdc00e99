/* SPDX-License-Identifier: MIT */
/* The model's view of DNS in frames: what user/dns makes of questions and replies, and what is learned from them. */
#include <string.h>

#include "tests/agree/frames/model.h"

/* Where the message is; 0: nothing that could be one. */
static size_t message_of(const struct frame *f, const struct reading *r, size_t *ret_at)
{
	size_t length = frame_word(f, r->l4 + 4);

	if (length < 8 + DNS_HEADER_SIZE || r->l4 + length > f->size)
		return 0;
	*ret_at = r->l4 + 8;
	return length - 8;
}

/* Can be turned into an answer: a query with one question, whatever it asks for (RFC 1035 4.1). */
bool model_is_question(const struct frame *f, const struct reading *r)
{
	size_t start, size = message_of(f, r, &start), at = start + DNS_HEADER_SIZE;
	size_t end = start + size, longest = start + DNS_HEADER_SIZE + DOMAIN_MAX + 2;

	if (size < DNS_HEADER_SIZE + 5 || f->gso_size || f->bytes[start + 2] & 0xf8 ||
	    frame_word(f, start + 4) != 1 || frame_word(f, start + 6) || frame_word(f, start + 8))
		return false;
	while (at < end && f->bytes[at] && f->bytes[at] <= 63)
		at += 1u + f->bytes[at];
	return at < end && !f->bytes[at] && at + 5 <= end && at < longest;
}

/* Exact beats any wildcard, the longer wildcard the shorter one; of equal ones the first in the document. 0: none. */
static uint32_t rule_of_name(const struct world *w, const char *name)
{
	size_t rank, best = 0;
	uint32_t found = 0;

	for (size_t i = 0; i < w->c.policy.n_rules; i++) {
		const struct policy_rule *rule = &w->c.policy.rules[i];
		const struct domain *pattern = &rule->dest.domain;

		if (rule->verdict != PST_VERDICT_ALLOW || rule->dest.kind != POLICY_DEST_NAME ||
		    !domain_matches(pattern, name))
			continue;
		rank = pattern->kind == DOMAIN_EXACT ? DOMAIN_MAX + 2 : 1 + strlen(pattern->name);
		if (rank > best) {
			best = rank;
			found = (uint32_t)i + 1;
		}
	}
	return found;
}

static struct asked *place_for(struct world *w)
{
	if (w->n_asked < FRAME_ASKED)
		return &w->asked[w->n_asked++];
	for (size_t i = 0; i < FRAME_ASKED; i++)
		if (!w->asked[i].stamp_ns)
			return &w->asked[i];
	return NULL;
}

static void record(struct world *w, const struct reading *r, const struct dns_question *question,
		   struct verdict *v)
{
	struct asked *asked = place_for(w);

	if (!asked) {
		w->uncertain = true;
		return;
	}
	*asked = (struct asked){.stamp_ns = 1,
				.resolver = r->to,
				.local = r->from,
				.port = r->from_port,
				.question = *question};
	v->asked = asked;
}

struct pst_decision model_ask(struct world *w, const struct frame *f, const struct reading *r,
			      struct pst_decision d, struct verdict *v)
{
	struct dns_question question;
	size_t at, size = message_of(f, r, &at);
	bool whole = size && size <= PST_DNS_MAX_QUERY && !f->gso_size && at + size == f->size;
	enum pst_reason reason = PST_REASON_NAME_GATE;
	uint32_t covered = 0;
	bool plain;

	if (whole && w->questions_full)
		v->busy = true;
	plain = whole && !w->questions_full &&
		dns_question_parse(f->bytes + at, size, &question) == DNS_GATE_PASSES;
	if (plain)
		d.rule = covered = rule_of_name(w, question.name);
	if (v->busy)
		reason = PST_REASON_DNS_BUSY;
	if (plain && (covered || w->device.sandbox.learn == PST_LEARN_ALL))
		record(w, r, &question, v);
	if (d.verdict != PST_VERDICT_GATE)
		return d;
	d.verdict = covered ? PST_VERDICT_ALLOW
			    : (w->c.policy.audit ? PST_VERDICT_WOULD_DENY : PST_VERDICT_DENY);
	d.reason = covered ? PST_REASON_RESOLVER : (uint8_t)reason;
	return d;
}

/* ---- replies ---- */

static bool is_of_the_beginning(const struct world *w, const struct addr *a)
{
	for (size_t i = 0; i < w->c.n_leases; i++)
		if (addr_equal(&w->c.leases[i].addr, a))
			return true;
	return false;
}

static struct explain_lease *lease_of(struct world *w, const struct addr *a)
{
	for (size_t i = 0; i < w->n_leases; i++)
		if (addr_equal(&w->leases[i].addr, a))
			return &w->leases[i];
	if (w->n_leases == FRAME_LEASES)
		return NULL;
	w->leases[w->n_leases] = (struct explain_lease){.addr = *a};
	return &w->leases[w->n_leases++];
}

/* At the first free place. Which of four live names a fifth one takes the place of is tested elsewhere (agree/dns). */
static void learn_address(struct world *w, const struct addr *a, const char *name)
{
	struct explain_lease *lease = lease_of(w, a);

	if (!lease || is_of_the_beginning(w, a)) {
		w->uncertain = true;
		return;
	}
	for (unsigned at = 0; at < PST_LEASE_NAMES; at++) {
		if (lease->by[at].name && strcmp(lease->by[at].name, name) != 0)
			continue;
		lease->by[at] = (struct explain_lease_name){.name = name};
		return;
	}
	w->uncertain = true;
}

static const char *name_in_case(const struct world *w, const char *name)
{
	for (size_t i = 0; i < AGREE_NAMES; i++)
		if (strcmp(w->c.names[i], name) == 0)
			return w->c.names[i];
	return NULL;
}

static enum pst_reply learn_answers(struct world *w, const struct asked *asked,
				    const struct dns_answers *answers, struct verdict *v)
{
	const char *name = name_in_case(w, asked->question.name);

	if (!rule_of_name(w, asked->question.name) && w->device.sandbox.learn != PST_LEARN_ALL)
		return PST_REPLY_EMPTY;
	if (!name) /* of a mutated question: what lives longer than this call has to have it */
		w->uncertain = true;
	for (size_t i = 0; name && i < answers->count; i++) {
		if (model_is_always_denied(w, &answers->items[i].addr))
			continue;
		learn_address(w, &answers->items[i].addr, name);
		v->learned[v->n_learned++] = answers->items[i].addr;
	}
	return v->n_learned ? PST_REPLY_LEARNED : PST_REPLY_EMPTY;
}

/* What a reply of a trusted resolver leaves behind. It answers the first open question that is the same in every
 * byte. */
static enum pst_reply learn(struct world *w, const struct frame *f, const struct reading *r,
			    struct verdict *v)
{
	const struct dns_ttl_range range = {w->c.policy.dns_min_ttl_s, w->c.policy.dns_max_ttl_s};
	size_t at, size = message_of(f, r, &at);
	static struct dns_answers answers;
	enum pst_reply reply;

	for (size_t i = 0; size && i < w->n_asked; i++) {
		struct asked *asked = &w->asked[i];

		if (!asked->stamp_ns || asked->port != r->to_port ||
		    !addr_equal(&asked->resolver, &r->from))
			continue;
		reply = dns_reply_parse(f->bytes + at, size, &asked->question, range, &answers);
		if (reply == PST_REPLY_UNASKED)
			continue;
		asked->stamp_ns = 0;
		return reply == PST_REPLY_LEARNED ? learn_answers(w, asked, &answers, v) : reply;
	}
	return PST_REPLY_UNASKED;
}

/* Whoever guesses an id writes the end of what is in fragments (RFC 9715): nothing is learned from the beginning
 * either. */
static enum pst_reply judge_fragment(const struct world *w, const struct frame *f,
				     const struct reading *r)
{
	size_t at, size = message_of(f, r, &at);

	for (size_t i = 0; size && i < w->n_asked; i++) {
		const struct asked *asked = &w->asked[i];

		if (asked->stamp_ns && asked->port == r->to_port &&
		    asked->question.txid == frame_word(f, at) &&
		    addr_equal(&asked->resolver, &r->from))
			return PST_REPLY_MALFORMED;
	}
	return PST_REPLY_UNASKED;
}

void model_learn(struct world *w, const struct frame *f, const struct reading *r, struct verdict *v)
{
	if (!w->device.sandbox.learn)
		return;
	/* Where its message would be is anybody's guess: how it is counted is left open. */
	w->uncertain |= r->fragment && r->v6;
	v->has_reply = true;
	v->reply = r->fragment ? judge_fragment(w, f, r) : learn(w, f, r, v);
}
