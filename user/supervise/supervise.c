/* SPDX-License-Identifier: MIT */
/* Sandboxes and the relays that serve them: what the caller sees. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "supervise/blob.h"
#include "supervise/parts.h"

/* What a relay needs beside both ends of its connections: questions that are under way, and for each sandbox of its
 * owner, of which there may be all of this host, its sockets, policy and origins. */
#define FILES_EACH  6U
#define ALL_PLACES  16384U
#define FILES_SPARE (8192U + FILES_EACH * ALL_PLACES)

bool supervise_is_needed(const struct policy *policy)
{
	return policy->proxy || policy->n_transforms ||
	       (policy->host_check == POLICY_HOST_CHECK_STRICT && policy->default_deny &&
		policy->has_names);
}

bool supervise_is_asked(const struct policy *policy)
{
	return policy->default_deny && policy->has_names && policy->dns_gate &&
	       !supervise_is_needed(policy);
}

struct kern_tally supervise_tally(const struct pst_relay_count *count)
{
	return (struct kern_tally){.rule = count->rule,
				   .connections = count->connections,
				   .bytes = count->bytes_out + count->bytes_in};
}

int supervise_probe(const struct supervise_options *options, struct error *err)
{
	struct program program = PROGRAM_NONE;
	int r = program_find(options->user, &program, err);

	program_done(&program);
	return r;
}

/* How many sandboxes a relay takes: one too many would end it, and then again with each start. Where there are fewer
 * descriptors than it wants, a quarter is theirs: the rest is for connections, and the starter's own. */
static size_t places(uint64_t files)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_max >= files)
		return ALL_PLACES;
	return limit.rlim_max / 4 / FILES_EACH + 1;
}

int supervise_new(const struct supervise_options *options, struct supervise **ret_supervise,
		  struct error *err)
{
	const struct loop_period off = {.off = true};
	struct supervise *supervise = calloc(1, sizeof(*supervise));
	uint32_t total = options->limits.total ? options->limits.total : PST_RELAY_TOTAL;
	int r;

	if (!supervise)
		return error_set(err, -ENOMEM, "out of memory");
	supervise->options = *options;
	supervise->options.user = supervise->options.ca_bundle = supervise->options.ca_dir = NULL;
	supervise->program = (struct program)PROGRAM_NONE;
	supervise->trust_fd = supervise->tell_fd = supervise->serve_fd = -1;
	supervise->signer.dir_fd = supervise->signer.keeper.again_fd = -1;
	supervise->signer.keeper.supervise = supervise;
	supervise->signer.keeper.process = (struct process)PROCESS_NONE;
	r = supervise_probe(options, err);
	if (!r)
		r = program_find(options->user, &supervise->program, err);
	supervise->program.files = 2ULL * total + FILES_SPARE;
	supervise->places = places(supervise->program.files);
	if (!r)
		r = trust_new(options->ca_bundle, &supervise->trust_fd, err);
	if (!r)
		r = signer_init(supervise, options->ca_dir, err);
	if (!r && (loop_timer(options->loop, &off, supervise_on_tell, supervise,
			      &supervise->tell_fd) < 0 ||
		   loop_timer(options->loop, &off, supervise_on_serve, supervise,
			      &supervise->serve_fd) < 0))
		r = error_set(err, -ENOMEM, "out of memory");
	if (r < 0) {
		supervise_free(supervise);
		return r;
	}
	*ret_supervise = supervise;
	return 0;
}

/* ---- sandboxes ---- */

static void placed_free(struct placed *placed)
{
	kern_relay_close(&placed->sockets);
	cleanup_close_(&placed->netns_fd);
	cleanup_close_(&placed->policy_fd);
	free(placed->transforms);
	free(placed->lifted.items);
	free(placed->resolvers.items);
	free(placed);
}

static void placed_freep(struct placed **placed)
{
	if (*placed)
		placed_free(*placed);
}

static struct placed *find(const struct supervise *supervise, uint64_t id)
{
	for (struct relay *relay = supervise->relays; relay; relay = relay->next) {
		struct placed *placed = relay_find(relay, id);

		if (placed)
			return placed;
	}
	return NULL;
}

