/* SPDX-License-Identifier: MIT */
/*
 * The oracle: what pst_decide() must answer, told from the policy itself, entry by entry and step by step.
 * Slow and plain on purpose. It shares no code with the tables or with bpf/decide.bpf.h: an error would have
 * to be made twice to go unnoticed.
 */
#include <string.h>

#include "policy/ranges.h"
#include "table/explain.h"

#define DNS_PORT   53
#define HTTP_PORT  80
#define HTTPS_PORT 443

/* The readings of a destination: as sent, and IPv4 that a translator would take out of it. */
struct readings {
	struct addr addr[2];
	int count;
};

static struct pst_decision answer(enum pst_verdict verdict, enum pst_step step, unsigned reason,
				  uint32_t rule)
{
	return (struct pst_decision){.verdict = (uint8_t)verdict,
				     .step = (uint8_t)step,
				     .reason = (uint8_t)reason,
				     .rule = rule};
}

static bool in_addrs(const struct addr_list *list, const struct addr *a)
{
	for (size_t i = 0; i < list->count; i++)
		if (addr_equal(&list->items[i], a))
			return true;
	return false;
}

static bool in_cidrs(const struct cidr *cidrs, size_t count, const struct addr *a)
{
	for (size_t i = 0; i < count; i++)
		if (cidr_contains(&cidrs[i], a))
			return true;
	return false;
}

bool explain_is_trusted(const struct explain_input *in, const struct addr *a)
{
	return in_addrs(&in->policy->resolvers, a) || (in->env && in_addrs(&in->env->resolvers, a));
}

static bool is_host(const struct explain_input *in, const struct addr *a)
{
	return in->always && in_addrs(&in->always->host, a);
}

/* 127.0.0.0/8 and ::1; an unspecified address reaches the local host too. */
static bool is_loopback(const struct addr *a)
{
	static const struct addr none, one = {.bytes = {[15] = 1}};
	static const uint8_t zero4[4];

	if (addr_is_ipv4(a))
		return a->bytes[12] == 127 || memcmp(a->bytes + 12, zero4, sizeof(zero4)) == 0;
	return addr_equal(a, &none) || addr_equal(a, &one);
}

bool explain_is_always_denied(const struct explain_input *in, const struct addr *a)
{
	const struct cidr *ranges;
	size_t count;

	if (in_cidrs(in->policy->allow_private.items, in->policy->allow_private.count, a))
		return false;
	if (is_host(in, a))
		return true;
	if (in->always && in_cidrs(in->always->except.items, in->always->except.count, a))
		return false;
	ranges = policy_always_ranges(&count);
	return in_cidrs(ranges, count, a) ||
	       (in->always && in_cidrs(in->always->add.items, in->always->add.count, a));
}

static struct addr mapped(uint8_t a, uint8_t b, uint8_t c, uint8_t d)
{
	return (struct addr){.bytes = {[10] = 0xff, 0xff, a, b, c, d}};
}

/* 64:ff9b::/96 (RFC 6052 2.1): a translator takes the IPv4 address out of the last 32 bits. */
static struct readings readings_of(const struct addr *a)
{
	static const uint8_t well_known[12] = {0x00, 0x64, 0xff, 0x9b};
	const uint8_t *b = a->bytes;
	struct readings r = {.addr = {*a}, .count = 1};

	if (memcmp(b, well_known, sizeof(well_known)) == 0)
		r.addr[r.count++] = mapped(b[12], b[13], b[14], b[15]);
	return r;
}

bool explain_covers_port(const struct policy_dest *dest, const struct pst_query *query)
{
	if (dest->web_ports)
		return query->protocol == PST_TCP && (query->port == 80 || query->port == 443);
	if (!(dest->protocols & query->protocol))
		return false;
	if (dest->any_port || query->protocol == PST_ICMP)
		return true;
	return query->port >= dest->first && query->port <= dest->last;
}

/* The rule with this verdict that speaks for `a`: longest prefix, then first in the document. 0: none. */
static uint32_t find_rule(const struct policy *policy, enum pst_verdict verdict,
			  const struct addr *a, const struct pst_query *query)
{
	uint32_t found = 0;
	int longest = -1;

	for (size_t i = 0; i < policy->n_rules; i++) {
		const struct policy_rule *rule = &policy->rules[i];

		if (rule->verdict != verdict || rule->dest.kind != POLICY_DEST_CIDR ||
		    rule->dest.cidr.len <= longest || !cidr_contains(&rule->dest.cidr, a) ||
		    !explain_covers_port(&rule->dest, query))
			continue;
		longest = rule->dest.cidr.len;
		found = (uint32_t)i + 1;
	}
	return found;
}

