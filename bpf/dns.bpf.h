/* SPDX-License-Identifier: MIT */
/*
 * DNS bytes -> a recorded question, and -> the addresses of a reply. The reference is user/dns, which `make agree`
 * compares this with. Everything that a loop changes lives in map memory, whose values the verifier does not follow:
 * so each loop body is looked at once.
 */
#ifndef PST_DNS_BPF_H
#define PST_DNS_BPF_H

#include "maps.bpf.h"
#include "packet.bpf.h"

#define PST_DNS_HEADER 12
#define PST_DNS_QR     0x8000
#define PST_DNS_OPCODE 0x7800
#define PST_DNS_AA     0x0400
#define PST_DNS_TC     0x0200
#define PST_DNS_RA     0x0080
#define PST_DNS_Z      0x0040
#define PST_DNS_RCODE  0x000f

#define PST_DNS_IN    1
#define PST_DNS_A     1
#define PST_DNS_CNAME 5
#define PST_DNS_NULL  10
#define PST_DNS_AAAA  28
#define PST_DNS_OPT   41
#define PST_DNS_IXFR  251
#define PST_DNS_AXFR  252
#define PST_DNS_ANY   255

#define PST_LABEL_MAX	 63
#define PST_LABELS_MAX	 128 /* of a name of 255 bytes, with its end */
#define PST_POINTER	 0xc0
#define PST_DNS_MIN_TAIL 5 /* of a question behind the header: the root's name, type and class */

struct pst_dns_header {
	__be16 txid, flags, questions, answers, authorities, additional;
};

/* ---- a message's place in its packet ---- */

struct pst_dns_place {
	__u32 offset, size;
};

/* What UDP says its payload is; size 0: nothing that could be DNS. */
static __always_inline struct pst_dns_place pst_dns_place(struct __sk_buff *skb,
							  const struct pst_sandbox *sandbox)
{
	__u32 header = (skb->protocol == bpf_htons(PST_ETH_IPV4) ? sizeof(struct pst_ip4)
								 : sizeof(struct pst_ip6)) +
		       (sandbox->ifindex ? PST_AT_FRAME : PST_AT_IP);
	struct pst_dns_place place = {.offset = header + sizeof(struct pst_l4)};
	struct pst_l4 udp;
	__u32 length;

	if (bpf_skb_load_bytes(skb, header, &udp, sizeof(udp)))
		return place;
	length = bpf_ntohl(udp.word1) >> 16;
	if (length >= sizeof(udp) + PST_DNS_HEADER && header + length <= skb->len)
		place.size = length - sizeof(udp);
	return place;
}

/* An index below `count`, a power of two. 6.1's verifier forgets what a comparison said once a register is spilled, so
 * the mask must stand where it is used; clang would find it needless. */
static __always_inline __u32 pst_index(__u32 i, __u32 count)
{
	asm volatile("" : "+r"(i));
	return i & (count - 1);
}

/* A size of 1 to `most`, which is a power of two, in words that every verifier understands: 6.1's learns nothing from a
 * comparison with 0. */
static __always_inline __u32 pst_at_most(__u32 size, __u32 most)
{
	return pst_index(size - 1, most) + 1;
}

/* ---- the question ---- */

struct pst_question_walk {
	struct pst_question *q;
};

/* A label: where the name ends. */
static long pst_question_label(__u32 i, struct pst_question_walk *walk)
{
	struct pst_question *q = walk->q;
	__u32 at = q->at;
	__u8 length;

	if (at >= q->limit || at >= PST_WIRE_SIZE)
		return 1;
	length = q->wire[at];
	if (!length)
		q->size = (__u16)(at + 1);
	if (!length || length > PST_LABEL_MAX)
		return 1;
	q->at = (__u16)(at + 1 + length);
	return 0;
}

/* Without a branch: in a loop each would be a fork for the verifier to follow. */
static __always_inline __u8 pst_lower(__u8 c)
{
	__u32 letter = (__u8)(c - 'A');

	letter -= 'Z' - 'A' + 1;
	asm volatile("" : "+r"(letter));
	return (__u8)(c + (letter >> 31 << 5));
}

/* What policies write names of. Dots and NULs inside a label would make one name look like another. A bit for each of
 * 256 characters (lower case): '-' and '0' to '9'; '_' and 'a' to 'z'. */
const __u32 pst_name_chars[8] = {0, 0x03ff2000, 0x80000000, 0x07fffffe};

