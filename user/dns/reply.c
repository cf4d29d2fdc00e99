/* SPDX-License-Identifier: MIT */
/*
 * A reply -> the addresses it gives for its question. First all records of the answer section are read, then the chain
 * of aliases is followed, then the addresses at its end are taken; one fault anywhere, and there are none.
 */
#include <errno.h>
#include <string.h>

#include "dns/dns.h"
#include "dns/wire.h"

#define FLAG_QR	    0x8000u
#define FLAG_OPCODE 0x7800u
#define FLAG_TC	    0x0200u
#define FLAG_RCODE  0x000fu

/* Behind an owner: type, class, TTL, length of the data. */
#define FIXED_SIZE 10

struct record {
	size_t owner; /* where the name stands */
	size_t data;
	size_t data_size;
	uint16_t type, class;
	uint32_t ttl_s;
	bool used; /* CNAME: part of the chain */
};

struct reply {
	struct dns_message m;
	struct record aliases[PST_DNS_MAX_CNAMES];
	size_t n_aliases;
	struct record addresses[PST_DNS_MAX_ADDRESSES];
	size_t n_addresses;
	unsigned steps;
};

static bool is_pointer(uint8_t length)
{
	return length >= 0xc0;
}

/* Where the name that begins at `at` ends; 0: it does not end, or has a label of no known kind. */
static size_t skip_name(const struct dns_message *m, size_t at)
{
	while (at < m->size) {
		uint8_t length = m->bytes[at];

		if (is_pointer(length))
			return at + 2 <= m->size ? at + 2 : 0;
		if (length > 63)
			return 0;
		at += 1 + (size_t)length;
		if (length == 0)
			return at;
	}
	return 0;
}

/* What the pointer at `at` leads to. -EBADMSG when that is not before it, or the pointer not whole. */
static int follow(const struct dns_message *m, size_t at, size_t *ret_at)
{
	size_t target;

	if (at + 2 > m->size)
		return -EBADMSG;
	target = dns_word(m, at) & 0x3fffu;
	if (target >= at)
		return -EBADMSG;
	*ret_at = target;
	return 0;
}

static bool same_label(const struct dns_message *m, size_t a, size_t b, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (dns_lower((char)m->bytes[a + i]) != dns_lower((char)m->bytes[b + i]))
			return false;
	return true;
}

/* Whether the names at a and b are the same: 1, 0, or -EBADMSG. Of two names that are one from somewhere on, the rest
 * is not read again. */
static int compare(struct reply *r, size_t a, size_t b)
{
	const struct dns_message *m = &r->m;

	while (a != b) {
		uint8_t length;
		int bad;

		if (++r->steps > PST_DNS_MAX_STEPS || a >= m->size || b >= m->size)
			return -EBADMSG;
		length = m->bytes[a];
		if (is_pointer(length) || is_pointer(m->bytes[b])) {
			bad = is_pointer(length) ? follow(m, a, &a) : follow(m, b, &b);
			if (bad)
				return bad;
			continue;
		}
		if (length != m->bytes[b] || length > 63)
			return 0;
		if (length == 0)
			return 1;
		if (a + 1 + length > m->size || b + 1 + length > m->size)
			return -EBADMSG;
		if (!same_label(m, a + 1, b + 1, length))
			return 0;
		a += 1 + (size_t)length;
		b += 1 + (size_t)length;
	}
	return 1;
}

/* Whether the record is of the name at `name`. An owner that is a mere pointer, as nearly all are, is free. */
static int is_owned_by(struct reply *r, const struct record *record, size_t name)
{
	size_t owner = record->owner;

	if (is_pointer(r->m.bytes[owner])) {
		int bad = follow(&r->m, owner, &owner);

		if (bad)
			return bad;
	}
	return compare(r, owner, name);
}

static int take_alias(struct reply *r, const struct record *record)
{
	if (skip_name(&r->m, record->data) != record->data + record->data_size)
		return -EBADMSG;
	if (r->n_aliases == PST_DNS_MAX_CNAMES)
		return -EBADMSG;
	r->aliases[r->n_aliases++] = *record;
	return 0;
}

static int take_address(struct reply *r, const struct record *record)
{
	if (record->data_size != (record->type == DNS_TYPE_A ? 4 : 16))
		return -EBADMSG;
	if (r->n_addresses < PST_DNS_MAX_ADDRESSES)
		r->addresses[r->n_addresses++] = *record;
	return 0;
}

static int take(struct reply *r, const struct record *record)
{
	if (record->class != DNS_CLASS_IN)
		return 0;
	if (record->type == DNS_TYPE_CNAME)
		return take_alias(r, record);
	if (record->type == DNS_TYPE_A || record->type == DNS_TYPE_AAAA)
		return take_address(r, record);
	return 0;
}

