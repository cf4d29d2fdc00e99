/* SPDX-License-Identifier: MIT */
/*
 * A message -> what becomes of it, and the replies that are ours. Off the list it is NXDOMAIN: the only code with which
 * glibc and musl fail at once and walk a search list on. Pure.
 */
#include <string.h>

#include "relay/dns.h"

#define FLAG_QR 0x80u /* third byte of a header */
#define FLAG_TC 0x02u
#define FLAG_RD 0x01u
#define FLAG_RA 0x80u /* fourth byte */
#define FLAG_CD 0x10u
#define FLAG_DO 0x80u /* OPT: first byte of its flags */

#define TYPE_SVCB  64
#define TYPE_HTTPS 65

/* RFC 6891 6.1.2, without options; RFC 8914 2, without text. */
#define OPT_SIZE 11
#define EDE_SIZE 6
/* What fits into a packet on nearly every path. */
#define OPT_PAYLOAD 1232

/* What a message that does not pass the gate is answered, and told as. */
static const struct {
	uint8_t rcode, reason;
} faults[DNS_GATE_COUNT] = {
	[DNS_GATE_SHORT] = {DNS_FORMERR, PST_REASON_MALFORMED},
	[DNS_GATE_OVERSIZE] = {DNS_FORMERR, PST_REASON_MALFORMED},
	[DNS_GATE_RESPONSE] = {DNS_FORMERR, PST_REASON_MALFORMED}, /* dropped */
	[DNS_GATE_OPCODE] = {DNS_NOTIMP, PST_REASON_MALFORMED},
	[DNS_GATE_FLAGS] = {DNS_FORMERR, PST_REASON_MALFORMED},
	[DNS_GATE_COUNTS] = {DNS_FORMERR, PST_REASON_MALFORMED},
	[DNS_GATE_LABEL] = {DNS_FORMERR, PST_REASON_MALFORMED},
	[DNS_GATE_CHARACTER] = {DNS_NXDOMAIN, PST_REASON_NAME_GATE},
	[DNS_GATE_NAME_SIZE] = {DNS_FORMERR, PST_REASON_MALFORMED},
	[DNS_GATE_CLASS] = {DNS_NXDOMAIN, PST_REASON_NAME_GATE},
	[DNS_GATE_TYPE] = {DNS_NXDOMAIN, PST_REASON_NAME_GATE},
	[DNS_GATE_TRAILING] = {DNS_FORMERR, PST_REASON_MALFORMED},
	[DNS_GATE_ADDITIONAL] = {DNS_FORMERR, PST_REASON_MALFORMED},
};

static unsigned word(const uint8_t *bytes, size_t at)
{
	return (unsigned)bytes[at] << 8 | bytes[at + 1];
}

static void put_word(uint8_t *bytes, size_t at, unsigned value)
{
	bytes[at] = (uint8_t)(value >> 8);
	bytes[at + 1] = (uint8_t)value;
}

/* Where the question's type stands; 0: there is no whole question, or its name is compressed or too long. */
static size_t find_type(const uint8_t *message, size_t size)
{
	size_t at = DNS_HEADER_SIZE;

	if (word(message, 4) != 1)
		return 0;
	while (at < size && message[at] != 0) {
		if (message[at] > 63)
			return 0;
		at += 1 + (size_t)message[at];
	}
	at++;
	return at + 4 <= size && at + 4 - DNS_HEADER_SIZE <= PST_WIRE_SIZE ? at : 0;
}

/* A covered name exists, so "there is none of that type" is right for a type that is not asked for (RFC 8020). */
static bool is_covered_but_for_type(const struct relay_policy *policy, const uint8_t *message,
				    size_t size)
{
	uint8_t copy[PST_DNS_MAX_QUERY];
	struct dns_question question;
	size_t type = find_type(message, size);

	if (!type || size > sizeof(copy))
		return false;
	memcpy(copy, message, size);
	put_word(copy, type, DNS_TYPE_A);
	return dns_question_parse(copy, size, &question) == DNS_GATE_PASSES &&
	       relay_policy_covers(policy, question.name);
}

/*
 * HTTPS and SVCB records offer what the host check could not follow: keys that encrypt the name (ECH), QUIC, other
 * ports, and addresses that nothing is learned from. Without the records a client takes A and AAAA, and plain TLS.
 */
