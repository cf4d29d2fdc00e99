/* SPDX-License-Identifier: MIT */
/*
 * A policy that is not put in force -> what it would change: rules, live connections, names that were asked for lately.
 * Nothing is stored and nothing is written that a packet is judged by.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "daemon/learned.h"
#include "daemon/state.h"
#include "events/words.h"
#include "table/explain_answer.h"

/* Of each list; the rest is one line. */
#define MAX_LINES 1000u
/* What is judged here looks at every rule: under a policy of 100,000, some hundred peers and names are judged. */
#define JUDGED_RULES 50000000u

#define LINE_MAX_BYTES 1024

struct lines {
	struct api_texts *texts;
	size_t left;
	uint64_t more;
	int status;
};

static struct lines lines_of(struct api_texts *texts)
{
	return (struct lines){.texts = texts, .left = MAX_LINES};
}

__attribute__((format(printf, 2, 3))) static void add(struct lines *lines, const char *format, ...)
{
	char text[LINE_MAX_BYTES];
	va_list args;
	int r;

	if (!lines->left) {
		lines->more++;
		return;
	}
	lines->left--;
	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	r = api_texts_add(lines->texts, text);
	if (r < 0)
		lines->status = r;
}

/* `rest`: what they are, as "rules". */
static int lines_end(struct lines *lines, const char *rest)
{
	char text[96];

	if (!lines->more || lines->status < 0)
		return lines->status;
	(void)snprintf(text, sizeof(text), "and %" PRIu64 " %s more", lines->more, rest);
	return api_texts_add(lines->texts, text);
}

/* ---- rules ---- */

struct said {
	char text[POLICY_DEST_TEXT_MAX];
	const struct policy_rule *rule;
};

struct said_list {
	struct said *items;
	size_t count;
};

static void said_done(struct said_list *list)
{
	free(list->items);
}

static int by_text(const void *a, const void *b)
{
	const struct said *x = a, *y = b;

	if (x->rule->verdict != y->rule->verdict)
		return x->rule->verdict < y->rule->verdict ? -1 : 1;
	return strcmp(x->text, y->text);
}

/* The rules by what they mean: a canonical text each, sorted. */
static int say(const struct policy *policy, struct said_list *ret_list)
{
	size_t count = policy ? policy->n_rules : 0;
	struct said *items = calloc(count ? count : 1, sizeof(*items));

	if (!items)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		items[i].rule = &policy->rules[i];
		(void)policy_dest_print(&policy->rules[i].dest, items[i].text);
	}
	qsort(items, count, sizeof(*items), by_text);
	*ret_list = (struct said_list){items, count};
	return 0;
}

static void add_rule(struct lines *lines, const struct policy *policy, const struct said *said,
		     const char *what)
{
	char label[EXPLAIN_LABEL_MAX];

	(void)policy_rule_label(policy, (unsigned)(said->rule - policy->rules) + 1, label,
				sizeof(label));
	add(lines, "%s: %s", label, what);
}

/* Those of `of` that `other` does not have. */
static void add_missing(struct lines *lines, const struct policy *policy,
			const struct said_list *of, const struct said_list *other, const char *what)
{
	size_t j = 0;

	for (size_t i = 0; i < of->count; i++) {
		if (i && !by_text(&of->items[i], &of->items[i - 1]))
			continue;
		while (j < other->count && by_text(&other->items[j], &of->items[i]) < 0)
			j++;
		if (j == other->count || by_text(&other->items[j], &of->items[i]) != 0)
			add_rule(lines, policy, &of->items[i], what);
	}
}

static const char *default_of(const struct policy *policy)
{
	return policy->default_deny ? "deny" : "allow";
}

static void add_setting(struct lines *lines, const char *key, const char *before, const char *after)
{
	if (strcmp(before, after) != 0)
		add(lines, "%s: %s instead of %s", key, after, before);
}

static void add_number(struct lines *lines, const char *key, uint32_t before, uint32_t after)
{
	if (before != after)
		add(lines, "%s: %" PRIu32 " instead of %" PRIu32, key, after, before);
}

static void add_settings(struct lines *lines, const struct policy *before,
			 const struct policy *after)
{
	static const char *const loopbacks[] = {"deny", "own", "host"};
	static const char *const inbounds[] = {"deny", "a list", "allow"};
	static const char *const switches[] = {"false", "true"};
	static const char *const unixes[] = {"allow", "pathname", "deny"};

	add_setting(lines, "default", default_of(before), default_of(after));
	add_setting(lines, "audit", switches[before->audit], switches[after->audit]);
	add_setting(lines, "loopback", loopbacks[before->loopback], loopbacks[after->loopback]);
	add_setting(lines, "inbound", inbounds[before->inbound], inbounds[after->inbound]);
	add_setting(lines, "dns.gate", switches[before->dns_gate], switches[after->dns_gate]);
	add_number(lines, "dns.minTtl", before->dns_min_ttl_s, after->dns_min_ttl_s);
	add_number(lines, "dns.maxTtl", before->dns_max_ttl_s, after->dns_max_ttl_s);
	add_setting(lines, "unix", unixes[before->unix_sockets], unixes[after->unix_sockets]);
}