/* The record at *at, which moves behind it. */
static int read_record(const struct dns_message *m, size_t *at, struct record *ret_record)
{
	size_t fixed = skip_name(m, *at);

	if (fixed == 0 || m->size - fixed < FIXED_SIZE)
		return -EBADMSG;
	*ret_record = (struct record){
		.owner = *at,
		.data = fixed + FIXED_SIZE,
		.data_size = dns_word(m, fixed + 8),
		.type = dns_word(m, fixed),
		.class = dns_word(m, fixed + 2),
		.ttl_s = dns_long(m, fixed + 4),
	};
	if (ret_record->ttl_s & 0x80000000u)
		ret_record->ttl_s = 0;
	if (m->size - ret_record->data < ret_record->data_size)
		return -EBADMSG;
	*at = ret_record->data + ret_record->data_size;
	return 0;
}

static int read_answers(struct reply *r, size_t at)
{
	unsigned count = dns_word(&r->m, 6);

	for (unsigned i = 0; i < count; i++) {
		struct record record;
		int bad = read_record(&r->m, &at, &record);

		if (!bad)
			bad = take(r, &record);
		if (bad)
			return bad;
	}
	return 0;
}

/* The next alias of the name, which it becomes: 1; 0: it has none. */
static int follow_alias(struct reply *r, size_t *name, uint32_t *ttl_s)
{
	for (size_t i = 0; i < r->n_aliases; i++) {
		struct record *alias = &r->aliases[i];
		int same;

		if (alias->used)
			continue;
		same = is_owned_by(r, alias, *name);
		if (same < 0)
			return same;
		if (!same)
			continue;
		alias->used = true;
		*name = alias->data;
		if (alias->ttl_s < *ttl_s)
			*ttl_s = alias->ttl_s;
		return 1;
	}
	return 0;
}

static uint32_t clamp(uint32_t ttl_s, struct dns_ttl_range range)
{
	if (ttl_s < range.min_s)
		ttl_s = range.min_s;
	return ttl_s > range.max_s ? range.max_s : ttl_s;
}

static void add_answer(struct reply *r, const struct record *record, uint32_t ttl_s,
		       struct dns_answers *answers)
{
	struct dns_answer *answer = &answers->items[answers->count++];

	answer->ttl_s = ttl_s;
	memset(&answer->addr, 0, sizeof(answer->addr));
	if (record->type == DNS_TYPE_A)
		answer->addr.bytes[10] = answer->addr.bytes[11] = 0xff;
	memcpy(answer->addr.bytes + 16 - record->data_size, r->m.bytes + record->data,
	       record->data_size);
}

static int collect(struct reply *r, struct dns_ttl_range range, struct dns_answers *answers)
{
	size_t name = DNS_HEADER_SIZE;
	uint32_t chain_ttl_s = UINT32_MAX;
	int more;

	do
		more = follow_alias(r, &name, &chain_ttl_s);
	while (more > 0);
	if (more < 0)
		return more;
	for (size_t i = 0; i < r->n_addresses; i++) {
		const struct record *record = &r->addresses[i];
		uint32_t ttl_s = record->ttl_s < chain_ttl_s ? record->ttl_s : chain_ttl_s;
		int same = is_owned_by(r, record, name);

		if (same < 0)
			return same;
		if (same)
			add_answer(r, record, clamp(ttl_s, range), answers);
	}
	return 0;
}

static bool is_asked(const struct dns_message *m, const struct dns_question *asked)
{
	return m->size >= DNS_HEADER_SIZE && m->size - DNS_HEADER_SIZE >= asked->size &&
	       dns_word(m, 0) == asked->txid &&
	       memcmp(m->bytes + DNS_HEADER_SIZE, asked->wire, asked->size) == 0;
}

/* LEARNED: what the header says does not keep anybody from it. */
static enum pst_reply check_header(const struct dns_message *m)
{
	unsigned flags = dns_word(m, 2);

	if (!(flags & FLAG_QR) || flags & FLAG_OPCODE || dns_word(m, 4) != 1)
		return PST_REPLY_MALFORMED;
	if (flags & FLAG_TC)
		return PST_REPLY_TRUNCATED;
	if (flags & FLAG_RCODE)
		return PST_REPLY_ERROR;
	return dns_word(m, 6) ? PST_REPLY_LEARNED : PST_REPLY_EMPTY;
}

enum pst_reply dns_reply_parse(const void *message, size_t size, const struct dns_question *asked,
			       struct dns_ttl_range range, struct dns_answers *ret_answers)
{
	struct reply r = {.m = {.bytes = message, .size = size}};
	struct dns_answers answers = {.count = 0};
	enum pst_reply header;

	ret_answers->count = 0;
	ret_answers->steps = 0;
	if (size > PST_DNS_MAX_MESSAGE)
		return PST_REPLY_OVERSIZE;
	if (!is_asked(&r.m, asked))
		return PST_REPLY_UNASKED;
	header = check_header(&r.m);
	if (header != PST_REPLY_LEARNED)
		return header;
	if (read_answers(&r, DNS_HEADER_SIZE + asked->size) || collect(&r, range, &answers))
		return PST_REPLY_MALFORMED;
	answers.steps = r.steps;
	*ret_answers = answers;
	return answers.count ? PST_REPLY_LEARNED : PST_REPLY_EMPTY;
}
