/* SPDX-License-Identifier: MIT */
/*
 * A question from the sandbox -> its reply: judged, sent on with the bytes that it came with under a number of our own,
 * and released with its own number once the starter says that its addresses are leases. No lease, no reply: who has an
 * address has the right to connect to it. Nothing is kept for the next question.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/loop.h"
#include "relay/dns.h"

#define FLAG_QR	   0x80u
#define FLAG_RCODE 0x0fu
#define MS_NS	   1000000ULL

static void put_txid(uint8_t *message, uint16_t txid)
{
	message[0] = (uint8_t)(txid >> 8);
	message[1] = (uint8_t)txid;
}

static void answer_ourselves(const struct dns_asker *asker, const uint8_t *message, size_t size,
			     struct dns_own own)
{
	uint8_t reply[DNS_OWN_MAX];

	dns_send(asker, reply, dns_compose(message, size, own, reply));
}

/* As many as the kernel lets wait; and where the whole relay is full, who has few may have a few more. */
static bool is_full(const struct dns_service *service)
{
	return service->n_asks >= PST_QUESTIONS ||
	       (service->sandbox->relay->questions >= DNS_TOTAL && service->n_asks >= DNS_SHARE);
}

static void link_ask(struct dns_ask *ask)
{
	struct dns_service *service = ask->service;

	ask->next = service->asks;
	if (ask->next)
		ask->next->previous = ask;
	service->asks = ask;
	service->n_asks++;
	service->sandbox->relay->questions++;
	if (ask->asker.stream)
		ask->asker.stream->n_asks++;
}

static void unlink_ask(struct dns_ask *ask)
{
	struct dns_service *service = ask->service;

	if (ask->previous)
		ask->previous->next = ask->next;
	else
		service->asks = ask->next;
	if (ask->next)
		ask->next->previous = ask->previous;
	service->n_asks--;
	service->sandbox->relay->questions--;
	if (ask->asker.stream)
		ask->asker.stream->n_asks--;
}

static void drop_reply(struct dns_ask *ask)
{
	ask->service->held -= ask->reply_size;
	free(ask->reply);
	ask->reply = NULL;
	ask->reply_size = 0;
}

void dns_ask_free(struct dns_ask *ask)
{
	if (!ask)
		return;
	unlink_ask(ask);
	if (ask->lease) {
		control_forget(ask->lease);
		ask->service->n_leases--;
	}
	dns_upstream_close(ask);
	drop_reply(ask);
	if (ask->timer)
		event_free(ask->timer);
	free(ask);
}

int dns_ask_hold(struct dns_ask *ask, size_t size)
{
	drop_reply(ask);
	if (size > DNS_HELD_BYTES - ask->service->held)
		return -ENOBUFS;
	ask->reply = malloc(size);
	if (!ask->reply)
		return -ENOMEM;
	ask->reply_size = size;
	ask->service->held += size;
	return 0;
}

/* The asker outlives its question: sending ends no stream. */
static void end(struct dns_ask *ask)
{
	struct dns_stream *stream = ask->asker.stream;

	dns_ask_free(ask);
	if (stream)
		dns_stream_settled(stream);
}

static void release(struct dns_ask *ask)
{
	struct dns_service *service = ask->service;

	put_txid(ask->reply, ask->txid);
	dns_send(&ask->asker, ask->reply, ask->reply_size);
	end(ask);
	dns_ask_settled(service);
}

static void end_with(struct dns_ask *ask, struct dns_own own)
{
	put_txid(ask->message, ask->txid);
	answer_ourselves(&ask->asker, ask->message, ask->size, own);
	end(ask);
}

static void fail(struct dns_ask *ask)
{
	end_with(ask, (struct dns_own){.rcode = DNS_SERVFAIL});
}

void dns_ask_fail(struct dns_ask *ask)
{
	struct dns_service *service = ask->service;

	fail(ask);
	dns_ask_settled(service);
}

/* An audit refuses nothing, this neither. */
static bool is_audit(const struct dns_ask *ask)
{
	return ask->service->sandbox->policy->flags & PST_RELAY_AUDIT;
}

static void on_leased(void *context, int status, const struct pst_relay_answer *answer,
		      const void *rest, size_t size)
{
	struct dns_ask *ask = context;

	(void)rest;
	(void)size;
	ask->lease = NULL;
	ask->service->n_leases--;
	if ((status || !answer || answer->status) && !is_audit(ask))
		dns_ask_fail(ask);
	else
		release(ask);
}

