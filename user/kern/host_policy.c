/* SPDX-License-Identifier: MIT */
/* Tables -> policies in the kernel, once for equal content, however many sandboxes they are for. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "kern/host_object.h"

static struct kern_policy **bucket_of(struct kern_host *host, const uint8_t *hash)
{
	return &host->buckets[(hash[0] | hash[1] << 8) % KERN_POLICY_BUCKETS];
}

static struct kern_policy *find(struct kern_host *host, const uint8_t *hash)
{
	struct kern_policy *policy = *bucket_of(host, hash);

	while (policy && memcmp(policy->hash, hash, KERN_HASH_SIZE) != 0)
		policy = policy->next;
	return policy;
}

static struct kern_policy *entry_new(struct kern_host *host, uint32_t slot, const uint8_t *hash)
{
	struct kern_policy *policy = calloc(1, sizeof(*policy));

	if (!policy)
		return NULL;
	policy->host = host;
	policy->slot = slot;
	policy->refs = 1;
	policy->shared = hash;
	if (hash) {
		struct kern_policy **bucket = bucket_of(host, hash);

		memcpy(policy->hash, hash, KERN_HASH_SIZE);
		policy->next = *bucket;
		*bucket = policy;
	}
	host->by_slot[slot] = policy;
	return policy;
}

static void forget(struct kern_policy *policy)
{
	struct kern_policy **at = bucket_of(policy->host, policy->hash);

	for (; policy->shared && *at; at = &(*at)->next) {
		if (*at == policy) {
			*at = policy->next;
			break;
		}
	}
	policy->host->by_slot[policy->slot] = NULL;
	free(policy);
}

static void drop(struct kern_policy *policy)
{
	kern_pool_give(policy->host->pools, KERN_POOL_POLICY, policy->slot);
	forget(policy);
}

static struct kern_policy *oldest_idle(const struct kern_host *host)
{
	struct kern_policy *oldest = NULL;

	for (size_t i = 0; i < KERN_POLICY_BUCKETS; i++) {
		for (struct kern_policy *p = host->buckets[i]; p; p = p->next) {
			if (!p->refs && (!oldest || p->idle_since < oldest->idle_since))
				oldest = p;
		}
	}
	return oldest;
}

void kern_policy_put(struct kern_policy *policy)
{
	struct kern_host *host = policy->host;

	if (--policy->refs)
		return;
	if (!policy->shared) {
		drop(policy);
		return;
	}
	policy->idle_since = ++host->idle_clock;
	if (++host->n_idle > KERN_IDLE_POLICIES) {
		host->n_idle--;
		drop(oldest_idle(host));
	}
}

static struct kern_policy *take_again(struct kern_policy *policy)
{
	if (!policy->refs++)
		policy->host->n_idle--;
	return policy;
}

static int fill(struct kern_host *host, const struct table *table, uint32_t slot,
		struct kern_inners *inners)
{
	static const int maps[] = {KERN_MAP_CIDR4, KERN_MAP_CIDR6, KERN_MAP_PORTS, KERN_MAP_NAMES};
	cleanup_close int ports = -1;
	int r = 0;

	if (table->n_ports > KERN_READY_PORT_SETS) {
		r = kern_inner_new(&host->object, KERN_MAP_PORTS, (__u32)table->n_ports, &ports);
		if (!r)
			r = kern_pool_replace(&host->object, KERN_MAP_PORTS, slot, ports);
		if (!r) {
			cleanup_close_(&inners->fd[KERN_MAP_PORTS]);
			inners->fd[KERN_MAP_PORTS] = TAKE_FD(ports);
		}
	}
	for (size_t i = 0; !r && i < sizeof(maps) / sizeof(maps[0]); i++)
		r = inners->fd[maps[i]] >= 0 ? 0 : -EBADF;
	if (!r)
		r = kern_policy_fill(table, inners);
	if (!r)
		r = kern_trie_make(&host->object, table, inners);
	return r ? r : kern_pool_fill_late(host->pools, KERN_POOL_POLICY, slot, inners->fd);
}

static int take_slot(struct kern_host *host, uint32_t *ret_slot, struct kern_inners *inners)
{
	int fds[KERN_POOL_OUTERS];
	int r = kern_pool_take(host->pools, KERN_POOL_POLICY, ret_slot, fds);

	if (r < 0)
		return r;
	inners->fd[KERN_MAP_CIDR4] = fds[0];
	inners->fd[KERN_MAP_CIDR6] = fds[1];
	inners->fd[KERN_MAP_PORTS] = fds[2];
	inners->fd[KERN_MAP_NAMES] = fds[3];
	return 0;
}

int kern_policy_load(struct kern_host *host, const struct table *table,
		     const uint8_t hash[KERN_HASH_SIZE], struct kern_policy **ret_policy,
		     struct error *err)
{
	cleanup(kern_inners_done) struct kern_inners inners;
	struct kern_policy *policy = find(host, hash);
	uint32_t slot;
	int r;

	kern_inners_init(&inners);
	if (policy) {
		*ret_policy = take_again(policy);
		return 0;
	}
	/* A trie without a root would refuse what the policy's default decides. */
	if (!table->n_rows4 || table->rows4[0].key.prefixlen || !table->n_rows6 ||
	    table->rows6[0].key.prefixlen)
		return error_set(err, -EINVAL, "the compiled policy has no root rows");
	r = take_slot(host, &slot, &inners);
	if (r < 0)
		return error_set(err, r, "no room for another policy: %s", strerror(-r));
	r = fill(host, table, slot, &inners);
	policy = r < 0 ? NULL : entry_new(host, slot, hash);
	if (!policy) {
		kern_pool_give(host->pools, KERN_POOL_POLICY, slot);
		return error_set(err, r < 0 ? r : -ENOMEM, "cannot load the policy: %s",
				 strerror(r < 0 ? -r : ENOMEM));
	}
	table_fill_record(table, &policy->fields);
	policy->keep = table->keep;
	*ret_policy = policy;
	return 0;
}

int kern_policy_adopt(struct kern_host *host, uint32_t slot, const uint8_t *hash,
		      const struct pst_sandbox *record, struct kern_policy **ret_policy)
{
	struct kern_policy *policy;
	int r;

	if (slot < host->slots && host->by_slot[slot]) {
		*ret_policy = take_again(host->by_slot[slot]);
		return 0;
	}
	r = kern_pool_claim(host->pools, KERN_POOL_POLICY, slot);
	if (r < 0)
		return r;
	/* Two slots may have the same content after a crash: the first is shared from now on. */
	policy = entry_new(host, slot, hash && !find(host, hash) ? hash : NULL);
	if (!policy)
		return -ENOMEM;
	policy->fields = *record;
	policy->fields.flags &= ~KERN_DEVICE_FLAGS; /* not the policy's: others share it */
	policy->keep = record->keep_since;
	*ret_policy = policy;
	return 0;
}

void kern_policies_free(struct kern_host *host)
{
	for (uint32_t slot = 0; host->by_slot && slot < host->slots; slot++)
		free(host->by_slot[slot]);
	free(host->by_slot);
}