static __always_inline __u32 pst_is_name_char(__u8 c)
{
	return pst_name_chars[c >> 5] >> (c & 31) & 1;
}

#define PST_FNV_PRIME 0x100000001b3ULL

/* FNV-1a, and its upper half folded in: else only the seed's lowest byte would say which names have one id. */
static __always_inline __u64 pst_hash_char(__u64 hash, __u8 c)
{
	hash = (hash ^ c) * PST_FNV_PRIME;
	return hash ^ hash >> 32;
}

/* A label, lower-cased, to its place in the key, which is back to front: a text of n characters has the one at
 * wire[at] at n - at. */
static long pst_question_turn(__u32 i, struct pst_question_walk *walk)
{
	struct pst_question *q = walk->q;
	__u32 at = q->at, n = q->size - 2U;
	__u64 hash = q->name;
	__u32 good = 1;
	__u8 c, length;

	if (at >= PST_WIRE_SIZE)
		return 1;
	length = q->wire[at];
	if (!length)
		return 1;
	if (at) {
		q->key.name[(n - at) & (PST_NAME_SIZE - 1)] = '.';
		hash = pst_hash_char(hash, '.');
	}
	for (__u32 j = 0; j < PST_LABEL_MAX; j++) {
		__u32 from = at + 1 + j;

		if (j >= length)
			break;
		c = pst_lower(q->wire[from & (PST_NAME_SIZE - 1)]);
		good &= pst_is_name_char(c);
		q->key.name[(n - from) & (PST_NAME_SIZE - 1)] = (char)c;
		hash = pst_hash_char(hash, c);
	}
	q->name = hash;
	q->at = (__u16)(at + 1 + length);
	if (!good)
		q->limit = 0;
	return !good;
}

/* Behind the question: nothing, or one EDNS record that reaches to the end. */
static __always_inline int pst_tail_is_edns(struct __sk_buff *skb, __u32 offset, __u32 size)
{
	struct pst_edns {
		__u8 root, type_high, type_low, udp_high, udp_low, ttl[4], length_high, length_low,
			pad;
	} edns = {};

	if (size < 11 || bpf_skb_load_bytes(skb, offset, &edns, 11))
		return 0;
	return !edns.root && !edns.type_high && edns.type_low == PST_DNS_OPT &&
	       ((__u32)edns.length_high << 8 | edns.length_low) == size - 11;
}

static __always_inline int pst_is_question_header(const struct pst_dns_header *h)
{
	return !(h->flags & bpf_htons(PST_DNS_QR | PST_DNS_OPCODE | PST_DNS_AA | PST_DNS_TC |
				      PST_DNS_RA | PST_DNS_Z | PST_DNS_RCODE)) &&
	       h->questions == bpf_htons(1) && !h->answers && !h->authorities &&
	       bpf_ntohs(h->additional) <= 1;
}

static __always_inline int pst_is_type_asked(__u32 type)
{
	return type != PST_DNS_NULL && type != PST_DNS_IXFR && type != PST_DNS_AXFR &&
	       type != PST_DNS_ANY;
}

/*
 * Reads the question of a DNS message (at offset << 32 | size; its header is in `h`) into q, which is the caller's
 * alone: wire, size, key, and the name's id, whose hash begins with q->name. 0: a question that must not leave.
 */
__noinline int pst_question_read(struct __sk_buff *skb, __u64 where, const struct pst_dns_header *h,
				 struct pst_question *q)
{
	struct pst_dns_place place = {.offset = (__u32)(where >> 32), .size = (__u32)where};
	struct pst_question_walk walk = {.q = q};
	__u32 tail = place.size - PST_DNS_HEADER, size, n;
	__u8 *end;

	if (!h || !q)
		return 0;
	if (place.size < PST_DNS_HEADER + PST_DNS_MIN_TAIL || place.size > PST_DNS_MAX_QUERY ||
	    !pst_is_question_header(h))
		return 0;
	tail = pst_at_most(tail, PST_DNS_MAX_QUERY);
	if (tail > PST_WIRE_SIZE)
		tail = PST_WIRE_SIZE;
	if (bpf_skb_load_bytes(skb, place.offset + PST_DNS_HEADER, q->wire, tail))
		return 0;
	__builtin_memset(&q->key, 0, sizeof(q->key));
	q->at = q->size = 0;
	q->limit = (__u16)tail;
	bpf_loop(PST_LABELS_MAX, pst_question_label, &walk, 0);
	size = q->size;
	if (!size || size > PST_NAME_MAX + 2 || size + 4 > tail)
		return 0;
	q->at = 0;
	bpf_loop(PST_LABELS_MAX, pst_question_turn, &walk, 0);
	if (!q->limit)
		return 0;
	n = size > 2 ? size - 2 : 0;
	q->key.name[n & (PST_NAME_SIZE - 1)] = 0;
	q->key.prefixlen = (n + 1) * 8;
	if (size > PST_NAME_MAX + 2)
		return 0;
	end = q->wire + size;
	if (end[2] || end[3] != PST_DNS_IN || !pst_is_type_asked((__u32)end[0] << 8 | end[1]))
		return 0;
	q->size = (__u16)(size + 4);
	tail = place.size - PST_DNS_HEADER - (size + 4);
	if (!h->additional)
		return !tail;
	return pst_tail_is_edns(skb, place.offset + place.size - tail, tail);
}

