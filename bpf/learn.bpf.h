/* SPDX-License-Identifier: MIT */
/*
 * Replies -> leases, written before the packet goes on to the application: the first connection cannot be too early.
 * Runs at ingress, with softirqs off, so its scratch memory is a CPU's own; and for the loader (teach.bpf.h), which may
 * be interrupted by that, so it has scratch memory of its own.
 */
#ifndef PST_LEARN_BPF_H
#define PST_LEARN_BPF_H

#include "dns.bpf.h"
#include "lease.bpf.h"
#include "owner.bpf.h"
#include "question.bpf.h"

#define PST_EEXIST 17

/* The reply that this CPU reads. Written and read by ingress; nothing in it outlives a packet. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct pst_reading);
} pst_readings SEC(".maps");

/* What the loader teaches: one lesson at a time. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct pst_reading);
} pst_taught SEC(".maps");

#define PST_READ_HERE  0U /* by this CPU */
#define PST_READ_ALOUD 1U /* by the loader */

static __always_inline struct pst_reading *pst_reading_at(__u32 place)
{
	__u32 zero = 0;

	/* Without a relay nobody is taught: the verifier need not look at it. */
	if (place == PST_READ_HERE || pst_options.no_relay)
		return bpf_map_lookup_elem(&pst_readings, &zero);
	/* Two calls: one for either map would be no direct one. */
	asm volatile("");
	return bpf_map_lookup_elem(&pst_taught, &zero);
}

/* Does the message carry the very bytes of the question? */
__noinline int pst_reply_answers(const struct pst_reading *r, const struct pst_question *q)
{
	__u32 size;

	if (!q || !r)
		return 0;
	size = q->size;
	if (PST_DNS_HEADER + size > r->size || size > PST_WIRE_SIZE)
		return 0;
	for (__u32 i = 0; i < PST_WIRE_SIZE / 8; i++) {
		__u64 x = *(const __u64 *)(r->m + PST_DNS_HEADER + 8 * i);
		__u64 y = *(const __u64 *)(q->wire + 8 * i);

		/* The last word: only the bytes that are of the question (words are little-endian here). */
		if (size <= 8 * i + 8)
			return !((x ^ y) << 8 * (8 * i + 8 - size));
		if (x != y)
			return 0;
	}
	return 0;
}
PST_ASSERT("bytes are compared as little-endian words", __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__);

/* ---- room ---- */

/* Worth its room: it lives, and some rule may want it (what no rule covers makes way for what one does). */
static __always_inline int pst_lease_is_wanted(__u64 derived, __u64 ends_ns,
					       const struct pst_reading *r)
{
	if (!derived)
		return 0;
	if (derived == PST_CLAIMED)
		return 1;
	return ends_ns > r->now_ns &&
	       (PST_DERIVED_PORTS(derived) || !PST_DERIVED_PORTS(r->derived) ||
		!PST_DERIVED_IS_OF(derived, r->generation));
}

/*
 * Deletes a lease none of whose names is wanted. Another CPU may renew one right now: it finds its place claimed then,
 * and makes the lease anew; or this one sees the new time, and lets go.
 */
static long pst_sweep_lease(struct bpf_map *map, struct pst_addr *addr, struct pst_lease *lease,
			    struct pst_reading_walk *sweep)
{
	__u64 was[PST_LEASE_NAMES], ends_ns[PST_LEASE_NAMES];
	int claimed = 0, wanted = 0;

#pragma unroll
	for (int i = 0; i < PST_LEASE_NAMES; i++) {
		was[i] = pst_read_once(&lease->by[i].derived);
		ends_ns[i] = pst_read_once(&lease->by[i].expires_ns);
		wanted |= pst_lease_is_wanted(was[i], ends_ns[i], sweep->r);
	}
	if (wanted)
		return 0;
#pragma unroll
	for (int i = 0; i < PST_LEASE_NAMES; i++) {
		if (__sync_val_compare_and_swap(&lease->by[i].derived, was[i], PST_CLAIMED) ==
		    was[i])
			claimed |= 1 << i;
		wanted |= pst_read_once(&lease->by[i].expires_ns) != ends_ns[i];
	}
	if (claimed == (1 << PST_LEASE_NAMES) - 1 && !wanted) {
		bpf_map_delete_elem(map, addr);
		return 0;
	}
#pragma unroll
	for (int i = 0; i < PST_LEASE_NAMES; i++)
		if (claimed >> i & 1)
			__sync_lock_test_and_set(&lease->by[i].derived, was[i]);
	return 0;
}