/* Exact beats any wildcard, and the longer wildcard the shorter one. */
static int pattern_rank(const struct domain *d)
{
	if (d->kind == DOMAIN_EXACT)
		return DOMAIN_MAX + 1;
	return d->kind == DOMAIN_ANY ? 0 : (int)strlen(d->name);
}

uint32_t explain_name_rule(const struct policy *policy, const char *name,
			   const struct pst_query *query)
{
	uint32_t found = 0;
	int best = -1, rank;

	if (query->protocol == PST_ICMP) /* names never cover it */
		return 0;
	for (size_t i = 0; i < policy->n_rules; i++) {
		const struct policy_rule *rule = &policy->rules[i];

		if (rule->verdict != PST_VERDICT_ALLOW || rule->dest.kind != POLICY_DEST_NAME)
			continue;
		rank = pattern_rank(&rule->dest.domain);
		if (rank <= best || !domain_matches(&rule->dest.domain, name) ||
		    !explain_covers_port(&rule->dest, query))
			continue;
		best = rank;
		found = (uint32_t)i + 1;
	}
	return found;
}

/* The port at which this host's policies are changed. */
static bool is_daemons(const struct table_env *env, const struct pst_query *query)
{
	return env && env->daemon_port && query->port == env->daemon_port &&
	       query->protocol == PST_TCP;
}

/* Step 5. */
static struct pst_decision judge_loopback(const struct policy *policy, const struct table_env *env,
					  const struct pst_query *query)
{
	switch ((enum pst_loopback)(is_daemons(env, query) ? PST_LOOPBACK_DENY
							   : policy->loopback)) {
	case PST_LOOPBACK_HOST:
		return answer(PST_VERDICT_ALLOW, PST_STEP_LOOPBACK, PST_REASON_LOOPBACK_HOST, 0);
	case PST_LOOPBACK_OWN:
		return answer(PST_VERDICT_OWNER, PST_STEP_LOOPBACK, PST_REASON_OWN_LISTENER, 0);
	case PST_LOOPBACK_DENY:
		break;
	}
	return answer(PST_VERDICT_DENY, PST_STEP_LOOPBACK, PST_REASON_LOOPBACK, 0);
}

/* Step 7: the first reading that is always denied; -1: none. */
static int find_always_denied(const struct explain_input *in, const struct readings *r)
{
	for (int i = 0; i < r->count; i++)
		if (explain_is_always_denied(in, &r->addr[i]))
			return i;
	return -1;
}

bool explain_find_always_denied(const struct explain_input *in, const struct addr *a,
				struct addr *ret_addr)
{
	struct readings r = readings_of(a);
	int i = find_always_denied(in, &r);

	if (i >= 0)
		*ret_addr = r.addr[i];
	return i >= 0;
}

/* The first reading that a rule with this verdict speaks for. 0: none. */
static uint32_t find_in_readings(const struct policy *policy, enum pst_verdict verdict,
				 const struct readings *r, const struct pst_query *query)
{
	uint32_t rule = 0;

	for (int i = 0; i < r->count && !rule; i++)
		rule = find_rule(policy, verdict, &r->addr[i], query);
	return rule;
}

static const struct explain_lease *find_lease(const struct explain_input *in, const struct addr *a)
{
	for (size_t i = 0; i < in->n_leases; i++)
		if (addr_equal(&in->leases[i].addr, a))
			return &in->leases[i];
	return NULL;
}

const struct explain_lease *explain_find_lease(const struct explain_input *in, const struct addr *a,
					       bool embedded)
{
	struct readings r = readings_of(a);

	if (!embedded)
		return find_lease(in, a);
	return r.count > 1 ? find_lease(in, &r.addr[1]) : NULL;
}

static struct pst_decision answer_name(uint32_t rule, unsigned place, bool expired)
{
	struct pst_decision d;

	if (expired)
		d = answer(PST_VERDICT_DENY, PST_STEP_NAME, PST_REASON_LEASE_EXPIRED, rule);
	else
		d = answer(PST_VERDICT_ALLOW, PST_STEP_NAME, PST_REASON_LEASE, rule);
	d.name = (uint8_t)place;
	return d;
}

