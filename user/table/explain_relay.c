/* SPDX-License-Identifier: MIT */
/* What only the relay denies, or denies for its own sake -> what to do about it. Suggests, never judges. */
#include <stdio.h>
#include <string.h>

#include "table/explain_fix.h"

/* Where no entry of a policy would help. */
static const char *const fixes[PST_REASON_MAX] = {
	[PST_REASON_RELAY_DOWN] =
		"the relay (postern-relay) does not run: the log of who starts it says why",
	[PST_REASON_RELAY_SOCKET] =
		"use a plain TCP socket: no MPTCP, and not bound to a device (SO_BINDTODEVICE)",
	[PST_REASON_AMBIGUOUS] =
		"send it in one way: one Host, one Content-Length or chunked, lines that end in CR LF",
	[PST_REASON_UPGRADE] =
		"WebSockets and CONNECT do not pass for a name that \"rules\" has headers for: use another name, or take its \"rules\" away",
	[PST_REASON_RELAY_BUSY] =
		"close connections that are not used, or raise the daemon's \"relay\": {\"limits\"}",
	[PST_REASON_HEAD_SIZE] =
		"send a shorter head (cookies?), or raise the daemon's \"relay\": {\"limits\"}",
	[PST_REASON_HEAD_TIME] =
		"the client has to send its request or handshake at once; the daemon's \"relay\": {\"limits\"} has the time for it",
	[PST_REASON_UNRESOLVED] =
		"ask this host's resolver for the name: it has no address there, or only ones that the operator has to lift with --allow-private",
	[PST_REASON_UNREACHED] =
		"try the destination from this host: it refuses, or does not answer",
	[PST_REASON_PROXY] =
		"look at \"egressProxy\": is the proxy up, does it take the user and password, may it go there?",
	[PST_REASON_CERTIFICATE] =
		"the destination has to mend it; a CA of your own is trusted with the daemon's \"relay\": {\"caBundle\"}, or `postern run --ca-bundle`",
	[PST_REASON_RELAY_FAILED] = "the relay's log says what it ran out of",
};

/* What a client may do about its name; else its address may be let out without one. */
static const char *const nameless[PST_REASON_MAX] = {
	[PST_REASON_NO_NAME] = "have the client send the name, in SNI or Host",
	[PST_REASON_ECH] = "switch Encrypted Client Hello off in the client",
	[PST_REASON_NOT_TLS] = "on port 443 only TLS can be checked",
	[PST_REASON_NOT_HTTP] = "on port 80 only HTTP can be checked",
};

static void print_address_entry(const struct policy *policy, const struct pst_query *query,
				char text[POLICY_DEST_TEXT_MAX])
{
	struct policy_dest dest = {
		.kind = POLICY_DEST_CIDR,
		.any_port = policy->brimble,
		.protocols = policy->brimble ? PST_ANY_PROTO : query->protocol,
		.first = query->port,
		.last = query->port,
	};

	memcpy(dest.cidr.addr.bytes, query->addr, sizeof(dest.cidr.addr.bytes));
	dest.cidr.family = addr_is_ipv4(&dest.cidr.addr) ? CIDR_IPV4 : CIDR_IPV6;
	dest.cidr.len = dest.cidr.family == CIDR_IPV4 ? 32 : 128;
	policy_dest_print(&dest, text);
}

bool explain_fix_relay(const struct policy *policy, const struct pst_query *query, uint8_t reason,
		       char text[EXPLAIN_TEXT_MAX])
{
	char entry[POLICY_DEST_TEXT_MAX];

	if (reason >= PST_REASON_MAX || (!fixes[reason] && !nameless[reason]))
		return false;
	if (fixes[reason]) {
		snprintf(text, EXPLAIN_TEXT_MAX, "%s", fixes[reason]);
		return true;
	}
	print_address_entry(policy, query, entry);
	snprintf(text, EXPLAIN_TEXT_MAX,
		 "%s; or add \"%s\" to %s: the address is let out then, under any name",
		 nameless[reason], entry, policy->brimble ? "allow" : "allowOut");
	return true;
}

const char *explain_note_relay(uint8_t reason)
{
	if (reason >= PST_REASON_MAX)
		return NULL;
	return fixes[reason] ? fixes[reason] : nameless[reason];
}
