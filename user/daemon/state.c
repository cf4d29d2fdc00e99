/* SPDX-License-Identifier: MIT */
/* What a sandbox does now: what it has learned, which rules it uses, who it talks to. Reads only. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "daemon/learned.h"
#include "daemon/state.h"
#include "events/words.h"
#include "kern/cgroup.h"
#include "table/explain_answer.h"
#include "table/explain_fix.h"

#define NS_PER_S  1000000000u
#define NS_PER_MS 1000000u

/* ---- leases ---- */

/* What is asked for one name looks at every rule: of a policy with 100,000, a few hundred names have a label. */
#define LABEL_RULES 20000000u

struct lease_walk {
	const struct policy *policy; /* NULL: not known */
	api_lease_fn fn;
	void *context;
	size_t rules_left;
};

static const struct policy_rule *rule_of_name(const struct policy *policy, const char *name)
{
	const struct policy_rule *rule = explain_nearest_pattern(policy, name);

	return rule && domain_matches(&rule->dest.domain, name) ? rule : NULL;
}

/* The kernel has judged the name (0: no rule), or the policy is asked here. */
static void label_name(struct lease_walk *walk, const struct kern_lease *row, char *text,
		       size_t size)
{
	const struct policy_rule *rule = NULL;
	size_t cost;

	text[0] = '\0';
	if (!walk->policy || !row->name[0] || (row->is_judged && !row->ports))
		return;
	cost = walk->policy->n_rules + 1;
	if (cost > walk->rules_left) {
		(void)strncat(text, "?", size - 1);
		return;
	}
	walk->rules_left -= cost;
	rule = rule_of_name(walk->policy, row->name);
	if (rule)
		(void)policy_rule_label(walk->policy, (unsigned)(rule - walk->policy->rules) + 1,
					text, size);
}

static int tell_lease(struct lease_walk *walk, const struct kern_lease *row)
{
	char address[CIDR_TEXT_MAX], label[EXPLAIN_LABEL_MAX];
	struct api_lease lease = {.name = row->name,
				  .address = address,
				  .rule = label,
				  .age_s = row->age_ns / NS_PER_S,
				  .left_s = (row->left_ns + NS_PER_S - 1) / NS_PER_S};
	struct addr a;

	memcpy(a.bytes, row->addr, sizeof(a.bytes));
	(void)addr_print(&a, address);
	label_name(walk, row, label, sizeof(label));
	return walk->fn(walk->context, &lease);
}

enum api_status daemon_leases(struct daemon *daemon, struct sandbox *sandbox, api_lease_fn fn,
			      void *context, struct error *err)
{
	cleanup(learned_done) struct learned learned = {0};
	struct lease_walk walk = {.fn = fn, .context = context, .rules_left = LABEL_RULES};
	struct error unknown = {0};
	int r = learned_read(sandbox, &learned);

	(void)daemon;
	if (r < 0) {
		(void)error_set(err, r, "its leases cannot be read: %s", strerror(-r));
		return API_FAILED;
	}
	walk.policy = sandbox_policy(sandbox, &unknown);
	for (size_t i = 0; i < learned.n_rows; i++) {
		if (tell_lease(&walk, &learned.rows[i]) < 0)
			return API_FAILED;
	}
	return API_OK;
}

/* ---- rules ---- */

static uint64_t wall_ms_of(uint64_t monotonic_ns, uint64_t wall_minus_monotonic_ns)
{
	return monotonic_ns ? (monotonic_ns + wall_minus_monotonic_ns) / NS_PER_MS : 0;
}

static int tell_rules(const struct policy *policy, const struct pst_rule_hits *hits, uint32_t count,
		      api_rule_fn fn, void *context)
{
	uint64_t offset_ns = loop_wall_ns() - loop_monotonic_ns();
	char label[EXPLAIN_LABEL_MAX];
	int r = 0;

	for (uint32_t i = 0; r >= 0 && i < count; i++) {
		struct api_rule rule = {.rule = i ? label : "default",
					.number = i,
					.connections = hits[i].connections,
					.packets = hits[i].packets,
					.bytes = hits[i].bytes,
					.last_ms = wall_ms_of(hits[i].last_ns, offset_ns)};

		label[0] = '\0';
		if (i && policy && i <= policy->n_rules)
			(void)policy_rule_label(policy, i, label, sizeof(label));
		r = fn(context, &rule);
	}
	return r;
}