static long pst_sweep_learned(struct bpf_map *map, __u64 *name, struct pst_learned *learned,
			      struct pst_reading_walk *sweep)
{
	if (pst_read_once(&learned->expires_ns) <= sweep->r->now_ns)
		bpf_map_delete_elem(map, name);
	return 0;
}

/* Makes room in both tables. 1: it was tried, so that it is worth to try again. */
__noinline int pst_sweep_leases(const struct pst_sandbox *sandbox, __u32 place)
{
	struct pst_reading *r = pst_reading_at(place);
	struct pst_reading_walk sweep = {.r = r};
	void *leases, *names;
	struct pst_quota *quota;

	if (!sandbox || !r)
		return 0;
	quota = pst_quota_of(sandbox);
	leases = pst_lease_table(sandbox);
	names = pst_learned_table(sandbox);
	if (!quota || !leases || !names ||
	    pst_read_once(&quota->leases_swept_ns) + PST_LEASE_SWEEP_NS > r->now_ns)
		return 0;
	bpf_for_each_map_elem(leases, pst_sweep_lease, &sweep, 0);
	bpf_for_each_map_elem(names, pst_sweep_learned, &sweep, 0);
	/* Afterwards: who finds the tables full while this one is at it sweeps as well. */
	quota->leases_swept_ns = r->now_ns;
	return 1;
}

/* ---- the name ---- */

/* Both are zero behind their NUL. */
static __always_inline int pst_same_name(const struct pst_name_key *a, const struct pst_name_key *b)
{
	const __u64 *x = (const __u64 *)a->name, *y = (const __u64 *)b->name;
	__u64 differ = a->prefixlen ^ b->prefixlen;

	for (__u32 block = 0; block < PST_NAME_SIZE / 64; block++, x += 8, y += 8) {
#pragma unroll
		for (__u32 i = 0; i < 8; i++)
			differ |= x[i] ^ y[i];
		if (differ || a->prefixlen <= 64 * 8 * (block + 1))
			break;
	}
	return !differ;
}

/* Sees to it that the name of q is there until r->expires_ns. 0: there is no room (or, never seen, another name has
 * the same seeded hash). */
__noinline int pst_learn_name(const struct pst_sandbox *sandbox, const struct pst_question *q,
			      __u32 place)
{
	struct pst_reading *r = pst_reading_at(place);
	struct pst_learned *learned;
	__u64 name;
	void *table;
	int error;

	if (!sandbox || !r || !q)
		return 0;
	name = q->name;
	table = pst_learned_table(sandbox);
	if (!table)
		return 0;
	learned = bpf_map_lookup_elem(table, &name);
	if (learned) {
		if (pst_read_once(&learned->expires_ns) < r->expires_ns)
			learned->expires_ns = r->expires_ns;
		return pst_same_name(&learned->key, &q->key);
	}
	r->learned.name = name;
	r->learned.expires_ns = r->expires_ns;
	__builtin_memcpy(&r->learned.key, &q->key, sizeof(q->key));
	error = bpf_map_update_elem(table, &name, &r->learned, BPF_ANY);
	return !error;
}

/* ---- the addresses ---- */

