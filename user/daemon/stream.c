/* SPDX-License-Identifier: MIT */
/*
 * The kernel's events -> live streams and the log. A wake-up reads a bounded part of the ring, so that requests are
 * answered in between; what the kernel could not put into the ring is counted there, and told here. The log gets
 * one line for a sandbox and ten seconds, whatever happens in them.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "daemon/stream.h"
#include "events/record.h"
#include "events/words.h"
#include "table/advice.h"

/* Of one wake-up, whichever comes first. */
#define BATCH_EVENTS 256
#define BATCH_NS     5000000u
/* What is advised looks at every rule of the policy: of a large one, a few events in a wake-up have it. */
#define BATCH_RULES 100000u

#define LOST_EVERY_MS 1000
#define FOLD_MS	      10000
/* Sandboxes with a line of their own in FOLD_MS; the others have one together. */
#define FOLDS 32

/* Ends a walk over the ring that has more to read. */
#define BATCH_ENDED (-EINTR)

struct fold {
	struct pst_event event; /* the first of them */
	char id[API_ID_MAX + 1];
	uint64_t count;
};

struct stream {
	struct daemon *daemon;
	struct kern_ring *ring;
	int lost_fd, fold_fd; /* timers */
	/* Of the wake-up. */
	unsigned left;
	size_t rules_left;
	uint64_t end_ns, wall_minus_boot_ns;
	bool has_readers;
	/* Of the log. */
	struct fold folds[FOLDS];
	size_t n_folds;
	uint64_t unfolded;
	/* Of what was lost. */
	uint64_t denials;
	bool was_busy;
	struct stream_counts counts;
};

/* ---- words ---- */

/* An event under the policy that the sandbox has now: others' rule numbers mean something else. */
struct telling {
	const struct daemon *daemon;
	const struct sandbox *sandbox;
	const struct policy *policy; /* NULL: it was judged by another one */
};

static const char *name_rule(const void *context, uint32_t rule, char *text, size_t size)
{
	const struct telling *telling = context;

	return policy_rule_label(telling->policy, rule, text, size);
}

static void advise_on(const void *context, const struct pst_event *event, const char *name,
		      struct record_advice *ret_advice)
{
	const struct telling *telling = context;
	const struct explain_input in = {
		.policy = telling->policy,
		.env = sandbox_env(telling->daemon, telling->sandbox->stored.dialect),
		.always = &telling->daemon->host.always};
	const struct advice_about about = {
		.event = event, .name = name, .is_question = record_is_question(event)};
	const struct advice advice = {.nearest = ret_advice->nearest,
				      .nearest_size = sizeof(ret_advice->nearest),
				      .fix = ret_advice->fix,
				      .fix_size = sizeof(ret_advice->fix),
				      .note = ret_advice->note,
				      .note_size = sizeof(ret_advice->note)};

	advice_give(&in, &about, &advice);
}

static const struct policy *policy_of(struct sandbox *sandbox, const struct pst_event *event)
{
	const struct pst_sandbox *record = sandbox->at ? kern_attachment_record(sandbox->at) : NULL;
	struct error err = {0};

	if (!record || event->generation < record->change)
		return NULL;
	return sandbox_policy(sandbox, &err);
}

static bool may_advise(struct stream *stream, const struct policy *policy)
{
	size_t cost = policy->n_rules + 1;

	if (!stream->rules_left)
		return false;
	stream->rules_left -= cost < stream->rules_left ? cost : stream->rules_left;
	return true;
}

/* ---- live streams ---- */

static void publish(struct stream *stream, struct sandbox *sandbox, const struct pst_event *event)
{
	struct telling telling = {.daemon = stream->daemon, .sandbox = sandbox};
	struct record_words words = {.context = &telling,
				     .sandbox = sandbox->stored.id,
				     .wall_minus_boot_ns = stream->wall_minus_boot_ns};
	struct api_event told = {.sandbox = sandbox->stored.id,
				 .verdict = words_verdict(event->verdict)};
	cleanup_buf struct buf json = {0};
	char name[DOMAIN_MAX + 1];

	telling.policy = policy_of(sandbox, event);
	if (telling.policy) {
		words.rule = name_rule;
		words.advise = may_advise(stream, telling.policy) ? advise_on : NULL;
	}
	record_json(event, 1, &words, &json);
	if (buf_status(&json) < 0) {
		api_server_lost(stream->daemon->server, sandbox->stored.id, 1);
		return;
	}
	json.data[--json.size] = '\0'; /* record_json() ends a line; who publishes does so, too */
	told.name = record_name(event, name);
	told.json = json.data;
	api_server_publish(stream->daemon->server, &told);
}

/* ---- the log ---- */