static void *copy_of(const void *items, size_t count, size_t size)
{
	void *copy = calloc(count ? count : 1, size);

	if (copy && count)
		memcpy(copy, items, count * size);
	return copy;
}

static int copy_resolvers(struct placed *placed, const struct supervise_sandbox *sandbox)
{
	const struct addr_list *own = &sandbox->policy->resolvers;
	size_t more = sandbox->env ? sandbox->env->resolvers.count : 0;
	struct addr *items = calloc(own->count + more + 1, sizeof(*items));

	if (!items)
		return -ENOMEM;
	if (own->count)
		memcpy(items, own->items, own->count * sizeof(*items));
	if (more)
		memcpy(items + own->count, sandbox->env->resolvers.items, more * sizeof(*items));
	placed->resolvers = (struct addr_list){items, own->count + more};
	return 0;
}

static int copy_policy(struct placed *placed, const struct supervise_sandbox *sandbox)
{
	const struct policy *policy = sandbox->policy;

	placed->n_rules = (uint32_t)policy->n_rules;
	placed->transforms = calloc(policy->n_transforms + 1, sizeof(*placed->transforms));
	placed->lifted.items = copy_of(policy->allow_private.items, policy->allow_private.count,
				       sizeof(struct cidr));
	if (!placed->transforms || !placed->lifted.items || copy_resolvers(placed, sandbox) < 0)
		return -ENOMEM;
	placed->lifted.count = policy->allow_private.count;
	for (size_t i = 0; i < policy->n_transforms; i++)
		placed->transforms[placed->n_transforms++] = policy->transforms[i].domain;
	placed->reaches_host =
		confine_reaches_host(&placed->lifted, sandbox->always, sandbox->n_always);
	return 0;
}

/* What it will be; not in any relay yet. */
static int make(const struct supervise_sandbox *sandbox, struct placed **ret_placed,
		struct error *err)
{
	const struct blob_input input = {.generation = sandbox->generation,
					 .policy = sandbox->policy,
					 .env = sandbox->env,
					 .always = sandbox->always,
					 .n_always = sandbox->n_always};
	cleanup(placed_freep) struct placed *placed = calloc(1, sizeof(*placed));
	int r = placed ? 0 : -ENOMEM;

	if (r < 0)
		return error_set(err, r, "out of memory");
	placed->id = sandbox->id;
	placed->generation = sandbox->generation;
	placed->is_device = sandbox->is_device;
	placed->netns_fd = placed->policy_fd = -1;
	placed->sockets = (struct kern_relay_sockets)KERN_RELAY_NO_SOCKETS;
	if (sandbox->netns_fd >= 0) {
		placed->netns_fd = fcntl(sandbox->netns_fd, F_DUPFD_CLOEXEC, 3);
		r = placed->netns_fd < 0 ? -errno : 0;
	}
	if (!r)
		r = blob_new(&input, &placed->policy_fd);
	if (!r)
		r = copy_policy(placed, sandbox);
	if (r < 0)
		return error_set(err, r, "cannot write the relay's policy: %s", strerror(-r));
	*ret_placed = TAKE_PTR(placed);
	return 0;
}

#define SWAP(a, b)                                                                                 \
	do {                                                                                       \
		__typeof__(a) swap_ = (a);                                                         \
		(a) = (b);                                                                         \
		(b) = swap_;                                                                       \
	} while (0)

/* What of it a policy brought; the rest is the sandbox's. */
static void swap_policy(struct placed *a, struct placed *b)
{
	SWAP(a->generation, b->generation);
	SWAP(a->policy_fd, b->policy_fd);
	SWAP(a->n_rules, b->n_rules);
	SWAP(a->transforms, b->transforms);
	SWAP(a->n_transforms, b->n_transforms);
	SWAP(a->lifted, b->lifted);
	SWAP(a->resolvers, b->resolvers);
	SWAP(a->reaches_host, b->reaches_host);
}

