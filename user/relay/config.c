/* SPDX-License-Identifier: MIT */
/*
 * A sandbox's policy as its starter wrote it (items in a memfd) -> struct relay_policy. All or nothing: what is not
 * understood refuses the whole. Credentials lie in pages of their own, locked, wiped at the end.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base/cleanup.h"
#include "relay/core.h"

#define FLAGS (PST_RELAY_STRICT | PST_RELAY_GATED | PST_RELAY_AUDIT | PST_RELAY_KEEP)

/* Bytes of an item with what pads it. */
#define PADDED(size) (((size) + 7) & ~(size_t)7)

struct items {
	const uint8_t *bytes;
	size_t size, at;
};

struct item {
	uint32_t type, size;
	const uint8_t *data;
};

/* 1: *ret_item is the next; 0: there is none; -EINVAL. */
static int next_item(struct items *items, struct item *ret_item)
{
	struct pst_relay_item head;
	size_t left = items->size - items->at;

	if (!left)
		return 0;
	if (left < sizeof(head))
		return -EINVAL;
	memcpy(&head, items->bytes + items->at, sizeof(head));
	left -= sizeof(head);
	if (head.size > left || PADDED((size_t)head.size) > left)
		return -EINVAL;
	*ret_item = (struct item){
		.type = head.type,
		.size = head.size,
		.data = items->bytes + items->at + sizeof(head),
	};
	items->at += sizeof(head) + PADDED((size_t)head.size);
	return 1;
}

/* ---- first pass: how much there is ---- */

struct counts {
	size_t policies, resolvers, closed, open, names, proxies, transforms, headers;
	size_t header_bytes;
};

static size_t size_of(uint32_t type)
{
	static const size_t sizes[] = {
		[PST_RELAY_ITEM_POLICY] = sizeof(struct pst_relay_policy),
		[PST_RELAY_ITEM_RESOLVER] = sizeof(struct addr),
		[PST_RELAY_ITEM_CLOSED] = sizeof(struct pst_relay_range),
		[PST_RELAY_ITEM_OPEN] = sizeof(struct pst_relay_range),
		[PST_RELAY_ITEM_NAME] = sizeof(struct pst_relay_name),
		[PST_RELAY_ITEM_PROXY] = sizeof(struct pst_relay_proxy),
		[PST_RELAY_ITEM_TRANSFORM] = sizeof(struct pst_relay_transform),
		[PST_RELAY_ITEM_HEADER] = 0, /* of any size */
	};

	return type < sizeof(sizes) / sizeof(sizes[0]) ? sizes[type] : 0;
}

static int count_header(struct counts *counts, const struct item *item)
{
	struct pst_relay_field field;
	const uint8_t *text = item->data + sizeof(field);
	size_t size;

	if (item->size < sizeof(field) || !counts->transforms)
		return -EINVAL;
	memcpy(&field, item->data, sizeof(field));
	size = item->size - sizeof(field);
	if (field.name_size < 2 || field.value_size < 1 || field.name_size > size ||
	    field.value_size != size - field.name_size)
		return -EINVAL;
	/* Each NUL is where it says, and nowhere else. */
	if (memchr(text, '\0', size) != text + field.name_size - 1 ||
	    memchr(text + field.name_size, '\0', field.value_size) != text + size - 1)
		return -EINVAL;
	counts->headers++;
	counts->header_bytes += size;
	return 0;
}

static int count_item(struct counts *counts, const struct item *item)
{
	size_t *count;

	switch (item->type) {
	case PST_RELAY_ITEM_POLICY:
		count = &counts->policies;
		break;
	case PST_RELAY_ITEM_RESOLVER:
		count = &counts->resolvers;
		break;
	case PST_RELAY_ITEM_CLOSED:
		count = &counts->closed;
		break;
	case PST_RELAY_ITEM_OPEN:
		count = &counts->open;
		break;
	case PST_RELAY_ITEM_NAME:
		count = &counts->names;
		break;
	case PST_RELAY_ITEM_PROXY:
		count = &counts->proxies;
		break;
	case PST_RELAY_ITEM_TRANSFORM:
		count = &counts->transforms;
		break;
	case PST_RELAY_ITEM_HEADER:
		return count_header(counts, item);
	default:
		return -EINVAL;
	}
	if (item->size != size_of(item->type))
		return -EINVAL;
	++*count;
	/* The policy itself comes first. */
	return counts->policies == 1 ? 0 : -EINVAL;
}

static int count_items(const void *bytes, size_t size, struct counts *ret_counts)
{
	struct items items = {.bytes = bytes, .size = size};
	struct counts counts = {.policies = 0};
	struct item item;
	int r;

	if (size > PST_RELAY_MAX_POLICY)
		return -EINVAL;
	while ((r = next_item(&items, &item)) > 0) {
		r = count_item(&counts, &item);
		if (r < 0)
			return r;
	}
	if (r < 0 || counts.policies != 1 || counts.proxies > 1)
		return -EINVAL;
	*ret_counts = counts;
	return 0;
}