/* ---- the reply ---- */

/* What is known of the reply that this CPU reads. One a CPU is enough: ingress runs with softirqs off. */
struct pst_reading {
	__u32 place; /* which this is: PST_READ_* */
	__u8 m[PST_DNS_MAX_MESSAGE +
	       64]; /* indexed with a mask; what is read behind it stays inside */
	__u32 size;
	__u32 at;    /* the next record */
	__u32 bad;   /* 1: nothing is learned from this message */
	__u32 steps; /* left to compare names with */
	__u32 a, b;  /* where two names are compared */
	__u32 same;
	__u32 target; /* the end of the chain so far */
	__u32 ttl;    /* the smallest on the chain */
	__u32 cname;  /* the next to be compared with target */
	__u32 used;   /* CNAMEs on the chain: a bit each */
	__u32 n_cnames, n_addresses, n_answers;
	__u32 cname_owner[PST_DNS_MAX_CNAMES], cname_target[PST_DNS_MAX_CNAMES],
		cname_ttl[PST_DNS_MAX_CNAMES];
	__u32 address_owner[PST_DNS_MAX_ADDRESSES], address_at[PST_DNS_MAX_ADDRESSES],
		address_ttl[PST_DNS_MAX_ADDRESSES], address_type[PST_DNS_MAX_ADDRESSES];
	__u32 answer[PST_DNS_MAX_ADDRESSES]; /* places of the addresses that the chain's end owns */
	__u32 min_s, max_s, longest_s;
	/* What the leases are written with (learn.bpf.h). */
	__u64 now_ns, expires_ns, ends_ns, generation;
	__u64 derived; /* by its rules */
	__u32 written, refused, done;
	struct pst_learned learned;
	struct pst_lease lease;
};

struct pst_reading_walk {
	struct pst_reading *r;
	const struct pst_sandbox *sandbox;
};

#define PST_MESSAGE_MASK (PST_DNS_MAX_MESSAGE - 1)
PST_ASSERT("PST_DNS_MAX_MESSAGE is a power of two", (PST_DNS_MAX_MESSAGE & PST_MESSAGE_MASK) == 0);

static __always_inline __u32 pst_m8(const struct pst_reading *r, __u32 at)
{
	return r->m[at & PST_MESSAGE_MASK];
}

static __always_inline __u32 pst_m16(const struct pst_reading *r, __u32 at)
{
	const __u8 *b = r->m + (at & PST_MESSAGE_MASK);

	return (__u32)b[0] << 8 | b[1];
}

static __always_inline __u32 pst_m32(const struct pst_reading *r, __u32 at)
{
	const __u8 *b = r->m + (at & PST_MESSAGE_MASK);

	return (__u32)b[0] << 24 | (__u32)b[1] << 16 | (__u32)b[2] << 8 | b[3];
}

/* r->a moves over a label; behind the name it is in r->b. */
static long pst_reply_skip_label(__u32 i, struct pst_reading_walk *walk)
{
	struct pst_reading *r = walk->r;
	__u32 at = r->a, length;

	if (at >= r->size)
		return 1;
	length = pst_m8(r, at);
	if ((length & PST_POINTER) == PST_POINTER)
		r->b = at + 2;
	else if (!length)
		r->b = at + 1;
	if (r->b || length & PST_POINTER)
		return 1;
	r->a = at + 1 + length;
	return 0;
}

/* Where the name at `at` ends; 0: it does not, within the message. */
static __always_inline __u32 pst_reply_skip(struct pst_reading *r, struct pst_reading_walk *walk,
					    __u32 at)
{
	r->a = at;
	r->b = 0;
	if (at < r->size && (pst_m8(r, at) & PST_POINTER) == PST_POINTER)
		r->b = at + 2;
	else
		bpf_loop(PST_DNS_MAX_MESSAGE / 2, pst_reply_skip_label, walk, 0);
	return r->b <= r->size ? r->b : 0;
}