/* The name has a place in this lease already: it lasts longer now, and by the rules of now. */
static __always_inline int pst_lease_renew(struct pst_lease *lease, const struct pst_reading *r,
					   __u64 expires_ns)
{
	__u64 derived, found;

	for (int i = 0; i < PST_LEASE_NAMES; i++) {
		struct pst_lease_name *by = &lease->by[i];

		derived = pst_read_once(&by->derived);
		if (!derived || derived == PST_CLAIMED ||
		    pst_read_once(&by->name) != r->learned.name)
			continue;
		by->learned_ns = r->now_ns;
		if (by->expires_ns < expires_ns)
			/* An exchange: it is seen before the next line looks for a sweeper. */
			__sync_lock_test_and_set(&by->expires_ns, expires_ns);
		found = __sync_val_compare_and_swap(&by->derived, derived, r->derived);
		return (found == derived || found == r->derived) &&
		       pst_read_once(&by->name) == r->learned.name;
	}
	return 0;
}

enum pst_lease_added {
	PST_LEASE_BUSY = 0, /* another CPU has its hands on it */
	PST_LEASE_ADDED = 1,
	PST_LEASE_FULL = 2, /* every name in it is worth more */
};

/* Gives the name the place that is free, has expired, or ends first. What lives makes way only for what a rule
 * covers. */
static __always_inline enum pst_lease_added pst_lease_add(const struct pst_sandbox *sandbox,
							  struct pst_lease *lease,
							  const struct pst_reading *r,
							  __u64 expires_ns)
{
	__u64 first_ns = ~0ULL, alike_ns = 0, derived, ends_ns;
	struct pst_lease_name *by;
	struct pst_quota *quota;
	__u32 place = 0, alike = 0;

	for (__u32 i = 0; i < PST_LEASE_NAMES; i++) {
		derived = pst_read_once(&lease->by[i].derived);
		ends_ns = derived ? pst_read_once(&lease->by[i].expires_ns) : 0;
		if (derived != PST_CLAIMED && ends_ns < first_ns) {
			first_ns = ends_ns;
			place = i;
		}
		if (derived == r->derived && (!alike_ns || ends_ns < alike_ns)) {
			alike_ns = ends_ns;
			alike = i;
		}
	}
	/* All live: one that lets out the same goes first, and nothing is lost. So no zone that answers with another
	 * name's address takes that name's ports away. */
	if (first_ns > r->now_ns && first_ns != ~0ULL && alike_ns) {
		first_ns = alike_ns;
		place = alike;
		expires_ns = alike_ns > expires_ns ? alike_ns : expires_ns;
		pst_learned_until(sandbox, r->learned.name, expires_ns);
	}
	by = &lease->by[place & (PST_LEASE_NAMES - 1)];
	derived = pst_read_once(&by->derived);
	if (first_ns == ~0ULL || derived == PST_CLAIMED)
		return PST_LEASE_BUSY;
	if (first_ns > r->now_ns && !PST_DERIVED_PORTS(r->derived))
		return PST_LEASE_FULL;
	if (__sync_val_compare_and_swap(&by->derived, derived, PST_CLAIMED) != derived)
		return PST_LEASE_BUSY;
	quota = first_ns > r->now_ns ? pst_quota_of(sandbox) : 0;
	if (quota)
		__sync_fetch_and_add(&quota->names_displaced, 1);
	by->name = r->learned.name;
	by->learned_ns = r->now_ns;
	by->expires_ns = expires_ns;
	__sync_lock_test_and_set(&by->derived, r->derived);
	return PST_LEASE_ADDED;
}

/* Times that a lease is tried to be written which other CPUs write, or which a sweeper is about to delete. */
#define PST_LEASE_TRIES 64

static long pst_lease_try(__u32 i, struct pst_reading_walk *walk)
{
	struct pst_reading *r = walk->r;
	const struct pst_sandbox *sandbox = walk->sandbox;
	enum pst_lease_added added;
	struct pst_lease *lease;
	void *table;
	int error;

	table = pst_lease_table(sandbox);
	if (!table)
		return 1;
	lease = bpf_map_lookup_elem(table, r->lease.addr);
	if (!lease) {
		/* Not in the place of one that another CPU makes right now: that one may have another name. */
		error = bpf_map_update_elem(table, r->lease.addr, &r->lease, BPF_NOEXIST);
		r->done = !error;
		return error != -PST_EEXIST;
	}
	r->done = 1;
	if (pst_lease_renew(lease, r, r->ends_ns))
		return 1;
	added = pst_lease_add(sandbox, lease, r, r->ends_ns);
	r->done = added == PST_LEASE_ADDED;
	return added != PST_LEASE_BUSY;
}

