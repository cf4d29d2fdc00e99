/* SPDX-License-Identifier: MIT */
/*
 * struct pst_query -> struct pst_decision: the one place that decides. Free of ctx and side effects, so the
 * same text is compiled into every hook, natively into the agreement tests, and compared with the oracle.
 *
 * It asks for rows through five functions that the includer defines first (maps.bpf.h, lease.bpf.h in the kernel):
 *   pst_always_find(addr)         the longest row of the always-denied set; NULL: failure
 *   pst_cidr_find(sandbox, addr, &room)  the longest row of the policy's trie of that family; NULL: failure
 *   pst_ports_find(sandbox, i)    a port set; NULL: failure
 *   pst_lease_find(sandbox, addr) the lease of an address; NULL: there is none
 *   pst_lease_ports(sandbox, lease, addr, i, &expired)  the port set of its i-th name; 0: none, or not covered
 * Every trie has a root, so that "no row" always means a failure, and a failure denies.
 */
#ifndef PST_DECIDE_BPF_H
#define PST_DECIDE_BPF_H

#include "pst_abi.h"

#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif

/* In BPF a function of its own is verified once, not once for each path that leads to it. */
#ifdef __bpf__
#define PST_FUNCTION __attribute__((noinline))
#else
#define PST_FUNCTION static inline
#endif

#define PST_DNS_PORT   53
#define PST_HTTP_PORT  80
#define PST_HTTPS_PORT 443

static __always_inline struct pst_decision pst_answer(__u8 verdict, __u8 step, __u8 reason,
						      __u32 rule)
{
	struct pst_decision d = {.verdict = verdict, .step = step, .reason = reason, .rule = rule};

	return d;
}

static __always_inline __u32 pst_word(const __u8 addr[16], int i)
{
	return (__u32)addr[4 * i] << 24 | (__u32)addr[4 * i + 1] << 16 |
	       (__u32)addr[4 * i + 2] << 8 | addr[4 * i + 3];
}

static __always_inline int pst_is_mapped(const __u8 addr[16])
{
	return !pst_word(addr, 0) && !pst_word(addr, 1) && pst_word(addr, 2) == 0xffff;
}

static __always_inline void pst_map4(__u8 out[16], const __u8 *addr4)
{
	__builtin_memset(out, 0, 10);
	out[10] = out[11] = 0xff;
	__builtin_memcpy(out + 12, addr4, 4);
}

/* 0.0.0.0 and :: reach the local host (RFC 1122 3.2.1.3 aside: Linux connects them to loopback). */
static __always_inline int pst_is_loopback(const __u8 addr[16])
{
	if (pst_is_mapped(addr))
		return addr[12] == 127 || !pst_word(addr, 3);
	return !pst_word(addr, 0) && !pst_word(addr, 1) && !pst_word(addr, 2) &&
	       pst_word(addr, 3) <= 1;
}

/*
 * IPv4 inside IPv6 as a translator would take it out of 64:ff9b::/96 (RFC 6052 2.1), into `out` (mapped); 0: there
 * is none. Prefixes of local use (64:ff9b:1::/48, RFC 8215), whose length only the operator knows, are always
 * denied as a whole: a sandbox that could choose the reading would choose the one that is allowed.
 */
static __always_inline int pst_embedded(const __u8 addr[16], __u8 out[16])
{
	if (pst_word(addr, 0) != 0x0064ff9b || pst_word(addr, 1) || pst_word(addr, 2))
		return 0;
	pst_map4(out, addr + 12);
	return 1;
}

/* A decision as one word: what functions of their own pass among themselves. */
static __always_inline __u64 pst_pack(struct pst_decision d)
{
	return (__u64)d.rule << 32 | (__u32)d.name << 24 | (__u32)d.reason << 16 |
	       (__u32)d.step << 8 | d.verdict;
}

static __always_inline struct pst_decision pst_unpack(__u64 word)
{
	struct pst_decision d = {.verdict = (__u8)word,
				 .step = (__u8)(word >> 8),
				 .reason = (__u8)(word >> 16),
				 .name = (__u8)(word >> 24),
				 .rule = (__u32)(word >> 32)};

	return d;
}

