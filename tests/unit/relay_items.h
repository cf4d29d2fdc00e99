/* SPDX-License-Identifier: MIT */
/* Policies as a starter writes them, item by item. */
#ifndef TESTS_RELAY_ITEMS_H
#define TESTS_RELAY_ITEMS_H

#include <stdio.h>
#include <string.h>

#include "base/addr.h"
#include "base/buf.h"
#include "pst_relay.h"
#include "relay/relay.h"

static inline void items_add(struct buf *items, uint32_t type, const void *data, size_t size)
{
	static const char zeros[8];
	const struct pst_relay_item head = {.type = type, .size = (uint32_t)size};

	buf_add(items, &head, sizeof(head));
	buf_add(items, data, size);
	buf_add(items, zeros, -size % 8);
}

static inline void items_policy(struct buf *items, uint64_t generation, uint32_t flags)
{
	const struct pst_relay_policy policy = {
		.generation = generation, .flags = flags, .lease_max_s = 3600};

	items_add(items, PST_RELAY_ITEM_POLICY, &policy, sizeof(policy));
}

/* "*.example.com", "example.com" or "*"; ports 0 to 0: the web's. */
static inline void items_name(struct buf *items, uint32_t rule, const char *pattern, uint16_t first,
			      uint16_t last)
{
	struct pst_relay_name name;

	memset(&name, 0, sizeof(name));
	name.rule = rule;
	name.first = first;
	name.last = last;
	name.web = !first && !last;
	name.protocols = PST_TCP | PST_UDP;
	name.wildcard = pattern[0] == '*';
	if (name.wildcard)
		pattern += pattern[1] ? 2 : 1;
	snprintf(name.name, sizeof(name.name), "%s", pattern);
	items_add(items, PST_RELAY_ITEM_NAME, &name, sizeof(name));
}

/* As in a policy: "10.0.0.0/8". */
static inline void items_range(struct buf *items, uint32_t type, const char *text)
{
	struct pst_relay_range range;
	struct cidr cidr;
	bool bits;

	memset(&range, 0, sizeof(range));
	if (cidr_parse(text, &cidr, &bits, NULL) < 0)
		return;
	memcpy(range.addr, cidr.addr.bytes, sizeof(range.addr));
	range.bits = cidr.family == CIDR_IPV4 ? cidr.len + 96u : cidr.len;
	items_add(items, type, &range, sizeof(range));
}

static inline void items_proxy(struct buf *items, const char *host, uint16_t port,
			       const char *username, const char *password)
{
	struct pst_relay_proxy proxy;

	memset(&proxy, 0, sizeof(proxy));
	snprintf(proxy.host, sizeof(proxy.host), "%s", host);
	snprintf(proxy.username, sizeof(proxy.username), "%s", username);
	snprintf(proxy.password, sizeof(proxy.password), "%s", password);
	proxy.port = port;
	items_add(items, PST_RELAY_ITEM_PROXY, &proxy, sizeof(proxy));
}

static inline void items_transform(struct buf *items, const char *pattern)
{
	struct pst_relay_transform transform;

	memset(&transform, 0, sizeof(transform));
	transform.wildcard = pattern[0] == '*';
	if (transform.wildcard)
		pattern += pattern[1] ? 2 : 1;
	snprintf(transform.name, sizeof(transform.name), "%s", pattern);
	items_add(items, PST_RELAY_ITEM_TRANSFORM, &transform, sizeof(transform));
}

static inline void items_header(struct buf *items, const char *name, const char *value)
{
	const struct pst_relay_field field = {.name_size = (uint32_t)strlen(name) + 1,
					      .value_size = (uint32_t)strlen(value) + 1};
	char data[4096];

	memcpy(data, &field, sizeof(field));
	memcpy(data + sizeof(field), name, field.name_size);
	memcpy(data + sizeof(field) + field.name_size, value, field.value_size);
	items_add(items, PST_RELAY_ITEM_HEADER, data,
		  sizeof(field) + field.name_size + field.value_size);
}

#endif
