/* SPDX-License-Identifier: MIT */
/*
 * agree [-s SEED] [-n COUNT] [-N] [-o]: COUNT random questions and as many replies, answered by user/dns, by
 * bpf/dns.bpf.h natively, and by it in the kernel with real tries (-N: not). Any difference in what passes, its rule
 * and what is recorded of it, or in an outcome, an address, a TTL or the steps it took fails. The seed is printed: -s
 * repeats it. -o: to the first difference by which a question passes that must not, or an address is learned that must
 * not be.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/addr.h"
#include "base/loop.h"
#include "tests/agree/dns/dns.h"
#include "tests/agree/options.h"

#define MAX_SHOWN 3
#define ENOUGH	  20 /* differences after which more say nothing more */
#define POLICIES  24

struct run {
	struct agree_options options;
	struct dice dice;
	struct dns_rules rules[POLICIES];
	struct dns_always always;
	struct dns_kernel *kernel; /* NULL: native only */
	uint64_t passed, failed, covered;
	uint64_t opened; /* of the failed, where a leg lets through what is to be denied */
	uint64_t gates[DNS_GATE_COUNT],
		replies[PST_REPLY_KINDS]; /* how often each was the oracle's answer */
	/* Replies that must have been among them: with an alias, with all addresses, with names that are dear to
	 * compare; and addresses that became leases, or must not. */
	uint64_t chains, full, costly, leased, refused;
};

static void show_bytes(const char *what, const uint8_t *bytes, size_t size)
{
	printf("  %s (%zu):", what, size);
	for (size_t i = 0; i < size && i < 1024; i++)
		printf("%s%02x", i % 4 ? "" : " ", bytes[i]);
	printf("\n");
}

static bool count(struct run *run, bool same, bool opens)
{
	run->passed += same;
	run->failed += !same;
	run->opened += opens;
	return !same && run->failed <= MAX_SHOWN;
}

/* ---- questions ---- */

static uint64_t id_of(const char *name)
{
	uint64_t hash = DNS_SEED;

	for (; *name; name++) {
		hash = (hash ^ (uint8_t)*name) * 0x100000001b3ULL;
		hash ^= hash >> 32;
	}
	return hash;
}

/* What user/dns says, in the kernel side's words. */
static void ask_oracle(struct run *run, const struct dns_rules *rules, const struct dns_wire *w,
		       struct dns_leg_question *answer)
{
	struct dns_question question;
	enum dns_gate gate = dns_question_parse(w->bytes, w->size, &question);
	struct pst_question *q = &answer->question;

	run->gates[gate]++;
	answer->rule = 0;
	if (gate != DNS_GATE_PASSES)
		return;
	answer->rule = (uint32_t)(dns_name_match(rules->patterns, rules->count, question.name) + 1);
	run->covered += answer->rule > 0;
	q->size = question.size;
	memcpy(q->wire, question.wire, question.size);
	if (domain_to_key(question.name, &q->key))
		abort();
	q->name = id_of(question.name);
}

/* Only what passes is recorded, and only what is recorded is compared. */
static bool same_question(const struct dns_leg_question *a, const struct dns_leg_question *b)
{
	const struct pst_question *p = &a->question, *q = &b->question;

	if (a->rule != b->rule || !a->rule)
		return a->rule == b->rule;
	return p->size == q->size && memcmp(p->wire, q->wire, p->size) == 0 && p->name == q->name &&
	       p->key.prefixlen == q->key.prefixlen &&
	       memcmp(p->key.name, q->key.name, p->key.prefixlen / 8) == 0;
}

static void show_question(const char *leg, const struct dns_leg_question *answer)
{
	char text[DOMAIN_MAX + 1];

	printf("  %s: rule %u", leg, answer->rule);
	if (answer->rule)
		printf(" size %u id %llx name %s", answer->question.size,
		       (unsigned long long)answer->question.name,
		       domain_from_key(&answer->question.key, text));
	printf("\n");
}