static void unlink_placed(struct placed *placed)
{
	struct placed **at = &placed->relay->placed;

	while (*at != placed)
		at = &(*at)->next;
	*at = placed->next;
}

/* Everything that can fail. 1: its sockets are new. */
static int serve(struct placed *placed, struct error *err)
{
	struct relay *relay = placed->relay;
	int r = placed->n_transforms ? signer_ensure(relay->keeper.supervise, err) : 0;

	if (!r)
		r = relay_confine(relay, err);
	if (!r)
		r = relay_ensure(relay, err);
	return r ? r : relay_hand_over(placed, err);
}

static bool is_full(const struct relay *relay)
{
	size_t count = 0;

	for (const struct placed *p = relay->placed; p; p = p->next)
		count++;
	return count >= relay->keeper.supervise->places;
}

static int add_new(struct supervise *supervise, const char *owner, struct placed *placed,
		   struct error *err)
{
	struct relay *relay;
	bool is_first;
	int r = relay_get(supervise, owner, &relay, err);

	if (!r && is_full(relay))
		r = error_set(
			err, -EMFILE,
			"the relay has descriptors for no more than %zu sandboxes: LimitNOFILE",
			supervise->places);
	if (r < 0) {
		placed_free(placed);
		return r;
	}
	is_first = !relay->placed;
	placed->relay = relay;
	placed->next = relay->placed;
	relay->placed = placed;
	r = serve(placed, err);
	if (r < 0) {
		unlink_placed(placed);
		placed_free(placed);
		if (is_first)
			relay_end(relay);
	}
	return r;
}

/* The policy before, where it stands still. */
static void put_back(struct placed *placed)
{
	struct error err = {0};

	(void)relay_confine(placed->relay, &err);
	if (placed->has_sockets && process_is_there(&placed->relay->keeper.process))
		(void)relay_hand_over(placed, &err);
}

static void take_sockets(struct placed *placed, struct kern_relay_sockets *sockets)
{
	placed->sockets = *sockets;
	*sockets = (struct kern_relay_sockets)KERN_RELAY_NO_SOCKETS;
	placed->tcp_only = placed->is_given = true;
}

int supervise_add(struct supervise *supervise, const struct supervise_sandbox *sandbox,
		  struct kern_relay_sockets *ret_sockets, struct error *err)
{
	struct placed *placed = NULL, *known = find(supervise, sandbox->id);
	int r = make(sandbox, &placed, err);

	if (r < 0) {
		if (sandbox->sockets)
			kern_relay_close(sandbox->sockets);
		return r;
	}
	if (sandbox->sockets)
		take_sockets(placed, sandbox->sockets);
	if (!known) {
		r = add_new(supervise, sandbox->owner, placed, err);
		known = placed;
	} else {
		swap_policy(known, placed);
		r = serve(known, err);
		if (r < 0) {
			swap_policy(known, placed);
			put_back(known);
		}
		placed_free(placed);
	}
	if (r < 0)
		return r;
	known->told = known->epoch;
	*ret_sockets = known->sockets;
	return r;
}

/* The old one stays where there is no room for another. */
static int close_anew(struct placed *placed, const struct table_always_row *always, size_t n_always)
{
	int fd = -1, r = blob_close_anew(placed->policy_fd, always, n_always, &fd);

	if (r < 0)
		return r;
	close(placed->policy_fd);
	placed->policy_fd = fd;
	placed->reaches_host = confine_reaches_host(&placed->lifted, always, n_always);
	return 0;
}

/* One that is not there, or goes meanwhile, gets them when it is started. */
static int tell_all(struct relay *relay, struct error *err)
{
	struct error none = {0};

	for (struct placed *p = relay->placed; p; p = p->next) {
		if (p->has_sockets && process_is_there(&relay->keeper.process))
			(void)relay_hand_over(p, &none);
	}
	return relay_confine(relay, err);
}

