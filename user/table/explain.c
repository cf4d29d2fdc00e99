/* SPDX-License-Identifier: MIT */
/* A destination that somebody asks about -> verdict, rule, nearest rule, and the edit that would change it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "table/explain.h"
#include "table/explain_fix.h"

#define HTTP_PORT  80
#define HTTPS_PORT 443

/* The one protocol to ask about: TCP unless the destination says otherwise. */
static uint8_t pick_protocol(const struct policy_dest *dest)
{
	if (dest->protocols & PST_TCP)
		return PST_TCP;
	return dest->protocols & PST_UDP ? PST_UDP : PST_ICMP;
}

static int make_query(const struct policy_dest *dest, struct pst_query *ret_query,
		      struct error *err)
{
	bool any = dest->any_port || dest->web_ports;
	const struct cidr *c = &dest->cidr;
	struct pst_query query = {.protocol = pick_protocol(dest)};

	if (!any && dest->first != dest->last)
		return error_set(err, -EINVAL, "%u-%u is a range of ports, expected one port",
				 dest->first, dest->last);
	if (dest->kind == POLICY_DEST_NAME && dest->domain.kind != DOMAIN_EXACT)
		return error_set(err, -EINVAL, "a wildcard is many names, expected one name");
	if (dest->kind == POLICY_DEST_CIDR &&
	    (c->family == CIDR_ALL || c->len != (c->family == CIDR_IPV4 ? 32 : 128)))
		return error_set(err, -EINVAL, "a range is many addresses, expected one address");
	query.port = any ? HTTPS_PORT : dest->first;
	if (query.protocol == PST_ICMP)
		query.port = 0;
	if (dest->kind == POLICY_DEST_CIDR)
		memcpy(query.addr, c->addr.bytes, sizeof(query.addr));
	*ret_query = query;
	return 0;
}

/* The first rule with this verdict that speaks for every address, whatever the name resolves to. 0: none. */
static uint32_t find_all_rule(const struct policy *policy, uint8_t verdict,
			      const struct pst_query *query)
{
	for (size_t i = 0; i < policy->n_rules; i++) {
		const struct policy_rule *rule = &policy->rules[i];

		if (rule->verdict == verdict && rule->dest.kind == POLICY_DEST_CIDR &&
		    rule->dest.cidr.family == CIDR_ALL && explain_covers_port(&rule->dest, query))
			return (uint32_t)i + 1;
	}
	return 0;
}

/* Step 9 for a name. False: it says nothing. */
static bool judge_by_name(const struct explain_input *in, const char *name,
			  const struct pst_query *query, uint8_t denial,
			  struct pst_decision *ret_decision)
{
	bool strict = explain_is_strict(in->policy);
	bool https = query->port == HTTPS_PORT, web = https || query->port == HTTP_PORT;
	uint32_t rule = explain_name_rule(in->policy, name, query);
	struct pst_decision d = {.step = PST_STEP_NAME, .rule = rule};

	if (strict && web && query->protocol == PST_TCP) {
		d.verdict = rule ? PST_VERDICT_RELAY : denial;
		d.reason = rule ? PST_REASON_HOST_NAME : PST_REASON_HOST_CHECK;
	} else if (!rule) {
		return false;
	} else if (strict && https && query->protocol == PST_UDP) {
		d.verdict = denial;
		d.reason = PST_REASON_QUIC;
	} else {
		d.verdict = PST_VERDICT_ALLOW;
		d.reason = PST_REASON_LEASE;
	}
	if (d.verdict == PST_VERDICT_RELAY && in->relay_down) {
		d.verdict = PST_VERDICT_DENY;
		d.reason = PST_REASON_RELAY_DOWN;
	}
	*ret_decision = d;
	return true;
}

/* Steps 10 and 11 for a name. */
static struct pst_decision judge_by_default(const struct policy *policy,
					    const struct pst_query *query, uint8_t denial)
{
	uint32_t rule = find_all_rule(policy, PST_VERDICT_DENY, query);
	struct pst_decision d = {.verdict = denial, .rule = rule};

	if (!rule && !policy->default_deny) {
		d.verdict = PST_VERDICT_ALLOW;
		d.step = PST_STEP_DEFAULT;
		d.reason = PST_REASON_ALLOW_DEFAULT;
		return d;
	}
	d.step = rule ? PST_STEP_CIDR_DENY : PST_STEP_DEFAULT;
	d.reason = rule ? PST_REASON_DENY_RULE : PST_REASON_DEFAULT_DENY;
	if (!rule && explain_is_strict(policy) && query->protocol == PST_UDP &&
	    query->port == HTTPS_PORT)
		d.reason = PST_REASON_QUIC;
	return d;
}

