/* SPDX-License-Identifier: MIT */
/* The native leg: the very text of pst_decide(), over rows in memory, looked up in the plainest way. */
#include <endian.h>
#include <stdio.h>
#include <string.h>

#include "tests/agree/agree.h"

/* Of the call that runs: pst_always_find() is given nothing else to find its rows by. */
static const struct agree_tables *current;

static bool has_prefix(const __u8 *addr, const __u8 *key, __u32 bits)
{
	__u32 whole = bits / 8, rest = bits % 8;

	if (memcmp(addr, key, whole) != 0)
		return false;
	return !rest || (addr[whole] ^ key[whole]) >> (8 - rest) == 0;
}

static const struct pst_always *pst_always_find(const __u8 addr[16])
{
	const struct table_always_row *found = NULL;

	for (size_t i = 0; i < current->n_always; i++) {
		const struct table_always_row *row = &current->always[i];

		if ((!found || row->key.prefixlen > found->key.prefixlen) &&
		    has_prefix(addr, row->key.addr, row->key.prefixlen))
			found = row;
	}
	return found ? &found->value : NULL;
}

static const struct pst_trie_root *pst_trie_root(__u32 slot, __u32 number)
{
	const struct table_trie *trie = &current->table->trie;

	(void)slot;
	return number < trie->n_roots ? &trie->roots[number] : NULL;
}

static const struct table_trie *pst_trie_nodes_of(__u32 slot)
{
	(void)slot;
	return &current->table->trie;
}

static const struct pst_trie_node *pst_trie_node(const void *nodes, __u32 number)
{
	const struct table_trie *trie = nodes;

	return number < trie->n_nodes ? &trie->nodes[number] : NULL;
}

static const struct pst_trie_leaf *pst_trie_leaf(__u32 slot, __u32 number)
{
	const struct table_trie *trie = pst_trie_nodes_of(slot);

	return number < trie->n_leaves ? &trie->leaves[number] : NULL;
}

static const struct pst_trie_row *pst_trie_row(__u32 slot, __u32 number)
{
	const struct table_trie *trie = pst_trie_nodes_of(slot);

	return number < trie->n_rows ? &trie->rows[number] : NULL;
}

#include "trie.bpf.h"

static uint64_t half(const __u8 *addr)
{
	uint64_t word;

	memcpy(&word, addr, sizeof(word));
	return be64toh(word);
}

/* A prefix stands before those inside it: the last that matches is the longest. */
static const struct pst_cidr *find4(const struct table *table, const __u8 addr[4])
{
	for (size_t i = table->n_rows4; i > 0; i--) {
		const struct table_row4 *row = &table->rows4[i - 1];

		if (has_prefix(addr, row->key.addr, row->key.prefixlen))
			return &row->value;
	}
	return NULL;
}

static const struct pst_cidr *pst_cidr_find(const struct pst_sandbox *sandbox, const __u8 addr[16],
					    struct pst_cidr *room)
{
	static const __u8 mapped[12] = {[10] = 0xff, 0xff};
	const struct table *table = current->table;
	bool is4 = memcmp(addr, mapped, sizeof(mapped)) == 0;

	if (is4 && sandbox->flags & PST_SANDBOX_TRIE4)
		return pst_trie_unpack(pst_trie_find(0, 0, half(addr + 8) << 32, 0), room);
	if (!is4 && sandbox->flags & PST_SANDBOX_TRIE6)
		return pst_trie_unpack(pst_trie_find(0, 1, half(addr), half(addr + 8)), room);
	if (is4)
		return find4(table, addr + 12);
	for (size_t i = table->n_rows6; i > 0; i--) {
		const struct table_row6 *row = &table->rows6[i - 1];

		if (has_prefix(addr, row->key.addr, row->key.prefixlen))
			return &row->value;
	}
	return NULL;
}

static const struct pst_ports *pst_ports_find(const struct pst_sandbox *sandbox, __u32 index)
{
	(void)sandbox;
	return index && index < current->table->n_ports ? &current->table->ports[index] : NULL;
}

static struct pst_lease *pst_lease_find(const struct pst_sandbox *sandbox, const __u8 addr[16])
{
	static struct pst_lease found; /* of a caller who may write to it */

	(void)sandbox;
	for (size_t i = 0; current->rows && i < current->rows->n_leases; i++) {
		if (memcmp(current->rows->leases[i].addr.bytes, addr, 16) != 0)
			continue;
		found = current->rows->leases[i].value;
		return &found;
	}
	return NULL;
}

static __u32 learned_ports(__u64 id)
{
	for (size_t i = 0; i < current->rows->n_learned; i++) {
		const struct pst_learned *learned = &current->rows->learned[i].value;

		if (current->rows->learned[i].id == id)
			return learned->name == id ? agree_name_ports(current->table, &learned->key)
						   : 0;
	}
	return 0;
}

static __u32 pst_lease_ports(const struct pst_sandbox *sandbox, struct pst_lease *lease,
			     const __u8 addr[16], __u32 i, __u32 *expired)
{
	const struct pst_lease_name *by = &lease->by[i & (PST_LEASE_NAMES - 1)];

	if (!by->derived || by->derived == PST_CLAIMED || memcmp(lease->addr, addr, 16) != 0)
		return 0;
	*expired = by->expires_ns <= current->now_ns;
	if (PST_DERIVED_IS_OF(by->derived, sandbox->generation))
		return PST_DERIVED_PORTS(by->derived);
	return learned_ports(by->name);
}

