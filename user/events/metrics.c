/* SPDX-License-Identifier: MIT */
/* Counts of a daemon -> Prometheus' text format 0.0.4: each family once, HELP and TYPE before its samples. */
#include <inttypes.h>

#include "events/metrics.h"
#include "events/words.h"

#define NS_PER_S 1000000000u
#define MS_PER_S 1000u
#define US_PER_S 1000000u

static void family(struct buf *out, const char *name, const char *type, const char *help)
{
	buf_printf(out, "# HELP postern_%s %s\n# TYPE postern_%s %s\n", name, help, name, type);
}

static void sample(struct buf *out, const char *name, uint64_t value)
{
	buf_printf(out, "postern_%s %" PRIu64 "\n", name, value);
}

/* Values of labels are words of ours and ids: nothing in them needs an escape. */
static void labelled(struct buf *out, const char *name, const char *label, const char *text,
		     uint64_t value)
{
	buf_printf(out, "postern_%s{%s=\"%s\"} %" PRIu64 "\n", name, label, text, value);
}

static void seconds(struct buf *out, const char *name, uint64_t value, uint32_t per_s)
{
	buf_printf(out, "postern_%s %" PRIu64 ".%06" PRIu64 "\n", name, value / per_s,
		   value % per_s * 1000000u / per_s);
}

static void counter(struct buf *out, const char *name, const char *help, uint64_t value)
{
	family(out, name, "counter", help);
	sample(out, name, value);
}

static void gauge(struct buf *out, const char *name, const char *help, uint64_t value)
{
	family(out, name, "gauge", help);
	sample(out, name, value);
}

static void print_process(const struct metrics *m, struct buf *out)
{
	family(out, "build_info", "gauge", "What runs; always 1.");
	buf_printf(out, "postern_build_info{version=\"%s\",abi=\"%d\"} 1\n", m->version,
		   PST_ABI_VERSION);
	gauge(out, "ready", "Whether the daemon has taken over all sandboxes.", m->is_ready);
	family(out, "start_time_seconds", "gauge", "When the daemon started, since 1970.");
	seconds(out, "start_time_seconds", m->started_ms, MS_PER_S);
	family(out, "process_cpu_seconds_total", "counter", "CPU time of the daemon.");
	seconds(out, "process_cpu_seconds_total", m->cpu_us, US_PER_S);
	gauge(out, "process_resident_memory_bytes", "Resident memory of the daemon.",
	      m->resident_bytes);
	gauge(out, "process_open_fds", "Open descriptors of the daemon.", m->open_fds);
}

static void print_changes(const struct metrics *m, struct buf *out)
{
	family(out, "sandboxes", "gauge", "Sandboxes by state.");
	for (size_t i = 0; i < m->n_states; i++)
		labelled(out, "sandboxes", "state", m->states[i].label, m->states[i].value);
	family(out, "sandboxes_by_kind", "gauge", "Sandboxes by what they are attached to.");
	for (size_t i = 0; i < m->n_kinds; i++)
		labelled(out, "sandboxes_by_kind", "kind", m->kinds[i].label, m->kinds[i].value);
	family(out, "slots", "gauge", "Slots of the kernel's maps in use, by what they are for.");
	for (size_t i = 0; i < m->n_pools; i++)
		labelled(out, "slots", "pool", m->pools[i].label, m->pools[i].value);
	family(out, "policy_changes_total", "counter", "Changes of policies by their result.");
	labelled(out, "policy_changes_total", "result", "applied", m->changes);
	labelled(out, "policy_changes_total", "result", "refused", m->refused);
	labelled(out, "policy_changes_total", "result", "failed", m->failed);
	family(out, "policy_change_duration_seconds", "summary",
	       "From a compiled policy to its enforcement.");
	seconds(out, "policy_change_duration_seconds_sum", m->change_ns_sum, NS_PER_S);
	sample(out, "policy_change_duration_seconds_count", m->changes);
	counter(out, "connections_ended_total", "TCP connections that changes ended.", m->ended);
}