static void arm(struct dns_ask *ask, uint64_t most_ms)
{
	uint64_t now_ns = loop_monotonic_ns(),
		 left_ms = ask->deadline_ns > now_ns ? (ask->deadline_ns - now_ns) / MS_NS : 0;
	struct timeval after;

	if (left_ms > most_ms)
		left_ms = most_ms;
	after = (struct timeval){.tv_sec = (time_t)(left_ms / 1000),
				 .tv_usec = (suseconds_t)(left_ms % 1000 * 1000)};
	(void)evtimer_add(ask->timer, &after);
}

/* Asks the starter; what is in `answers` are at most as many as the message holds. */
static int ask_starter(struct dns_ask *ask, const struct dns_answers *answers)
{
	struct relay_sandbox *sandbox = ask->service->sandbox;
	struct pst_relay_lease lease = {
		.header = {.type = PST_RELAY_LEASE, .size = sizeof(lease), .sandbox = sandbox->id},
		.count = (uint32_t)answers->count,
	};

	memcpy(lease.name, ask->question.name, sizeof(ask->question.name));
	for (size_t i = 0; i < answers->count; i++) {
		memcpy(lease.answers[i].addr, answers->items[i].addr.bytes, 16);
		lease.answers[i].ttl_s = answers->items[i].ttl_s;
	}
	ask->lease = control_ask(sandbox->relay, &lease.header, on_leased, ask);
	if (!ask->lease)
		return -EIO;
	ask->service->n_leases++;
	return 0;
}
PST_ASSERT("a name fits into a lease", DOMAIN_MAX + 1 <= PST_NAME_SIZE);

/* What was no plain question (audit, or no gate) has nothing that a reply could be held against but its number. */
static enum pst_reply parse(const struct dns_ask *ask, const uint8_t *reply, size_t size,
			    struct dns_answers *ret_answers)
{
	const struct relay_policy *policy = ask->service->sandbox->policy;
	const struct dns_ttl_range range = {policy->lease_min_s, policy->lease_max_s};

	ret_answers->count = 0;
	if (size < DNS_HEADER_SIZE || !(reply[2] & FLAG_QR) || reply[0] != ask->message[0] ||
	    reply[1] != ask->message[1])
		return PST_REPLY_UNASKED;
	if (!ask->is_plain)
		return PST_REPLY_EMPTY;
	/* A long one is looked at as far as its question; its addresses are not learned. */
	if (size > PST_DNS_MAX_MESSAGE &&
	    memcmp(reply + DNS_HEADER_SIZE, ask->question.wire, ask->question.size) != 0)
		return PST_REPLY_UNASKED;
	return dns_reply_parse(reply, size, &ask->question, range, ret_answers);
}

static bool is_better_asked_elsewhere(const struct dns_ask *ask, const uint8_t *reply)
{
	unsigned rcode = reply[3] & FLAG_RCODE;

	return (rcode == DNS_SERVFAIL || rcode == DNS_REFUSED) && dns_upstream_has_more(ask);
}

int dns_ask_reply(struct dns_ask *ask, const uint8_t *reply, size_t size)
{
	struct dns_answers answers;
	enum pst_reply kind = parse(ask, reply, size, &answers);

	if (kind == PST_REPLY_UNASKED)
		return -EAGAIN;
	if (kind == PST_REPLY_MALFORMED)
		return -EBADMSG;
	if (kind == PST_REPLY_ERROR && is_better_asked_elsewhere(ask, reply))
		return -EREMOTE;
	if (reply != ask->reply) {
		if (dns_ask_hold(ask, size)) {
			dns_ask_fail(ask);
			return 0;
		}
		memcpy(ask->reply, reply, size);
	}
	dns_upstream_close(ask);
	if (kind != PST_REPLY_LEARNED || !ask->is_covered) {
		release(ask);
		return 0;
	}
	ask->waits_for_lease = true;
	arm(ask, UINT64_MAX);
	dns_ask_settled(ask->service);
	return 0;
}

/* The one that has waited longest: the newest stands first. */
static struct dns_ask *find_waiting(const struct dns_service *service)
{
	struct dns_ask *found = NULL;

	for (struct dns_ask *ask = service->asks; ask; ask = ask->next)
		if (ask->waits_for_lease)
			found = ask;
	return found;
}

void dns_ask_settled(struct dns_service *service)
{
	struct dns_answers answers;
	struct dns_ask *ask;

	while (service->n_leases < DNS_LEASES && (ask = find_waiting(service))) {
		ask->waits_for_lease = false;
		if (parse(ask, ask->reply, ask->reply_size, &answers) != PST_REPLY_LEARNED ||
		    ask_starter(ask, &answers))
			fail(ask);
	}
}

/* A resolver that says nothing, or a starter that does. */
static void on_timer(evutil_socket_t fd, short what, void *context)
{
	struct dns_ask *ask = context;

	(void)fd;
	(void)what;
	if (ask->lease || ask->waits_for_lease || loop_monotonic_ns() >= ask->deadline_ns) {
		dns_ask_fail(ask);
		return;
	}
	dns_upstream_close(ask);
	dns_upstream_next(ask);
}

