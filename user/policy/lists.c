/* SPDX-License-Identifier: MIT */
/* The lists of entries: allowOut and denyOut as files and E2B's route have them, Brimble's mode and allow. */
#include <errno.h>
#include <string.h>

#include "policy/build.h"
#include "policy/reader.h"

/* Reads one entry's text; err gets a text without a place. */
typedef int (*entry_fn)(const char *text, struct policy_dest *ret_dest, struct error *err);

struct list {
	const char *key; /* static: the rules keep it */
	unsigned char verdict;
	entry_fn parse;
	bool vendor_text; /* errors are the vendor's, word for word: no place before them */
};

static int file_allow(const char *text, struct policy_dest *ret_dest, struct error *err)
{
	return policy_entry_parse(text, PST_VERDICT_ALLOW, ret_dest, err);
}

static int file_deny(const char *text, struct policy_dest *ret_dest, struct error *err)
{
	return policy_entry_parse(text, PST_VERDICT_DENY, ret_dest, err);
}

static bool is_cidr(const char *text)
{
	struct cidr cidr;
	bool host_bits;

	return cidr_parse(text, &cidr, &host_bits, NULL) == 0;
}

static bool is_all_of_ipv6(const struct policy_dest *d)
{
	return d->kind == POLICY_DEST_CIDR && d->cidr.family == CIDR_IPV6 && d->cidr.len == 0;
}

/* E2B: what does not parse as an address is a domain; no ports; of the unspecified only 0.0.0.0/0. */
static int e2b_allow(const char *text, struct policy_dest *ret_dest, struct error *err)
{
	bool address = is_cidr(text);
	struct policy_dest d;
	struct domain name;
	int r = address ? 0 : domain_parse(text, &name, NULL);

	if (r == 0)
		r = policy_entry_parse(text, PST_VERDICT_ALLOW, &d, NULL);
	if (r == 0 && is_all_of_ipv6(&d))
		r = -EINVAL;
	if (r == 0)
		*ret_dest = d;
	if (r == -EINVAL)
		error_set(err, r, "invalid allowed %s %s", address ? "address" : "domain", text);
	return r;
}

static int e2b_deny(const char *text, struct policy_dest *ret_dest, struct error *err)
{
	struct policy_dest d;
	int r = is_cidr(text) ? policy_entry_parse(text, PST_VERDICT_DENY, &d, NULL) : -EINVAL;

	if (r == 0 && is_all_of_ipv6(&d))
		r = -EINVAL;
	if (r == 0)
		*ret_dest = d;
	if (r == -EINVAL)
		error_set(err, r, "invalid denied CIDR %s", text);
	return r;
}