int supervise_set_always(struct supervise *supervise, const struct table_always_row *always,
			 size_t n_always, struct error *err)
{
	int r, first = 0;

	for (struct relay *relay = supervise->relays; relay; relay = relay->next) {
		for (struct placed *p = relay->placed; p; p = p->next) {
			r = close_anew(p, always, n_always);
			if (r < 0 && !first)
				first = error_set(err, r, "cannot write the relay's policy: %s",
						  strerror(-r));
		}
		r = tell_all(relay, err);
		first = first ? first : r;
	}
	return first;
}

int supervise_sockets(const struct supervise *supervise, uint64_t id,
		      struct kern_relay_sockets *ret_sockets)
{
	const struct placed *placed = find(supervise, id);

	if (!placed || !placed->has_sockets)
		return -ENOENT;
	*ret_sockets = placed->sockets;
	return 0;
}

int supervise_origins(struct supervise *supervise, uint64_t id, int fd)
{
	struct placed *placed = find(supervise, id);
	int r = placed ? relay_send_origins(placed, fd) : -ENOENT;

	close(fd);
	/* They are to end with the relay, whatever state we are in then. */
	if (!r)
		kern_relay_close(&placed->sockets);
	return r;
}

int supervise_settle(struct supervise *supervise, uint64_t id, unsigned timeout_ms)
{
	uint64_t until_ns = loop_boot_ns() + timeout_ms * 1000000ULL;
	struct placed *placed = find(supervise, id);
	int closed;

	while (placed && placed->applied < placed->sent) {
		if (keeper_wait(&placed->relay->keeper, until_ns))
			(void)relay_hear(placed->relay);
		else
			relay_died(placed->relay, "did not apply a policy in time");
		placed = find(supervise, id);
	}
	if (!placed)
		return -ENOENT;
	closed = placed->closed > INT32_MAX ? INT32_MAX : (int)placed->closed;
	placed->closed = 0;
	return placed->has_sockets ? closed : -EPIPE;
}

void supervise_remove(struct supervise *supervise, uint64_t id)
{
	struct placed *placed = find(supervise, id);
	struct pst_relay_header drop = {
		.type = PST_RELAY_DROP, .size = sizeof(drop), .sandbox = id};
	const struct packet packet = {.bytes = &drop, .size = sizeof(drop)};
	struct relay *relay;
	struct error err = {0};

	if (!placed)
		return;
	relay = placed->relay;
	/* The last one: it is told by the end, and may count until then. */
	if (!relay->placed->next) {
		relay_leave(relay);
		unlink_placed(placed);
		relay_end(relay);
	} else {
		unlink_placed(placed);
		if (process_is_there(&relay->keeper.process))
			(void)relay_send(relay, &packet);
		(void)relay_confine(relay, &err);
	}
	placed_free(placed);
}

bool supervise_has(const struct supervise *supervise, uint64_t id)
{
	return find(supervise, id);
}

bool supervise_is_tcp_only(const struct supervise *supervise, uint64_t id)
{
	const struct placed *placed = find(supervise, id);

	return placed && placed->tcp_only;
}

bool supervise_is_up(const struct supervise *supervise, uint64_t id)
{
	const struct placed *placed = find(supervise, id);

	return placed && placed->has_sockets && placed->relay->keeper.ready;
}

/* ---- the whole ---- */

const char *supervise_ca(struct supervise *supervise)
{
	struct error err = {0};

	if (!supervise->signer.ca)
		(void)signer_ensure(supervise, &err);
	return supervise->signer.ca;
}

int supervise_trust(const struct supervise *supervise)
{
	return supervise->trust_fd;
}

void supervise_free(struct supervise *supervise)
{
	if (!supervise)
		return;
	while (supervise->relays) {
		struct placed *placed = supervise->relays->placed;

		if (placed)
			supervise_remove(supervise, placed->id);
		else
			relay_end(supervise->relays);
	}
	signer_done(supervise);
	loop_timer_end(supervise->options.loop, supervise->tell_fd);
	loop_timer_end(supervise->options.loop, supervise->serve_fd);
	cleanup_close_(&supervise->trust_fd);
	program_done(&supervise->program);
	free(supervise);
}