/* Where a stream was opened to a trusted resolver, that one is asked first. */
static unsigned first_resolver(const struct dns_ask *ask)
{
	const struct relay_policy *policy = ask->service->sandbox->policy;
	struct addr addr;

	if (!ask->asker.stream)
		return 0;
	memcpy(addr.bytes, ask->asker.stream->session->origin.addr, sizeof(addr.bytes));
	for (unsigned i = 0; i < policy->n_resolvers; i++)
		if (addr_equal(&policy->resolvers[i], &addr))
			return i;
	return 0;
}

static struct dns_ask *new_ask(struct dns_service *service, const struct dns_asker *asker,
			       const uint8_t *message, size_t size)
{
	struct dns_ask *ask = calloc(1, sizeof(*ask));
	uint16_t txid;

	if (!ask)
		return NULL;
	ask->timer = evtimer_new(service->sandbox->relay->base, on_timer, ask);
	if (!ask->timer || getrandom(&txid, sizeof(txid), 0) != sizeof(txid)) {
		if (ask->timer)
			event_free(ask->timer);
		free(ask);
		return NULL;
	}
	ask->service = service;
	ask->asker = *asker;
	ask->upstream.fd = -1;
	ask->size = (uint16_t)size;
	memcpy(ask->message, message, size);
	ask->txid = (uint16_t)(message[0] << 8 | message[1]);
	put_txid(ask->message, txid);
	ask->question.txid = txid;
	ask->deadline_ns = loop_monotonic_ns() + PST_QUESTION_NS;
	link_ask(ask);
	return ask;
}

static void forward(struct dns_service *service, const struct dns_asker *asker,
		    const struct dns_judged *judged, const uint8_t *message, size_t size)
{
	const struct dns_own failed = {.rcode = DNS_SERVFAIL};
	struct dns_ask *ask;

	if (is_full(service)) {
		dns_tell(service, asker,
			 &(struct dns_told){PST_VERDICT_DENY, PST_REASON_DNS_BUSY,
					    judged->is_plain ? judged->question.name : NULL});
		answer_ourselves(asker, message, size, failed);
		return;
	}
	ask = new_ask(service, asker, message, size);
	if (!ask) {
		answer_ourselves(asker, message, size, failed);
		return;
	}
	ask->is_plain = judged->is_plain;
	ask->is_covered = judged->is_covered;
	if (judged->is_plain) {
		uint16_t txid = ask->question.txid;

		ask->question = judged->question;
		ask->question.txid = txid;
	}
	ask->first = first_resolver(ask);
	dns_upstream_next(ask);
}

static void tell_judged(struct dns_service *service, const struct dns_asker *asker,
			const struct dns_judged *judged)
{
	uint8_t verdict = judged->fate == DNS_FORWARD ? PST_VERDICT_WOULD_DENY : PST_VERDICT_DENY;
	const struct dns_told told = {verdict, judged->reason,
				      judged->is_plain ? judged->question.name : NULL};

	if (judged->reason)
		dns_tell(service, asker, &told);
}

static struct dns_own own_of(const struct dns_judged *judged)
{
	return (struct dns_own){.rcode = judged->rcode,
				.is_blocked = judged->reason == PST_REASON_NAME_GATE};
}

void dns_ask_start(struct dns_service *service, const struct dns_asker *asker,
		   const uint8_t *message, size_t size)
{
	struct dns_judged judged;

	dns_judge(service->sandbox->policy, message, size, &judged);
	tell_judged(service, asker, &judged);
	if (judged.fate == DNS_FORWARD)
		forward(service, asker, &judged, message, size);
	else if (judged.fate == DNS_ANSWER)
		answer_ourselves(asker, message, size, own_of(&judged));
}

/* ---- a change of the policy ---- */

static bool is_trusted(const struct relay_policy *policy, const struct addr *resolver)
{
	for (size_t i = 0; i < policy->n_resolvers; i++)
		if (addr_equal(&policy->resolvers[i], resolver))
			return true;
	return false;
}

void dns_service_judge(struct dns_service *service)
{
	const struct relay_policy *policy = service->sandbox->policy;
	struct dns_judged judged;
	struct dns_ask *next;

	for (struct dns_ask *ask = service->asks; ask; ask = next) {
		next = ask->next;
		dns_judge(policy, ask->message, ask->size, &judged);
		if (judged.fate != DNS_FORWARD) {
			tell_judged(service, &ask->asker, &judged);
			end_with(ask, own_of(&judged));
		} else if (!is_trusted(policy, &ask->resolver)) {
			fail(ask);
		} else {
			ask->is_covered = judged.is_covered;
		}
	}
	dns_ask_settled(service);
}
