/* SPDX-License-Identifier: MIT */
/*
 * GET /metrics. What a scrape costs is bounded: sandboxes with series of their own, rules of each, reads of counters of
 * all. What has no series is still in the totals.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "daemon/relay.h"
#include "daemon/state.h"
#include "daemon/stream.h"
#include "events/metrics.h"

#ifndef POSTERN_VERSION
#define POSTERN_VERSION "0.1.0"
#endif

/* Rules of one sandbox that may have series, and reads of counters in a scrape. */
#define RULES_EACH 64u
#define RULES_ALL  20000u
/* Flows that are counted one by one. */
#define FLOWS_ALL 200000u

#define POOLS 8

struct scrape {
	struct daemon *daemon;
	struct metrics metrics;
	struct metrics_count states[API_DAMAGED + 1];
	struct metrics_count kinds[2]; /* cgroup, netdev */
	struct metrics_count pools[POOLS];
	struct metrics_sandbox *sandboxes;
	struct metrics_rule *rules;
	size_t n_rules; /* of RULES_ALL, allocated once: sandboxes point into it */
	uint32_t reads_left, flows_left;
	size_t max_sandboxes;
};

static void scrape_done(struct scrape *scrape)
{
	free(scrape->sandboxes);
	free(scrape->rules);
}

static uint64_t resident_bytes(void)
{
	FILE *file = fopen("/proc/self/statm", "re");
	unsigned long long resident = 0;

	if (!file)
		return 0;
	if (fscanf(file, "%*s %llu", &resident) != 1)
		resident = 0;
	(void)fclose(file);
	return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	uint64_t count = 0;

	if (!dir)
		return 0;
	while (readdir(dir))
		count++;
	(void)closedir(dir);
	return count > 3 ? count - 3 : 0; /* without ".", ".." and the one that reads */
}

