/* SPDX-License-Identifier: MIT */
/* What a run needs of netfilter, by nf_tables: its own table, and to be let through the forward chains of others. */
#ifndef NET_NFT_H
#define NET_NFT_H

#include <net/if.h>
#include <stdbool.h>

#include "base/addr.h"

#define NFT_TEXT_MAX 64

/* A table in the family `inet`, with the device's name: addresses that masquerade as the host's, and nothing new from
 * beyond the host to the device. Replaces one that is left over. */
struct nft_run {
	const char *device;
	const struct addr *addresses;
	size_t n_addresses;
};

/* A socket for all below; -errno when the kernel has no nf_tables. */
int nft_open(int *ret_fd);
int nft_add_run(int fd, const struct nft_run *run);
/* 0 when it is gone already. */
int nft_delete_run(int fd, const char *device);

typedef int (*nft_table_fn)(void *context, const char *name);
/* Every table of the family `inet`. A negative return ends the walk. */
int nft_walk_tables(int fd, nft_table_fn fn, void *context);

/* A base chain that forwarded packets come through. */
struct nft_forward {
	uint8_t family;
	bool drops; /* what none of its rules decides */
	char table[NFT_TEXT_MAX];
	char chain[NFT_TEXT_MAX];
};

struct nft_chains {
	struct nft_forward *forward;
	size_t n_forward;
	bool has_nat; /* somebody else changes the source of what leaves */
};

/* Of everybody's tables, without those whose names begin with `except`. */
int nft_list_chains(int fd, const char *except, struct nft_chains *ret_chains);
void nft_chains_done(struct nft_chains *chains);

/* Two rules at the head of the chain, known by the comment "postern DEVICE". -EPERM: the table has an owner. */
int nft_let_through(int fd, const struct nft_forward *chain, const char *device);
typedef bool (*nft_stale_fn)(void *context, const char *device);
/* Removes the rules of those devices that `stale` says so of. */
int nft_stop_letting(int fd, const struct nft_forward *chain, nft_stale_fn stale, void *context);

#endif
