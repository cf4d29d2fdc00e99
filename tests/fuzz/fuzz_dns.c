/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as a DNS message. The first byte says what they are taken for: bit 0 a reply (to the question in it, if
 * there is one), else a question; bit 1 lease times without clamps. bpf/dns.bpf.h says the same of them.
 */
#define _GNU_SOURCE
#include "fuzz.h"

#include "dns/dns.h"
#include "tests/agree/dns/dns.h"

#define LDH "abcdefghijklmnopqrstuvwxyz0123456789-_"

static const struct dns_ttl_range clamped = {.min_s = 300, .max_s = 3600};
static const struct dns_ttl_range unclamped = {.min_s = 0, .max_s = UINT32_MAX};

static void check_name(const char *name)
{
	size_t label;

	MUST(strlen(name) <= DOMAIN_MAX);
	while (*name) {
		label = strspn(name, LDH);
		MUST(label >= 1 && label <= 63);
		name += label;
		MUST(!*name || (*name == '.' && name[1]));
		name += *name == '.';
	}
}

/* The question passed; bare, and asked in a reply, it is still the same. */
static void check_question(const struct dns_question *q)
{
	uint8_t message[DNS_HEADER_SIZE + PST_WIRE_SIZE + 16] = {
		(uint8_t)(q->txid >> 8), (uint8_t)q->txid, 1, 0, 0, 1};
	static const uint8_t record[] = {0xc0, 12, 0, 1, 0, 1, 0, 0, 2, 0, 0, 4, 192, 0, 2, 1};
	size_t size = DNS_HEADER_SIZE + q->size;
	struct dns_question again;
	struct dns_answers answers;
	struct pst_name_key key;
	char text[DOMAIN_MAX + 1];

	check_name(q->name);
	MUST(domain_to_key(q->name, &key) == 0);
	MUST(!strcmp(domain_from_key(&key, text), q->name[0] ? q->name : "."));
	memcpy(message + DNS_HEADER_SIZE, q->wire, q->size);
	MUST(dns_question_parse(message, size, &again) == DNS_GATE_PASSES);
	MUST(!memcmp(q, &again, sizeof(again)));
	MUST(dns_question_parse(message, size + 1, &again) == DNS_GATE_TRAILING);
	message[2] = 0x80;
	MUST(dns_question_parse(message, size, &again) == DNS_GATE_RESPONSE);
	MUST(dns_reply_parse(message, size, q, clamped, &answers) == PST_REPLY_EMPTY);
	message[7] = 1;
	MUST(dns_reply_parse(message, size, q, clamped, &answers) == PST_REPLY_MALFORMED);
	memcpy(message + size, record, sizeof(record));
	size += sizeof(record);
	MUST(dns_reply_parse(message, size, q, clamped, &answers) == PST_REPLY_LEARNED);
	MUST(answers.count == 1 && answers.items[0].ttl_s == 512);
}

/* Rules that cover every name. */
static void check_native_question(const uint8_t *message, size_t size, enum dns_gate gate,
				  const struct dns_question *question)
{
	static char nothing[1];
	static struct table_name_row any = {.key = nothing, .key_size = 0, .rule = 1};
	static struct table table = {.names = &any, .n_names = 1};
	static const struct dns_rules rules = {.table = &table};
	static struct dns_leg_question native;
	struct pst_name_key key;
	struct dns_wire w;

	if (size > sizeof(w.bytes))
		return;
	memcpy(w.bytes, message, size);
	w.size = size;
	dns_native_question(&rules, &w, &native);
	MUST(native.rule == (gate == DNS_GATE_PASSES));
	if (!native.rule)
		return;
	MUST(native.question.size == question->size);
	MUST(!memcmp(native.question.wire, question->wire, question->size));
	MUST(!domain_to_key(question->name, &key));
	MUST(native.question.key.prefixlen == key.prefixlen);
	MUST(!memcmp(native.question.key.name, key.name, key.prefixlen / 8));
}

static void fuzz_question(const uint8_t *message, size_t size)
{
	struct dns_question question, again;
	enum dns_gate gate;

	memset(&question, 0xa5, sizeof(question));
	memset(&again, 0xa5, sizeof(again));
	gate = dns_question_parse(message, size, &question);
	MUST(dns_question_parse(message, size, &again) == gate);
	MUST(!memcmp(&question, &again, sizeof(question)));
	MUST(strcmp(dns_gate_word(gate), "unknown") != 0);
	check_native_question(message, size, gate, &question);
	if (gate == DNS_GATE_PASSES) {
		MUST(size <= PST_DNS_MAX_QUERY);
		check_question(&question);
	}
}