/* The gate, then steps 8 to 11 for a name: what holds whatever address a trusted resolver gives for it. */
static struct pst_decision judge_name(const struct explain_input *in, const char *name,
				      const struct pst_query *query)
{
	const struct policy *policy = in->policy;
	uint8_t denial = policy->audit ? PST_VERDICT_WOULD_DENY : PST_VERDICT_DENY;
	struct pst_decision d = {.verdict = PST_VERDICT_ALLOW};

	/* Its address is never learned, not even where every address is allowed. */
	if (policy->default_deny && policy->has_names && policy->dns_gate &&
	    !explain_covers_name(policy, name)) {
		d.verdict = denial;
		d.step = PST_STEP_RESOLVER;
		d.reason = PST_REASON_NAME_GATE;
		return d;
	}
	d.rule = find_all_rule(policy, PST_VERDICT_ALLOW, query);
	if (d.rule) {
		d.step = PST_STEP_CIDR_ALLOW;
		d.reason = PST_REASON_ALLOW_RULE;
	} else if (!judge_by_name(in, name, query, denial, &d)) {
		d = judge_by_default(policy, query, denial);
	}
	return explain_relayed(in, query, d);
}

/* RFC 6761 6.3: these names are the loopback address, whatever a resolver says. */
static bool is_localhost(const char *name)
{
	static const char localhost[] = "localhost";
	size_t n = strlen(name), tail = sizeof(localhost) - 1;

	return n >= tail && strcmp(name + n - tail, localhost) == 0 &&
	       (n == tail || name[n - tail - 1] == '.');
}

/* The name that an address was judged by, at the place that the decision tells. */
static const char *leased_name(const struct explain_input *in, const struct pst_query *query,
			       unsigned place)
{
	const struct explain_lease *lease;
	struct addr a;

	if (place == PST_NAME_NONE || place >= PST_NAME_LIVE)
		return place == PST_NAME_LIVE && in->live ? in->live : "";
	memcpy(a.bytes, query->addr, sizeof(a.bytes));
	lease = explain_find_lease(in, &a, place > PST_NAME_EMBEDDED);
	return lease ? lease->by[(place - 1) % PST_NAME_EMBEDDED].name : "";
}

/* Whether there is something to be changed: not where the relay is only the way out. Of an address alone it cannot be
 * told whether the relay will let it pass. */
static bool needs_fix(struct pst_decision d, bool by_name)
{
	if (d.verdict == PST_VERDICT_RELAY && PST_REASON_ALLOWS(d.reason))
		return d.reason == PST_REASON_HOST_NAME && !by_name;
	return d.verdict != PST_VERDICT_ALLOW;
}

int explain_dest(const struct explain_input *in, const struct policy_dest *dest,
		 struct explain_report *ret_report, struct error *err)
{
	static const uint8_t loopback[16] = {[10] = 0xff, 0xff, 127, 0, 0, 1};
	struct explain_report report = {0};
	const struct policy *policy = in->policy;
	bool by_name = dest->kind == POLICY_DEST_NAME;
	struct pst_query query;
	int r = make_query(dest, &query, err);

	if (r)
		return r;
	if (by_name)
		memcpy(report.name, dest->domain.name, sizeof(report.name));
	if (by_name && is_localhost(report.name)) {
		memcpy(query.addr, loopback, sizeof(query.addr));
		by_name = false;
	}
	report.decision = by_name ? judge_name(in, report.name, &query) : explain_query(in, &query);
	if (report.decision.name)
		snprintf(report.name, sizeof(report.name), "%s",
			 leased_name(in, &query, report.decision.name));
	if (report.decision.rule)
		report.rule = &policy->rules[report.decision.rule - 1];
	if (needs_fix(report.decision, by_name)) {
		report.nearest = by_name ? explain_nearest_pattern(policy, report.name)
					 : explain_nearest(policy, &query);
		explain_fix(in, &query, dest, &report);
	}
	*ret_report = report;
	return 0;
}
