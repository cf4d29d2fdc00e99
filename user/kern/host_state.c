/* SPDX-License-Identifier: MIT */
/* What the kernel knows of an attachment's life: connections, peers, leases, hits, losses. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <bpf/bpf.h>

#include "base/cleanup.h"
#include "kern/host_object.h"
#include "kern/leases.h"
#include "kern/sockets.h"

/* Peers read at once; a table has PST_MAX_FLOWS at the most. */
#define PEERS_BATCH 512
#define HITS_BATCH  512

static int end_at_level(const struct kern_host *host, const struct pst_sandbox **records,
			size_t count, int netns_fd, struct error *err)
{
	const struct kern_walk walk = {
		.records = records, .n_records = count, .netns_fd = netns_fd};
	size_t ended = 0;
	int r = kern_sockets_end_denied(&host->object, &walk, &ended, err);

	return r < 0 ? r : (int)ended;
}

/* In parts of what the walk's map has room for. */
static int end_all_at_level(const struct kern_host *host, const struct pst_sandbox **records,
			    size_t count, int netns_fd, struct error *err)
{
	int ended = 0;

	for (size_t done = 0; done < count;) {
		size_t n = count - done < host->walked ? count - done : host->walked;
		int r = end_at_level(host, records + done, n, netns_fd, err);

		if (r < 0)
			return r;
		ended += r;
		done += n;
	}
	return ended;
}

int kern_host_end_denied(const struct kern_host *host, struct kern_attachment *const *attachments,
			 size_t count, int netns_fd, size_t *ret_ended, struct error *err)
{
	cleanup_free const struct pst_sandbox **records =
		reallocarray(NULL, count ? count : 1, sizeof(*records));
	size_t ended = 0;

	if (!records)
		return error_set(err, -ENOMEM, "out of memory");
	for (uint32_t level = 0; level <= PST_MAX_CGROUP_LEVEL; level++) {
		size_t n = 0;
		int r;

		for (size_t i = 0; i < count; i++) {
			/* What is behind a device learns of it by its next packet. */
			if (!kern_is_on_device(attachments[i]) &&
			    attachments[i]->record.cgroup_level == level)
				records[n++] = &attachments[i]->record;
		}
		r = end_all_at_level(host, records, n, netns_fd, err);
		if (r < 0)
			return r;
		ended += (size_t)r;
	}
	*ret_ended = ended;
	return 0;
}

int kern_attachment_sockets(const struct kern_attachment *attachment, bool staged_denies,
			    int netns_fd, kern_socket_fn fn, void *context, struct error *err)
{
	const struct pst_sandbox *record = staged_denies ? &attachment->next : &attachment->record;
	const struct kern_walk walk = {
		.records = &record, .n_records = 1, .netns_fd = netns_fd, .all = !staged_denies};
	cleanup_buf struct buf list = {};
	struct pst_socket one;
	int r;

	/* Its sockets are not ours to see. */
	if (kern_is_on_device(attachment))
		return 0;
	r = kern_sockets_list(&attachment->host->object, &walk, &list, err);

	for (size_t at = 0; r >= 0 && at + sizeof(one) <= list.size; at += sizeof(one)) {
		memcpy(&one, list.data + at, sizeof(one));
		r = fn(context, &one);
	}
	return r < 0 ? r : 0;
}

static int tell_peers(int fd, struct pst_peer_key *keys, struct pst_peer *peers, kern_peer_fn fn,
		      void *context)
{
	LIBBPF_OPTS(bpf_map_batch_opts, options);
	__u32 place = 0, *from = NULL;
	int r = 0;

	for (unsigned left = 2 * PST_MAX_FLOWS / PEERS_BATCH; !r && left; left--) {
		__u32 count = PEERS_BATCH;
		int got = bpf_map_lookup_batch(fd, from, &place, keys, peers, &count, &options);

		if (got < 0 && got != -ENOENT)
			return got;
		for (__u32 i = 0; !r && i < count; i++)
			r = fn(context, &keys[i], &peers[i]);
		if (got == -ENOENT) /* with the last of them */
			break;
		from = &place;
	}
	return r;
}

int kern_attachment_peers(const struct kern_attachment *attachment, kern_peer_fn fn, void *context)
{
	cleanup_free struct pst_peer_key *keys = calloc(PEERS_BATCH, sizeof(*keys));
	cleanup_free struct pst_peer *peers = calloc(PEERS_BATCH, sizeof(*peers));
	cleanup_close int fd = -1;
	int r;

	if (!keys || !peers)
		return -ENOMEM;
	if (!attachment->record.state_slot)
		return 0;
	r = kern_inner_open(&attachment->host->object, KERN_MAP_FLOWS,
			    attachment->record.state_slot, &fd);
	return r < 0 ? r : tell_peers(fd, keys, peers, fn, context);
}

static int tell_tracked(int fd, struct pst_peer_key *keys, struct pst_tracked *tracked,
			kern_tracked_fn fn, void *context)
{
	LIBBPF_OPTS(bpf_map_batch_opts, options);
	__u32 place = 0, *from = NULL;
	int r = 0;

	for (unsigned left = 2 * PST_MAX_TRACKED / PEERS_BATCH; !r && left; left--) {
		__u32 count = PEERS_BATCH;
		int got = bpf_map_lookup_batch(fd, from, &place, keys, tracked, &count, &options);

		if (got < 0 && got != -ENOENT)
			return got;
		for (__u32 i = 0; !r && i < count; i++)
			r = fn(context, &keys[i], &tracked[i]);
		if (got == -ENOENT) /* with the last of them */
			break;
		from = &place;
	}
	return r;
}