/* What the message says was asked; example.com when that is no question. */
static void take_asked(const uint8_t *message, size_t size, struct dns_question *asked)
{
	static const uint8_t example[] = "\7example\3com\0\0\1\0";
	size_t at = DNS_HEADER_SIZE;

	memset(asked, 0, sizeof(*asked));
	if (size >= 2)
		asked->txid = (uint16_t)(message[0] << 8 | message[1]);
	while (at < size && message[at] && message[at] < 64)
		at += 1 + (size_t)message[at];
	at += 5;
	if (at <= size && at <= DNS_HEADER_SIZE + PST_WIRE_SIZE && !message[at - 5]) {
		asked->size = (uint16_t)(at - DNS_HEADER_SIZE);
		memcpy(asked->wire, message + DNS_HEADER_SIZE, asked->size);
		return;
	}
	asked->size = sizeof(example);
	memcpy(asked->wire, example, sizeof(example));
	asked->wire[sizeof(example) - 1] = 1;
}

/* An address comes from nowhere but the message. */
static void check_answer(const uint8_t *message, size_t size, const struct dns_answer *answer,
			 struct dns_ttl_range range)
{
	bool ipv4 = addr_is_ipv4(&answer->addr);

	MUST(answer->ttl_s >= range.min_s && answer->ttl_s <= range.max_s);
	MUST(!(answer->ttl_s & 0x80000000u));
	MUST(memmem(message, size, answer->addr.bytes + (ipv4 ? 12 : 0), ipv4 ? 4 : 16));
}

static void check_same(const struct dns_answers *a, const struct dns_answers *b)
{
	MUST(a->count == b->count && a->steps == b->steps);
	MUST(!memcmp(a->items, b->items, a->count * sizeof(a->items[0])));
}

/* What stands behind the answers does not matter, and without an answer nothing else does. */
static void check_more(const uint8_t *message, size_t size, struct dns_question *asked,
		       struct dns_ttl_range range)
{
	struct dns_answers answers, more;
	uint8_t *longer = malloc(size + 1);
	enum pst_reply became;

	MUST(longer);
	memcpy(longer, message, size);
	longer[size] = 0xff;
	became = dns_reply_parse(message, size, asked, range, &answers);
	if (size < PST_DNS_MAX_MESSAGE && became != PST_REPLY_MALFORMED &&
	    became != PST_REPLY_UNASKED) {
		MUST(dns_reply_parse(longer, size + 1, asked, range, &more) == became);
		check_same(&answers, &more);
	}
	asked->txid++;
	became = dns_reply_parse(message, size, asked, range, &more);
	MUST(became == (size > PST_DNS_MAX_MESSAGE ? PST_REPLY_OVERSIZE : PST_REPLY_UNASKED));
	MUST(more.count == 0);
	free(longer);
}

static void check_native_reply(const uint8_t *message, size_t size,
			       const struct dns_question *asked, struct dns_ttl_range range,
			       enum pst_reply became, const struct dns_answers *answers)
{
	static struct agree_dns_reply in;
	static struct dns_leg_reply native;

	in.size = (uint32_t)size;
	in.min_s = range.min_s;
	in.max_s = range.max_s;
	in.txid = asked->txid;
	in.asked_size = asked->size;
	memcpy(in.asked, asked->wire, sizeof(in.asked));
	dns_native_reply(&in, message, &native);
	MUST(native.became == became && native.count == answers->count);
	MUST(became != PST_REPLY_LEARNED || native.steps == answers->steps);
	MUST(!memcmp(native.answers, answers->items, native.count * sizeof(native.answers[0])));
}

static void fuzz_reply(const uint8_t *message, size_t size, struct dns_ttl_range range)
{
	struct dns_answers answers, again;
	struct dns_question asked;
	enum pst_reply became;

	take_asked(message, size, &asked);
	memset(&answers, 0xa5, sizeof(answers));
	memset(&again, 0x5a, sizeof(again));
	became = dns_reply_parse(message, size, &asked, range, &answers);
	MUST(dns_reply_parse(message, size, &asked, range, &again) == became);
	check_same(&answers, &again);
	MUST(became < PST_REPLY_UNTRUSTED);
	MUST((answers.count > 0) == (became == PST_REPLY_LEARNED));
	MUST(answers.count <= PST_DNS_MAX_ADDRESSES && answers.steps <= PST_DNS_MAX_STEPS);
	for (size_t i = 0; i < answers.count; i++)
		check_answer(message, size, &answers.items[i], range);
	check_native_reply(message, size, &asked, range, became, &answers);
	check_more(message, size, &asked, range);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *message;

	if (size < 1)
		return 0;
	message = malloc(size - 1); /* exactly: the sanitizer sees each byte too far */
	MUST(message || size == 1);
	if (size > 1)
		memcpy(message, data + 1, size - 1);
	if (data[0] & 1)
		fuzz_reply(message, size - 1, data[0] & 2 ? unclamped : clamped);
	else
		fuzz_question(message, size - 1);
	free(message);
	return 0;
}