static bool has_addr(const struct addr_list *list, const struct addr *a)
{
	for (size_t i = 0; i < list->count; i++) {
		if (addr_equal(&list->items[i], a))
			return true;
	}
	return false;
}

static bool has_cidr(const struct cidr_list *list, const struct cidr *c)
{
	for (size_t i = 0; i < list->count; i++) {
		if (cidr_equal(&list->items[i], c))
			return true;
	}
	return false;
}

static void add_addrs(struct lines *lines, const struct addr_list *of,
		      const struct addr_list *other, const char *what)
{
	char text[CIDR_TEXT_MAX];

	for (size_t i = 0; i < of->count; i++) {
		if (!has_addr(other, &of->items[i]))
			add(lines, "dns.resolvers %s: %s", addr_print(&of->items[i], text), what);
	}
}

struct cidr_lists {
	const char *key;
	const struct cidr_list *before, *after;
};

static void add_cidrs(struct lines *lines, const struct cidr_lists *lists)
{
	char text[CIDR_TEXT_MAX];

	for (size_t i = 0; i < lists->before->count; i++) {
		const struct cidr *c = &lists->before->items[i];

		if (!has_cidr(lists->after, c))
			add(lines, "%s %s: removed", lists->key, cidr_print(c, text));
	}
	for (size_t i = 0; i < lists->after->count; i++) {
		const struct cidr *c = &lists->after->items[i];

		if (!has_cidr(lists->before, c))
			add(lines, "%s %s: added", lists->key, cidr_print(c, text));
	}
}

static void compare_lists(struct lines *lines, const struct policy *before,
			  const struct policy *after)
{
	const struct cidr_lists private = {"allowPrivate", &before->allow_private,
					   &after->allow_private};
	const struct cidr_lists inbound = {"inbound", &before->inbound_from, &after->inbound_from};

	add_addrs(lines, &before->resolvers, &after->resolvers, "removed");
	add_addrs(lines, &after->resolvers, &before->resolvers, "added");
	add_cidrs(lines, &private);
	add_cidrs(lines, &inbound);
}

static int compare_rules(const struct policy *before, const struct policy *after,
			 struct api_result *result)
{
	cleanup(said_done) struct said_list old = {0}, new = {0};
	struct lines lines = lines_of(&result->rules);
	int r = say(before, &old);

	if (!r)
		r = say(after, &new);
	if (r < 0)
		return r;
	add_settings(&lines, before, after);
	compare_lists(&lines, before, after);
	add_missing(&lines, before, &old, &new, "removed");
	add_missing(&lines, after, &new, &old, "added");
	return lines_end(&lines, "rules");
}

/* ---- connections ---- */

struct judging {
	struct daemon *daemon;
	struct sandbox *sandbox;
	const struct learned *learned;
	struct explain_input before, after;
	uint64_t now_ns; /* monotonic */
	size_t rules_left;
	uint64_t unjudged;
	struct lines lines;
};

static bool may_judge(struct judging *judging)
{
	size_t cost = judging->before.policy->n_rules + judging->after.policy->n_rules + 1;

	if (cost > judging->rules_left) {
		judging->unjudged++;
		return false;
	}
	judging->rules_left -= cost;
	return true;
}

static const char *print_end(const uint8_t bytes[16], unsigned port, char text[CIDR_TEXT_MAX + 8])
{
	char address[CIDR_TEXT_MAX];
	struct addr a;

	memcpy(a.bytes, bytes, sizeof(a.bytes));
	(void)addr_print(&a, address);
	(void)snprintf(text, CIDR_TEXT_MAX + 8, addr_is_ipv4(&a) ? "%s:%u" : "[%s]:%u", address,
		       port);
	return text;
}

static int add_socket(void *context, const struct pst_socket *socket)
{
	struct judging *judging = context;
	char local[CIDR_TEXT_MAX + 8], remote[CIDR_TEXT_MAX + 8];
	const uint8_t *to = socket->meant_port ? socket->meant : socket->remote;
	unsigned port = socket->meant_port ? socket->meant_port : socket->remote_port;
	const char *name = learned_name(judging->learned, to);

	add(&judging->lines, "tcp %s -> %s%s%s: would end",
	    print_end(socket->local, socket->local_port, local), print_end(to, port, remote),
	    name[0] ? " " : "", name);
	return 0;
}