enum api_status daemon_rules(struct daemon *daemon, struct sandbox *sandbox, api_rule_fn fn,
			     void *context, struct error *err)
{
	uint32_t count = kern_attachment_record(sandbox->at)->rules;
	cleanup_free struct pst_rule_hits *hits = calloc(count ? count : 1, sizeof(*hits));
	struct error unknown = {0};
	int r = hits ? 0 : -ENOMEM;

	(void)daemon;
	if (!r && count)
		r = kern_attachment_hits(sandbox->at, hits, count);
	if (r < 0) {
		(void)error_set(err, r, "its counters cannot be read: %s", strerror(-r));
		return API_FAILED;
	}
	r = tell_rules(sandbox_policy(sandbox, &unknown), hits, count, fn, context);
	return r < 0 ? API_FAILED : API_OK;
}

/* ---- connections ---- */

int state_each_netns(const struct daemon *daemon, const struct sandbox *sandbox, state_netns_fn fn,
		     void *context, struct error *err)
{
	cleanup_close int cgroup = -1;
	struct members_netns_list list = {0};
	int r = sandbox_open_cgroup(daemon, sandbox, &cgroup);

	if (r < 0)
		return 0; /* it is gone, and everybody with it */
	r = members_netns(cgroup, &list, err);
	for (size_t i = 0; r >= 0 && i < list.count; i++)
		r = fn(context, list.items[i].fd, err);
	members_netns_done(&list);
	return r < 0 ? r : 0;
}

/* More is cut off: a list of that length is for programs, which ask again for what they look for. */
#define MAX_FLOWS 10000

struct flow_walk {
	const struct sandbox *sandbox;
	const struct policy *policy; /* NULL: not known */
	const struct learned *learned;
	api_flow_fn fn;
	void *context;
	uint64_t now_ns; /* monotonic, as peers are stamped */
	size_t left;
};

static const char *print_address(const uint8_t bytes[16], char text[CIDR_TEXT_MAX])
{
	struct addr a;

	memcpy(a.bytes, bytes, sizeof(a.bytes));
	return addr_print(&a, text);
}

static int tell_flow(struct flow_walk *walk, const struct api_flow *flow)
{
	if (!walk->left)
		return 0;
	walk->left--;
	return walk->fn(walk->context, flow);
}

static int tell_socket(void *context, const struct pst_socket *socket)
{
	struct flow_walk *walk = context;
	char local[CIDR_TEXT_MAX], remote[CIDR_TEXT_MAX];
	bool is_relayed = socket->meant_port;
	const uint8_t *to = is_relayed ? socket->meant : socket->remote;
	const struct api_flow flow = {.protocol = words_protocol(PST_TCP),
				      .local = print_address(socket->local, local),
				      .remote = print_address(to, remote),
				      .local_port = socket->local_port,
				      .remote_port =
					      is_relayed ? socket->meant_port : socket->remote_port,
				      .direction = "",
				      .name = learned_name(walk->learned, to),
				      .is_relayed = is_relayed};

	return tell_flow(walk, &flow);
}

static int tell_netns(void *context, int netns_fd, struct error *err)
{
	struct flow_walk *walk = context;

	return kern_attachment_sockets(walk->sandbox->at, false, netns_fd, tell_socket, walk, err);
}

static uint64_t idle_ns(uint64_t now_ns, uint64_t last_ns)
{
	return now_ns > last_ns ? now_ns - last_ns : 0;
}

bool state_peer_is_live(const struct pst_peer *peer, uint64_t now_ns)
{
	uint64_t limit = peer->replied ? PST_UDP_IDLE_REPLIED_NS : PST_UDP_IDLE_NS;

	return idle_ns(now_ns, peer->last_ns) <= limit;
}

static int tell_peer(void *context, const struct pst_peer_key *key, const struct pst_peer *peer)
{
	struct flow_walk *walk = context;
	char remote[CIDR_TEXT_MAX];
	const struct api_flow flow = {.protocol = words_protocol(key->protocol),
				      .local = "",
				      .remote = print_address(key->addr, remote),
				      .local_port = key->local_port,
				      .remote_port = key->port,
				      .direction = peer->kind == PST_FLOW_IN ? "in" : "out",
				      .name = peer->name ? learned_name(walk->learned, key->addr)
							 : "",
				      .idle_s = idle_ns(walk->now_ns, peer->last_ns) / NS_PER_S};

	return state_peer_is_live(peer, walk->now_ns) ? tell_flow(walk, &flow) : 0;
}

static int tell_sockets(struct flow_walk *walk, const struct daemon *daemon, struct error *err)
{
	int r = state_each_netns(daemon, walk->sandbox, tell_netns, walk, err);

	return r ? r : kern_attachment_peers(walk->sandbox->at, tell_peer, walk);
}

/* ---- flows of the netdev kind ---- */