/* A lookup failed: nothing that another reading of the address says may allow now. */
static __always_inline struct pst_decision pst_failed(void)
{
	return pst_answer(PST_VERDICT_DENY, PST_STEP_ALWAYS_DENIED, PST_REASON_INTERNAL, 0);
}

/* The number of the first line that matches, counted from 1; 0: none. */
PST_FUNCTION __u32 pst_port_line(const struct pst_ports *ports, const struct pst_query *query)
{
	if (!ports || !query)
		return 0;
	for (__u32 i = 0; i < PST_MAX_PORT_RANGES; i++) {
		const struct pst_port_range *r = &ports->range[i];

		if (i >= ports->count)
			break;
		if (!(r->protocols & query->protocol))
			continue;
		if (query->protocol == PST_ICMP ||
		    (query->port >= r->first && query->port <= r->last))
			return i + 1;
	}
	return 0;
}

static __always_inline struct pst_decision pst_cidr_answer(__u8 verdict, __u32 rule)
{
	if (verdict == PST_VERDICT_ALLOW)
		return pst_answer(verdict, PST_STEP_CIDR_ALLOW, PST_REASON_ALLOW_RULE, rule);
	return pst_answer(PST_VERDICT_DENY, PST_STEP_CIDR_DENY, PST_REASON_DENY_RULE, rule);
}

/* What one prefix says to this protocol and port, packed; 0: nothing. */
PST_FUNCTION __u64 pst_cidr_says(const struct pst_sandbox *sandbox, const struct pst_cidr *cidr,
				 const struct pst_query *query)
{
	const struct pst_ports *ports;
	__u32 line;

	if (!sandbox || !cidr || !query)
		return pst_pack(pst_failed());
	if (!cidr->ports)
		return cidr->decided ? pst_pack(pst_cidr_answer(cidr->verdict, cidr->rule)) : 0;
	ports = pst_ports_find(sandbox, cidr->ports);
	if (!ports)
		return pst_pack(pst_failed());
	line = pst_port_line(ports, query);
	if (!line)
		return 0;
	/* A mask, not a comparison: 6.1's verifier forgets the bound in the 32-bit subtraction. */
	line = (line - 1) & (PST_MAX_PORT_RANGES - 1);
	return pst_pack(pst_cidr_answer(ports->range[line].verdict, ports->range[line].rule));
}
PST_ASSERT("PST_MAX_PORT_RANGES is a power of two",
	   (PST_MAX_PORT_RANGES & (PST_MAX_PORT_RANGES - 1)) == 0);

static __always_inline int pst_is_daemons(const struct pst_sandbox *sandbox,
					  const struct pst_query *query)
{
	return query->protocol == PST_TCP && query->port && query->port == sandbox->daemon_port;
}

/* Steps 7 to 10 for one form of the destination, joined into what the form before it said:
 * always-denied beats allow beats deny. */
static __always_inline void pst_judge_form(const struct pst_sandbox *sandbox,
					   const struct pst_always *always,
					   const struct pst_cidr *cidr,
					   const struct pst_query *query, struct pst_decision *d)
{
	struct pst_decision says;

	if (d->step == PST_STEP_ALWAYS_DENIED)
		return;
	if (!always || !cidr) {
		*d = pst_failed();
		return;
	}
	/* Who changes policies is not lifted with the address it listens at. */
	if (always->kind != PST_ALWAYS_OPEN &&
	    (!(cidr->flags & PST_CIDR_LIFTED) ||
	     (always->kind == PST_ALWAYS_HOST && pst_is_daemons(sandbox, query)))) {
		*d = pst_answer(PST_VERDICT_DENY, PST_STEP_ALWAYS_DENIED, PST_REASON_ALWAYS_DENIED,
				0);
		return;
	}
	says = pst_unpack(pst_cidr_says(sandbox, cidr, query));
	if (says.step == PST_STEP_ALWAYS_DENIED ||
	    (says.step == PST_STEP_CIDR_ALLOW && d->step != PST_STEP_CIDR_ALLOW) ||
	    (says.step == PST_STEP_CIDR_DENY && d->step == PST_STEP_NONE))
		*d = says;
}