/* An owner that is a pointer stands for what it points to. ~0: not backwards. */
static __always_inline __u32 pst_reply_owner(const struct pst_reading *r, __u32 at)
{
	__u32 word = pst_m16(r, at);

	if (word >> 14 != 3)
		return at;
	return (word & 0x3fff) < at ? word & 0x3fff : ~0U;
}

/* The TTL on the wire; the top bit is no time (RFC 2181 8). */
static __always_inline __u32 pst_reply_ttl(const struct pst_reading *r, __u32 at)
{
	__u32 ttl = pst_m32(r, at);

	return ttl >> 31 ? 0 : ttl;
}

static __always_inline int pst_reply_cname(struct pst_reading *r, struct pst_reading_walk *walk,
					   __u32 owner, __u32 fields, __u32 data, __u32 end)
{
	__u32 n = r->n_cnames;

	if (n >= PST_DNS_MAX_CNAMES || owner == ~0U || pst_reply_skip(r, walk, data) != end)
		return 0;
	n = pst_index(n, PST_DNS_MAX_CNAMES);
	r->cname_owner[n] = owner;
	r->cname_target[n] = data;
	r->cname_ttl[n] = pst_reply_ttl(r, fields + 4);
	r->n_cnames = n + 1;
	return 1;
}

static __always_inline int pst_reply_address(struct pst_reading *r, __u32 owner, __u32 fields,
					     __u32 type, __u32 data, __u32 size)
{
	__u32 n = r->n_addresses;

	if (size != (type == PST_DNS_A ? 4 : 16))
		return 0;
	if (n >= PST_DNS_MAX_ADDRESSES)
		return 1;
	if (owner == ~0U)
		return 0;
	n = pst_index(n, PST_DNS_MAX_ADDRESSES);
	r->address_owner[n] = owner;
	r->address_type[n] = type;
	r->address_at[n] = data;
	r->address_ttl[n] = pst_reply_ttl(r, fields + 4);
	r->n_addresses = n + 1;
	return 1;
}

/* A record of the answer section: noted when it is a CNAME or an address, else only stepped over. */
static long pst_reply_record(__u32 i, struct pst_reading_walk *walk)
{
	struct pst_reading *r = walk->r;
	__u32 at = r->at, fields = pst_reply_skip(r, walk, at), type, data, size;

	r->bad = 1;
	if (!fields || fields + 10 > r->size)
		return 1;
	type = pst_m16(r, fields);
	size = pst_m16(r, fields + 8);
	data = fields + 10;
	if (data + size > r->size)
		return 1;
	r->at = data + size;
	if (pst_m16(r, fields + 2) == PST_DNS_IN) {
		if (type == PST_DNS_CNAME &&
		    !pst_reply_cname(r, walk, pst_reply_owner(r, at), fields, data, data + size))
			return 1;
		if ((type == PST_DNS_A || type == PST_DNS_AAAA) &&
		    !pst_reply_address(r, pst_reply_owner(r, at), fields, type, data, size))
			return 1;
	}
	r->bad = 0;
	return 0;
}

/* One step of comparing the names at r->a and r->b: a pointer followed, or a label compared. */
static long pst_reply_compare_step(__u32 i, struct pst_reading_walk *walk)
{
	struct pst_reading *r = walk->r;
	__u32 a = r->a, b = r->b, x, y, to;

	if (a == b) {
		r->same = 1;
		return 1;
	}
	r->bad = 1;
	if (!r->steps || a >= r->size || b >= r->size)
		return 1;
	r->steps--;
	x = pst_m8(r, a);
	y = pst_m8(r, b);
	if ((x & PST_POINTER) == PST_POINTER) {
		to = pst_m16(r, a) & 0x3fff;
		if (a + 2 > r->size || to >= a)
			return 1;
		r->a = to;
		r->bad = 0;
		return 0;
	}
	if ((y & PST_POINTER) == PST_POINTER) {
		to = pst_m16(r, b) & 0x3fff;
		if (b + 2 > r->size || to >= b)
			return 1;
		r->b = to;
		r->bad = 0;
		return 0;
	}
	r->bad = 0;
	if (x != y || x & PST_POINTER)
		return 1;
	if (!x) {
		r->same = 1;
		return 1;
	}
	if (a + 1 + x > r->size || b + 1 + x > r->size) {
		r->bad = 1;
		return 1;
	}
	for (__u32 j = 0; j < PST_LABEL_MAX; j++) {
		if (j >= x)
			break;
		if (pst_lower((__u8)pst_m8(r, a + 1 + j)) != pst_lower((__u8)pst_m8(r, b + 1 + j)))
			return 1;
	}
	r->a = a + 1 + x;
	r->b = b + 1 + x;
	return 0;
}