/* Writes the lease of r->lease.addr. 0: there is no room. */
__noinline int pst_lease_write(const struct pst_sandbox *sandbox, __u64 ends_ns, __u32 place)
{
	struct pst_reading *r = pst_reading_at(place);
	struct pst_reading_walk walk = {.r = r, .sandbox = sandbox};

	if (!sandbox || !r)
		return 0;
	r->ends_ns = ends_ns;
	r->lease.by[0].derived = r->derived;
	r->lease.by[0].expires_ns = ends_ns;
	r->lease.by[0].learned_ns = r->now_ns;
	r->lease.by[0].name = r->learned.name;
	r->done = 0;
	bpf_loop(PST_LEASE_TRIES, pst_lease_try, &walk, 0);
	return r->done != 0;
}

/* Always-denied addresses become no leases, in neither reading, unless the policy lifts them (DNS rebinding). */
static __always_inline int pst_may_lease(const struct pst_sandbox *sandbox, const __u8 addr[16])
{
	const struct pst_always *always = pst_always_find(addr);
	const struct pst_cidr *cidr;
	struct pst_cidr room;

	if (!always)
		return 0;
	if (always->kind == PST_ALWAYS_OPEN)
		return 1;
	cidr = pst_cidr_find(sandbox, addr, &room);
	return cidr && cidr->flags & PST_CIDR_LIFTED;
}

static long pst_learn_address(__u32 i, struct pst_reading_walk *walk)
{
	const struct pst_sandbox *sandbox = walk->sandbox;
	struct pst_reading *r = walk->r;
	__u8 embedded[16] __attribute__((aligned(8)));
	__u32 n, at, ttl_s;

	if (i >= PST_DNS_MAX_ADDRESSES)
		return 1;
	n = pst_index(r->answer[i], PST_DNS_MAX_ADDRESSES);
	at = r->address_at[n] & PST_MESSAGE_MASK;
	ttl_s = r->address_ttl[n];
	if (r->address_type[n] == PST_DNS_A)
		pst_map4(r->lease.addr, r->m + at);
	else
		__builtin_memcpy(r->lease.addr, r->m + at, 16);
	if (!pst_may_lease(sandbox, r->lease.addr) ||
	    (pst_embedded(r->lease.addr, embedded) && !pst_may_lease(sandbox, embedded)))
		return 0;
	if (pst_lease_write(sandbox, r->now_ns + ttl_s * PST_SECOND_NS, r->place))
		r->written++;
	else
		r->refused++;
	return 0;
}

/* The name first: whoever finds a lease finds its name. 0: there was no room for all of it. */
static __always_inline int pst_learn_all(const struct pst_sandbox *sandbox, struct pst_reading *r,
					 const struct pst_question *q)
{
	struct pst_reading_walk walk = {.r = r, .sandbox = sandbox};

	r->written = r->refused = 0;
	if (pst_learn_name(sandbox, q, r->place))
		bpf_loop(r->n_answers, pst_learn_address, &walk, 0);
	else
		r->refused = r->n_answers;
	return !r->refused;
}

/* The addresses of a reply that was read, for the name that q asked for. */
static __always_inline enum pst_reply pst_learn_answers(const struct pst_sandbox *sandbox,
							struct pst_reading *r,
							const struct pst_question *q)
{
	__u32 ports = PST_DERIVED_PORTS(q->derived);
	struct pst_quota *quota;

	/* The gate has asked the rules already. Again only when they have changed since. */
	if (!PST_DERIVED_IS_OF(q->derived, sandbox->generation))
		ports = pst_name_ports(sandbox, &q->key);
	if (!ports && sandbox->learn != PST_LEARN_ALL)
		return PST_REPLY_EMPTY;
	r->generation = sandbox->generation;
	r->derived = PST_DERIVED(sandbox->generation, ports);
	r->expires_ns = r->now_ns + r->longest_s * PST_SECOND_NS;
	r->learned.name = q->name;
	if (!pst_learn_all(sandbox, r, q) && pst_sweep_leases(sandbox, r->place))
		pst_learn_all(sandbox, r, q);
	quota = r->refused ? pst_quota_of(sandbox) : 0;
	if (quota)
		__sync_fetch_and_add(&quota->leases_refused, r->refused);
	return r->written ? PST_REPLY_LEARNED : PST_REPLY_EMPTY;
}