static __always_inline int pst_is_dns(const struct pst_query *query)
{
	return (query->port == PST_DNS_PORT && query->protocol != PST_ICMP) || query->dns;
}

/* What a name's port set says to this protocol and port, packed: allow; 0: nothing. */
PST_FUNCTION __u64 pst_name_says(const struct pst_sandbox *sandbox, __u32 index, __u32 place,
				 const struct pst_query *query)
{
	const struct pst_ports *ports;
	struct pst_decision d;
	__u32 line;

	if (!sandbox || !query)
		return 0;
	ports = pst_ports_find(sandbox, index);
	line = ports ? pst_port_line(ports, query) : 0;
	if (!line)
		return 0;
	line = (line - 1) & (PST_MAX_PORT_RANGES - 1);
	d = pst_answer(PST_VERDICT_ALLOW, PST_STEP_NAME, PST_REASON_LEASE, ports->range[line].rule);
	d.name = (__u8)place;
	return pst_pack(d);
}

/*
 * Step 9 for one form of the destination, packed; 0: no name says anything. A lease that lives beats one that has
 * expired, which is a denial.
 */
PST_FUNCTION __u64 pst_judge_lease(const struct pst_sandbox *sandbox, const struct pst_addr *addr,
				   __u32 place, const struct pst_query *query)
{
	__u32 expired, ports, n_expired = 0;
	struct pst_lease *lease;
	struct pst_decision d;
	__u64 first = 0, says;

	if (!sandbox || !addr || !query)
		return 0;
	lease = pst_lease_find(sandbox, addr->addr);
	if (!lease)
		return 0;
	for (__u32 i = 0; i < PST_LEASE_NAMES; i++) {
		expired = 1;
		ports = pst_lease_ports(sandbox, lease, addr->addr, i, &expired);
		says = ports ? pst_name_says(sandbox, ports, place + i + 1, query) : 0;
		if (!says)
			continue;
		if (!expired)
			return says;
		if (!n_expired++)
			first = says;
	}
	if (!first)
		return 0;
	d = pst_unpack(first);
	d.verdict = PST_VERDICT_DENY;
	d.reason = PST_REASON_LEASE_EXPIRED;
	return pst_pack(d);
}

/* Step 9: by the name that this flow was allowed for before, whatever became of its lease; by a lease. Packed; 0:
 * no name says anything. */
PST_FUNCTION __u64 pst_judge_names(const struct pst_sandbox *sandbox, const struct pst_query *query)
{
	struct pst_addr addr __attribute__((aligned(8)));
	__u64 says = 0, embedded;

	if (!sandbox || !query)
		return 0;
	if (query->live)
		says = pst_name_says(sandbox, query->live, PST_NAME_LIVE, query);
	if (says)
		return says;
	__builtin_memcpy(addr.addr, query->addr, 16);
	says = pst_judge_lease(sandbox, &addr, 0, query);
	if (pst_unpack(says).verdict == PST_VERDICT_ALLOW || !pst_embedded(query->addr, addr.addr))
		return says;
	embedded = pst_judge_lease(sandbox, &addr, PST_NAME_EMBEDDED, query);
	return !says || pst_unpack(embedded).verdict == PST_VERDICT_ALLOW ? embedded : says;
}

/* The relay's DNS service answers over TCP wherever somebody listens for it; and where what is allowed goes through the
 * relay, in any case; and there also over UDP, of the cgroup kind, whose socket hooks cannot see the question. */
static __always_inline int pst_is_relays_dns(const struct pst_sandbox *sandbox,
					     const struct pst_query *query)
{
	if (query->protocol != PST_UDP && sandbox->relay_port)
		return 1;
	return sandbox->flags & PST_SANDBOX_RELAYED &&
	       (query->protocol != PST_UDP || !sandbox->ifindex);
}