static bool is_kept_back(const struct relay_policy *policy, unsigned type)
{
	return (type == TYPE_HTTPS || type == TYPE_SVCB) &&
	       (policy->flags & PST_RELAY_STRICT || policy->n_transforms > 0);
}

static void judge_question(const struct relay_policy *policy, struct dns_judged *judged)
{
	judged->is_plain = true;
	judged->is_covered = relay_policy_covers(policy, judged->question.name);
	judged->fate = DNS_ANSWER;
	if (!judged->is_covered && policy->flags & PST_RELAY_GATED) {
		judged->rcode = DNS_NXDOMAIN;
		judged->reason = PST_REASON_NAME_GATE;
	} else if (is_kept_back(policy, judged->question.type)) {
		judged->rcode = DNS_NOERROR;
	} else {
		judged->fate = DNS_FORWARD;
	}
}

void dns_judge(const struct relay_policy *policy, const uint8_t *message, size_t size,
	       struct dns_judged *ret_judged)
{
	struct dns_judged judged = {.fate = DNS_ANSWER};
	enum dns_gate gate = dns_question_parse(message, size, &judged.question);

	if (gate == DNS_GATE_PASSES) {
		judge_question(policy, &judged);
	} else {
		judged.rcode = faults[gate].rcode;
		judged.reason = faults[gate].reason;
		if (gate == DNS_GATE_TYPE && is_covered_but_for_type(policy, message, size))
			judged.rcode = DNS_NOERROR;
	}
	if (size < DNS_HEADER_SIZE || message[2] & FLAG_QR)
		judged.fate = DNS_DROP; /* to answer an answer begins a quarrel */
	else if (judged.reason && gate != DNS_GATE_OVERSIZE &&
		 (policy->flags & (PST_RELAY_GATED | PST_RELAY_AUDIT)) != PST_RELAY_GATED)
		judged.fate = DNS_FORWARD;
	if (!(policy->flags & PST_RELAY_GATED))
		judged.reason = PST_REASON_UNSET;
	*ret_judged = judged;
}

/* Behind the question: the whole OPT record? */
static bool has_opt(const uint8_t *message, size_t size, size_t at)
{
	return word(message, 10) > 0 && at + OPT_SIZE <= size && message[at] == 0 &&
	       word(message, at + 1) == DNS_TYPE_OPT &&
	       at + OPT_SIZE + word(message, at + 9) <= size;
}

/* OPT of ours for that of the question. Returns its size. */
static size_t put_opt(uint8_t *opt, uint8_t flags, bool is_blocked)
{
	memset(opt, 0, OPT_SIZE + EDE_SIZE);
	put_word(opt, 1, DNS_TYPE_OPT);
	put_word(opt, 3, OPT_PAYLOAD);
	opt[7] = flags & FLAG_DO;
	if (!is_blocked)
		return OPT_SIZE;
	put_word(opt, 9, EDE_SIZE);
	put_word(opt, 11, 15); /* the option: extended DNS error */
	put_word(opt, 13, EDE_SIZE - 4);
	put_word(opt, 15, 15); /* the error: Blocked */
	return OPT_SIZE + EDE_SIZE;
}

size_t dns_compose(const uint8_t *message, size_t size, struct dns_own own,
		   uint8_t reply[DNS_OWN_MAX])
{
	size_t type = find_type(message, size), end = type ? type + 4 : DNS_HEADER_SIZE;

	memset(reply, 0, DNS_HEADER_SIZE);
	reply[0] = message[0];
	reply[1] = message[1];
	reply[2] = (uint8_t)(FLAG_QR | (own.is_truncated ? FLAG_TC : 0) |
			     (message[2] & (FLAG_RD | 0x78u)));
	reply[3] = (uint8_t)(FLAG_RA | (message[3] & FLAG_CD) | own.rcode);
	if (!type)
		return DNS_HEADER_SIZE;
	memcpy(reply + DNS_HEADER_SIZE, message + DNS_HEADER_SIZE, end - DNS_HEADER_SIZE);
	put_word(reply, 4, 1);
	if (!has_opt(message, size, end))
		return end;
	put_word(reply, 10, 1);
	return end + put_opt(reply + end, message[end + 7], own.is_blocked);
}