/* ---- the packet ---- */

/* What comes over lo from any other address was bound without asking (IPV6_FREEBIND). */
static __always_inline int pst_is_of_this_host(const __u8 addr[16])
{
	const struct pst_always *always = pst_always_find(addr);

	return pst_is_loopback(addr) || (always && always->kind == PST_ALWAYS_HOST);
}

/*
 * Does the reply come from where this resolver's replies come from? By a real device in the recorded namespace, or
 * by `lo` from a socket outside of the sandbox. Behind a translated port there is no socket to find; such a reply
 * carries a source address that egress refuses to sandboxes (pst_is_forged_reply()).
 */
__noinline int pst_reply_is_genuine(struct __sk_buff *skb, const struct pst_sandbox *sandbox,
				    const struct pst_packet *p, const struct pst_question *q)
{
	struct pst_query resolver __attribute__((aligned(8))) = {.protocol = PST_UDP};
	struct bpf_sock *sk = skb->sk, *from;
	int outside;

	if (!sk || !sandbox || !p || !q)
		return 0;
	if (!sandbox->netns_cookie || pst_sock_netns(sk) != sandbox->netns_cookie)
		return 0;
	if (skb->ifindex != PST_IFINDEX_LO)
		return 1;
	__builtin_memcpy(resolver.addr, p->source, 16);
	resolver.port = p->source_port;
	from = pst_find_peer(skb, &resolver, p->query.addr, p->query.port);
	if (!from)
		return q->translated;
	outside = bpf_sk_ancestor_cgroup_id(from, (int)sandbox->cgroup_level) != sandbox->cgroup_id;
	bpf_sk_release(from);
	return outside && pst_is_of_this_host(p->source);
}

/* A frame that is a fragment still: on its way out by a device every packet that came in pieces is in pieces again. */
static __always_inline int pst_is_fragment(struct __sk_buff *skb)
{
	struct pst_ip4 ip4;
	struct pst_ip6 ip6;

	if (skb->protocol == bpf_htons(PST_ETH_IPV4))
		return pst_load(skb, PST_AT_FRAME, &ip4, sizeof(ip4) / 4) ||
		       ip4.fragment & bpf_htons(PST_FRAGMENT_BITS);
	return pst_load(skb, PST_AT_FRAME, &ip6, sizeof(ip6) / 4) || ip6.next == IPPROTO_FRAGMENT;
}

/* Reads the message of a packet; 0: nothing is learned from it. */
static __always_inline int pst_reply_load(struct __sk_buff *skb, const int device,
					  struct pst_dns_place place, struct pst_reading *r,
					  enum pst_reply *became)
{
	if (place.size > PST_DNS_MAX_MESSAGE) {
		*became = PST_REPLY_OVERSIZE;
		return 0;
	}
	/* A fragment carries no port and no txid: whoever guesses the id of the packet writes its end (RFC 9715). */
	if (device ? pst_is_fragment(skb)
		   : pst_was_fragmented(skb, skb->protocol == bpf_htons(PST_ETH_IPV6))) {
		*became = PST_REPLY_MALFORMED;
		return 0;
	}
	r->size = place.size;
	return !bpf_skb_load_bytes(skb, place.offset, r->m,
				   pst_at_most(place.size, PST_DNS_MAX_MESSAGE));
}

/* Does any question with that key wait? What nobody asked is to cost little. */
static __always_inline int pst_reply_is_awaited(void *table, __u32 hash,
						const struct pst_question_key *key, __u64 now_ns)
{
	for (__u32 i = 0; i < PST_QUESTION_PROBES; i++) {
		const struct pst_question *q = pst_question_at(table, hash, i);

		if (!q)
			return 0;
		if (pst_question_waits(pst_read_once(&q->stamp), now_ns) && pst_question_is(q, key))
			return 1;
	}
	return 0;
}