/* Step 6: a trusted resolver, port 53. Returns 0 when it is judged like everything else (6c). */
static __always_inline int pst_judge_dns(const struct pst_sandbox *sandbox,
					 const struct pst_query *query, struct pst_decision *d)
{
	if (sandbox->dns == PST_DNS_OPEN) {
		*d = pst_answer(PST_VERDICT_ALLOW, PST_STEP_RESOLVER, PST_REASON_RESOLVER, 0);
		return 1;
	}
	if (sandbox->dns != PST_DNS_GATED)
		return 0;
	if (pst_is_relays_dns(sandbox, query))
		*d = pst_answer(PST_VERDICT_RELAY, PST_STEP_RESOLVER, PST_REASON_RESOLVER, 0);
	else if (query->protocol == PST_UDP)
		*d = pst_answer(PST_VERDICT_GATE, PST_STEP_RESOLVER, PST_REASON_NAME_GATE, 0);
	else
		*d = pst_answer(PST_VERDICT_DENY, PST_STEP_RESOLVER, PST_REASON_DNS_TCP, 0);
	return 1;
}

/* Step 5: the sandbox's own host. */
static __always_inline struct pst_decision pst_judge_loopback(const struct pst_sandbox *sandbox,
							      const struct pst_query *query)
{
	/* Who changes policies is not to be reached by those whom they are for. */
	if (pst_is_daemons(sandbox, query))
		return pst_answer(PST_VERDICT_DENY, PST_STEP_LOOPBACK, PST_REASON_LOOPBACK, 0);
	if (sandbox->loopback == PST_LOOPBACK_HOST)
		return pst_answer(PST_VERDICT_ALLOW, PST_STEP_LOOPBACK, PST_REASON_LOOPBACK_HOST,
				  0);
	if (sandbox->loopback == PST_LOOPBACK_OWN)
		return pst_answer(PST_VERDICT_OWNER, PST_STEP_LOOPBACK, PST_REASON_OWN_LISTENER, 0);
	return pst_answer(PST_VERDICT_DENY, PST_STEP_LOOPBACK, PST_REASON_LOOPBACK, 0);
}

/* Steps 7, 8, 10 and 11; `always` and `cidr` are the rows of the destination as sent. */
static __always_inline struct pst_decision
pst_judge_address(const struct pst_sandbox *sandbox, const struct pst_query *query,
		  const struct pst_always *always, const struct pst_cidr *cidr, int resolver)
{
	struct pst_decision d = {};
	struct pst_cidr room;
	__u8 embedded[16] __attribute__((aligned(8)));

	pst_judge_form(sandbox, always, cidr, query, &d);
	if (pst_embedded(query->addr, embedded))
		pst_judge_form(sandbox, pst_always_find(embedded),
			       pst_cidr_find(sandbox, embedded, &room), query, &d);
	if (d.step != PST_STEP_NONE)
		return d;
	if (sandbox->default_verdict == PST_VERDICT_ALLOW)
		return pst_answer(PST_VERDICT_ALLOW, PST_STEP_DEFAULT, PST_REASON_ALLOW_DEFAULT, 0);
	if (pst_is_dns(query) && !resolver)
		return pst_answer(PST_VERDICT_DENY, PST_STEP_DEFAULT, PST_REASON_UNTRUSTED_RESOLVER,
				  0);
	return pst_answer(PST_VERDICT_DENY, PST_STEP_DEFAULT, PST_REASON_DEFAULT_DENY, 0);
}

/* audit: what a rule or the default denies passes and is reported; the rest of the denials stand. */
static __always_inline struct pst_decision pst_soften(const struct pst_sandbox *sandbox,
						      struct pst_decision d)
{
	int soft = d.reason == PST_REASON_DENY_RULE || d.reason == PST_REASON_DEFAULT_DENY ||
		   d.reason == PST_REASON_UNTRUSTED_RESOLVER || d.reason == PST_REASON_NAME_GATE ||
		   d.reason == PST_REASON_DNS_TCP || d.reason == PST_REASON_DNS_BUSY ||
		   d.reason == PST_REASON_LEASE_EXPIRED || d.reason == PST_REASON_QUIC;