static void count_fold(struct stream *stream, const struct sandbox *sandbox,
		       const struct pst_event *event)
{
	const struct loop_period soon = {.first_ms = FOLD_MS};
	struct fold *fold = stream->folds;

	if (!stream->n_folds)
		(void)loop_timer_set(stream->fold_fd, &soon);
	while (fold < stream->folds + stream->n_folds && fold->event.sandbox != event->sandbox)
		fold++;
	if (fold == stream->folds + FOLDS) {
		stream->unfolded++;
		return;
	}
	if (fold == stream->folds + stream->n_folds) {
		stream->n_folds++;
		*fold = (struct fold){.event = *event};
		memcpy(fold->id, sandbox->stored.id, sizeof(fold->id));
	}
	fold->count++;
}

/* comm is whatever the process chose. */
static void print_comm(const struct pst_event *event, char text[17])
{
	size_t n = 0;

	for (; n < sizeof(event->comm) && event->comm[n]; n++) {
		char c = event->comm[n];

		text[n] = (char)(c >= 0x20 && c < 0x7f ? c : '?');
	}
	text[n] = '\0';
}

/* The first of them stands for all; event.count says how many they are. */
static void log_fold(const struct fold *fold)
{
	char count[24], port[8], pid[12], comm[17], name[DOMAIN_MAX + 1], address[CIDR_TEXT_MAX];
	const struct pst_event *event = &fold->event;
	bool has_address = event->hook != PST_HOOK_SOCKET && event->hook != PST_HOOK_UNIX;
	struct addr a;

	memcpy(a.bytes, event->addr, sizeof(a.bytes));
	(void)snprintf(count, sizeof(count), "%" PRIu64, fold->count);
	(void)snprintf(port, sizeof(port), "%u", event->port);
	(void)snprintf(pid, sizeof(pid), "%u", event->pid);
	print_comm(event, comm);
	(void)record_name(event, name);
	log_event(LOG_LEVEL_INFO, event->verdict == PST_VERDICT_DENY ? "denied" : "would be denied",
		  "sandbox.id", fold->id, "event.count", count, "verdict",
		  words_verdict(event->verdict), "reason", words_reason(event->reason),
		  "destination.name", name[0] ? name : NULL, "destination.address",
		  has_address ? addr_print(&a, address) : NULL, "destination.port",
		  has_address && event->port ? port : NULL, "process.pid", event->pid ? pid : NULL,
		  "process.command", comm[0] ? comm : NULL, (char *)NULL);
}

static void log_folds(struct stream *stream)
{
	for (size_t i = 0; i < stream->n_folds; i++)
		log_fold(&stream->folds[i]);
	if (stream->unfolded)
		log_info("%" PRIu64 " denials of further sandboxes", stream->unfolded);
	stream->n_folds = 0;
	stream->unfolded = 0;
}

static int on_fold(void *context, int fd)
{
	(void)fd;
	log_folds(context);
	return 0;
}

/* ---- the ring ---- */

static int on_event(void *context, const struct pst_event *event)
{
	struct stream *stream = context;
	struct sandbox *sandbox = registry_find_kernel(&stream->daemon->registry, event->sandbox);

	stream->counts.events++;
	if (!sandbox) {
		stream->counts.unknown++;
	} else {
		count_fold(stream, sandbox, event);
		if (stream->has_readers)
			publish(stream, sandbox, event);
	}
	return --stream->left && loop_boot_ns() < stream->end_ns ? 0 : BATCH_ENDED;
}

static bool has_readers(const struct daemon *daemon)
{
	struct api_server_counts counts = {0};

	if (!daemon->server)
		return false;
	api_server_counts(daemon->server, &counts);
	return counts.streams > 0;
}

static void begin_batch(struct stream *stream)
{
	uint64_t now_ns = loop_boot_ns();

	stream->left = BATCH_EVENTS;
	stream->rules_left = BATCH_RULES;
	stream->end_ns = now_ns + BATCH_NS;
	stream->wall_minus_boot_ns = loop_wall_ns() - now_ns;
	stream->has_readers = has_readers(stream->daemon);
}

void stream_tell(struct daemon *daemon, const struct pst_event *event)
{
	struct stream *stream = daemon->stream;
	struct sandbox *sandbox = registry_find_kernel(&daemon->registry, event->sandbox);

	if (!stream || !sandbox)
		return;
	stream->counts.events++;
	begin_batch(stream);
	if (event->verdict != PST_VERDICT_ALLOW)
		count_fold(stream, sandbox, event);
	if (stream->has_readers)
		publish(stream, sandbox, event);
}

/* What is left makes the descriptor ready again, behind the requests that wait. */
static int on_ring(void *context, int fd)
{
	struct stream *stream = context;

	(void)fd;
	begin_batch(stream);
	(void)kern_ring_consume(stream->ring);
	return 0;
}

/* ---- what was lost ---- */

/* A smaller number is of a new count: its slot was given anew. */
static uint64_t growth(uint64_t now, uint64_t before)
{
	return now < before ? now : now - before;
}