/* ---- second pass: what it says ---- */

struct filling {
	struct relay_policy *policy;
	struct relay_header *headers; /* the next free one */
	char *secrets;		      /* the next free byte */
};

static bool is_text(const char *text, size_t size)
{
	return memchr(text, '\0', size) != NULL;
}

/* What a name in a policy may hold: the starter has checked more than that. */
static bool is_name(const char *name)
{
	size_t size = strlen(name);

	if (size > DOMAIN_MAX || strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != size)
		return false;
	return !size || (name[0] != '.' && name[size - 1] != '.' && !strstr(name, ".."));
}

static int read_domain(const char name[PST_NAME_SIZE], uint8_t wildcard, struct domain *ret_domain)
{
	if (!is_text(name, PST_NAME_SIZE) || !is_name(name) || wildcard > 1 ||
	    (!wildcard && !name[0]))
		return -EINVAL;
	memcpy(ret_domain->name, name, strlen(name) + 1);
	ret_domain->kind = DOMAIN_EXACT;
	if (wildcard)
		ret_domain->kind = name[0] ? DOMAIN_WILDCARD : DOMAIN_ANY;
	return 0;
}

static int fill_policy(struct relay_policy *policy, const struct item *item)
{
	struct pst_relay_policy said;

	memcpy(&said, item->data, sizeof(said));
	if (said.flags & ~FLAGS || said.lease_min_s > said.lease_max_s)
		return -EINVAL;
	policy->generation = said.generation;
	policy->flags = said.flags;
	policy->lease_min_s = said.lease_min_s;
	policy->lease_max_s = said.lease_max_s;
	return 0;
}

static int fill_range(struct cidr_list *list, const struct item *item)
{
	struct cidr *cidr = &list->items[list->count];
	struct pst_relay_range said;

	memcpy(&said, item->data, sizeof(said));
	if (said.bits > 128)
		return -EINVAL;
	memcpy(cidr->addr.bytes, said.addr, sizeof(cidr->addr.bytes));
	cidr->family = CIDR_IPV6;
	cidr->len = (uint8_t)said.bits;
	if (said.bits >= 96 && addr_is_ipv4(&cidr->addr)) {
		cidr->family = CIDR_IPV4;
		cidr->len = (uint8_t)(said.bits - 96);
	}
	list->count++;
	return 0;
}

static int fill_name(struct relay_policy *policy, const struct item *item)
{
	struct relay_name *name = &policy->names[policy->n_names];
	struct pst_relay_name said;
	int r;

	memcpy(&said, item->data, sizeof(said));
	r = read_domain(said.name, said.wildcard, &name->domain);
	if (r < 0 || said.web > 1 || said.first > said.last ||
	    said.protocols & ~(PST_TCP | PST_UDP | PST_ICMP))
		return -EINVAL;
	name->rule = said.rule;
	name->first = said.first;
	name->last = said.last;
	name->protocols = said.protocols;
	name->web = said.web;
	policy->n_names++;
	return 0;
}

static int fill_proxy(struct filling *filling, const struct item *item)
{
	struct relay_proxy *proxy = filling->policy->secrets; /* its first bytes, so aligned */
	const struct pst_relay_proxy *said = (const void *)item->data;

	/* No copy on the stack, which nobody would wipe. */
	if (!proxy || !is_text(said->host, sizeof(said->host)) || !said->host[0] ||
	    !is_text(said->username, sizeof(said->username)) ||
	    !is_text(said->password, sizeof(said->password)))
		return -EINVAL;
	memcpy(proxy->host, said->host, sizeof(proxy->host));
	memcpy(proxy->username, said->username, sizeof(proxy->username));
	memcpy(proxy->password, said->password, sizeof(proxy->password));
	memcpy(&proxy->port, item->data + offsetof(struct pst_relay_proxy, port),
	       sizeof(proxy->port));
	if (!proxy->port)
		return -EINVAL;
	filling->policy->proxy = proxy;
	return 0;
}

static int fill_transform(struct filling *filling, const struct item *item)
{
	struct relay_policy *policy = filling->policy;
	struct relay_transform *transform = &policy->transforms[policy->n_transforms];
	struct pst_relay_transform said;

	memcpy(&said, item->data, sizeof(said));
	if (read_domain(said.name, said.wildcard, &transform->domain) < 0)
		return -EINVAL;
	transform->headers = filling->headers;
	policy->n_transforms++;
	return 0;
}

/* Counted already: it is whole, and follows a transform. */
static int fill_header(struct filling *filling, const struct item *item)
{
	struct relay_policy *policy = filling->policy;
	struct relay_transform *transform = &policy->transforms[policy->n_transforms - 1];
	struct relay_header *header = filling->headers++;
	size_t size = item->size - sizeof(struct pst_relay_field);

	if (!filling->secrets)
		return -EINVAL;
	memcpy(filling->secrets, item->data + sizeof(struct pst_relay_field), size);
	header->name = filling->secrets;
	header->value = filling->secrets + strlen(filling->secrets) + 1;
	filling->secrets += size;
	transform->n_headers++;
	return 0;
}