	/* The gate is still to ask its question: the hook softens what it refuses. */
	if (sandbox->flags & PST_SANDBOX_AUDIT && soft && d.verdict == PST_VERDICT_DENY)
		d.verdict = PST_VERDICT_WOULD_DENY;
	return d;
}

static __always_inline int pst_is_web(const struct pst_query *query)
{
	return query->port == PST_HTTP_PORT || query->port == PST_HTTPS_PORT;
}

/*
 * Step 9, with hostCheck strict: names decide by what is in SNI or Host, which the relay reads, and not by leases; so
 * nothing may hide it (QUIC). `named`: what names say, `d`: what steps 10 and 11 do.
 */
static __always_inline struct pst_decision
pst_judge_strictly(const struct pst_query *query, struct pst_decision named, struct pst_decision d)
{
	if (query->protocol == PST_UDP && query->port == PST_HTTPS_PORT &&
	    (named.step == PST_STEP_NAME || d.step == PST_STEP_DEFAULT)) {
		if (named.step == PST_STEP_NAME)
			d = named;
		d.verdict = PST_VERDICT_DENY;
		d.reason = PST_REASON_QUIC;
		return d;
	}
	return named.step == PST_STEP_NAME ? named : d;
}

/* Step 9, for what 10 and 11 deny. */
static __always_inline struct pst_decision pst_judge_named(const struct pst_sandbox *sandbox,
							   const struct pst_query *query,
							   struct pst_decision d)
{
	int strict = sandbox->flags & PST_SANDBOX_STRICT;
	struct pst_decision named;

	if (strict && query->protocol == PST_TCP && pst_is_web(query))
		return pst_answer(PST_VERDICT_RELAY, PST_STEP_NAME, PST_REASON_HOST_NAME, 0);
	if (!sandbox->learn)
		return d;
	named = pst_unpack(pst_judge_names(sandbox, query));
	if (strict)
		return pst_judge_strictly(query, named, d);
	return named.step == PST_STEP_NAME ? named : d;
}

/* What steps 8 to 11 let through: does it pass, or go through the relay? In audit also what they would deny. */
static __always_inline struct pst_decision pst_judge_relay(const struct pst_sandbox *sandbox,
							   const struct pst_query *query,
							   struct pst_decision d)
{
	__u32 flags = sandbox->flags;

	if (query->protocol == PST_TCP && d.step >= PST_STEP_CIDR_ALLOW &&
	    d.verdict != PST_VERDICT_DENY &&
	    (flags & PST_SANDBOX_PROXIED || (flags & PST_SANDBOX_RULES && pst_is_web(query))))
		d.verdict = PST_VERDICT_RELAY;
	if (d.verdict == PST_VERDICT_RELAY && !sandbox->relay_port) {
		d.verdict = PST_VERDICT_DENY;
		d.reason = PST_REASON_RELAY_DOWN;
	}
	return d;
}

/* A trusted resolver's address, also as a translator makes it; `cidr` is the address's own row. */
static __always_inline int pst_is_resolver(const struct pst_sandbox *sandbox,
					   const struct pst_cidr *cidr, const __u8 addr[16])
{
	__u8 embedded[16] __attribute__((aligned(8)));
	struct pst_cidr room;

	if (cidr->flags & PST_CIDR_RESOLVER)
		return 1;
	if (!pst_embedded(addr, embedded))
		return 0;
	cidr = pst_cidr_find(sandbox, embedded, &room);
	return cidr && cidr->flags & PST_CIDR_RESOLVER;
}

