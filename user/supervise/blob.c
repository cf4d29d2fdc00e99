/* SPDX-License-Identifier: MIT */
/* struct policy -> items in a sealed memfd. Counted first, then written in place: no copy of a secret is left. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "supervise/blob.h"
#include "supervise/supervise.h"

#define MAPPED_BITS 96U
#define ALIGNMENT   8U

/* Where the next item goes; base NULL: they are counted only. */
struct writer {
	uint8_t *base;
	size_t size;
};

/* One that was written here. */
struct bytes {
	const uint8_t *base;
	size_t size;
};

static size_t padded(size_t size)
{
	return (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* An item is one piece, or two (a struct and its texts). */
static void put(struct writer *writer, uint32_t type, const void *bytes, size_t size)
{
	const struct pst_relay_item item = {.type = type, .size = (uint32_t)size};

	if (writer->base) {
		memcpy(writer->base + writer->size, &item, sizeof(item));
		memcpy(writer->base + writer->size + sizeof(item), bytes, size);
	}
	writer->size += sizeof(item) + padded(size);
}

static void put_field(struct writer *writer, const struct policy_header *header)
{
	const struct pst_relay_field field = {.name_size = (uint32_t)strlen(header->name) + 1,
					      .value_size = (uint32_t)strlen(header->value) + 1};
	size_t size = sizeof(field) + field.name_size + field.value_size;
	const struct pst_relay_item item = {.type = PST_RELAY_ITEM_HEADER, .size = (uint32_t)size};
	uint8_t *at = writer->base ? writer->base + writer->size : NULL;

	if (at) {
		memcpy(at, &item, sizeof(item));
		at += sizeof(item);
		memcpy(at, &field, sizeof(field));
		memcpy(at + sizeof(field), header->name, field.name_size);
		memcpy(at + sizeof(field) + field.name_size, header->value, field.value_size);
	}
	writer->size += sizeof(item) + padded(size);
}

static void copy_text(char *to, size_t room, const char *text)
{
	size_t size = text ? strlen(text) : 0;

	/* Longer ones were refused when they were parsed. */
	memcpy(to, text ? text : "", size < room ? size : room - 1);
}

static void put_policy(struct writer *writer, const struct blob_input *input)
{
	const struct policy *policy = input->policy;
	bool names = policy->default_deny && policy->has_names;
	struct pst_relay_policy item = {.generation = input->generation,
					.lease_min_s = policy->dns_min_ttl_s,
					.lease_max_s = policy->dns_max_ttl_s};

	if (names && policy->host_check == POLICY_HOST_CHECK_STRICT)
		item.flags |= PST_RELAY_STRICT;
	if (names && policy->dns_gate)
		item.flags |= PST_RELAY_GATED;
	if (policy->audit)
		item.flags |= PST_RELAY_AUDIT;
	if (policy->existing == POLICY_EXISTING_KEEP)
		item.flags |= PST_RELAY_KEEP;
	put(writer, PST_RELAY_ITEM_POLICY, &item, sizeof(item));
}

static void put_resolvers(struct writer *writer, const struct addr_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		put(writer, PST_RELAY_ITEM_RESOLVER, list->items[i].bytes,
		    sizeof(list->items[i].bytes));
}

static void put_open(struct writer *writer, const struct cidr_list *list)
{
	for (size_t i = 0; i < list->count; i++) {
		const struct cidr *c = &list->items[i];
		struct pst_relay_range range = {.bits = c->len};

		memcpy(range.addr, c->addr.bytes, sizeof(range.addr));
		if (c->family == CIDR_IPV4)
			range.bits += MAPPED_BITS;
		if (c->family == CIDR_ALL)
			memset(range.addr, 0, sizeof(range.addr));
		put(writer, PST_RELAY_ITEM_OPEN, &range, sizeof(range));
	}
}

static void put_names(struct writer *writer, const struct policy *policy)
{
	for (size_t i = 0; i < policy->n_rules; i++) {
		const struct policy_dest *dest = &policy->rules[i].dest;
		struct pst_relay_name item = {.rule = (uint32_t)i + 1,
					      .first = dest->any_port ? 0 : dest->first,
					      .last = dest->any_port ? UINT16_MAX : dest->last,
					      .protocols = dest->protocols & (PST_TCP | PST_UDP),
					      .wildcard = dest->domain.kind != DOMAIN_EXACT,
					      .web = dest->web_ports};

		if (dest->kind != POLICY_DEST_NAME || policy->rules[i].verdict != PST_VERDICT_ALLOW)
			continue;
		copy_text(item.name, sizeof(item.name), dest->domain.name);
		put(writer, PST_RELAY_ITEM_NAME, &item, sizeof(item));
	}
}

static void put_proxy(struct writer *writer, const struct policy_proxy *proxy)
{
	struct pst_relay_proxy item = {.port = proxy->port};

	copy_text(item.host, sizeof(item.host), proxy->host);
	copy_text(item.username, sizeof(item.username), proxy->username);
	copy_text(item.password, sizeof(item.password), proxy->password);
	put(writer, PST_RELAY_ITEM_PROXY, &item, sizeof(item));
	explicit_bzero(&item, sizeof(item));
}

static void put_transforms(struct writer *writer, const struct policy *policy)
{
	for (size_t i = 0; i < policy->n_transforms; i++) {
		const struct policy_transform *transform = &policy->transforms[i];
		struct pst_relay_transform item = {.wildcard =
							   transform->domain.kind != DOMAIN_EXACT};

		copy_text(item.name, sizeof(item.name), transform->domain.name);
		put(writer, PST_RELAY_ITEM_TRANSFORM, &item, sizeof(item));
		for (size_t j = 0; j < transform->n_headers; j++)
			put_field(writer, &transform->headers[j]);
	}
}

struct closed {
	struct pst_relay_range *ranges;
	size_t count;
};

static void closed_done(struct closed *closed)
{
	free(closed->ranges);
}

static void put_all(struct writer *writer, const struct blob_input *input,
		    const struct closed *closed)
{
	const struct policy *policy = input->policy;

	put_policy(writer, input);
	put_resolvers(writer, &policy->resolvers);
	if (input->env)
		put_resolvers(writer, &input->env->resolvers);
	for (size_t i = 0; i < closed->count; i++)
		put(writer, PST_RELAY_ITEM_CLOSED, &closed->ranges[i], sizeof(closed->ranges[i]));
	put_open(writer, &policy->allow_private);
	put_names(writer, policy);
	if (policy->proxy)
		put_proxy(writer, policy->proxy);
	put_transforms(writer, policy);
}

/* An old blob's items but those that are closed, and what is closed now. */
static void put_again(struct writer *writer, const struct bytes *old, const struct closed *closed)
{
	struct pst_relay_item item;

	for (size_t at = 0; at < old->size; at += sizeof(item) + padded(item.size)) {
		memcpy(&item, old->base + at, sizeof(item));
		if (item.type != PST_RELAY_ITEM_CLOSED)
			put(writer, item.type, old->base + at + sizeof(item), item.size);
	}
	for (size_t i = 0; i < closed->count; i++)
		put(writer, PST_RELAY_ITEM_CLOSED, &closed->ranges[i], sizeof(closed->ranges[i]));
}

/* From a document, or from the old one. */
struct source {
	const struct blob_input *input; /* NULL: the old one */
	struct bytes old;
	struct closed closed;
};

static void put_source(struct writer *writer, const struct source *source)
{
	if (source->input)
		put_all(writer, source->input, &source->closed);
	else
		put_again(writer, &source->old, &source->closed);
}

static int fill(int fd, const struct source *source, size_t size)
{
	struct writer writer = {0};
	int r;

	/* What pads items is zero: that of a new file. */
	if (ftruncate(fd, (off_t)size) < 0)
		return -errno;
	writer.base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (writer.base == MAP_FAILED)
		return -errno;
	put_source(&writer, source);
	r = munmap(writer.base, size) < 0 ? -errno : 0;
	if (r < 0)
		return r;
	return fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0
		       ? -errno
		       : 0;
}

static int make(const struct source *source, int *ret_fd)
{
	cleanup_close int fd = -1;
	struct writer counted = {0};
	int r;

	put_source(&counted, source);
	if (counted.size > PST_RELAY_MAX_POLICY)
		return -E2BIG;
	fd = memfd_create("postern-policy", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	r = fill(fd, source, counted.size);
	if (!r)
		*ret_fd = TAKE_FD(fd);
	return r;
}

int blob_new(const struct blob_input *input, int *ret_fd)
{
	struct source source = {.input = input};
	int r = blob_closed(input->always, input->n_always, &source.closed.ranges,
			    &source.closed.count);

	if (!r)
		r = make(&source, ret_fd);
	closed_done(&source.closed);
	return r;
}

int blob_close_anew(int fd, const struct table_always_row *always, size_t n_always, int *ret_fd)
{
	struct source source = {.input = NULL};
	struct stat is;
	void *old;
	int r;

	if (fstat(fd, &is) < 0)
		return -errno;
	old = mmap(NULL, (size_t)is.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (old == MAP_FAILED)
		return -errno;
	source.old = (struct bytes){.base = old, .size = (size_t)is.st_size};
	r = blob_closed(always, n_always, &source.closed.ranges, &source.closed.count);
	if (!r)
		r = make(&source, ret_fd);
	closed_done(&source.closed);
	(void)munmap(old, (size_t)is.st_size);
	return r;
}