static int fill_item(struct filling *filling, const struct item *item)
{
	struct relay_policy *policy = filling->policy;

	switch (item->type) {
	case PST_RELAY_ITEM_POLICY:
		return fill_policy(policy, item);
	case PST_RELAY_ITEM_RESOLVER:
		memcpy(&policy->resolvers[policy->n_resolvers++], item->data, sizeof(struct addr));
		return 0;
	case PST_RELAY_ITEM_CLOSED:
		return fill_range(&policy->closed, item);
	case PST_RELAY_ITEM_OPEN:
		return fill_range(&policy->open, item);
	case PST_RELAY_ITEM_NAME:
		return fill_name(policy, item);
	case PST_RELAY_ITEM_PROXY:
		return fill_proxy(filling, item);
	case PST_RELAY_ITEM_TRANSFORM:
		return fill_transform(filling, item);
	case PST_RELAY_ITEM_HEADER:
		return fill_header(filling, item);
	default:
		return -EINVAL;
	}
}

/* ---- room ---- */

/* One item at least, so that NULL means that there is no memory. */
static void *room(size_t count, size_t size, bool *failed)
{
	void *items = calloc(count ? count : 1, size);

	*failed |= !items;
	return items;
}

/* Pages that hold nothing else; locked where the limit allows it (all of the process is, as a rule: confine.c). */
static int make_secrets(struct relay_policy *policy, size_t size)
{
	void *pages;

	if (!size)
		return 0;
	pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (pages == MAP_FAILED)
		return -ENOMEM;
	(void)mlock(pages, size);
	(void)madvise(pages, size, MADV_DONTDUMP);
	policy->secrets = pages;
	policy->secrets_size = size;
	return 0;
}

static size_t n_heads(size_t names)
{
	size_t heads = 1;

	while (heads < names)
		heads *= 2;
	return heads;
}

static int make_room(struct relay_policy *policy, const struct counts *counts,
		     struct filling *ret_filling)
{
	size_t proxy = counts->proxies * sizeof(struct relay_proxy);
	bool failed = false;

	policy->n_index = n_heads(counts->names);
	policy->resolvers = room(counts->resolvers, sizeof(*policy->resolvers), &failed);
	policy->closed.items = room(counts->closed, sizeof(*policy->closed.items), &failed);
	policy->open.items = room(counts->open, sizeof(*policy->open.items), &failed);
	policy->names = room(counts->names, sizeof(*policy->names), &failed);
	policy->index = room(policy->n_index + counts->names, sizeof(*policy->index), &failed);
	policy->transforms = room(counts->transforms, sizeof(*policy->transforms), &failed);
	if (failed)
		return -ENOMEM;
	/* All headers of all transforms: freed by way of the first one. */
	policy->transforms[0].headers =
		room(counts->headers, sizeof(*policy->transforms[0].headers), &failed);
	if (failed || make_secrets(policy, proxy + counts->header_bytes) < 0)
		return -ENOMEM;
	*ret_filling = (struct filling){
		.policy = policy,
		.headers = policy->transforms[0].headers,
		.secrets = policy->secrets ? (char *)policy->secrets + proxy : NULL,
	};
	return 0;
}

static void free_policy(struct relay_policy *policy)
{
	if (policy->secrets) {
		explicit_bzero(policy->secrets, policy->secrets_size);
		munmap(policy->secrets, policy->secrets_size);
	}
	if (policy->transforms)
		free(policy->transforms[0].headers);
	free(policy->transforms);
	free(policy->index);
	free(policy->names);
	free(policy->open.items);
	free(policy->closed.items);
	free(policy->resolvers);
	free(policy);
}

struct relay_policy *relay_policy_ref(struct relay_policy *policy)
{
	policy->refs++;
	return policy;
}

void relay_policy_unref(struct relay_policy *policy)
{
	if (policy && --policy->refs == 0)
		free_policy(policy);
}

static void unref_policy(struct relay_policy **policy)
{
	relay_policy_unref(*policy);
}

int relay_policy_parse(const void *bytes, size_t size, struct relay_policy **ret_policy)
{
	struct relay_policy *policy cleanup(unref_policy) = NULL;
	struct items items = {.bytes = bytes, .size = size};
	struct counts counts;
	struct filling filling;
	struct item item;
	int r = count_items(bytes, size, &counts);

	if (r < 0)
		return r;
	policy = calloc(1, sizeof(*policy));
	if (!policy)
		return -ENOMEM;
	policy->refs = 1;
	r = make_room(policy, &counts, &filling);
	while (r == 0 && next_item(&items, &item) > 0)
		r = fill_item(&filling, &item);
	if (r < 0)
		return r;
	relay_policy_index(policy);
	*ret_policy = TAKE_PTR(policy);
	return 0;
}