#include "decide.bpf.h"

void agree_native(const struct agree_tables *tables, const struct pst_query *queries, size_t count,
		  struct pst_decision *ret_answers)
{
	struct pst_query query;

	current = tables;
	for (size_t i = 0; i < count; i++) {
		query = queries[i];
		if (query.live)
			query.live = agree_name_ports(tables->table,
						      &tables->rows->names[query.live - 1]);
		ret_answers[i] = pst_decide(&tables->record, &query);
	}
}

static bool is_so(bool same, bool passes, bool may_pass)
{
	if (!same && passes && !may_pass)
		printf("difference in what a hook makes of a decision: " AGREE_OPENS "\n");
	return same;
}

/* What audit makes of the verdict is this. */
static bool softens_to(const struct pst_sandbox *sandbox, uint8_t verdict, uint8_t reason,
		       uint8_t expected)
{
	const struct pst_decision d = {.verdict = verdict, .reason = reason};
	const uint8_t got = pst_soften(sandbox, d).verdict;

	return is_so(got == expected, got == PST_VERDICT_ALLOW || got == PST_VERDICT_WOULD_DENY,
		     expected == PST_VERDICT_WOULD_DENY);
}

/* In audit, what a rule, a list or the default denies passes, and is told; nothing else does. */
static bool softens(void)
{
	static const uint8_t soft[] = {
		PST_REASON_DENY_RULE,	  PST_REASON_DEFAULT_DENY, PST_REASON_UNTRUSTED_RESOLVER,
		PST_REASON_NAME_GATE,	  PST_REASON_DNS_TCP,	   PST_REASON_DNS_BUSY,
		PST_REASON_LEASE_EXPIRED, PST_REASON_QUIC};
	const struct pst_sandbox audit = {.flags = PST_SANDBOX_AUDIT},
				 other = {.flags = ~PST_SANDBOX_AUDIT};
	bool all = true;

	for (unsigned reason = 0; reason < 256; reason++) {
		const uint8_t was = (uint8_t)reason;
		const bool is_soft = memchr(soft, (int)reason, sizeof(soft));

		all &= softens_to(&other, PST_VERDICT_DENY, was, PST_VERDICT_DENY);
		all &= softens_to(&audit, PST_VERDICT_DENY, was,
				  is_soft ? PST_VERDICT_WOULD_DENY : PST_VERDICT_DENY);
		all &= softens_to(&audit, PST_VERDICT_GATE, was, PST_VERDICT_GATE);
	}
	return all;
}

/* Of an address, for all who compare one. */
static bool reads_words(void)
{
	static const uint8_t addr[16] = {[4] = 0xf1, 0xe2, 0xd3, 0xc4, [12] = 255, 255, 255, 255};

	return pst_word(addr, 1) == 0xf1e2d3c4 && pst_word(addr, 3) == 0xffffffff;
}

/* What hooks make of a decision. Only what is allowed passes, or would have been denied. */
bool agree_native_settles(void)
{
	static const struct {
		uint8_t verdict, settled[2], reason[2];
	} rows[] = {
		{PST_VERDICT_DENY, {PST_VERDICT_DENY, PST_VERDICT_DENY}, {9, 9}},
		{PST_VERDICT_ALLOW, {PST_VERDICT_ALLOW, PST_VERDICT_ALLOW}, {9, 9}},
		{PST_VERDICT_WOULD_DENY, {PST_VERDICT_WOULD_DENY, PST_VERDICT_WOULD_DENY}, {9, 9}},
		{PST_VERDICT_GATE, {PST_VERDICT_DENY, PST_VERDICT_DENY}, {9, 9}},
		{PST_VERDICT_RELAY,
		 {PST_VERDICT_DENY, PST_VERDICT_DENY},
		 {PST_REASON_RELAY_SOCKET, PST_REASON_RELAY_SOCKET}},
		{PST_VERDICT_OWNER,
		 {PST_VERDICT_DENY, PST_VERDICT_ALLOW},
		 {PST_REASON_LOOPBACK, PST_REASON_OWN_LISTENER}},
	};
	const uint8_t step = 11, rule = 7;
	bool all = softens() && reads_words();

	for (size_t i = 0; i < 2 * sizeof(rows) / sizeof(rows[0]); i++) {
		const struct pst_decision d = {
			.verdict = rows[i / 2].verdict, .step = step, .reason = 9, .rule = rule};
		const struct pst_decision settled = pst_settle(d, i % 2);
		const bool passes =
			d.verdict == PST_VERDICT_ALLOW || d.verdict == PST_VERDICT_WOULD_DENY;

		all &= is_so(settled.verdict == rows[i / 2].settled[i % 2] &&
				     settled.reason == rows[i / 2].reason[i % 2] &&
				     settled.step == step && settled.rule == rule,
			     settled.verdict == PST_VERDICT_ALLOW,
			     rows[i / 2].settled[i % 2] == PST_VERDICT_ALLOW);
		all &= is_so(!!pst_passes(d) == passes, pst_passes(d), passes);
	}
	return all;
}