/* Is the name at `owner` the end of the chain? A name that cannot be read makes the reply bad. */
static __always_inline int pst_reply_is_target(struct pst_reading *r, struct pst_reading_walk *walk,
					       __u32 owner)
{
	if (owner == r->target)
		return 1;
	r->a = owner;
	r->b = r->target;
	r->same = 0;
	bpf_loop(PST_DNS_MAX_STEPS + 2, pst_reply_compare_step, walk, 0);
	return r->same && !r->bad;
}

/* Looks for the CNAME that goes on from the chain's end; each is used once, so a loop ends. */
static long pst_reply_link(__u32 i, struct pst_reading_walk *walk)
{
	struct pst_reading *r = walk->r;
	__u32 n = r->cname;

	if (r->bad || n >= r->n_cnames || n >= PST_DNS_MAX_CNAMES)
		return 1;
	r->cname = n + 1;
	if (r->used >> n & 1 || !pst_reply_is_target(r, walk, r->cname_owner[n]))
		return 0;
	n = pst_index(n, PST_DNS_MAX_CNAMES);
	r->target = r->cname_target[n];
	if (r->cname_ttl[n] < r->ttl)
		r->ttl = r->cname_ttl[n];
	r->used |= 1U << n;
	r->cname = 0;
	return 0;
}

/* Keeps the addresses that the chain's end owns. */
static long pst_reply_answer(__u32 i, struct pst_reading_walk *walk)
{
	struct pst_reading *r = walk->r;
	__u32 n = r->n_answers, ttl;

	if (r->bad || i >= PST_DNS_MAX_ADDRESSES || n >= PST_DNS_MAX_ADDRESSES)
		return 1;
	if (!pst_reply_is_target(r, walk, r->address_owner[i]))
		return 0;
	i = pst_index(i, PST_DNS_MAX_ADDRESSES);
	n = pst_index(n, PST_DNS_MAX_ADDRESSES);
	ttl = r->address_ttl[i] < r->ttl ? r->address_ttl[i] : r->ttl;
	ttl = ttl < r->min_s ? r->min_s : ttl;
	ttl = ttl > r->max_s ? r->max_s : ttl;
	r->address_ttl[i] = ttl;
	if (ttl > r->longest_s)
		r->longest_s = ttl;
	r->answer[n] = i;
	r->n_answers = n + 1;
	return 0;
}

/*
 * Reads a reply whose question was found to be the right one: r->m, r->size; the answers begin at r->at. Afterwards
 * r->answer lists its addresses. Learns nothing itself.
 */
__noinline int pst_reply_read(struct pst_reading *r)
{
	struct pst_reading_walk walk = {.r = r};
	__u32 flags;

	if (!r)
		return PST_REPLY_MALFORMED;
	flags = pst_m16(r, 2);
	r->n_cnames = r->n_addresses = r->n_answers = r->bad = r->used = r->cname = 0;
	r->longest_s = 0;
	r->steps = PST_DNS_MAX_STEPS;
	r->target = PST_DNS_HEADER;
	r->ttl = ~0U;
	if ((flags & (PST_DNS_QR | PST_DNS_OPCODE)) != PST_DNS_QR || pst_m16(r, 4) != 1)
		return PST_REPLY_MALFORMED;
	if (flags & PST_DNS_TC)
		return PST_REPLY_TRUNCATED;
	if (flags & PST_DNS_RCODE)
		return PST_REPLY_ERROR;
	bpf_loop(pst_m16(r, 6), pst_reply_record, &walk, 0);
	if (!r->bad && r->n_cnames)
		bpf_loop(PST_DNS_MAX_CNAMES * (PST_DNS_MAX_CNAMES + 2), pst_reply_link, &walk, 0);
	if (!r->bad)
		bpf_loop(r->n_addresses, pst_reply_answer, &walk, 0);
	if (r->bad)
		return PST_REPLY_MALFORMED;
	return r->n_answers ? PST_REPLY_LEARNED : PST_REPLY_EMPTY;
}

#endif