/* The first name of this age, reading by reading and place by place, that a rule covers. False: there is none. */
static bool judge_leases(const struct explain_input *in, const struct pst_query *query,
			 const struct readings *r, bool expired, struct pst_decision *ret_decision)
{
	for (unsigned at = 0; at < (unsigned)r->count * PST_LEASE_NAMES; at++) {
		unsigned reading = at / PST_LEASE_NAMES, place = at % PST_LEASE_NAMES;
		const struct explain_lease *lease = find_lease(in, &r->addr[reading]);
		uint32_t rule = 0;

		if (lease && lease->by[place].name && lease->by[place].expired == expired)
			rule = explain_name_rule(in->policy, lease->by[place].name, query);
		if (!rule)
			continue;
		*ret_decision =
			answer_name(rule, 1 + place + (reading ? PST_NAME_EMBEDDED : 0), expired);
		return true;
	}
	return false;
}

/* Step 9. An expired lease is the reason only where the default denies. False: no name says anything. */
static bool judge_names(const struct explain_input *in, const struct pst_query *query,
			const struct readings *r, struct pst_decision *ret_decision)
{
	uint32_t rule = in->live ? explain_name_rule(in->policy, in->live, query) : 0;

	if (rule) {
		*ret_decision = answer_name(rule, PST_NAME_LIVE, false);
		return true;
	}
	return judge_leases(in, query, r, false, ret_decision) ||
	       (in->policy->default_deny && judge_leases(in, query, r, true, ret_decision));
}

bool explain_is_strict(const struct policy *policy)
{
	return policy->host_check == POLICY_HOST_CHECK_STRICT && policy->default_deny &&
	       policy->has_names;
}

/* Whether anything of this policy goes through the relay. */
static bool needs_relay(const struct policy *policy)
{
	return policy->proxy || policy->n_transforms || explain_is_strict(policy);
}

static bool is_web(const struct pst_query *query)
{
	return query->protocol == PST_TCP &&
	       (query->port == HTTP_PORT || query->port == HTTPS_PORT);
}

/* The connection goes through the relay, for that reason; without one it is refused in every mode. */
static struct pst_decision by_relay(const struct explain_input *in, struct pst_decision d)
{
	d.verdict = in->relay_down ? PST_VERDICT_DENY : PST_VERDICT_RELAY;
	if (in->relay_down)
		d.reason = PST_REASON_RELAY_DOWN;
	return d;
}

struct pst_decision explain_relayed(const struct explain_input *in, const struct pst_query *query,
				    struct pst_decision d)
{
	const struct policy *policy = in->policy;
	bool all = policy->proxy && query->protocol == PST_TCP;
	bool web = policy->n_transforms && is_web(query);
	bool passes = d.verdict == PST_VERDICT_ALLOW || d.verdict == PST_VERDICT_WOULD_DENY;

	return passes && (all || web) ? by_relay(in, d) : d;
}

/* Step 6, for port 53 of a trusted resolver. False: judged like everything else. */
static bool judge_resolver(const struct explain_input *in, const struct pst_query *query,
			   struct pst_decision *ret_decision)
{
	const struct policy *policy = in->policy;
	bool udp = query->protocol == PST_UDP;

	if (!policy->default_deny || !policy->dns_gate)
		*ret_decision =
			answer(PST_VERDICT_ALLOW, PST_STEP_RESOLVER, PST_REASON_RESOLVER, 0);
	else if (!policy->has_names)
		return false;
	else if (udp ? needs_relay(policy) && !in->device : needs_relay(policy) || in->dns_relay)
		*ret_decision = by_relay(
			in, answer(PST_VERDICT_RELAY, PST_STEP_RESOLVER, PST_REASON_RESOLVER, 0));
	else if (udp)
		*ret_decision =
			answer(PST_VERDICT_GATE, PST_STEP_RESOLVER, PST_REASON_NAME_GATE, 0);
	else
		*ret_decision = answer(PST_VERDICT_DENY, PST_STEP_RESOLVER, PST_REASON_DNS_TCP, 0);
	return true;
}

