/* SPDX-License-Identifier: MIT */
/* A denial -> the edit that would allow it. Suggests, never judges. */
#include <stdio.h>
#include <string.h>

#include "table/explain_fix.h"

#define LABEL_MAX 512

/* The list that allows, as the policy's dialect calls it. */
static const char *allow_list(const struct policy *policy)
{
	return policy->brimble ? "allow" : "allowOut";
}

/* The narrowest entry that would allow what was asked. Brimble's dialect has no ports. */
static void print_entry(const struct policy *policy, const struct policy_dest *dest,
			char text[POLICY_DEST_TEXT_MAX])
{
	struct policy_dest bare = *dest;

	bare.any_port = dest->kind == POLICY_DEST_CIDR;
	bare.web_ports = !bare.any_port;
	if (bare.any_port)
		bare.protocols = PST_ANY_PROTO;
	policy_dest_print(policy->brimble ? &bare : dest, text);
}

/* Resolvers mostly have private addresses, and need not be lifted. */
static void fix_always_denied(const struct explain_input *in, const struct addr *a, uint16_t port,
			      char *text)
{
	struct addr denied = *a;
	char name[CIDR_TEXT_MAX];

	explain_find_always_denied(in, a, &denied);
	addr_print(&denied, name);
	if (port == 53)
		snprintf(
			text, EXPLAIN_TEXT_MAX,
			"if it is your resolver, trust it with --resolver %s or \"dns\": {\"resolvers\": [\"%s\"]}",
			name, name);
	else
		snprintf(
			text, EXPLAIN_TEXT_MAX,
			"the operator lifts it with --allow-private %s or \"allowPrivate\": [\"%s\"]; the other rules then judge it",
			name, name);
}

static void fix_resolver(const struct policy *policy, const struct addr *a, char *text)
{
	bool useless = policy->default_deny && policy->dns_gate && !policy->has_names;
	char name[CIDR_TEXT_MAX];

	addr_print(a, name);
	snprintf(text, EXPLAIN_TEXT_MAX,
		 "trust it with --resolver %s or \"dns\": {\"resolvers\": [\"%s\"]}%s", name, name,
		 useless ? ", and, as no name is allowed, set \"dns\": {\"gate\": false}" : "");
}

static void fix_loopback(bool own, char *text)
{
	snprintf(text, EXPLAIN_TEXT_MAX,
		 "\"loopback\": \"host\" opens all that listens on this host, %s",
		 own ? "now only the sandbox's own listeners are open"
		     : "\"own\" only what the sandbox itself listens on");
}

static void fix_gate(bool udp, char *text)
{
	snprintf(
		text, EXPLAIN_TEXT_MAX,
		"questions for names that a rule allows pass%s; \"dns\": {\"gate\": false} lets every question pass",
		udp ? "" : ", over UDP");
}

static void fix_expired(const struct policy *policy, char *text)
{
	snprintf(
		text, EXPLAIN_TEXT_MAX,
		"your program keeps DNS answers longer than %u s: have it resolve the name again%s",
		policy->dns_min_ttl_s,
		policy->brimble ? "" : ", or raise \"dns\": {\"minTtl\", \"maxTtl\"}");
}

static void fix_deny_rule(const struct policy *policy, const struct policy_dest *dest,
			  uint32_t rule, char *text)
{
	char label[LABEL_MAX], entry[POLICY_DEST_TEXT_MAX];

	policy_rule_label(policy, rule, label, sizeof(label));
	print_entry(policy, dest, entry);
	if (dest->kind == POLICY_DEST_NAME && !policy->default_deny) /* which names need */
		snprintf(text, EXPLAIN_TEXT_MAX, "remove %s", label);
	else
		snprintf(text, EXPLAIN_TEXT_MAX,
			 "remove %s, or add \"%s\" to %s (allow beats deny)", label, entry,
			 allow_list(policy));
}

static void fix_default(const struct policy *policy, const struct policy_dest *dest, bool resolver,
			char *text)
{
	char entry[POLICY_DEST_TEXT_MAX];

	print_entry(policy, dest, entry);
	snprintf(text, EXPLAIN_TEXT_MAX, "%sadd \"%s\" to %s",
		 resolver ? "set \"dns\": {\"gate\": false}, or " : "", entry, allow_list(policy));
}

/* Of an address, whose name only the connection will tell. */
static void fix_host_name(const struct policy *policy, const struct policy_dest *dest, char *text)
{
	char entry[POLICY_DEST_TEXT_MAX];

	print_entry(policy, dest, entry);
	snprintf(
		text, EXPLAIN_TEXT_MAX,
		"passes when a rule covers the name in SNI or Host; add \"%s\" to %s to let the address out under any name",
		entry, allow_list(policy));
}

static void fix_quic(const struct policy *policy, const struct policy_dest *dest, char *text)
{
	char entry[POLICY_DEST_TEXT_MAX];

	print_entry(policy, dest, entry);
	if (dest->kind == POLICY_DEST_NAME)
		snprintf(text, EXPLAIN_TEXT_MAX, "clients use TCP instead%s",
			 policy->brimble ? "" : "; \"hostCheck\": \"off\" lets leases decide");
	else
		snprintf(text, EXPLAIN_TEXT_MAX, "clients use TCP instead; or add \"%s\" to %s",
			 entry, allow_list(policy));
}

void explain_fix(const struct explain_input *in, const struct pst_query *query,
		 const struct policy_dest *dest, struct explain_report *report)
{
	bool resolver;
	struct addr a;

	memcpy(a.bytes, query->addr, sizeof(a.bytes));
	if (explain_fix_relay(in->policy, query, report->decision.reason, report->fix))
		return;
	switch (report->decision.reason) {
	case PST_REASON_LOOPBACK:
	case PST_REASON_OWN_LISTENER:
		fix_loopback(report->decision.reason == PST_REASON_OWN_LISTENER, report->fix);
		break;
	case PST_REASON_NAME_GATE:
		if (dest->kind == POLICY_DEST_NAME &&
		    !explain_covers_name(in->policy, dest->domain.name))
			fix_default(in->policy, dest, false, report->fix);
		else
			fix_gate(true, report->fix);
		break;
	case PST_REASON_DNS_TCP:
		fix_gate(false, report->fix);
		break;
	case PST_REASON_LEASE_EXPIRED:
		fix_expired(in->policy, report->fix);
		break;
	case PST_REASON_ALWAYS_DENIED:
		fix_always_denied(in, &a, query->port, report->fix);
		break;
	case PST_REASON_UNTRUSTED_RESOLVER:
		fix_resolver(in->policy, &a, report->fix);
		break;
	case PST_REASON_DENY_RULE:
		fix_deny_rule(in->policy, dest, report->decision.rule, report->fix);
		break;
	case PST_REASON_HOST_NAME:
		fix_host_name(in->policy, dest, report->fix);
		break;
	case PST_REASON_HOST_CHECK:
		fix_default(in->policy, dest, false, report->fix);
		break;
	case PST_REASON_QUIC:
		fix_quic(in->policy, dest, report->fix);
		break;
	case PST_REASON_DEFAULT_DENY:
		resolver = dest->kind == POLICY_DEST_CIDR && query->port == 53 &&
			   explain_is_trusted(in, &a);
		fix_default(in->policy, dest, resolver, report->fix);
		break;
	}
}
