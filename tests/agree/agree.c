/* SPDX-License-Identifier: MIT */
/*
 * agree [-s SEED] [-n QUERIES] [-N] [-o] [-t lpm|trie]: random policies and random queries, answered by the oracle
 * (explain_query(), from the policy), by pst_decide() natively over the compiled rows, and by pst_decide() in the
 * kernel (-N: not). Every other policy has its prefixes in the trie of large ones (-t: all of them there, or none).
 * Any difference in verdict, step, reason, rule or name fails. The seed is printed: -s repeats a run.
 * -o: to the first difference by which something passes that is to be denied.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/loop.h"
#include "events/words.h"
#include "tests/agree/agree.h"
#include "tests/agree/options.h"

#define MAX_SHOWN  5
#define MAX_FAILED 100 /* so many tell as much as all would */
#define PLACES	   32

struct run {
	struct agree_options options;
	struct agree_kernel *kernel; /* NULL: native only */
	struct agree_case *now;
	uint64_t seed; /* of the case */
	uint64_t passed, failed;
	uint64_t opened;  /* of the failed, where a leg lets through what is to be denied */
	uint64_t refused; /* policies with too many port ranges */
	/* How often each was the oracle's answer. */
	uint64_t reasons[PST_REASON_MAX];
	uint64_t in_trie[2];			  /* policies, by family */
	uint64_t relayed[PST_STEP_DEFAULT + 1];	  /* by the step */
	uint64_t leased[PLACES], expired[PLACES]; /* by the place of the name */
};

static const char *const legs[] = {"oracle", "native", "kernel"};

static void show_answer(const char *leg, const struct pst_decision *d)
{
	printf("  %s: %s step %u reason %s rule %u name %u\n", leg, words_verdict(d->verdict),
	       d->step, words_reason(d->reason), d->rule, d->name);
}

static void show_difference(const struct run *run, size_t query,
			    const struct pst_decision *answers[3], size_t n_legs)
{
	printf("difference, -s %llu -n %d, query %zu:\n", (unsigned long long)run->seed,
	       AGREE_BATCH, query);
	agree_print(run->now, &run->now->queries[query]);
	for (size_t i = 0; i < n_legs; i++)
		show_answer(legs[i], &answers[i][query]);
}

/* Denied, under a condition that a hook settles, let through. */
static int openness(const struct pst_decision *d)
{
	switch (d->verdict) {
	case PST_VERDICT_ALLOW:
	case PST_VERDICT_WOULD_DENY:
		return 2;
	case PST_VERDICT_RELAY:
	case PST_VERDICT_OWNER:
	case PST_VERDICT_GATE:
		return 1;
	default:
		return 0;
	}
}

static void compare(struct run *run, const struct pst_decision *answers[3], size_t n_legs)
{
	for (size_t i = 0; i < AGREE_BATCH; i++) {
		const struct pst_decision *oracle = &answers[0][i];
		bool same = true, open = false;

		for (size_t leg = 1; leg < n_legs; leg++) {
			same &= memcmp(oracle, &answers[leg][i], sizeof(*oracle)) == 0;
			open |= openness(&answers[leg][i]) > openness(oracle);
		}
		run->reasons[oracle->reason % PST_REASON_MAX]++;
		if (oracle->verdict == PST_VERDICT_RELAY)
			run->relayed[oracle->step % (PST_STEP_DEFAULT + 1)]++;
		run->leased[oracle->name % PLACES] += oracle->reason == PST_REASON_LEASE;
		run->expired[oracle->name % PLACES] += oracle->reason == PST_REASON_LEASE_EXPIRED;
		if (!same && run->failed < MAX_SHOWN)
			show_difference(run, i, answers, n_legs);
		run->passed += same;
		run->failed += !same;
		run->opened += open;
	}
}

static int judge(struct run *run, const struct agree_tables *tables)
{
	static struct pst_decision oracle[AGREE_BATCH], native[AGREE_BATCH], kernel[AGREE_BATCH];
	const struct pst_decision *answers[3] = {oracle, native, kernel};
	const struct agree_case *c = run->now;
	struct explain_lease leases[AGREE_LEASES];
	struct explain_input in = {.policy = &c->policy,
				   .env = &c->env,
				   .always = &c->always,
				   .leases = leases,
				   .n_leases = c->n_leases,
				   .device = c->device,
				   .relay_down = !c->relay_port,
				   .dns_relay = c->relay_port};
	int r = 0;

	agree_oracle_leases(c, leases);
	for (size_t i = 0; i < AGREE_BATCH; i++) {
		in.live = c->queries[i].live ? c->names[c->queries[i].live - 1] : NULL;
		oracle[i] = explain_query(&in, &c->queries[i]);
	}
	agree_native(tables, c->queries, AGREE_BATCH, native);
	if (run->kernel)
		r = agree_kernel(run->kernel, tables, c->queries, kernel);
	if (r)
		return r;
	compare(run, answers, run->kernel ? 3 : 2);
	return 0;
}