/* The question that a packet answers, claimed, and the message in r; NULL: none that waits. */
static __always_inline struct pst_question *pst_reply_claim(struct __sk_buff *skb,
							    const struct pst_sandbox *sandbox,
							    const struct pst_packet *p,
							    const int device, struct pst_reading *r,
							    enum pst_reply *became)
{
	struct pst_question_key key = {.port = p->query.port};
	struct pst_dns_place place = pst_dns_place(skb, sandbox);
	void *table = pst_question_table(sandbox);
	struct pst_question *q;
	__be16 txid;
	__u32 hash;
	__u64 stamp;

	*became = PST_REPLY_UNASKED;
	if (!table || !place.size || bpf_skb_load_bytes(skb, place.offset, &txid, sizeof(txid)))
		return 0;
	key.txid = bpf_ntohs(txid);
	__builtin_memcpy(key.resolver, p->source, 16);
	hash = pst_question_hash(sandbox, &key);
	if (!pst_reply_is_awaited(table, hash, &key, r->now_ns) ||
	    !pst_reply_load(skb, device, place, r, became))
		return 0;
	for (__u32 i = 0; i < PST_QUESTION_PROBES; i++) {
		q = pst_question_at(table, hash, i);
		if (!q)
			return 0;
		stamp = pst_read_once(&q->stamp);
		if (stamp == PST_CLAIMED || !pst_question_waits(stamp, r->now_ns) ||
		    !pst_question_is(q, &key) || !pst_reply_answers(r, q))
			continue;
		/* What is on its way to a device does not come from there. */
		if (!device && !pst_reply_is_genuine(skb, sandbox, p, q)) {
			*became = PST_REPLY_UNTRUSTED;
			return 0;
		}
		/* Unchanged since it was found: what was compared was this very question. */
		if (pst_question_take(q, stamp))
			return q;
	}
	return 0;
}

static __always_inline int pst_is_trusted(const struct pst_sandbox *sandbox, const __u8 addr[16])
{
	struct pst_cidr room;
	const struct pst_cidr *cidr = pst_cidr_find(sandbox, addr, &room);

	return cidr && pst_is_resolver(sandbox, cidr, addr);
}

static __always_inline int pst_learn_reply(struct __sk_buff *skb, const struct pst_sandbox *sandbox,
					   const struct pst_packet *p, const int device)
{
	enum pst_reply became;
	struct pst_reading *r;
	struct pst_question *q;
	struct pst_quota *quota;

	if (!sandbox || !p || !pst_is_trusted(sandbox, p->source))
		return 0;
	r = pst_reading_at(PST_READ_HERE);
	quota = pst_quota_of(sandbox);
	if (!r || !quota)
		return 0;
	r->now_ns = bpf_ktime_get_boot_ns();
	q = pst_reply_claim(skb, sandbox, p, device, r, &became);
	if (q) {
		r->at = PST_DNS_HEADER + q->size;
		r->min_s = sandbox->lease_min_s;
		r->max_s = sandbox->lease_max_s;
		became = pst_reply_read(r);
		if (became == PST_REPLY_LEARNED)
			became = pst_learn_answers(sandbox, r, q);
		pst_question_let_go(q, 0);
	}
	__sync_fetch_and_add(&quota->replies[became & (PST_REPLY_KINDS - 1)], 1);
	return 0;
}

/* A datagram from port 53 for a sandbox that learns. Nothing here keeps the packet from the application. */
__noinline int pst_learn(struct __sk_buff *skb, const struct pst_sandbox *sandbox,
			 const struct pst_packet *p)
{
	return pst_learn_reply(skb, sandbox, p, 0);
}

/* The same for a device: a function of its own, as its programs have no helper for sockets' cgroups. */
__noinline int pst_learn_inward(struct __sk_buff *skb, const struct pst_sandbox *sandbox,
				const struct pst_packet *p)
{
	return pst_learn_reply(skb, sandbox, p, 1);
}

#endif