static int judge_question(struct run *run)
{
	static struct dns_leg_question oracle, native, kernel;
	size_t policy = below(&run->dice, POLICIES);
	const struct dns_rules *rules = &run->rules[policy];
	struct dns_wire w;
	bool same, opens;
	int lie = 0, r = 0;

	dns_random_question(&run->dice, rules, &w);
	ask_oracle(run, rules, &w, &oracle);
	dns_native_question(rules, &w, &native);
	if (run->kernel && chance(&run->dice, 3))
		lie = chance(&run->dice, 50) ? -1 : 1;
	if (run->kernel)
		r = dns_kernel_question(run->kernel, policy, &w, lie, &kernel);
	if (r)
		return r;
	same = same_question(&oracle, &native);
	opens = !oracle.rule && native.rule;
	if (run->kernel && lie)
		same &= kernel.rule == 0; /* UDP and IP differ about the length */
	else if (run->kernel)
		same &= same_question(&oracle, &kernel);
	opens |= run->kernel && (lie || !oracle.rule) && kernel.rule;
	if (count(run, same, opens)) {
		printf("difference in a question, -s %llu, lie %d\n",
		       (unsigned long long)run->options.seed, lie);
		show_bytes("message", w.bytes, w.size);
		show_question("oracle", &oracle);
		show_question("native", &native);
		if (run->kernel)
			show_question("kernel", &kernel);
	}
	return 0;
}

/* ---- replies ---- */

struct one_reply {
	struct dns_wire w;
	struct agree_dns_reply in; /* without its message */
	struct dns_leg_reply oracle, native, kernel;
	struct dns_leases leases;
	bool left; /* what the kernel learned is what it should */
	bool more; /* it is more */
};

static struct dns_ttl_range random_range(struct dice *d)
{
	static const struct dns_ttl_range ranges[] = {{300, 3600}, {300, 3600}, {0, 0x7fffffff},
						      {600, 600},  {0, 1},	{1, 86400}};

	return ranges[below(d, sizeof(ranges) / sizeof(ranges[0]))];
}

static void read_oracle(struct run *run, struct one_reply *one, const struct dns_question *asked,
			struct dns_ttl_range range)
{
	struct dns_answers answers;
	uint8_t *copy = malloc(one->w.size); /* in exactly its size, for the address sanitizer */

	if (!copy)
		abort();
	memcpy(copy, one->w.bytes, one->w.size);
	one->oracle.became = dns_reply_parse(copy, one->w.size, asked, range, &answers);
	free(copy);
	one->oracle.steps = answers.steps;
	one->oracle.count = (unsigned)answers.count;
	memcpy(one->oracle.answers, answers.items, answers.count * sizeof(answers.items[0]));
	run->replies[one->oracle.became]++;
	run->full += answers.count == PST_DNS_MAX_ADDRESSES;
	run->costly += answers.steps > PST_DNS_MAX_STEPS / 2;
	run->chains += one->oracle.became == PST_REPLY_LEARNED && one->w.bytes[7] > answers.count;
}

/* The sandbox that the reply is for, and what it is to learn. */
static void make_sandbox(struct run *run, struct one_reply *one, size_t place, size_t policy,
			 const struct dns_question *asked)
{
	struct pst_sandbox *record = &one->in.record;

	*record = (struct pst_sandbox){.id = 1, .generation = roll(&run->dice) >> 8};
	record->policy_slot = (uint32_t)policy;
	record->state_slot = record->names_slot = (uint32_t)place;
	record->lease_min_s = one->in.min_s;
	record->lease_max_s = one->in.max_s;
	record->learn = chance(&run->dice, 60) ? PST_LEARN_ALL : PST_LEARN_COVERED;
	one->in.name = id_of(asked->name);
	if (domain_to_key(asked->name, &one->in.key))
		abort();
	dns_expect_leases(&run->rules[policy], &run->always, record, asked->name, &one->oracle,
			  &one->leases);
	run->refused += one->oracle.count - one->leases.count;
	run->leased += one->leases.count;
}