static uint64_t cpu_us(void)
{
	struct rusage usage;

	if (getrusage(RUSAGE_SELF, &usage) < 0)
		return 0;
	return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000u +
	       (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

static void read_server(const struct daemon *daemon, struct metrics *m)
{
	struct api_server_counts counts = {0};

	if (daemon->server)
		api_server_counts(daemon->server, &counts);
	memcpy(m->requests, counts.requests, sizeof(m->requests));
	m->connections_refused = counts.refused;
	m->connections = counts.connections;
	m->streams = counts.streams;
	m->stream_lost = counts.lost;
}

static void read_daemon(const struct daemon *daemon, struct metrics *m)
{
	m->version = POSTERN_VERSION;
	m->is_ready = daemon->ready;
	m->started_ms = daemon->started_ms;
	m->changes = daemon->counts.changes;
	m->refused = daemon->counts.refused;
	m->failed = daemon->counts.failed;
	m->change_ns_sum = daemon->counts.change_ns_sum;
	m->ended = daemon->counts.ended;
	m->resident_bytes = resident_bytes();
	m->open_fds = count_fds();
	m->cpu_us = cpu_us();
	read_server(daemon, m);
}

static void read_pools(struct scrape *scrape)
{
	struct kern_usage usage[POOLS];
	size_t count = kern_host_usage(scrape->daemon->kern, usage, POOLS);

	for (size_t i = 0; i < count; i++)
		scrape->pools[i] = (struct metrics_count){usage[i].name, usage[i].used};
	scrape->metrics.pools = scrape->pools;
	scrape->metrics.n_pools = count;
}

/* Those that were used: of the first rules, as many as the scrape has reads left for. */
static void read_rules(struct scrape *scrape, const struct sandbox *sandbox,
		       struct metrics_sandbox *row)
{
	struct pst_rule_hits hits[RULES_EACH];
	uint32_t rules = kern_attachment_record(sandbox->at)->rules;
	uint32_t count = rules < RULES_EACH ? rules : RULES_EACH;

	if (count > scrape->reads_left)
		count = scrape->reads_left;
	scrape->reads_left -= count;
	if (count && kern_attachment_hits(sandbox->at, hits, count) < 0)
		count = 0;
	scrape->metrics.rules_unlabelled += rules - count;
	row->rules = scrape->rules + scrape->n_rules;
	for (uint32_t i = 0; i < count; i++) {
		if (!hits[i].connections && !hits[i].packets)
			continue;
		scrape->rules[scrape->n_rules++] = (struct metrics_rule){i, hits[i]};
		row->n_rules++;
	}
}

/* Tables that are large in all are not all walked: what is left out is not in the total. */
static uint32_t read_flows(struct scrape *scrape, const struct sandbox *sandbox)
{
	uint32_t flows = 0;

	if (sandbox->stored.flows > scrape->flows_left)
		return 0;
	(void)state_count_flows(sandbox, &flows);
	scrape->flows_left -= flows;
	scrape->metrics.flows += flows;
	return flows;
}

static void read_sandbox(struct scrape *scrape, struct sandbox *sandbox)
{
	struct metrics *m = &scrape->metrics;
	struct metrics_sandbox *row = NULL;
	struct pst_quota quota = {0};
	uint32_t flows = 0;

	scrape->states[sandbox_state(sandbox)].value++;
	scrape->kinds[sandbox_is_device(sandbox)].value++;
	/* All of them: the totals are to be those of now. */
	if (sandbox->at && stream_take_quota(scrape->daemon, sandbox, &quota) < 0)
		quota = (struct pst_quota){0};
	if (sandbox_is_device(sandbox))
		flows = read_flows(scrape, sandbox);
	if (m->n_sandboxes == scrape->max_sandboxes) {
		m->sandboxes_unlabelled++;
		if (sandbox->at)
			m->rules_unlabelled += kern_attachment_record(sandbox->at)->rules;
		return;
	}
	row = &scrape->sandboxes[m->n_sandboxes++];
	*row = (struct metrics_sandbox){
		.id = sandbox->stored.id, .changed_ms = sandbox->stored.changed_ms, .quota = quota};
	row->has_flows = sandbox_is_device(sandbox);
	row->flows = flows;
	if (sandbox->at)
		read_rules(scrape, sandbox, row);
}

static int scrape_init(struct scrape *scrape, struct daemon *daemon)
{
	const size_t n_states = sizeof(scrape->states) / sizeof(scrape->states[0]);

	scrape->daemon = daemon;
	scrape->max_sandboxes = daemon->config.max_labelled;
	scrape->sandboxes = calloc(scrape->max_sandboxes + 1, sizeof(*scrape->sandboxes));
	scrape->rules = calloc(RULES_ALL, sizeof(*scrape->rules));
	scrape->reads_left = RULES_ALL;
	scrape->flows_left = FLOWS_ALL;
	for (size_t i = 0; i < n_states; i++)
		scrape->states[i].label = api_state_names[i];
	scrape->kinds[0].label = "cgroup";
	scrape->kinds[1].label = "netdev";
	scrape->metrics.kinds = scrape->kinds;
	scrape->metrics.n_kinds = 2;
	scrape->metrics.states = scrape->states;
	scrape->metrics.n_states = n_states;
	scrape->metrics.sandboxes = scrape->sandboxes;
	return scrape->sandboxes && scrape->rules ? 0 : -ENOMEM;
}

int daemon_metrics(struct daemon *daemon, struct buf *text)
{
	cleanup(scrape_done) struct scrape scrape = {0};
	struct metrics *m = &scrape.metrics;
	struct stream_counts counts;
	int r = scrape_init(&scrape, daemon);

	if (r < 0)
		return r;
	read_daemon(daemon, m);
	read_pools(&scrape);
	for (struct sandbox *s = daemon->registry.first; s; s = s->next)
		read_sandbox(&scrape, s);
	r = kern_host_counters(daemon->kern, m->denials);
	if (r < 0)
		return r;
	daemon_relay_add_denials(daemon, m->denials);
	stream_counts(daemon, &counts);
	m->events = counts.events;
	m->events_unknown = counts.unknown;
	m->totals = counts.totals;
	metrics_print(m, text);
	return buf_status(text);
}