/* One policy and its batch of queries. */
static int judge_case(struct run *run)
{
	cleanup_free struct table_always_row *always = NULL;
	cleanup_table struct table *table = NULL;
	static struct agree_rows rows;
	struct agree_tables tables = {.record = {.id = 1,
						 .policy_slot = AGREE_POLICY_SLOT,
						 .state_slot = AGREE_STATE_SLOT,
						 .names_slot = AGREE_STATE_SLOT},
				      .now_ns = loop_boot_ns()};
	struct error err = {{0}};
	int r;

	agree_generate(run->now, run->seed);
	run->now->env.trie_from = run->options.trie_from ? run->options.trie_from
				  : run->seed % 2	 ? 1
							 : TABLE_TRIE_NEVER;
	r = table_compile(&run->now->policy, &run->now->env, &table, &err);
	if (r == -EINVAL) {
		run->refused++;
		return 0;
	}
	if (!r)
		r = table_always(&run->now->always, &always, &tables.n_always);
	if (r)
		return r;
	run->in_trie[0] += !!(table->flags & PST_SANDBOX_TRIE4);
	run->in_trie[1] += !!(table->flags & PST_SANDBOX_TRIE6);
	tables.table = table;
	tables.always = always;
	tables.record.generation = run->now->generation;
	tables.record.ifindex = run->now->device;
	tables.record.relay_port = run->now->relay_port;
	table_fill_record(table, &tables.record);
	agree_rows(run->now, table, tables.now_ns, &rows);
	tables.rows = &rows;
	return judge(run, &tables);
}

/* Every answer that pst_decide() can give must have been given, else the queries prove less than they seem to. */
static bool reached_all(const struct run *run)
{
	static const uint8_t wanted[] = {
		PST_REASON_LOOPBACK,	  PST_REASON_ALWAYS_DENIED,	 PST_REASON_DENY_RULE,
		PST_REASON_DEFAULT_DENY,  PST_REASON_UNTRUSTED_RESOLVER, PST_REASON_NAME_GATE,
		PST_REASON_DNS_TCP,	  PST_REASON_ALLOW_RULE,	 PST_REASON_ALLOW_DEFAULT,
		PST_REASON_INBOUND,	  PST_REASON_OWN_LISTENER,	 PST_REASON_RESOLVER,
		PST_REASON_LOOPBACK_HOST, PST_REASON_MALFORMED,		 PST_REASON_LEASE,
		PST_REASON_LEASE_EXPIRED, PST_REASON_RELAY_DOWN,	 PST_REASON_QUIC,
		PST_REASON_HOST_NAME,
	};
	bool all = true;

	for (size_t i = 0; i < sizeof(wanted); i++) {
		if (run->reasons[wanted[i]])
			continue;
		printf("agreement: no query had the answer %s\n", words_reason(wanted[i]));
		all = false;
	}
	return all;
}

/* Likewise of names: each place of a lease, of either form of the address, alive and expired, and a live flow's. */
static bool reached_all_places(const struct run *run)
{
	bool all = run->leased[PST_NAME_LIVE];

	for (unsigned at = 1; at <= PST_LEASE_NAMES; at++)
		all &= run->leased[at] && run->leased[PST_NAME_EMBEDDED + at] && run->expired[at] &&
		       run->expired[PST_NAME_EMBEDDED + at];
	if (!all)
		printf("agreement: no query was answered by a name at one of the places\n");
	return all;
}

/* Likewise of the relay: for each reason that connections go there, audit's too. */
static bool reached_all_relayed(const struct run *run)
{
	static const uint8_t wanted[] = {PST_STEP_RESOLVER, PST_STEP_CIDR_ALLOW, PST_STEP_NAME,
					 PST_STEP_CIDR_DENY, PST_STEP_DEFAULT};
	bool all = true;

	for (size_t i = 0; i < sizeof(wanted); i++) {
		if (run->relayed[wanted[i]])
			continue;
		printf("agreement: no query went through the relay by step %u\n", wanted[i]);
		all = false;
	}
	return all;
}

static bool is_enough(const struct run *run)
{
	if (run->passed + run->failed >= run->options.count)
		return true;
	return run->options.until_open ? run->opened : run->failed >= MAX_FAILED;
}

static int run_all(struct run *run)
{
	int r = 0;

	for (run->seed = run->options.seed; !r && !is_enough(run); run->seed++)
		r = judge_case(run);
	return r;
}

int main(int argc, char **argv)
{
	struct run run = {.options = {.seed = loop_wall_ns(), .count = 1000000}};
	bool reached, closed;
	int r = 0;

	if (!agree_options_parse(argc, argv, &run.options)) {
		fprintf(stderr, "usage: agree [-s SEED] [-n QUERIES] [-N] [-o] [-t lpm|trie]\n");
		return 2;
	}
	printf("agreement: seed %llu, %s\n", (unsigned long long)run.options.seed,
	       run.options.native_only ? "oracle and native" : "oracle, native and kernel");
	run.now = calloc(1, sizeof(*run.now));
	if (!run.now || (!run.options.native_only && (r = agree_kernel_new(&run.kernel)))) {
		fprintf(stderr, "agree: %s\n", strerror(r ? -r : ENOMEM));
		return 1;
	}
	closed = agree_fails_closed(run.kernel) && agree_native_settles();
	if (!closed)
		printf("difference: what must deny does not\n");
	r = run_all(&run);
	if (r)
		fprintf(stderr, "agree: seed %llu: %s\n", (unsigned long long)run.seed,
			strerror(-r));
	reached =
		(run.options.count < 100000 || (reached_all(&run) && reached_all_relayed(&run))) &&
		(run.options.count < 1000000 || reached_all_places(&run));
	if (run.opened)
		printf("agreement: %llu times " AGREE_OPENS "\n", (unsigned long long)run.opened);
	printf("agreement: %llu policies with IPv4 in the trie, %llu with IPv6\n",
	       (unsigned long long)run.in_trie[0], (unsigned long long)run.in_trie[1]);
	printf("agreement: %llu passed, %llu failed\n", (unsigned long long)run.passed,
	       (unsigned long long)run.failed);
	agree_kernel_free(run.kernel);
	free(run.now);
	return r || run.failed || !reached || !closed ? 1 : 0;
}