static void add_growth(struct pst_quota *totals, const struct pst_quota *now,
		       const struct pst_quota *before)
{
	totals->lost += growth(now->lost, before->lost);
	totals->flows_refused += growth(now->flows_refused, before->flows_refused);
	totals->leases_refused += growth(now->leases_refused, before->leases_refused);
	totals->names_displaced += growth(now->names_displaced, before->names_displaced);
	totals->answers_held_back += growth(now->answers_held_back, before->answers_held_back);
	totals->questions_refused += growth(now->questions_refused, before->questions_refused);
	for (unsigned i = 0; i < PST_REPLY_KINDS; i++)
		totals->replies[i] += growth(now->replies[i], before->replies[i]);
}

int stream_take_quota(struct daemon *daemon, struct sandbox *sandbox, struct pst_quota *ret_quota)
{
	struct pst_quota quota;
	uint64_t lost;
	int r = kern_attachment_quota(sandbox->at, &quota);

	if (r < 0)
		return r;
	lost = growth(quota.lost, sandbox->seen.lost);
	/* A removal that the start finishes comes before the stream. */
	if (daemon->stream)
		add_growth(&daemon->stream->counts.totals, &quota, &sandbox->seen);
	sandbox->seen = quota;
	if (lost && daemon->server)
		api_server_lost(daemon->server, sandbox->stored.id, lost);
	*ret_quota = quota;
	return 0;
}

static uint64_t count_denials(const struct daemon *daemon)
{
	uint64_t counts[PST_REASON_MAX] = {0}, sum = 0;

	if (kern_host_counters(daemon->kern, counts) < 0)
		return 0;
	for (size_t i = 0; i < PST_REASON_MAX; i++)
		sum += counts[i];
	return sum;
}

/* Nothing is lost where nothing is denied: an idle host pays for one look. A loss is counted after its denial, so the
 * round behind a busy one looks again. */
static int on_lost(void *context, int fd)
{
	struct stream *stream = context;
	struct daemon *daemon = stream->daemon;
	uint64_t denials = count_denials(daemon);
	bool is_busy = denials != stream->denials;
	struct pst_quota quota;

	(void)fd;
	if (is_busy || stream->was_busy) {
		for (struct sandbox *s = daemon->registry.first; s; s = s->next) {
			if (s->at)
				(void)stream_take_quota(daemon, s, &quota);
		}
	}
	stream->denials = denials;
	stream->was_busy = is_busy;
	return 0;
}

void stream_counts(const struct daemon *daemon, struct stream_counts *ret_counts)
{
	*ret_counts = daemon->stream ? daemon->stream->counts : (struct stream_counts){0};
}

/* ---- start and end ---- */

/* What was lost while no daemon ran is nobody's news. */
static void take_baseline(struct daemon *daemon)
{
	for (struct sandbox *s = daemon->registry.first; s; s = s->next) {
		if (s->at)
			(void)kern_attachment_quota(s->at, &s->seen);
	}
	daemon->stream->denials = count_denials(daemon);
}

static int watch(struct stream *stream)
{
	const struct loop_period lost = {.first_ms = LOST_EVERY_MS, .every_ms = LOST_EVERY_MS};
	const struct loop_period off = {.off = true};
	struct loop *loop = stream->daemon->loop;
	int r = loop_timer(loop, &lost, on_lost, stream, &stream->lost_fd);

	if (!r)
		r = loop_timer(loop, &off, on_fold, stream, &stream->fold_fd);
	return r ? r : loop_watch(loop, kern_ring_fd(stream->ring), on_ring, stream);
}

int daemon_stream_start(struct daemon *daemon, struct error *err)
{
	struct stream *stream = calloc(1, sizeof(*stream));
	int r;

	if (!stream)
		return error_set(err, -ENOMEM, "out of memory");
	stream->daemon = daemon;
	stream->lost_fd = stream->fold_fd = -1;
	daemon->stream = stream;
	take_baseline(daemon);
	r = kern_ring_new(kern_host_event_ring(daemon->kern), on_event, stream, &stream->ring);
	if (!r)
		r = watch(stream);
	if (r < 0) {
		daemon_stream_end(daemon);
		return error_set(err, r, "cannot read events: %s", strerror(-r));
	}
	return 0;
}

void daemon_stream_end(struct daemon *daemon)
{
	struct stream *stream = daemon->stream;

	if (!stream)
		return;
	log_folds(stream);
	loop_timer_end(daemon->loop, stream->lost_fd);
	loop_timer_end(daemon->loop, stream->fold_fd);
	if (stream->ring)
		(void)loop_unwatch(daemon->loop, kern_ring_fd(stream->ring));
	kern_ring_free(stream->ring);
	free(stream);
	daemon->stream = NULL;
}