/* Codes of a newer kernel side than this daemon have no word: they are one. */
static void print_denials(const struct metrics *m, struct buf *out)
{
	uint64_t unknown = 0;

	family(out, "denials_total", "counter",
	       "Packets and calls that were denied (audit: would have been), by reason.");
	for (unsigned i = 0; i < PST_REASON_MAX; i++) {
		if (PST_REASON_ALLOWS(i))
			continue;
		if (*words_reason(i) == '?')
			unknown += m->denials[i];
		else
			labelled(out, "denials_total", "reason", words_reason(i), m->denials[i]);
	}
	labelled(out, "denials_total", "reason", "unknown", unknown);
}

struct refusal {
	const char *quota;
	uint64_t count;
};

#define REFUSALS 4

static void refusals_of(const struct pst_quota *quota, struct refusal refusals[REFUSALS])
{
	refusals[0] = (struct refusal){"flows", quota->flows_refused};
	refusals[1] = (struct refusal){"leases", quota->leases_refused};
	refusals[2] = (struct refusal){"names", quota->names_displaced};
	refusals[3] = (struct refusal){"questions", quota->questions_refused};
}

static void print_totals(const struct metrics *m, struct buf *out)
{
	struct refusal refusals[REFUSALS];

	counter(out, "events_total", "Denials that the kernel reported one by one.", m->events);
	counter(out, "events_unknown_total", "Those of sandboxes that had been removed.",
		m->events_unknown);
	counter(out, "events_lost_total", "Denials that were counted, but not reported one by one.",
		m->totals.lost);
	family(out, "quota_refusals_total", "counter",
	       "What found a sandbox's table full, of all sandboxes since the start.");
	refusals_of(&m->totals, refusals);
	for (size_t i = 0; i < REFUSALS; i++)
		labelled(out, "quota_refusals_total", "quota", refusals[i].quota,
			 refusals[i].count);
	gauge(out, "tracked_flows", "Flows of sandboxes behind devices that have state.", m->flows);
	counter(out, "answers_held_back_total",
		"Denied packets of sandboxes behind devices that got no answer: too many at once.",
		m->totals.answers_held_back);
	family(out, "dns_replies_total", "counter",
	       "Replies of DNS servers to sandboxes, by what became of them.");
	for (unsigned i = 0; i < PST_REPLY_KINDS; i++)
		labelled(out, "dns_replies_total", "result", words_reply(i), m->totals.replies[i]);
}

static void print_server(const struct metrics *m, struct buf *out)
{
	static const char *const classes[METRICS_STATUS_CLASSES] = {"0xx", "1xx", "2xx",
								    "3xx", "4xx", "5xx"};

	family(out, "http_requests_total", "counter", "Requests by the class of their status.");
	for (size_t i = 1; i < METRICS_STATUS_CLASSES; i++)
		labelled(out, "http_requests_total", "status", classes[i], m->requests[i]);
	counter(out, "http_connections_refused_total",
		"Connections over the limit, slow or broken requests.", m->connections_refused);
	gauge(out, "http_connections", "Open connections of clients.", m->connections);
	gauge(out, "event_streams", "Live streams of events.", m->streams);
	counter(out, "stream_events_lost_total", "Events that streams did not read in time.",
		m->stream_lost);
}

