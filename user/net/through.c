/* SPDX-License-Identifier: MIT */
/*
 * The way of a device's packets through the firewall of this host. An "accept" of one table is none in the next: so
 * each chain that drops by policy (Docker, ufw, an operator's own) gets rules of ours, and firewalld's, which ends in a
 * rule that rejects. Chains that let pass by policy and drop by rules mean what they say, and are left alone.
 */
#include <errno.h>
#include <linux/netfilter.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "net/legacy.h"
#include "net/nft.h"
#include "net/space.h"
#include "net/through.h"

#define FIREWALLD  "firewalld"
#define LIST_TRIES 8
#define CHANGED	   (-EINTR)

static bool concerns(const struct through *through, const struct nft_forward *chain)
{
	if (!chain->drops && strcmp(chain->table, FIREWALLD) != 0)
		return false;
	return chain->family == NFPROTO_INET || (chain->family == NFPROTO_IPV4 && through->ipv4) ||
	       (chain->family == NFPROTO_IPV6 && through->ipv6);
}

static const char *family_word(uint8_t family)
{
	return family == NFPROTO_IPV4 ? "ip" : family == NFPROTO_IPV6 ? "ip6" : "inet";
}

static void note_owner(const struct nft_forward *chain, struct buf *notes)
{
	if (strcmp(chain->table, FIREWALLD) == 0)
		buf_puts(notes,
			 "firewalld keeps its table to itself: if CMD reaches nothing, run "
			 "`firewall-cmd --permanent --zone=trusted --add-interface=" SPACE_PREFIX
			 "+ && firewall-cmd --reload`\n");
	else
		buf_printf(
			notes,
			"the table %s %s belongs to another process: if CMD reaches nothing, have it "
			"accept what comes from and goes to devices " SPACE_PREFIX "*\n",
			family_word(chain->family), chain->table);
}

static int let_through(int fd, const struct through *through, const struct nft_chains *chains,
		       struct buf *notes, struct error *err)
{
	for (size_t i = 0; i < chains->n_forward; i++) {
		const struct nft_forward *chain = &chains->forward[i];
		int r;

		if (!concerns(through, chain))
			continue;
		r = nft_let_through(fd, chain, through->device);
		if (r == -EPERM)
			note_owner(chain, notes);
		else if (r < 0 && r != -ENOENT)
			return error_set(err, r, "cannot add a rule to the chain %s %s %s: %s",
					 family_word(chain->family), chain->table, chain->chain,
					 strerror(-r));
	}
	return 0;
}

static int list_chains(int fd, struct nft_chains *ret_chains, struct error *err)
{
	int r = CHANGED;

	for (int tries = 0; r == CHANGED && tries < LIST_TRIES; tries++) {
		if (tries)
			usleep(1000U << tries);
		r = nft_list_chains(fd, SPACE_PREFIX, ret_chains);
	}
	return r < 0 ? error_set(err, r, "cannot list the chains of nf_tables: %s", strerror(-r))
		     : 0;
}

static int open_nft(int *ret_fd, struct error *err)
{
	int r = nft_open(ret_fd);

	return r < 0 ? error_set(err, r, "cannot open netfilter's netlink: %s", strerror(-r)) : 0;
}

static int add_run(int fd, const struct through *through, struct error *err)
{
	const struct nft_run run = {.device = through->device,
				    .addresses = through->addresses,
				    .n_addresses = through->n_addresses};
	int r = nft_add_run(fd, &run);

	if (r == -EOPNOTSUPP || r == -ENOENT || r == -EPROTONOSUPPORT || r == -EINVAL)
		return error_set(err, r,
				 "this kernel has no nf_tables with NAT (nf_tables, nft_masq, "
				 "nft_ct): %s; try `modprobe -a nf_tables nft_masq nft_ct`",
				 strerror(-r));
	return r < 0 ? error_set(err, r, "cannot masquerade: %s", strerror(-r)) : 0;
}