int kern_attachment_tracked(const struct kern_attachment *attachment, kern_tracked_fn fn,
			    void *context)
{
	cleanup_free struct pst_peer_key *keys = calloc(PEERS_BATCH, sizeof(*keys));
	cleanup_free struct pst_tracked *tracked = calloc(PEERS_BATCH, sizeof(*tracked));
	cleanup_close int fd = -1;
	int r;

	if (!keys || !tracked)
		return -ENOMEM;
	if (!attachment->record.track_slot)
		return 0;
	r = kern_inner_open(&attachment->host->object, KERN_MAP_TRACKED,
			    attachment->record.track_slot, &fd);
	return r < 0 ? r : tell_tracked(fd, keys, tracked, fn, context);
}

int kern_attachment_leases(const struct kern_attachment *attachment, kern_lease_fn fn,
			   void *context)
{
	static const int maps[] = {KERN_MAP_LEASES, KERN_MAP_LEARNED};
	cleanup(kern_inners_done) struct kern_inners inners;
	int r = 0;

	kern_inners_init(&inners);
	if (!attachment->record.names_slot)
		return 0;
	for (size_t i = 0; !r && i < sizeof(maps) / sizeof(maps[0]); i++)
		r = kern_inner_open(&attachment->host->object, maps[i],
				    attachment->record.names_slot, &inners.fd[maps[i]]);
	if (r < 0)
		return r;
	return kern_leases_walk(&inners, attachment->record.generation, fn, context);
}

/* One call for many of them: a policy may have 100,000 rules, a host 10,000 policies. */
static int read_hits(int fd, struct pst_rule_hits *hits, __u32 count)
{
	LIBBPF_OPTS(bpf_map_batch_opts, options);
	__u32 keys[HITS_BATCH], place = 0, at = 0;

	while (at < count) {
		__u32 part = count - at < HITS_BATCH ? count - at : HITS_BATCH;
		int r = bpf_map_lookup_batch(fd, at ? &place : NULL, &place, keys, hits + at, &part,
					     &options);

		at += part;
		if (r < 0 && !(r == -ENOENT && at == count)) /* with the last of them */
			return r;
	}
	return 0;
}

int kern_attachment_hits(const struct kern_attachment *attachment, struct pst_rule_hits *hits,
			 size_t count)
{
	cleanup_close int fd = -1;
	int r;

	if (count > attachment->record.rules)
		return -EINVAL;
	r = kern_inner_open(&attachment->host->object, KERN_MAP_RULES, attachment->record.hits_slot,
			    &fd);
	return r ? r : read_hits(fd, hits, (__u32)count);
}

int kern_attachment_quota(const struct kern_attachment *attachment, struct pst_quota *ret_quota)
{
	const struct pst_quota none = {};

	if (!attachment->record.state_slot) {
		*ret_quota = none;
		return 0;
	}
	return bpf_map_lookup_elem(attachment->host->object.map_fd[KERN_MAP_QUOTAS],
				   &attachment->record.state_slot, ret_quota);
}

size_t kern_host_usage(const struct kern_host *host, struct kern_usage *usage, size_t max)
{
	static const char *const names[] = {
		[KERN_POOL_POLICY] = "policy", [KERN_POOL_STATE] = "state",
		[KERN_POOL_HITS] = "hits",     [KERN_POOL_NAMES] = "names",
		[KERN_POOL_TRACK] = "track",   [KERN_POOL_DEVICE] = "device",
		[KERN_POOL_RELAY] = "relay"};
	size_t n = 0;

	for (; n < KERN_POOLS && n < max; n++)
		usage[n] = (struct kern_usage){names[n], kern_pool_used(host->pools, n)};
	return n;
}

size_t kern_attachment_maps(const struct kern_attachment *attachment, struct kern_map_id *ids,
			    size_t max)
{
	const struct pst_sandbox *record = &attachment->record;
	bool has_trie = record->flags & (PST_SANDBOX_TRIE4 | PST_SANDBOX_TRIE6);
	__u32 trie_slot = has_trie ? record->policy_slot : 0;
	const struct {
		int map;
		__u32 slot;
	} of[] = {{KERN_MAP_CIDR4, record->policy_slot},    {KERN_MAP_CIDR6, record->policy_slot},
		  {KERN_MAP_PORTS, record->policy_slot},    {KERN_MAP_NAMES, record->policy_slot},
		  {KERN_MAP_TRIE_ROOTS, trie_slot},	    {KERN_MAP_TRIE_NODES, trie_slot},
		  {KERN_MAP_TRIE_LEAVES, trie_slot},	    {KERN_MAP_TRIE_ROWS, trie_slot},
		  {KERN_MAP_RULES, record->hits_slot},	    {KERN_MAP_FLOWS, record->state_slot},
		  {KERN_MAP_QUESTIONS, record->names_slot}, {KERN_MAP_LEASES, record->names_slot},
		  {KERN_MAP_LEARNED, record->names_slot},   {KERN_MAP_ORIGINS, record->relay_slot},
		  {KERN_MAP_TRACKED, record->track_slot}};
	size_t n = 0;

	for (size_t i = 0; i < sizeof(of) / sizeof(of[0]) && n < max; i++) {
		__u32 id;

		if (of[i].slot && !bpf_map_lookup_elem(attachment->host->object.map_fd[of[i].map],
						       &of[i].slot, &id))
			ids[n++] = (struct kern_map_id){kern_map_name(of[i].map), id};
	}
	return n;
}