static void print_sandboxes(const struct metrics *m, struct buf *out)
{
	gauge(out, "sandboxes_unlabelled", "Sandboxes without series of their own.",
	      m->sandboxes_unlabelled);
	family(out, "sandbox_policy_changed_timestamp_seconds", "gauge",
	       "When the sandbox's policy was changed last, since 1970.");
	for (size_t i = 0; i < m->n_sandboxes; i++) {
		const struct metrics_sandbox *s = &m->sandboxes[i];

		buf_printf(
			out,
			"postern_sandbox_policy_changed_timestamp_seconds{sandbox=\"%s\"} %" PRIu64
			".%03" PRIu64 "\n",
			s->id, s->changed_ms / MS_PER_S, s->changed_ms % MS_PER_S);
	}
	family(out, "sandbox_events_lost_total", "counter",
	       "Denials of the sandbox that were not reported one by one.");
	for (size_t i = 0; i < m->n_sandboxes; i++)
		labelled(out, "sandbox_events_lost_total", "sandbox", m->sandboxes[i].id,
			 m->sandboxes[i].quota.lost);
	family(out, "sandbox_quota_refusals_total", "counter",
	       "What found the sandbox's table full.");
	for (size_t i = 0; i < m->n_sandboxes; i++) {
		const struct metrics_sandbox *s = &m->sandboxes[i];
		struct refusal refusals[REFUSALS];

		refusals_of(&s->quota, refusals);
		for (size_t j = 0; j < REFUSALS; j++)
			buf_printf(
				out,
				"postern_sandbox_quota_refusals_total{sandbox=\"%s\",quota=\"%s\"} %" PRIu64
				"\n",
				s->id, refusals[j].quota, refusals[j].count);
	}
}

static void print_devices(const struct metrics *m, struct buf *out)
{
	family(out, "sandbox_tracked_flows", "gauge",
	       "Flows that have state, of a sandbox behind a device.");
	for (size_t i = 0; i < m->n_sandboxes; i++) {
		if (m->sandboxes[i].has_flows)
			labelled(out, "sandbox_tracked_flows", "sandbox", m->sandboxes[i].id,
				 m->sandboxes[i].flows);
	}
	family(out, "sandbox_answers_held_back_total", "counter",
	       "Denied packets that got no answer, of a sandbox behind a device.");
	for (size_t i = 0; i < m->n_sandboxes; i++) {
		if (m->sandboxes[i].has_flows)
			labelled(out, "sandbox_answers_held_back_total", "sandbox",
				 m->sandboxes[i].id, m->sandboxes[i].quota.answers_held_back);
	}
}

struct rule_family {
	const char *name, *help;
	size_t offset; /* of a __u64 in struct pst_rule_hits */
};

static void print_rules(const struct metrics *m, const struct rule_family *of, struct buf *out)
{
	family(out, of->name, "counter", of->help);
	for (size_t i = 0; i < m->n_sandboxes; i++) {
		const struct metrics_sandbox *s = &m->sandboxes[i];

		for (size_t j = 0; j < s->n_rules; j++) {
			const char *hits = (const char *)&s->rules[j].hits;

			buf_printf(out, "postern_%s{sandbox=\"%s\",rule=\"%u\"} %" PRIu64 "\n",
				   of->name, s->id, s->rules[j].number,
				   (uint64_t) * (const __u64 *)(const void *)(hits + of->offset));
		}
	}
}

void metrics_print(const struct metrics *metrics, struct buf *out)
{
	static const struct rule_family families[] = {
		{"sandbox_rule_connections_total",
		 "Connections that the rule settled; rule 0 is the default.",
		 offsetof(struct pst_rule_hits, connections)},
		{"sandbox_rule_packets_total", "Packets that the rule settled.",
		 offsetof(struct pst_rule_hits, packets)},
		{"sandbox_rule_bytes_total", "Bytes that the rule settled.",
		 offsetof(struct pst_rule_hits, bytes)},
	};

	print_process(metrics, out);
	print_changes(metrics, out);
	print_denials(metrics, out);
	print_totals(metrics, out);
	print_server(metrics, out);
	print_sandboxes(metrics, out);
	print_devices(metrics, out);
	gauge(out, "sandbox_rules_unlabelled", "Rules without series of their own.",
	      metrics->rules_unlabelled);
	for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++)
		print_rules(metrics, &families[i], out);
}