/* Schema lengths count characters, not bytes. */
static size_t count_characters(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

/* Brimble: addresses, ranges and names, no ports; a name stands for all of its TCP and UDP ports. */
static int brimble_allow(const char *text, struct policy_dest *ret_dest, struct error *err)
{
	size_t size = count_characters(text);
	struct policy_dest d;
	int r;

	if (size < 1 || size > DOMAIN_MAX)
		return error_set(err, -EINVAL, "expected 1..%d characters, found %zu", DOMAIN_MAX,
				 size);
	r = policy_entry_parse(text, PST_VERDICT_ALLOW, &d, err);
	if (r < 0)
		return r;
	if ((!d.any_port && !d.web_ports) || text[0] == '[')
		return error_set(err, -EINVAL, "'%s' has a port, which this dialect does not know",
				 text);
	if (d.kind == POLICY_DEST_NAME) {
		d.web_ports = false;
		d.any_port = true;
		d.protocols = PST_TCP | PST_UDP;
	}
	*ret_dest = d;
	return 0;
}

static int read_entry(struct reader *rd, const struct json_node *node, const struct list *list,
		      struct policy_dest *ret_dest)
{
	const char *text = NULL;
	int r = reader_string(rd, node, &text);

	if (r < 0)
		return r;
	r = list->parse(text, ret_dest, rd->in.err);
	return r < 0 && !list->vendor_text ? reader_fail(rd, node, r) : r;
}

/* With `append` false the entries are only checked. */
static int read_list(struct reader *rd, const struct json_node *node, const struct list *list,
		     bool append)
{
	const struct json_node *item;
	struct policy_dest dest;
	unsigned index = 0;
	int r = reader_want(rd, node, JSON_LIST);

	if (r < 0)
		return r;
	for (item = json_first(&rd->in.json, node); item; item = json_next(&rd->in.json, item)) {
		r = read_entry(rd, item, list, &dest);
		if (r == 0 && append)
			r = policy_append(rd->policy, list->verdict, list->key, index, item->string,
					  &dest);
		if (r < 0)
			return r;
		index++;
	}
	return 0;
}

static const struct json_node *given(struct reader *rd, const char *key)
{
	const struct json_node *node = json_member(&rd->in.json, rd->in.json.nodes, key);

	return node && node->type == JSON_NULL && rd->source == POLICY_FROM_E2B ? NULL : node;
}

static const struct json_node *nth(const struct reader *rd, const struct json_node *list,
				   unsigned n)
{
	const struct json_node *item = json_first(&rd->in.json, list);

	while (item && n-- > 0)
		item = json_next(&rd->in.json, item);
	return item;
}

static int read_file_lists(struct reader *rd, const struct json_node *allow,
			   const struct json_node *deny)
{
	static const struct list allow_out = {"allowOut", PST_VERDICT_ALLOW, file_allow, false};
	static const struct list deny_out = {"denyOut", PST_VERDICT_DENY, file_deny, false};
	const struct json_node *access = given(rd, "allow_internet_access");
	const struct policy_rule *name;
	int r = allow ? read_list(rd, allow, &allow_out, true) : 0;

	if (r == 0 && deny)
		r = read_list(rd, deny, &deny_out, true);
	if (r < 0)
		return r;
	name = policy_first_name(rd->policy);
	if (!name || rd->policy->default_deny ||
	    (access && access->type == JSON_BOOL && !access->boolean))
		return 0;
	return json_reader_refuse(&rd->in, nth(rd, allow, name->index), "%s",
				  POLICY_NAMES_NEED_DENY);
}

/* E2B's order of checks: the deny list, the allow list, then what joins them (where allow_internet_access does not
 * count). Allow rules still come first in the policy. */
static int read_e2b_lists(struct reader *rd, const struct json_node *allow,
			  const struct json_node *deny)
{
	static const struct list allow_out = {"allowOut", PST_VERDICT_ALLOW, e2b_allow, true};
	static const struct list deny_out = {"denyOut", PST_VERDICT_DENY, e2b_deny, true};
	int r = deny ? read_list(rd, deny, &deny_out, false) : 0;

	if (r == 0 && allow)
		r = read_list(rd, allow, &allow_out, true);
	if (r == 0 && deny)
		r = read_list(rd, deny, &deny_out, true);
	if (r == 0 && rd->policy->has_names && !rd->policy->default_deny)
		r = error_set(rd->in.err, -EINVAL, "%s", POLICY_NAMES_NEED_DENY);
	return r;
}

int read_lists(struct reader *rd)
{
	const struct json_node *allow = given(rd, "allowOut"), *deny = given(rd, "denyOut");

	if (rd->source == POLICY_FROM_E2B)
		return read_e2b_lists(rd, allow, deny);
	return read_file_lists(rd, allow, deny);
}

enum brimble_mode { BRIMBLE_DENY_ALL = 0, BRIMBLE_RESTRICTED = 1, BRIMBLE_OPEN = 2 };

static int read_brimble_allow(struct reader *rd, const struct json_node *node)
{
	static const struct list allow = {"allow", PST_VERDICT_ALLOW, brimble_allow, false};
	int r = reader_want(rd, node, JSON_LIST);

	if (r < 0)
		return r;
	if (node->count < 1 || node->count > POLICY_BRIMBLE_MAX_ENTRIES)
		return json_reader_refuse(&rd->in, node, "expected 1..%u entries, found %u",
					  POLICY_BRIMBLE_MAX_ENTRIES, node->count);
	return read_list(rd, node, &allow, true);
}

int read_brimble(struct reader *rd)
{
	static const struct reader_key keys[] = {
		{"mode", KEY_BRIMBLE, NULL}, {"allow", KEY_BRIMBLE, NULL}, {NULL, 0, NULL}};
	static const struct json_word modes[] = {{"open", BRIMBLE_OPEN},
						 {"restricted", BRIMBLE_RESTRICTED},
						 {"deny_all", BRIMBLE_DENY_ALL},
						 {NULL, 0}};
	const struct json_node *root = rd->in.json.nodes, *mode_node, *allow;
	unsigned char mode;
	int r = reader_object(rd, root, keys, KEY_BRIMBLE);

	if (r < 0)
		return r;
	mode_node = json_member(&rd->in.json, root, "mode");
	allow = json_member(&rd->in.json, root, "allow");
	if (!mode_node)
		return json_reader_refuse(&rd->in, root, "no key 'mode'");
	r = reader_word(rd, mode_node, modes, &mode);
	if (r < 0)
		return r;
	if (mode == BRIMBLE_RESTRICTED && !allow)
		return json_reader_refuse(&rd->in, root, "mode 'restricted' needs the key 'allow'");
	if (mode != BRIMBLE_RESTRICTED && allow)
		return json_reader_refuse(&rd->in, allow, "only mode 'restricted' takes this key");
	rd->policy->brimble = true;
	rd->policy->default_deny = mode != BRIMBLE_OPEN;
	return allow ? read_brimble_allow(rd, allow) : 0;
}