static uint64_t flow_limit_ns(const struct pst_peer_key *key, const struct pst_tracked *flow)
{
	static const uint64_t tcp[] = {[PST_TRACK_NEW] = PST_TRACK_NEW_NS,
				       [PST_TRACK_OPEN] = PST_TRACK_OPEN_NS,
				       [PST_TRACK_CLOSING] = PST_TRACK_CLOSING_NS,
				       [PST_TRACK_CLOSED] = PST_TRACK_CLOSED_NS};

	if (key->protocol != PST_TCP)
		return flow->state == PST_TRACK_NEW ? PST_UDP_IDLE_NS : PST_UDP_IDLE_REPLIED_NS;
	return tcp[flow->state > PST_TRACK_CLOSED ? PST_TRACK_CLOSED : flow->state];
}

bool state_flow_is_live(const struct pst_peer_key *key, const struct pst_tracked *flow,
			uint64_t now_ns)
{
	return idle_ns(now_ns, flow->last_ns) <= flow_limit_ns(key, flow);
}

struct counting {
	uint64_t now_ns;
	uint32_t count;
};

static int count_flow(void *context, const struct pst_peer_key *key, const struct pst_tracked *flow)
{
	struct counting *counting = context;

	counting->count += state_flow_is_live(key, flow, counting->now_ns);
	return 0;
}

int state_count_flows(const struct sandbox *sandbox, uint32_t *ret_count)
{
	struct counting counting = {.now_ns = loop_monotonic_ns()};
	int r = sandbox->at ? kern_attachment_tracked(sandbox->at, count_flow, &counting) : 0;

	*ret_count = counting.count;
	return r;
}

/* Of another generation: it was not judged under the policy in force, or denied (what is no TCP is remembered then). */
static bool is_judged(const struct sandbox *sandbox, const struct pst_tracked *flow)
{
	return !flow->generation ||
	       flow->generation == kern_attachment_record(sandbox->at)->generation;
}

static const char *state_name(uint8_t state)
{
	static const char *const names[] = {[PST_TRACK_NEW] = "new",
					    [PST_TRACK_OPEN] = "open",
					    [PST_TRACK_CLOSING] = "closing",
					    [PST_TRACK_CLOSED] = "closed"};

	return state < sizeof(names) / sizeof(names[0]) ? names[state] : "?";
}

/* Under another generation its number is another rule's. */
static const char *label_flow(const struct flow_walk *walk, const struct pst_tracked *flow,
			      char label[EXPLAIN_LABEL_MAX])
{
	label[0] = '\0';
	if (!walk->policy || !flow->rule || flow->rule > walk->policy->n_rules ||
	    !is_judged(walk->sandbox, flow))
		return "";
	(void)policy_rule_label(walk->policy, flow->rule, label, EXPLAIN_LABEL_MAX);
	return label;
}

static int tell_tracked(void *context, const struct pst_peer_key *key,
			const struct pst_tracked *tracked)
{
	struct flow_walk *walk = context;
	char remote[CIDR_TEXT_MAX], label[EXPLAIN_LABEL_MAX], name[DOMAIN_MAX + 1] = "";
	const struct api_flow flow = {
		.protocol = words_protocol(key->protocol),
		.local = "",
		.remote = print_address(key->addr, remote),
		.local_port = key->local_port,
		.remote_port = key->port,
		.direction = tracked->kind == PST_FLOW_IN ? "in" : "out",
		.name = tracked->name ? domain_from_key(&tracked->key, name) : "",
		.rule = label_flow(walk, tracked, label),
		.state =
			is_judged(walk->sandbox, tracked) ? state_name(tracked->state) : "unjudged",
		.is_relayed = tracked->relayed,
		.idle_s = idle_ns(walk->now_ns, tracked->last_ns) / NS_PER_S};

	return state_flow_is_live(key, tracked, walk->now_ns) ? tell_flow(walk, &flow) : 0;
}

enum api_status daemon_flows(struct daemon *daemon, struct sandbox *sandbox, api_flow_fn fn,
			     void *context, struct error *err)
{
	cleanup(learned_done) struct learned learned = {0};
	struct error unknown = {0};
	struct flow_walk walk = {.sandbox = sandbox,
				 .policy = sandbox_policy(sandbox, &unknown),
				 .learned = &learned,
				 .fn = fn,
				 .context = context,
				 .now_ns = loop_monotonic_ns(),
				 .left = MAX_FLOWS};
	int r = learned_read(sandbox, &learned);

	if (!r && sandbox_is_device(sandbox))
		r = kern_attachment_tracked(sandbox->at, tell_tracked, &walk);
	else if (!r)
		r = tell_sockets(&walk, daemon, err);
	if (r < 0 && !err->text[0])
		(void)error_set(err, r, "its connections cannot be read: %s", strerror(-r));
	return r < 0 ? API_FAILED : API_OK;
}