static int add_netns(void *context, int netns_fd, struct error *err)
{
	struct judging *judging = context;

	return kern_attachment_sockets(judging->sandbox->at, true, netns_fd, add_socket, judging,
				       err);
}

static int add_peer(void *context, const struct pst_peer_key *key, const struct pst_peer *peer)
{
	struct judging *judging = context;
	struct pst_query query = {
		.port = key->port, .protocol = key->protocol, .inbound = peer->kind == PST_FLOW_IN};
	struct explain_input in = judging->after;
	const char *name = peer->name ? learned_name(judging->learned, key->addr) : "";
	char remote[CIDR_TEXT_MAX + 8];
	struct pst_decision d;

	if (!state_peer_is_live(peer, judging->now_ns) || !may_judge(judging))
		return 0;
	memcpy(query.addr, key->addr, sizeof(query.addr));
	in.live = name[0] ? name : NULL; /* its lease may have expired since */
	d = explain_query(&in, &query);
	if (d.verdict == PST_VERDICT_DENY)
		add(&judging->lines, "udp port %u -> %s: would be denied (%s)", key->local_port,
		    print_end(key->addr, key->port, remote), words_reason(d.reason));
	return 0;
}

static bool is_admitted(const struct policy *policy, const struct addr *peer)
{
	if (policy->inbound != PST_INBOUND_LIST)
		return policy->inbound == PST_INBOUND_ALLOW;
	for (size_t i = 0; i < policy->inbound_from.count; i++) {
		if (cidr_contains(&policy->inbound_from.items[i], peer))
			return true;
	}
	return false;
}

/* What its next packet would be told. `name`: that let it out; "" else. */
static struct pst_decision judge_tracked(const struct explain_input *by,
					 const struct pst_peer_key *key,
					 const struct pst_tracked *flow, const char *name)
{
	struct pst_query query = {.port = key->port, .protocol = key->protocol};
	struct explain_input in = *by;
	struct addr peer;

	memcpy(query.addr, key->addr, sizeof(query.addr));
	memcpy(peer.bytes, key->addr, sizeof(peer.bytes));
	query.inbound = flow->kind == PST_FLOW_IN && is_admitted(in.policy, &peer);
	in.live = name[0] ? name : NULL;
	return explain_query(&in, &query);
}

static int add_tracked(void *context, const struct pst_peer_key *key,
		       const struct pst_tracked *flow)
{
	struct judging *judging = context;
	char name[DOMAIN_MAX + 1] = "", remote[CIDR_TEXT_MAX + 8];
	struct pst_decision before, d;

	if (!state_flow_is_live(key, flow, judging->now_ns) || !may_judge(judging))
		return 0;
	if (flow->name)
		(void)domain_from_key(&flow->key, name);
	before = judge_tracked(&judging->before, key, flow, name);
	/* What was denied is remembered for a while. */
	if (before.verdict == PST_VERDICT_DENY)
		return 0;
	d = judge_tracked(&judging->after, key, flow, name);
	/* A flow does not change its way: to the relay, or away from it, goes the next one. */
	if (d.verdict == PST_VERDICT_DENY ||
	    (d.verdict == PST_VERDICT_RELAY) != (before.verdict == PST_VERDICT_RELAY))
		add(&judging->lines, "%s port %u -> %s%s%s: would end (%s)",
		    words_protocol(key->protocol), key->local_port,
		    print_end(key->addr, key->port, remote), name[0] ? " " : "", name,
		    words_reason(d.reason));
	return 0;
}

/* Staged, looked at, taken back: the record in force stays as it is. */
static int add_tcp(struct judging *judging, const struct changing *changing, struct error *err)
{
	struct kern_policy *policy = NULL;
	struct daemon *daemon = judging->daemon;
	int r = kern_policy_load(daemon->kern, changing->compiled->table, changing->compiled->hash,
				 &policy, err);

	if (r < 0)
		return r;
	r = kern_attachment_stage(changing->sandbox->at, policy,
				  kern_host_next_generation(daemon->kern), err);
	kern_policy_put(policy);
	if (r < 0)
		return r;
	r = state_each_netns(daemon, changing->sandbox, add_netns, judging, err);
	kern_attachment_unstage(changing->sandbox->at);
	return r;
}

static int compare_flows(struct judging *judging, const struct changing *changing,
			 struct api_result *result, struct error *err)
{
	bool device = sandbox_is_device(judging->sandbox);
	int r = 0;

