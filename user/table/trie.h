/* SPDX-License-Identifier: MIT */
/* The rows of a large family -> a path-compressed multibit trie in three arrays (bpf/trie.bpf.h reads it). Pure. */
#ifndef TABLE_TRIE_H
#define TABLE_TRIE_H

#include "table/table.h"

/*
 * Puts each family of at least `from` rows (0: TABLE_TRIE_FROM) into the table's trie, and says so in its flags; what a
 * trie would take more memory for than the kernel's LPM trie stays as it is. -ENOMEM: nothing is changed.
 */
int table_trie(struct table *table, size_t from);
void table_trie_done(struct table_trie *trie);

#endif