int through_open(const struct through *through, struct buf *notes, struct error *err)
{
	cleanup(nft_chains_done) struct nft_chains chains = {0};
	cleanup_close int fd = -1;
	int r;

	r = open_nft(&fd, err);
	if (r == 0)
		r = add_run(fd, through, err);
	if (r == 0)
		r = list_chains(fd, &chains, err);
	if (r == 0)
		r = let_through(fd, through, &chains, notes, err);
	if (r == 0 && through->ipv4)
		r = legacy_let_through(LEGACY_IPV4, through->device, err);
	if (r == 0 && through->ipv6)
		r = legacy_let_through(LEGACY_IPV6, through->device, err);
	return r;
}

int through_has_nat(bool *ret_has_nat, struct error *err)
{
	cleanup(nft_chains_done) struct nft_chains chains = {0};
	cleanup_close int fd = -1;
	int r = open_nft(&fd, err);

	if (r == 0)
		r = list_chains(fd, &chains, err);
	if (r == 0)
		*ret_has_nat = chains.has_nat || legacy_has_nat();
	return r;
}

/* What is asked of each table and each rule: does its device count as gone? */
struct gone {
	const char *device; /* NULL: none */
	char (*tables)[IFNAMSIZ];
	size_t n_tables;
};

static bool is_gone(void *context, const char *device)
{
	const struct gone *gone = context;

	if (!space_is_run(device))
		return false;
	return (gone->device && strcmp(device, gone->device) == 0) || !if_nametoindex(device);
}

static int on_table(void *context, const char *name)
{
	struct gone *gone = context;
	char(*tables)[IFNAMSIZ];

	if (!is_gone(gone, name))
		return 0;
	tables = reallocarray(gone->tables, gone->n_tables + 1, sizeof(*tables));
	if (!tables)
		return -ENOMEM;
	gone->tables = tables;
	/* space_is_run() has measured it. */
	memcpy(tables[gone->n_tables++], name, strlen(name) + 1);
	return 0;
}

static int remove_tables(int fd, struct gone *gone)
{
	int r = nft_walk_tables(fd, on_table, gone);

	for (size_t i = 0; i < gone->n_tables; i++) {
		int failed = nft_delete_run(fd, gone->tables[i]);

		r = failed < 0 ? failed : r;
	}
	return r == CHANGED ? 0 : r;
}

int through_close(const char *device, bool *ret_has_nat, struct error *err)
{
	cleanup(nft_chains_done) struct nft_chains chains = {0};
	struct gone gone = {.device = device};
	cleanup_close int fd = -1;
	int r;

	r = open_nft(&fd, err);
	if (r == 0)
		r = list_chains(fd, &chains, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < chains.n_forward; i++) {
		int failed = nft_stop_letting(fd, &chains.forward[i], is_gone, &gone);

		r = failed < 0 && failed != -EPERM && failed != CHANGED ? failed : r;
	}
	legacy_stop_letting(LEGACY_IPV4, is_gone, &gone);
	legacy_stop_letting(LEGACY_IPV6, is_gone, &gone);
	if (r == 0)
		r = remove_tables(fd, &gone);
	free(gone.tables);
	*ret_has_nat = chains.has_nat || legacy_has_nat();
	return r < 0 ? error_set(err, r, "cannot remove rules: %s", strerror(-r)) : 0;
}

int through_describe(struct buf *out, struct error *err)
{
	static const struct through all = {.ipv4 = true, .ipv6 = true};
	cleanup(nft_chains_done) struct nft_chains chains = {0};
	const char *separator = "; rules are added to ";
	cleanup_close int fd = -1;
	int r = open_nft(&fd, err);

	if (r == 0)
		r = list_chains(fd, &chains, err);
	for (size_t i = 0; r == 0 && i < chains.n_forward; i++) {
		const struct nft_forward *chain = &chains.forward[i];

		if (!concerns(&all, chain))
			continue;
		buf_printf(out, "%s%s %s %s", separator, family_word(chain->family), chain->table,
			   chain->chain);
		separator = ", ";
	}
	return r;
}

int through_try(struct error *err)
{
	static const struct addr address = {.bytes = {[10] = 0xff, 0xff, 198, 18, 0, 1}};
	const struct through through = {.device = SPACE_PREFIX "00000000",
					.addresses = &address,
					.n_addresses = 1,
					.ipv4 = true};
	cleanup_close int fd = -1;
	int r = open_nft(&fd, err);

	return r < 0 ? r : add_run(fd, &through, err);
}