	judging->lines = lines_of(&result->flows);
	if (!device)
		r = add_tcp(judging, changing, err);
	/* Under `keep` what talks now goes on. */
	if (!r && changing->compiled->policy->existing == POLICY_EXISTING_RECHECK)
		r = device ? kern_attachment_tracked(judging->sandbox->at, add_tracked, judging)
			   : kern_attachment_peers(judging->sandbox->at, add_peer, judging);
	if (judging->unjudged)
		add(&judging->lines, "%" PRIu64 " %s were not judged: too many rules",
		    judging->unjudged, device ? "flows" : "udp peers");
	judging->unjudged = 0;
	return r < 0 ? r : lines_end(&judging->lines, "connections");
}

/* ---- names ---- */

static int by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void compare_name(struct judging *judging, const char *name)
{
	struct policy_dest dest = {
		.kind = POLICY_DEST_NAME, .web_ports = true, .protocols = PST_TCP};
	struct explain_report before, after;
	struct error err = {0};

	(void)snprintf(dest.domain.name, sizeof(dest.domain.name), "%s", name);
	if (!may_judge(judging) || explain_dest(&judging->before, &dest, &before, &err) < 0 ||
	    explain_dest(&judging->after, &dest, &after, &err) < 0)
		return;
	if (before.decision.verdict != after.decision.verdict)
		add(&judging->lines, "%s: %s instead of %s (%s)", name,
		    words_verdict(after.decision.verdict), words_verdict(before.decision.verdict),
		    words_reason(after.decision.reason));
}

static int compare_names(struct judging *judging, struct api_result *result)
{
	const struct learned *learned = judging->learned;
	cleanup_free const char **names =
		calloc(learned->n_rows ? learned->n_rows : 1, sizeof(*names));
	size_t count = 0;

	if (!names)
		return -ENOMEM;
	for (size_t i = 0; i < learned->n_rows; i++) {
		if (learned->rows[i].name[0])
			names[count++] = learned->rows[i].name;
	}
	qsort(names, count, sizeof(*names), by_name);
	judging->lines = lines_of(&result->names);
	for (size_t i = 0; i < count; i++) {
		if (!i || strcmp(names[i], names[i - 1]) != 0)
			compare_name(judging, names[i]);
	}
	if (judging->unjudged)
		add(&judging->lines, "%" PRIu64 " names were not judged: too many rules",
		    judging->unjudged);
	return lines_end(&judging->lines, "names");
}

/* ---- all of it ---- */

static int compare(struct daemon *daemon, const struct changing *changing,
		   const struct policy *before, struct api_result *result)
{
	cleanup(learned_done) struct learned learned = {0};
	const struct policy *after = changing->compiled->policy;
	struct judging judging = {.daemon = daemon,
				  .sandbox = changing->sandbox,
				  .learned = &learned,
				  .now_ns = loop_monotonic_ns(),
				  .rules_left = JUDGED_RULES};
	int r = compare_rules(before, after, result);

	if (!r)
		r = learned_read(changing->sandbox, &learned);
	if (r < 0)
		return error_set(&result->err, r, "cannot be compared: %s", strerror(-r));
	judging.before =
		learned_input(daemon, changing->sandbox->stored.document_dialect, before, &learned);
	judging.after = learned_input(daemon, changing->dialect, after, &learned);
	judging.before.device = judging.after.device = sandbox_is_device(changing->sandbox);
	r = compare_flows(&judging, changing, result, &result->err);
	judging.rules_left = JUDGED_RULES;
	if (!r)
		r = compare_names(&judging, result);
	if (r < 0 && !result->err.text[0])
		return error_set(&result->err, r, "cannot be compared: %s", strerror(-r));
	return r;
}

static void add_warnings(const struct policy *policy, struct api_result *result)
{
	for (size_t i = 0; i < policy->n_warnings; i++)
		(void)api_texts_add(&result->warnings, policy->warnings[i].text);
}

void daemon_dry_run(struct daemon *daemon, const struct changing *changing,
		    struct api_result *result)
{
	cleanup_policy struct policy *nothing = NULL;
	struct error unknown = {0};
	const struct policy *before = sandbox_policy(changing->sandbox, &unknown);
	int r = 0;

	/* What is damaged has no rules that are known: all are new. */
	if (!before)
		r = policy_new(&nothing);
	if (!r)
		r = compare(daemon, changing, before ? before : nothing, result);
	if (r < 0) {
		result->status = r == -ENOMEM || r == -ENOSPC ? API_FULL : API_FAILED;
		return;
	}
	result->status = API_OK;
	result->generation = 0;
	memcpy(result->policy_hash, changing->compiled->hash_text, sizeof(result->policy_hash));
	add_warnings(changing->compiled->policy, result);
}
