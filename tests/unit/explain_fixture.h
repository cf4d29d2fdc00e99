/* SPDX-License-Identifier: MIT */
/* A policy and a host that explain_query() and explain_dest() are asked about. */
#ifndef TESTS_UNIT_EXPLAIN_FIXTURE_H
#define TESTS_UNIT_EXPLAIN_FIXTURE_H

#include "table_fixture.h"

#include "events/words.h"

struct asked {
	struct policy *policy;
	struct addr host_resolver, host;
	struct table_env env;
	struct table_always_input always;
	struct explain_input in;
};

/* The host resolves at 192.0.2.53 and is 203.0.113.7. */
static inline void begin(struct asked *a, const char *entries)
{
	*a = (struct asked){.policy = fixture_policy(entries),
			    .host_resolver = fixture_addr("192.0.2.53"),
			    .host = fixture_addr("203.0.113.7")};
	a->env.resolvers = (struct addr_list){.items = &a->host_resolver, .count = 1};
	a->always.host = (struct addr_list){.items = &a->host, .count = 1};
	a->in = (struct explain_input){.policy = a->policy, .env = &a->env, .always = &a->always};
}

static inline struct pst_query query_of(const char *addr, uint16_t port, uint8_t protocol)
{
	struct addr a = fixture_addr(addr);
	struct pst_query query = {.port = port, .protocol = protocol};

	memcpy(query.addr, a.bytes, sizeof(query.addr));
	return query;
}

static inline void assert_decision(struct pst_decision d, int verdict, int step, int reason,
				   uint32_t rule)
{
	assert_string_equal(words_reason(d.reason), words_reason((unsigned)reason));
	assert_string_equal(words_verdict(d.verdict), words_verdict((unsigned)verdict));
	assert_int_equal(d.step, step);
	assert_int_equal(d.rule, rule);
}

#define ASK(a, addr, port, protocol)                                                               \
	explain_query(&(a)->in, &(struct pst_query[]){query_of(addr, port, protocol)}[0])

static inline void assert_named(struct pst_decision d, int verdict, int reason, uint32_t rule,
				int place)
{
	assert_decision(d, verdict, PST_STEP_NAME, reason, rule);
	assert_int_equal(d.name, place);
}

#define ALLOWED(d, rule, place) assert_named(d, PST_VERDICT_ALLOW, PST_REASON_LEASE, rule, place)
#define EXPIRED(d, rule, place)                                                                    \
	assert_named(d, PST_VERDICT_DENY, PST_REASON_LEASE_EXPIRED, rule, place)

/* The sandbox has one lease. */
static inline void lease(struct asked *a, struct explain_lease *lease, const char *addr)
{
	lease->addr = fixture_addr(addr);
	a->in.leases = lease;
	a->in.n_leases = 1;
}

/* What explain_dest() says of `dest`; "" instead of no rule. */
static inline void assert_report(struct asked *a, const char *dest, const char *reason,
				 const char *nearest, const char *fix)
{
	struct explain_report report;
	struct policy_dest parsed;
	struct error err = {{0}};

	assert_int_equal(policy_dest_parse(dest, true, &parsed, &err), 0);
	assert_int_equal(explain_dest(&a->in, &parsed, &report, &err), 0);
	assert_string_equal(words_reason(report.decision.reason), reason);
	assert_string_equal(report.nearest ? report.nearest->text : "", nearest);
	assert_string_equal(report.fix, fix);
	if (report.decision.rule)
		assert_ptr_equal(report.rule, &a->policy->rules[report.decision.rule - 1]);
	else
		assert_null(report.rule);
}

#endif