/* All steps but the ninth, packed. */
PST_FUNCTION __u64 pst_judge_steps(const struct pst_sandbox *sandbox, const struct pst_query *query)
{
	const struct pst_always *always;
	const struct pst_cidr *cidr;
	struct pst_decision d;
	struct pst_cidr room;
	int resolver;

	if (!sandbox || !query)
		return 0;
	always = pst_always_find(query->addr);
	cidr = pst_cidr_find(sandbox, query->addr, &room);
	if (!always || !cidr)
		return pst_pack(pst_failed());
	resolver = pst_is_dns(query) && pst_is_resolver(sandbox, cidr, query->addr);
	/* For a device the host is a neighbour like any other: in the always-denied set. */
	if (!resolver && ((always->kind == PST_ALWAYS_HOST && !sandbox->ifindex) ||
			  pst_is_loopback(query->addr)))
		return pst_pack(pst_judge_loopback(sandbox, query));
	if (resolver && pst_judge_dns(sandbox, query, &d))
		return pst_pack(d);
	return pst_pack(pst_judge_address(sandbox, query, always, cidr, resolver));
}

/*
 * The verdict order (docs/DESIGN.md; `postern explain` prints the same numbers):
 *   1 the packet is not understood: deny, in every mode
 *   2 the source is not the sandbox's own: deny (cgroup kind: a resolver's port 53)
 *   3 an admitted peer opened the connection: allow
 *   4 the relay's listener: only with an origin (cgroup kind: relay.bpf.h)
 *   5 loopback, and (cgroup kind) any address of this host: the policy's `loopback`; a trusted resolver there goes to 6
 *   6 a trusted resolver, port 53: (a) open, (b) gated, by the relay where it serves the sandbox, (c) like everything
 *     else
 *   7 always denied, in any reading of the address, and not lifted: deny
 *   8 a prefix allows: allow
 *   9 hostCheck strict: the relay judges tcp 80 and 443, and udp 443 is denied; else a name allows: the one that let
 *     this flow out before, or a lease; an expired lease: deny
 *  10 a prefix denies: deny
 *  11 the default
 * Names are asked last, because it costs most, for what 10 and 11 would deny: with the same result. Of what 8 to 11 let
 * through, TCP goes through the relay where egressProxy (all) or rules (80 and 443) say so, for the reason that allowed
 * it; in audit, also for that of the denial.
 */
static __always_inline struct pst_decision pst_decide(const struct pst_sandbox *sandbox,
						      const struct pst_query *query)
{
	struct pst_decision d;

	if (!sandbox->id || !sandbox->generation)
		return pst_answer(PST_VERDICT_DENY, PST_STEP_NONE, PST_REASON_NO_POLICY, 0);
	if (query->broken)
		return pst_answer(PST_VERDICT_DENY,
				  query->broken == PST_REASON_SPOOFED ? PST_STEP_SPOOFED
								      : PST_STEP_PARSE,
				  query->broken, 0);
	if (query->inbound)
		return pst_answer(PST_VERDICT_ALLOW, PST_STEP_INBOUND, PST_REASON_INBOUND, 0);
	d = pst_unpack(pst_judge_steps(sandbox, query));
	if (d.verdict == PST_VERDICT_DENY &&
	    (d.step == PST_STEP_CIDR_DENY || d.step == PST_STEP_DEFAULT))
		d = pst_judge_named(sandbox, query, d);
	d = pst_soften(sandbox, d);
	if (sandbox->flags & PST_SANDBOX_RELAYED)
		d = pst_judge_relay(sandbox, query, d);
	return d;
}

static __always_inline int pst_passes(struct pst_decision d)
{
	return d.verdict == PST_VERDICT_ALLOW || d.verdict == PST_VERDICT_WOULD_DENY;
}

/* A conditional verdict becomes allow or deny; what this hook has no means to settle is denied. */
static __always_inline struct pst_decision pst_settle(struct pst_decision d, int owned)
{
	if (d.verdict == PST_VERDICT_OWNER) {
		d.verdict = owned ? PST_VERDICT_ALLOW : PST_VERDICT_DENY;
		d.reason = owned ? PST_REASON_OWN_LISTENER : PST_REASON_LOOPBACK;
	} else if (d.verdict == PST_VERDICT_RELAY) {
		d.verdict = PST_VERDICT_DENY;
		d.reason = PST_REASON_RELAY_SOCKET;
	} else if (d.verdict == PST_VERDICT_GATE) {
		d.verdict = PST_VERDICT_DENY;
	}
	return d;
}

#endif