static void make_reply(struct run *run, struct one_reply *one, size_t place)
{
	size_t policy = below(&run->dice, POLICIES);
	const struct dns_rules *rules = &run->rules[policy];
	struct dns_ttl_range range = random_range(&run->dice);
	struct dns_question asked;

	dns_random_asked(&run->dice, rules, &asked);
	dns_random_reply(&run->dice, rules, &asked, &one->w);
	read_oracle(run, one, &asked, range);
	one->in.size = (uint32_t)one->w.size;
	one->in.min_s = range.min_s;
	one->in.max_s = range.max_s;
	one->in.txid = asked.txid;
	one->in.asked_size = asked.size;
	memset(one->in.asked, 0xa5, sizeof(one->in.asked));
	memcpy(one->in.asked, asked.wire, asked.size);
	make_sandbox(run, one, place, policy, &asked);
	dns_native_reply(&one->in, one->w.bytes, &one->native);
}

static bool same_reply(const struct dns_leg_reply *a, const struct dns_leg_reply *b)
{
	if (a->became != b->became || a->count != b->count)
		return false;
	/* Where a bad one was given up does not matter. */
	if (a->became == PST_REPLY_LEARNED && a->steps != b->steps)
		return false;
	return memcmp(a->answers, b->answers, a->count * sizeof(a->answers[0])) == 0;
}

/* An address that is not to be learned, or for longer than it may. */
static bool learns_more(const struct dns_leg_reply *due, const struct dns_leg_reply *got)
{
	for (unsigned i = 0; i < got->count; i++) {
		unsigned j = 0;

		while (j < due->count &&
		       (!addr_equal(&due->answers[j].addr, &got->answers[i].addr) ||
			due->answers[j].ttl_s < got->answers[i].ttl_s))
			j++;
		if (j == due->count)
			return true;
	}
	return false;
}

static void show_reply(const char *leg, const struct dns_leg_reply *answer)
{
	char text[CIDR_TEXT_MAX];

	printf("  %s: outcome %u steps %u:", leg, answer->became, answer->steps);
	for (unsigned i = 0; i < answer->count; i++)
		printf(" %s/%u", addr_print(&answer->answers[i].addr, text),
		       answer->answers[i].ttl_s);
	printf("\n");
}

static void compare_reply(struct run *run, const struct one_reply *one)
{
	bool same = same_reply(&one->oracle, &one->native);
	bool opens = learns_more(&one->oracle, &one->native);

	if (run->kernel)
		same &= same_reply(&one->oracle, &one->kernel) & one->left;
	opens |= run->kernel && (one->more || learns_more(&one->oracle, &one->kernel));
	if (!count(run, same, opens))
		return;
	printf("difference in a reply, -s %llu\n", (unsigned long long)run->options.seed);
	show_bytes("asked", one->in.asked, one->in.asked_size);
	show_bytes("message", one->w.bytes, one->w.size);
	show_reply("oracle", &one->oracle);
	show_reply("native", &one->native);
	if (!run->kernel)
		return;
	show_reply("kernel", &one->kernel);
	printf("  %zu leases, outcome %u: %s\n", one->leases.count, one->leases.became,
	       one->left ? "so" : "not so");
}

static int read_kernel(struct run *run, struct one_reply batch[AGREE_DNS_BATCH])
{
	struct agree_dns_reply *replies = dns_kernel_batch(run->kernel);
	int r;

	for (size_t i = 0; i < AGREE_DNS_BATCH; i++) {
		size_t size = batch[i].w.size;

		memcpy(&replies[i], &batch[i].in, offsetof(struct agree_dns_reply, message));
		memcpy(replies[i].message, batch[i].w.bytes,
		       size < PST_DNS_MAX_MESSAGE ? size : PST_DNS_MAX_MESSAGE);
	}
	r = dns_kernel_replies(run->kernel);
	for (size_t i = 0; !r && i < AGREE_DNS_BATCH; i++) {
		struct dns_leg_reply *answer = &batch[i].kernel;

		answer->became = (enum pst_reply)replies[i].became;
		answer->steps = replies[i].steps;
		answer->count = replies[i].count;
		if (answer->count > PST_DNS_MAX_ADDRESSES)
			return -EIO;
		for (unsigned j = 0; j < answer->count; j++) {
			memcpy(answer->answers[j].addr.bytes, replies[i].answers[j].addr, 16);
			answer->answers[j].ttl_s = replies[i].answers[j].ttl_s;
		}
		batch[i].left = dns_kernel_left(run->kernel, i, &batch[i].leases, &batch[i].more);
	}
	return r;
}

