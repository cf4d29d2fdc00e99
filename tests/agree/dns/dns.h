/* SPDX-License-Identifier: MIT */
/* The DNS agreement test: random questions and replies, and the legs that answer them besides user/dns. */
#ifndef TESTS_AGREE_DNS_DNS_H
#define TESTS_AGREE_DNS_DNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dns/dns.h"
#include "policy/policy.h"
#include "pst_abi.h"
#include "table/table.h"
#include "tests/bpf/agree_dns.h"
#include "tests/lib/dns_wire.h"

struct dice {
	uint64_t state;
};

/* splitmix64. */
static inline uint64_t roll(struct dice *d)
{
	uint64_t x = d->state += 0x9e3779b97f4a7c15ULL;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
	return x ^ x >> 31;
}

static inline unsigned below(struct dice *d, unsigned limit)
{
	return (unsigned)(roll(d) % limit);
}

static inline bool chance(struct dice *d, unsigned percent)
{
	return below(d, 100) < percent;
}

/* ---- names and the rules for them ---- */

#define DNS_RULES_MAX 12

/* A policy of name rules; pattern i is rule i + 1. */
struct dns_rules {
	struct domain patterns[DNS_RULES_MAX];
	size_t count;
	struct policy *policy;
	struct table *table;
};

/* 0 or -errno. */
int dns_rules_make(struct dns_rules *rules, struct dice *d);
void dns_rules_done(struct dns_rules *rules);

/* Room for a name that is too long, as text: labels with dots between them. */
#define DNS_TEXT_MAX 300
/* Near the rules, so that some are covered and some are not. */
void dns_random_name(struct dice *d, const struct dns_rules *rules, char text[DNS_TEXT_MAX]);
/* Turns some letters into capitals. */
void dns_mix_case(struct dice *d, void *bytes, size_t size);

/* ---- messages ---- */

/* A question, right or wrong. */
void dns_random_question(struct dice *d, const struct dns_rules *rules, struct dns_wire *w);
/* One that passes, but for the rules. */
void dns_random_asked(struct dice *d, const struct dns_rules *rules, struct dns_question *asked);
/* A reply to it, right or wrong. */
void dns_random_reply(struct dice *d, const struct dns_rules *rules,
		      const struct dns_question *asked, struct dns_wire *w);
/* One change to a message: a bit, a byte, a count, the length. */
void dns_mutate(struct dice *d, struct dns_wire *w);

/* ---- the legs: what they say to a question, and to a batch of replies ---- */

struct dns_leg_reply {
	enum pst_reply became;
	unsigned steps, count;
	struct dns_answer answers[PST_DNS_MAX_ADDRESSES];
};

/* As the kernel side records it; rule 0: it does not pass. */
struct dns_leg_question {
	uint32_t rule;
	struct pst_question question;
};

#define DNS_SEED 0x0123456789abcdefULL /* of the names' ids */

/* The text of bpf/dns.bpf.h, compiled here. */
void dns_native_question(const struct dns_rules *rules, const struct dns_wire *w,
			 struct dns_leg_question *ret_answer);
/* Said of a difference with which a leg lets through what is to be denied; tests/agree/mutate.py counts them. */
#define DNS_OPENS "it lets through what is to be denied"
/* Whether messages are found in their packets, and no name is read behind its message's end. */
bool dns_native_edges(void);
void dns_native_reply(const struct agree_dns_reply *in, const uint8_t *message,
		      struct dns_leg_reply *ret_answer);

/* ---- what a reply leaves behind ---- */

struct dns_lease {
	struct addr addr;
	uint64_t expires_ns;
};

struct dns_leases {
	enum pst_reply became;
	uint64_t derived; /* of each */
	uint64_t last_ns; /* when the last of them ends */
	size_t count;
	struct dns_lease items[PST_DNS_MAX_ADDRESSES];
};

/* The host's always-denied set. */
struct dns_always {
	struct table_always_row *rows;
	size_t count;
};

/* By the plain meaning of the policy: which addresses of a reply become leases under this record. */
void dns_expect_leases(const struct dns_rules *rules, const struct dns_always *always,
		       const struct pst_sandbox *record, const char *name,
		       const struct dns_leg_reply *reply, struct dns_leases *ret_leases);

/* The same in the kernel. All: 0 or -errno. */
struct dns_kernel;
int dns_kernel_new(const struct dns_rules *rules, size_t count, const struct dns_always *always,
		   struct dns_kernel **ret_kernel);
void dns_kernel_free(struct dns_kernel *kernel);
/* `lie` bytes stand behind what UDP's header says is the message; negative: it says so many too much. */
int dns_kernel_question(struct dns_kernel *kernel, size_t rules, const struct dns_wire *w, int lie,
			struct dns_leg_question *ret_answer);
/* AGREE_DNS_BATCH replies; their `in` fields are copied. */
struct agree_dns_reply *dns_kernel_batch(struct dns_kernel *kernel);
int dns_kernel_replies(struct dns_kernel *kernel);
/* Takes what the reply at that place left behind out of the maps again: whether it is this; and whether there is more,
 * a lease that is not to be, that lasts longer, or with other ports. */
bool dns_kernel_left(struct dns_kernel *kernel, size_t place, const struct dns_leases *expected,
		     bool *ret_more);

#endif
