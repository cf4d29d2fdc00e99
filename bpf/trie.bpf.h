/* SPDX-License-Identifier: MIT */
/*
 * The longest prefix of an address in the arrays that large policies have in place of the kernel's LPM tries
 * (table/trie.c makes them): a path-compressed multibit trie. The same text is compiled natively into the agreement
 * test.
 *
 * It asks for elements through functions that the includer defines first (maps.bpf.h in the kernel):
 *   pst_trie_root(slot, i), pst_trie_leaf(slot, i), pst_trie_row(slot, i)   of the arrays of a policy; NULL: failure
 *   pst_trie_nodes_of(slot), and pst_trie_node(nodes, i) of what it gave   likewise
 */
#ifndef PST_TRIE_BPF_H
#define PST_TRIE_BPF_H

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

/* PST_SAYS_UNKNOWN: no row that was written says it. */
#define PST_TRIE_FAILED 0ULL

/* BPF has no instruction for it. */
static __always_inline __u32 pst_count_bits(__u64 x)
{
	x = x - (x >> 1 & 0x5555555555555555ULL);
	x = (x & 0x3333333333333333ULL) + (x >> 2 & 0x3333333333333333ULL);
	x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fULL;
	return (__u32)(x * 0x0101010101010101ULL >> 56);
}

/* Drops the first `bits` (1 to 63) of an address. */
#define PST_TRIE_SKIP(high, low, bits)                                                             \
	do {                                                                                       \
		(high) = (high) << (bits) | (low) >> (64 - (bits));                                \
		(low) <<= (bits);                                                                  \
	} while (0)

static __always_inline __u64 pst_trie_word(const struct pst_trie_row *row)
{
	__u64 word;

	__builtin_memcpy(&word, __builtin_assume_aligned(row, 8), sizeof(word));
	return word;
}

/*
 * The row of the longest prefix, as one word; PST_TRIE_FAILED. `high` and `low` are the address, its first bit on top;
 * an IPv4 address is the upper half of `high`. A node or leaf whose path the address does not take says nothing: what
 * the one above it said holds.
 */
PST_FUNCTION __u64 pst_trie_find(__u32 slot, __u32 family, __u64 high, __u64 low)
{
	__u32 number, path, first, leaf_number = 0, is_leaf = 0;
	const struct pst_trie_root *root;
	const struct pst_trie_node *node;
	const struct pst_trie_leaf *leaf;
	const struct pst_trie_row *row;
	__u64 value, upto, marks = 0;
	const void *nodes;

	root = pst_trie_root(slot, family << PST_TRIE_ROOT_BITS |
					   (__u32)(high >> (64 - PST_TRIE_ROOT_BITS)));
	nodes = pst_trie_nodes_of(slot);
	if (!root || !nodes)
		return PST_TRIE_FAILED;
	PST_TRIE_SKIP(high, low, PST_TRIE_ROOT_BITS);
	first = root->row;
	number = root->node;
	for (__u32 i = 0; i < PST_TRIE_LEVELS && number; i++) {
		node = pst_trie_node(nodes, number);
		if (!node)
			return PST_TRIE_FAILED;
		number = 0;
		path = PST_TRIE_PATH_BITS(node->path);
		if ((high >> 32 ^ PST_TRIE_PATH_OF(node->path)) >> (32 - path))
			break;
		value = high << path >> (64 - PST_TRIE_STRIDE);
		upto = (2ULL << value) - 1;
		marks = node->rows & upto;
		first = node->first_row;
		path += PST_TRIE_STRIDE;
		PST_TRIE_SKIP(high, low, path);
		if (!(node->children >> value & 1)) {
			is_leaf = node->leaves >> value & 1;
			leaf_number = node->first_leaf + pst_count_bits(node->leaves & upto) - 1;
			break;
		}
		number = node->first_child + pst_count_bits(node->children & upto) - 1;
	}
	if (number)
		return PST_TRIE_FAILED;
	if (is_leaf) {
		leaf = pst_trie_leaf(slot, leaf_number);
		if (!leaf)
			return PST_TRIE_FAILED;
		if (!((high >> 32 ^ leaf->path) >> (32 - leaf->path_bits)))
			return pst_trie_word(&leaf->row);
	}
	row = pst_trie_row(slot, first + pst_count_bits(marks));
	return row ? pst_trie_word(row) : PST_TRIE_FAILED;
}

/* The word as what the LPM tries have; NULL: failure. */
static __always_inline const struct pst_cidr *pst_trie_unpack(__u64 word, struct pst_cidr *cidr)
{
	struct pst_trie_row row;

	__builtin_memcpy(&row, &word, sizeof(row));
	if (row.says == PST_SAYS_UNKNOWN)
		return 0;
	cidr->rule = row.rule;
	cidr->ports = row.ports;
	cidr->decided = row.says != PST_SAYS_NOTHING;
	cidr->verdict = row.says == PST_SAYS_ALLOW ? PST_VERDICT_ALLOW : PST_VERDICT_DENY;
	cidr->flags = row.flags;
	return cidr;
}

#endif
