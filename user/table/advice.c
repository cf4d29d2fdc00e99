/* SPDX-License-Identifier: MIT */
/* A denial that was reported -> what to know and what to type next, in the words of `postern explain`. */
#include <stdio.h>
#include <string.h>

#include "table/advice.h"
#include "table/explain_fix.h"

static struct addr address_of(const struct pst_event *event)
{
	struct addr a;

	memcpy(a.bytes, event->addr, sizeof(a.bytes));
	return a;
}

static struct pst_query query_of(const struct pst_event *event)
{
	struct pst_query query = {.port = event->port, .protocol = event->protocol};

	memcpy(query.addr, event->addr, sizeof(query.addr));
	return query;
}

static struct policy_dest dest_of_address(const struct pst_event *event)
{
	bool ping = event->protocol == PST_ICMP; /* which no entry can allow alone */
	struct policy_dest dest = {
		.kind = POLICY_DEST_CIDR,
		.any_port = ping,
		.protocols = ping ? PST_ANY_PROTO : event->protocol,
		.first = event->port,
		.last = event->port,
	};

	dest.cidr.addr = address_of(event);
	dest.cidr.family = addr_is_ipv4(&dest.cidr.addr) ? CIDR_IPV4 : CIDR_IPV6;
	dest.cidr.len = dest.cidr.family == CIDR_IPV4 ? 32 : 128;
	return dest;
}

/* Who asks for a name wants to go there: to its usual ports, as long as nothing else is known. */
static struct policy_dest dest_of_name(const struct advice_about *about)
{
	const struct pst_event *event = about->event;
	bool web = event->protocol == PST_TCP && (event->port == 80 || event->port == 443);
	struct policy_dest dest = {
		.kind = POLICY_DEST_NAME,
		.web_ports = about->is_question || web,
		.protocols = about->is_question ? PST_TCP : event->protocol,
		.first = event->port,
		.last = event->port,
	};

	snprintf(dest.domain.name, sizeof(dest.domain.name), "%s", about->name);
	return dest;
}

static const struct policy_rule *find_nearest(const struct policy *policy,
					      const struct advice_about *about)
{
	struct pst_query query = query_of(about->event);

	return *about->name ? explain_nearest_pattern(policy, about->name)
			    : explain_nearest(policy, &query);
}

static void advise_nearest(const struct policy *policy, const struct policy_rule *nearest,
			   const struct advice_about *about, const struct advice *advice)
{
	struct addr a = address_of(about->event);

	if (!nearest)
		return;
	policy_rule_label(policy, (unsigned)(nearest - policy->rules) + 1, advice->nearest,
			  advice->nearest_size);
	explain_nearest_text(nearest, &a, about->name, advice->note, advice->note_size);
}

/* The same edit as `explain` proposes. */
static void advise_fix(const struct explain_input *in, const struct advice_about *about,
		       const struct advice *advice)
{
	const struct pst_event *event = about->event;
	bool by_name = *about->name && event->protocol != PST_ICMP;
	struct policy_dest dest = by_name ? dest_of_name(about) : dest_of_address(event);
	struct pst_query query = query_of(event);
	struct explain_report report = {0};

	report.decision.reason = event->reason;
	report.decision.rule = event->rule;
	explain_fix(in, &query, &dest, &report);
	snprintf(advice->fix, advice->fix_size, "%s", report.fix);
}

static void advise_gate(const struct policy *policy, const struct advice_about *about,
			const struct advice *advice)
{
	const struct policy_rule *nearest = find_nearest(policy, about);

	if (!*about->name)
		snprintf(advice->note, advice->note_size,
			 "or it is no plain question for one name");
	else if (nearest && domain_matches(&nearest->dest.domain, about->name))
		snprintf(advice->note, advice->note_size,
			 "a rule allows the name, but this kind of question does not pass");
	else
		advise_nearest(policy, nearest, about, advice);
}

/* The lower bound is what a lease has had at least; who is beyond the upper one has passed that. */
static void note_expired(const struct policy *policy, const struct pst_event *event,
			 const struct advice *advice)
{
	uint32_t min_s = policy->dns_min_ttl_s, max_s = policy->dns_max_ttl_s;

	snprintf(advice->note, advice->note_size,
		 "your program keeps DNS answers longer than %u s (this one is %u s old)",
		 event->age_s >= max_s ? max_s : min_s, event->age_s);
}

static void note_always_denied(const struct explain_input *in, const struct pst_event *event,
			       const struct advice *advice)
{
	struct addr a = address_of(event), denied = a;
	char text[CIDR_TEXT_MAX];

	explain_find_always_denied(in, &a, &denied);
	addr_print(&denied, text);
	if (event->port == 53)
		snprintf(advice->note, advice->note_size,
			 "if it is your resolver, trust it with --resolver %s", text);
	else
		snprintf(advice->note, advice->note_size,
			 "the operator lifts it with --allow-private %s", text);
}

static void note_resolver(const struct pst_event *event, const struct advice *advice)
{
	struct addr a = address_of(event);
	char text[CIDR_TEXT_MAX];

	snprintf(advice->note, advice->note_size, "trust it with --resolver %s",
		 addr_print(&a, text));
}

/* The commonest surprise of a policy without names. */
static void note_closed_dns(const struct explain_input *in, const struct pst_event *event,
			    const struct advice *advice)
{
	struct addr a = address_of(event);

	if (event->port == 53 && explain_is_trusted(in, &a))
		snprintf(advice->note, advice->note_size,
			 "DNS is closed while no rule allows a name");
}

static void note_relay(const struct pst_event *event, const struct advice *advice)
{
	const char *note = explain_note_relay(event->reason);

	if (note)
		snprintf(advice->note, advice->note_size, "%s", note);
}

void advice_give(const struct explain_input *in, const struct advice_about *about,
		 const struct advice *advice)
{
	note_relay(about->event, advice);
	switch (about->event->reason) {
	case PST_REASON_NAME_GATE:
		advise_gate(in->policy, about, advice);
		break;
	case PST_REASON_LEASE_EXPIRED:
		note_expired(in->policy, about->event, advice);
		break;
	case PST_REASON_HOST_CHECK:
		advise_nearest(in->policy, find_nearest(in->policy, about), about, advice);
		break;
	case PST_REASON_QUIC:
		snprintf(advice->note, advice->note_size, "clients use TCP instead");
		break;
	case PST_REASON_DEFAULT_DENY:
		advise_nearest(in->policy, find_nearest(in->policy, about), about, advice);
		note_closed_dns(in, about->event, advice);
		break;
	case PST_REASON_ALWAYS_DENIED:
		note_always_denied(in, about->event, advice);
		break;
	case PST_REASON_UNTRUSTED_RESOLVER:
		note_resolver(about->event, advice);
		break;
	case PST_REASON_MALFORMED:
		if (about->event->port == 53)
			snprintf(advice->note, advice->note_size,
				 "or what was sent to the resolver is no DNS question");
		break;
	case PST_REASON_DNS_TCP:
		snprintf(advice->note, advice->note_size, "ask over UDP, or run it with --dns-tcp");
		break;
	}
	advise_fix(in, about, advice);
}
