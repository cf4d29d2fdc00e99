/* SPDX-License-Identifier: MIT */
/*
 * Messages of nf_tables. The rules that go into tables of others are made as iptables-nft makes its own: another
 * expression in its tables, and it refuses to read them.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "net/message.h"
#include "net/nft.h"

#define MESSAGE(type) (NFNL_SUBSYS_NFTABLES << 8 | (type))
#define COMMENT	      "postern "
#define COMMENT_MAX   (sizeof(COMMENT) + IFNAMSIZ)
/* As libnftnl writes it into a rule's user data: type, size, text. */
#define UDATA_COMMENT 0
/* Priorities of the kernel's own chains of these kinds. */
#define PRIORITY_FILTER 0
#define PRIORITY_SRCNAT 100
#define TABLES_AT_ONCE	32

int nft_open(int *ret_fd)
{
	return message_open(NETLINK_NETFILTER, ret_fd);
}

static void begin(struct message *out, unsigned type, unsigned flags, uint8_t family)
{
	const struct nfgenmsg head = {.nfgen_family = family, .version = NFNETLINK_V0};

	message_begin(out, MESSAGE(type), flags, &head, sizeof(head));
}

static void batch(struct message *out, unsigned type)
{
	const struct nfgenmsg head = {.nfgen_family = AF_UNSPEC,
				      .version = NFNETLINK_V0,
				      .res_id = htons(NFNL_SUBSYS_NFTABLES)};

	message_begin(out, type, 0, &head, sizeof(head));
}

static void put_be32(struct message *out, unsigned type, uint32_t value)
{
	message_put_u32(out, type, htonl(value));
}

/* One expression of a rule: what was put since. */
struct expression {
	size_t element, data;
};

static struct expression expression_begin(struct message *out, const char *name)
{
	struct expression expression;

	expression.element = message_nest(out, NFTA_LIST_ELEM);
	message_put_text(out, NFTA_EXPR_NAME, name);
	expression.data = message_nest(out, NFTA_EXPR_DATA);
	return expression;
}

static void expression_end(struct message *out, struct expression expression)
{
	message_end(out, expression.data);
	message_end(out, expression.element);
}

static void put_value(struct message *out, unsigned type, const void *value, size_t size)
{
	size_t nest = message_nest(out, type);

	message_put(out, NFTA_DATA_VALUE, value, size);
	message_end(out, nest);
}

static void load_meta(struct message *out, uint32_t key)
{
	struct expression meta = expression_begin(out, "meta");

	put_be32(out, NFTA_META_KEY, key);
	put_be32(out, NFTA_META_DREG, NFT_REG_1);
	expression_end(out, meta);
}

static void load_payload(struct message *out, uint32_t offset, uint32_t size)
{
	struct expression payload = expression_begin(out, "payload");

	put_be32(out, NFTA_PAYLOAD_DREG, NFT_REG_1);
	put_be32(out, NFTA_PAYLOAD_BASE, NFT_PAYLOAD_NETWORK_HEADER);
	put_be32(out, NFTA_PAYLOAD_OFFSET, offset);
	put_be32(out, NFTA_PAYLOAD_LEN, size);
	expression_end(out, payload);
}

static void compare(struct message *out, uint32_t op, const void *value, size_t size)
{
	struct expression cmp = expression_begin(out, "cmp");

	put_be32(out, NFTA_CMP_SREG, NFT_REG_1);
	put_be32(out, NFTA_CMP_OP, op);
	put_value(out, NFTA_CMP_DATA, value, size);
	expression_end(out, cmp);
}

static void match_device(struct message *out, uint32_t key, const char *device)
{
	load_meta(out, key);
	compare(out, NFT_CMP_EQ, device, strlen(device) + 1);
}

static void match_source(struct message *out, const struct addr *address)
{
	bool is_ipv4 = addr_is_ipv4(address);
	uint8_t family = is_ipv4 ? NFPROTO_IPV4 : NFPROTO_IPV6;

	load_meta(out, NFT_META_NFPROTO);
	compare(out, NFT_CMP_EQ, &family, sizeof(family));
	load_payload(out, is_ipv4 ? 12 : 8, is_ipv4 ? 4 : 16);
	compare(out, NFT_CMP_EQ, address->bytes + (is_ipv4 ? 12 : 0), is_ipv4 ? 4 : 16);
}