static int judge_replies(struct run *run)
{
	static struct one_reply batch[AGREE_DNS_BATCH];
	int r = 0;

	for (size_t i = 0; i < AGREE_DNS_BATCH; i++)
		make_reply(run, &batch[i], i);
	if (run->kernel)
		r = read_kernel(run, batch);
	for (size_t i = 0; !r && i < AGREE_DNS_BATCH; i++)
		compare_reply(run, &batch[i]);
	return r;
}

/* ---- the run ---- */

/* Every answer there is must have been given, else the messages prove less than they seem to. */
static bool reached_all(const struct run *run)
{
	bool all = run->covered && run->chains && run->full && run->costly && run->leased &&
		   run->refused;

	for (unsigned i = 0; i < DNS_GATE_COUNT; i++) {
		if (!run->gates[i])
			printf("agreement: no question was refused as '%s'\n", dns_gate_word(i));
		all &= run->gates[i] > 0;
	}
	for (unsigned i = 0; i < PST_REPLY_UNTRUSTED; i++) {
		if (!run->replies[i])
			printf("agreement: no reply had the outcome %u\n", i);
		all &= run->replies[i] > 0;
	}
	if (!all)
		printf("agreement: %llu covered, %llu chains, %llu full, %llu costly, %llu leased, %llu refused\n",
		       (unsigned long long)run->covered, (unsigned long long)run->chains,
		       (unsigned long long)run->full, (unsigned long long)run->costly,
		       (unsigned long long)run->leased, (unsigned long long)run->refused);
	return all;
}

static bool is_enough(const struct run *run)
{
	return run->options.until_open ? run->opened : run->failed >= ENOUGH;
}

static int run_all(struct run *run)
{
	int r = 0;

	for (uint64_t i = 0; !r && i < run->options.count && !is_enough(run); i++) {
		r = judge_question(run);
		if (!r && i % AGREE_DNS_BATCH == 0)
			r = judge_replies(run);
	}
	return r;
}

static int prepare(struct run *run)
{
	static const struct table_always_input none = {.add = {.count = 0}};
	int r = 0;

	run->dice.state = run->options.seed;
	for (size_t i = 0; !r && i < POLICIES; i++)
		r = dns_rules_make(&run->rules[i], &run->dice);
	if (!r)
		r = table_always(&none, &run->always.rows, &run->always.count);
	if (!r && !run->options.native_only)
		r = dns_kernel_new(run->rules, POLICIES, &run->always, &run->kernel);
	return r;
}

int main(int argc, char **argv)
{
	static struct run run = {.options = {.count = 100000}};
	bool reached, edges;
	int r;

	run.options.seed = loop_wall_ns();
	if (!agree_options_parse(argc, argv, &run.options)) {
		fprintf(stderr, "usage: agree [-s SEED] [-n COUNT] [-N] [-o]\n");
		return 2;
	}
	edges = dns_native_edges();
	if (!edges)
		printf("difference: at the edge of a message or of its packet\n");
	r = prepare(&run);
	if (!r && (edges || run.options.until_open))
		r = run_all(&run);
	if (r)
		fprintf(stderr, "agree: %s\n", strerror(-r));
	reached = run.options.count < 100000 || r || reached_all(&run);
	if (run.opened)
		printf("agreement of DNS: %llu times " DNS_OPENS "\n",
		       (unsigned long long)run.opened);
	printf("agreement of DNS: seed %llu, %s: %llu passed, %llu failed\n",
	       (unsigned long long)run.options.seed,
	       run.options.native_only ? "oracle and native" : "oracle, native and kernel",
	       (unsigned long long)run.passed, (unsigned long long)run.failed);
	dns_kernel_free(run.kernel);
	for (size_t i = 0; i < POLICIES; i++)
		dns_rules_done(&run.rules[i]);
	free(run.always.rows);
	return r || run.failed || !reached || !edges ? 1 : 0;
}