/* Step 11. */
static struct pst_decision judge_default(const struct policy *policy, bool untrusted_dns)
{
	if (!policy->default_deny)
		return answer(PST_VERDICT_ALLOW, PST_STEP_DEFAULT, PST_REASON_ALLOW_DEFAULT, 0);
	return answer(PST_VERDICT_DENY, PST_STEP_DEFAULT,
		      untrusted_dns ? PST_REASON_UNTRUSTED_RESOLVER : PST_REASON_DEFAULT_DENY, 0);
}

/* Steps 7 to 11: always denied in any reading, then allowed in any, then by name, then denied in any. */
static struct pst_decision judge_readings(const struct explain_input *in,
					  const struct pst_query *query, const struct readings *r,
					  bool untrusted_dns)
{
	uint32_t allow = find_in_readings(in->policy, PST_VERDICT_ALLOW, r, query);
	uint32_t deny = find_in_readings(in->policy, PST_VERDICT_DENY, r, query);
	bool strict = explain_is_strict(in->policy), named;
	bool quic = strict && query->protocol == PST_UDP && query->port == HTTPS_PORT;
	struct pst_decision d;

	if (find_always_denied(in, r) >= 0)
		return answer(PST_VERDICT_DENY, PST_STEP_ALWAYS_DENIED, PST_REASON_ALWAYS_DENIED,
			      0);
	if (allow)
		return answer(PST_VERDICT_ALLOW, PST_STEP_CIDR_ALLOW, PST_REASON_ALLOW_RULE, allow);
	if (strict && is_web(query))
		return by_relay(in,
				answer(PST_VERDICT_RELAY, PST_STEP_NAME, PST_REASON_HOST_NAME, 0));
	named = judge_names(in, query, r, &d);
	if (quic && !named && !deny)
		return answer(PST_VERDICT_DENY, PST_STEP_DEFAULT, PST_REASON_QUIC, 0);
	if (named && quic) {
		d.verdict = PST_VERDICT_DENY;
		d.reason = PST_REASON_QUIC;
	}
	if (named)
		return d;
	if (deny)
		return answer(PST_VERDICT_DENY, PST_STEP_CIDR_DENY, PST_REASON_DENY_RULE, deny);
	return judge_default(in->policy, untrusted_dns);
}

/* audit: steps 6, 9, 10 and 11 let through what they deny, and report it. */
static struct pst_decision soften(const struct policy *policy, struct pst_decision d)
{
	bool soft = d.step == PST_STEP_RESOLVER || d.step == PST_STEP_NAME ||
		    d.step == PST_STEP_CIDR_DENY || d.step == PST_STEP_DEFAULT;

	if (policy->audit && soft && d.verdict == PST_VERDICT_DENY &&
	    d.reason != PST_REASON_RELAY_DOWN)
		d.verdict = PST_VERDICT_WOULD_DENY;
	return d;
}

struct pst_decision explain_query(const struct explain_input *in, const struct pst_query *query)
{
	bool dns = (query->port == DNS_PORT && query->protocol != PST_ICMP) || query->dns;
	struct readings r;
	struct pst_decision d;
	struct addr a;
	bool trusted;

	if (query->broken == PST_REASON_SPOOFED)
		return answer(PST_VERDICT_DENY, PST_STEP_SPOOFED, PST_REASON_SPOOFED, 0);
	if (query->broken)
		return answer(PST_VERDICT_DENY, PST_STEP_PARSE, query->broken, 0);
	if (query->inbound)
		return answer(PST_VERDICT_ALLOW, PST_STEP_INBOUND, PST_REASON_INBOUND, 0);
	memcpy(a.bytes, query->addr, sizeof(a.bytes));
	r = readings_of(&a);
	trusted = dns && (explain_is_trusted(in, &r.addr[0]) ||
			  (r.count > 1 && explain_is_trusted(in, &r.addr[1])));
	if (!trusted && (is_loopback(&a) || (is_host(in, &a) && !in->device)))
		return judge_loopback(in->policy, in->env, query);
	if (trusted && judge_resolver(in, query, &d))
		return soften(in->policy, d);
	for (int i = 0; i < r.count; i++) {
		if (is_host(in, &r.addr[i]) && is_daemons(in->env, query))
			return answer(PST_VERDICT_DENY, PST_STEP_ALWAYS_DENIED,
				      PST_REASON_ALWAYS_DENIED, 0);
	}
	return explain_relayed(in, query,
			       soften(in->policy, judge_readings(in, query, &r, dns && !trusted)));
}