static void match_new(struct message *out)
{
	const uint32_t state = 8 /* NF_CT_STATE_BIT(IP_CT_NEW), in host order */, zero = 0;
	struct expression ct = expression_begin(out, "ct"), bitwise;

	put_be32(out, NFTA_CT_KEY, NFT_CT_STATE);
	put_be32(out, NFTA_CT_DREG, NFT_REG_1);
	expression_end(out, ct);
	bitwise = expression_begin(out, "bitwise");
	put_be32(out, NFTA_BITWISE_SREG, NFT_REG_1);
	put_be32(out, NFTA_BITWISE_DREG, NFT_REG_1);
	put_be32(out, NFTA_BITWISE_LEN, sizeof(state));
	put_value(out, NFTA_BITWISE_MASK, &state, sizeof(state));
	put_value(out, NFTA_BITWISE_XOR, &zero, sizeof(zero));
	expression_end(out, bitwise);
	compare(out, NFT_CMP_NEQ, &zero, sizeof(zero));
}

static void count(struct message *out)
{
	expression_end(out, expression_begin(out, "counter"));
}

static void decide(struct message *out, uint32_t code)
{
	struct expression immediate = expression_begin(out, "immediate");
	size_t data, verdict;

	put_be32(out, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
	data = message_nest(out, NFTA_IMMEDIATE_DATA);
	verdict = message_nest(out, NFTA_DATA_VERDICT);
	put_be32(out, NFTA_VERDICT_CODE, code);
	message_end(out, verdict);
	message_end(out, data);
	expression_end(out, immediate);
}

static void add_base_chain(struct message *out, const char *table, const char *name, uint32_t hook)
{
	bool is_nat = hook == NF_INET_POST_ROUTING;
	size_t nest;

	begin(out, NFT_MSG_NEWCHAIN, NLM_F_CREATE, NFPROTO_INET);
	message_put_text(out, NFTA_CHAIN_TABLE, table);
	message_put_text(out, NFTA_CHAIN_NAME, name);
	message_put_text(out, NFTA_CHAIN_TYPE, is_nat ? "nat" : "filter");
	nest = message_nest(out, NFTA_CHAIN_HOOK);
	put_be32(out, NFTA_HOOK_HOOKNUM, hook);
	put_be32(out, NFTA_HOOK_PRIORITY, is_nat ? PRIORITY_SRCNAT : PRIORITY_FILTER);
	message_end(out, nest);
}

/* Where a rule goes. */
struct place {
	uint8_t family;
	const char *table, *chain;
};

/* What is put between this and message_end() are its expressions. At the head of its chain. */
static size_t begin_rule(struct message *out, struct place place, unsigned flags)
{
	begin(out, NFT_MSG_NEWRULE, NLM_F_CREATE | flags, place.family);
	message_put_text(out, NFTA_RULE_TABLE, place.table);
	message_put_text(out, NFTA_RULE_CHAIN, place.chain);
	return message_nest(out, NFTA_RULE_EXPRESSIONS);
}

static void add_masquerade(struct message *out, const char *table, const struct addr *address)
{
	const struct place place = {NFPROTO_INET, table, "masquerade"};
	size_t rule = begin_rule(out, place, 0);

	match_source(out, address);
	count(out);
	expression_end(out, expression_begin(out, "masq"));
	message_end(out, rule);
}

static void add_refusal(struct message *out, const char *device)
{
	const struct place place = {NFPROTO_INET, device, "forward"};
	size_t rule = begin_rule(out, place, NLM_F_ACK);

	match_device(out, NFT_META_OIFNAME, device);
	match_new(out);
	count(out);
	decide(out, NF_DROP);
	message_end(out, rule);
}

static void put_table(struct message *out, unsigned type, unsigned flags, const char *name)
{
	begin(out, type, flags, NFPROTO_INET);
	message_put_text(out, NFTA_TABLE_NAME, name);
}

int nft_add_run(int fd, const struct nft_run *run)
{
	struct message out = {0};

	batch(&out, NFNL_MSG_BATCH_BEGIN);
	/* Made, so that it can be removed: then it is new, whatever was there. */
	put_table(&out, NFT_MSG_NEWTABLE, NLM_F_CREATE, run->device);
	put_table(&out, NFT_MSG_DELTABLE, 0, run->device);
	put_table(&out, NFT_MSG_NEWTABLE, NLM_F_CREATE, run->device);
	add_base_chain(&out, run->device, "masquerade", NF_INET_POST_ROUTING);
	add_base_chain(&out, run->device, "forward", NF_INET_FORWARD);
	for (size_t i = 0; i < run->n_addresses; i++)
		add_masquerade(&out, run->device, &run->addresses[i]);
	add_refusal(&out, run->device);
	batch(&out, NFNL_MSG_BATCH_END);
	return message_ask(fd, &out);
}

int nft_delete_run(int fd, const char *device)
{
	struct message out = {0};
	int r;

	batch(&out, NFNL_MSG_BATCH_BEGIN);
	put_table(&out, NFT_MSG_DELTABLE, NLM_F_ACK, device);
	batch(&out, NFNL_MSG_BATCH_END);
	r = message_ask(fd, &out);
	return r == -ENOENT ? 0 : r;
}

struct table_walker {
	nft_table_fn fn;
	void *context;
};

static int on_table(void *context, unsigned type, const void *bytes, size_t size)
{
	const struct table_walker *walker = context;
	const size_t skip = NLMSG_ALIGN(sizeof(struct nfgenmsg));
	char name[NFT_TEXT_MAX];
	struct message_attr attr;

	if (type != MESSAGE(NFT_MSG_NEWTABLE) || size < skip ||
	    !message_find((const char *)bytes + skip, size - skip, NFTA_TABLE_NAME, &attr))
		return 0;
	message_text(&attr, name, sizeof(name));
	return walker->fn(walker->context, name);
}

int nft_walk_tables(int fd, nft_table_fn fn, void *context)
{
	struct table_walker walker = {.fn = fn, .context = context};
	struct message out = {0};

	begin(&out, NFT_MSG_GETTABLE, NLM_F_DUMP, NFPROTO_INET);
	return message_dump(fd, &out, on_table, &walker);
}

/* What is read of a chain. */
struct chain {
	struct nft_forward forward;
	bool is_base;
	bool is_nat;
	uint32_t hook;
};

static void read_hook(const struct message_attr *attr, struct chain *chain)
{
	struct message_attr number;

	chain->is_base = message_find(attr->data, attr->size, NFTA_HOOK_HOOKNUM, &number);
	if (chain->is_base)
		chain->hook = ntohl(message_u32(&number));
}

static struct chain read_chain(const char *bytes, size_t size)
{
	struct chain chain = {0};
	struct message_attr attr;
	struct nfgenmsg head;
	size_t at = NLMSG_ALIGN(sizeof(head));
	char type[16];

	memcpy(&head, bytes, sizeof(head));
	chain.forward.family = head.nfgen_family;
	while (message_next(bytes, size, &at, &attr)) {
		if (attr.type == NFTA_CHAIN_TABLE) {
			message_text(&attr, chain.forward.table, sizeof(chain.forward.table));
		} else if (attr.type == NFTA_CHAIN_NAME) {
			message_text(&attr, chain.forward.chain, sizeof(chain.forward.chain));
		} else if (attr.type == NFTA_CHAIN_HOOK) {
			read_hook(&attr, &chain);
		} else if (attr.type == NFTA_CHAIN_POLICY) {
			chain.forward.drops = ntohl(message_u32(&attr)) == NF_DROP;
		} else if (attr.type == NFTA_CHAIN_TYPE) {
			message_text(&attr, type, sizeof(type));
			chain.is_nat = strcmp(type, "nat") == 0;
		}
	}
	return chain;
}

struct chain_walker {
	const char *except;
	struct nft_chains *chains;
};

static int add_forward(struct nft_chains *chains, const struct nft_forward *forward)
{
	struct nft_forward *all =
		reallocarray(chains->forward, chains->n_forward + 1, sizeof(*all));

	if (!all)
		return -ENOMEM;
	chains->forward = all;
	all[chains->n_forward++] = *forward;
	return 0;
}

static int on_chain(void *context, unsigned type, const void *bytes, size_t size)
{
	const struct chain_walker *walker = context;
	struct chain chain;

	if (type != MESSAGE(NFT_MSG_NEWCHAIN) || size < sizeof(struct nfgenmsg))
		return 0;
	chain = read_chain(bytes, size);
	if (!chain.is_base ||
	    strncmp(chain.forward.table, walker->except, strlen(walker->except)) == 0)
		return 0;
	if (chain.forward.family != NFPROTO_IPV4 && chain.forward.family != NFPROTO_IPV6 &&
	    chain.forward.family != NFPROTO_INET)
		return 0;
	if (chain.is_nat && chain.hook == NF_INET_POST_ROUTING)
		walker->chains->has_nat = true;
	if (chain.is_nat || chain.hook != NF_INET_FORWARD)
		return 0;
	return add_forward(walker->chains, &chain.forward);
}

int nft_list_chains(int fd, const char *except, struct nft_chains *ret_chains)
{
	struct nft_chains chains = {0};
	struct chain_walker walker = {.except = except, .chains = &chains};
	struct message out = {0};
	int r;

	begin(&out, NFT_MSG_GETCHAIN, NLM_F_DUMP, NFPROTO_UNSPEC);
	r = message_dump(fd, &out, on_chain, &walker);
	if (r < 0) {
		nft_chains_done(&chains);
		return r;
	}
	*ret_chains = chains;
	return 0;
}

void nft_chains_done(struct nft_chains *chains)
{
	free(chains->forward);
	*chains = (struct nft_chains){0};
}

static void put_comment(struct message *out, const char *device)
{
	char text[COMMENT_MAX], data[2 + COMMENT_MAX];
	size_t size = (size_t)snprintf(text, sizeof(text), COMMENT "%s", device) + 1;

	data[0] = UDATA_COMMENT;
	data[1] = (char)size;
	memcpy(data + 2, text, size);
	message_put(out, NFTA_RULE_USERDATA, data, 2 + size);
}

static void add_accept(struct message *out, const struct nft_forward *chain, const char *device,
		       uint32_t key)
{
	const struct place place = {chain->family, chain->table, chain->chain};
	size_t rule = begin_rule(out, place, key == NFT_META_IIFNAME ? NLM_F_ACK : 0);

	match_device(out, key, device);
	count(out);
	decide(out, NF_ACCEPT);
	message_end(out, rule);
	put_comment(out, device);
}

int nft_let_through(int fd, const struct nft_forward *chain, const char *device)
{
	struct message out = {0};

	batch(&out, NFNL_MSG_BATCH_BEGIN);
	add_accept(&out, chain, device, NFT_META_OIFNAME);
	add_accept(&out, chain, device, NFT_META_IIFNAME);
	batch(&out, NFNL_MSG_BATCH_END);
	return message_ask(fd, &out);
}

/* Handles of rules to be removed from one chain. */
struct rule_walker {
	nft_stale_fn stale;
	void *context;
	uint64_t handles[2 * TABLES_AT_ONCE]; /* as in the messages */
	size_t count;
};

/* The device that a rule of ours was made for. */
static bool read_comment(const struct message_attr *attr, char *device)
{
	const size_t prefix = sizeof(COMMENT) - 1;
	size_t size;

	if (attr->size < 2 || attr->data[0] != UDATA_COMMENT)
		return false;
	size = (unsigned char)attr->data[1];
	if (size > attr->size - 2 || size <= prefix + 1 || size - prefix > IFNAMSIZ ||
	    memcmp(attr->data + 2, COMMENT, prefix) != 0)
		return false;
	memcpy(device, attr->data + 2 + prefix, size - prefix);
	return device[size - prefix - 1] == '\0';
}

static int on_rule(void *context, unsigned type, const void *bytes, size_t size)
{
	struct rule_walker *walker = context;
	const size_t skip = NLMSG_ALIGN(sizeof(struct nfgenmsg));
	const char *attrs = (const char *)bytes + skip;
	struct message_attr comment, handle;
	char device[IFNAMSIZ];

	if (type != MESSAGE(NFT_MSG_NEWRULE) || size < skip ||
	    !message_find(attrs, size - skip, NFTA_RULE_USERDATA, &comment) ||
	    !message_find(attrs, size - skip, NFTA_RULE_HANDLE, &handle) ||
	    handle.size != sizeof(walker->handles[0]) || !read_comment(&comment, device))
		return 0;
	if (walker->count < sizeof(walker->handles) / sizeof(walker->handles[0]) &&
	    walker->stale(walker->context, device))
		memcpy(&walker->handles[walker->count++], handle.data, handle.size);
	return 0;
}

int nft_stop_letting(int fd, const struct nft_forward *chain, nft_stale_fn stale, void *context)
{
	struct rule_walker walker = {.stale = stale, .context = context};
	struct message out = {0};
	int r;

	begin(&out, NFT_MSG_GETRULE, NLM_F_DUMP, chain->family);
	message_put_text(&out, NFTA_RULE_TABLE, chain->table);
	message_put_text(&out, NFTA_RULE_CHAIN, chain->chain);
	r = message_dump(fd, &out, on_rule, &walker);
	if (r < 0 || !walker.count)
		return r == -ENOENT ? 0 : r;
	out = (struct message){0};
	batch(&out, NFNL_MSG_BATCH_BEGIN);
	for (size_t i = 0; i < walker.count; i++) {
		begin(&out, NFT_MSG_DELRULE, i + 1 == walker.count ? NLM_F_ACK : 0, chain->family);
		message_put_text(&out, NFTA_RULE_TABLE, chain->table);
		message_put_text(&out, NFTA_RULE_CHAIN, chain->chain);
		message_put(&out, NFTA_RULE_HANDLE, &walker.handles[i], sizeof(walker.handles[i]));
	}
	batch(&out, NFNL_MSG_BATCH_END);
	return message_ask(fd, &out);
}
