/* SPDX-License-Identifier: MIT */
/* What the model says of a frame against what the program did: code, bytes, counters, tables. */
#include <stdio.h>
#include <string.h>

#include "events/words.h"
#include "tests/agree/frames/answers.h"
#include "tests/agree/frames/compare.h"

#define TC_NEXT	    (-1)
#define TC_DROP	    2
#define TC_REDIRECT 7

#define MAX_SHOWN 4

/* The first difference, as text; "": none. */
struct difference {
	char text[256];
};

#define differ(difference, ...)                                                                    \
	((difference)->text[0]                                                                     \
		 ? (void)0                                                                         \
		 : (void)snprintf((difference)->text, sizeof((difference)->text), __VA_ARGS__))

static int code_of(enum act act)
{
	switch (act) {
	case ACT_PASS:
	case ACT_BOTH_RST:
	case ACT_RESET:
		return TC_NEXT;
	case ACT_RST:
	case ACT_UNREACHABLE:
	case ACT_NXDOMAIN:
		return TC_REDIRECT;
	case ACT_DROP:
	case ACT_COUNT:
		break;
	}
	return TC_DROP;
}

/* Marks that say something to our programs or rules do not come out of a device. */
static uint32_t mark_behind(const struct frame *in)
{
	bool ours = in->mark == PST_ANSWER_MARK || (!in->to_device && in->mark == PST_RELAY_MARK);

	return ours ? 0 : in->mark;
}

/* Passed on as it was; of ARP nothing behind the message. */
static const char *check_passed(const struct frame *in, const struct frame *out)
{
	bool arp = frame_word(in, 12) == 0x0806 && !in->to_device;
	size_t size = arp && in->size > 42 ? 42 : in->size;

	if (out->size != size || memcmp(in->bytes, out->bytes, size) != 0)
		return "was changed";
	return out->mark == mark_behind(in) ? NULL : "has another mark";
}

static const char *check_answer(const struct run *run)
{
	const struct frame *in = &run->frame, *out = &run->outcome.out;

	switch (run->verdict.act) {
	case ACT_PASS:
		return check_passed(in, out);
	case ACT_RST:
		return answer_check_rst(in, out);
	case ACT_UNREACHABLE:
		return answer_check_unreachable(in, out);
	case ACT_NXDOMAIN:
		return answer_check_nxdomain(in, out);
	case ACT_RESET:
		return answer_check_reset(in, out);
	case ACT_BOTH_RST:
		if (run->outcome.n_sent != 1)
			return "was not sent to both";
		return answer_check_rst(in, &run->outcome.sent)
			       ? answer_check_rst(in, &run->outcome.sent)
			       : answer_check_peer_rst(in, out);
	case ACT_DROP:
	case ACT_COUNT:
		break;
	}
	return NULL;
}

static void compare_outcome(const struct run *run, struct difference *d)
{
	const struct outcome *out = &run->outcome;
	enum act act = run->verdict.act;
	const char *wrong;

	if (out->code != code_of(act)) {
		differ(d, "code %d, expected %d", out->code, code_of(act));
		return;
	}
	wrong = check_answer(run);
	if (wrong)
		differ(d, "the frame %s", wrong);
	if (out->code == TC_REDIRECT && out->out.mark != PST_ANSWER_MARK)
		differ(d, "the answer's mark is %#x", out->out.mark);
	if (act == ACT_BOTH_RST && out->out.mark != mark_behind(&run->frame))
		differ(d, "the peer's RST has the mark %#x", out->out.mark);
	if (act != ACT_BOTH_RST && out->n_sent)
		differ(d, "another frame was sent");
}

static void compare_quota(struct run *run, struct difference *d)
{
	const struct pst_quota *before = &run->quota;
	const struct verdict *v = &run->verdict;
	struct pst_quota now;

	if (leg_quota(run->leg, &now))
		differ(d, "no quota");
	if ((now.answers_next_ns != before->answers_next_ns) != v->token)
		differ(d, "answers: %s token was taken", v->token ? "no" : "a");
	if (now.answers_held_back - before->answers_held_back != v->held_back)
		differ(d, "answers held back: %llu", (unsigned long long)now.answers_held_back);
	if ((now.neighbours_next_ns != before->neighbours_next_ns) != v->neighbour)
		differ(d, "neighbours: %s token was taken", v->neighbour ? "no" : "a");
	if (now.flows_refused - before->flows_refused != v->refused_flow)
		differ(d, "flows refused: %llu", (unsigned long long)now.flows_refused);
	if ((now.swept_ns != before->swept_ns) != v->swept)
		differ(d, "the flow table was%s swept", v->swept ? " not" : "");
	if ((now.unsure_ns != before->unsure_ns) != v->forgot)
		differ(d, "who may answer still was%s forgotten", v->forgot ? " not" : "");
	for (enum pst_reply reply = 0; reply < PST_REPLY_KINDS; reply++)
		if (now.replies[reply] - before->replies[reply] !=
		    (v->has_reply && v->reply == reply))
			differ(d, "replies of kind %u: %llu", (unsigned)reply,
			       (unsigned long long)now.replies[reply]);
	if (now.questions_refused - before->questions_refused != v->busy)
		differ(d, "questions refused: %llu", (unsigned long long)now.questions_refused);
}

static void compare_counter(struct run *run, struct difference *d)
{
	uint32_t reason = run->verdict.reason;
	uint64_t now;

	if (!reason)
		return;
	run->counters[reason]++;
	now = leg_counter(run->leg, reason);
	if (now != run->counters[reason])
		differ(d, "%s is counted %lld times, expected %llu", words_reason((uint8_t)reason),
		       (long long)now, (unsigned long long)run->counters[reason]);
}

static void compare_entry(struct run *run, const struct flow *flow, const struct pst_tracked *entry,
			  struct difference *d)
{
	char name[DOMAIN_MAX + 1];
	bool touched = flow->last_ns == run->scene.world.now_ns;

	if (entry->kind != flow->kind || entry->state != flow->state || entry->fins != flow->fins)
		differ(d, "the flow has kind %u state %u fins %u, expected %u, %u, %u", entry->kind,
		       entry->state, entry->fins, flow->kind, flow->state, flow->fins);
	if (entry->generation != flow->generation)
		differ(d, "the flow has generation %llu, expected %llu",
		       (unsigned long long)entry->generation, (unsigned long long)flow->generation);
	if (!entry->name != !flow->name ||
	    (flow->name && strcmp(domain_from_key(&entry->key, name), flow->name) != 0))
		differ(d, "the flow has the name '%s', expected '%s'",
		       entry->name ? domain_from_key(&entry->key, name) : "",
		       flow->name ? flow->name : "");
	if (touched ? entry->last_ns < run->outcome.before_ns ||
			      entry->last_ns > run->outcome.after_ns
		    : entry->last_ns != flow->last_ns)
		differ(d, "the flow was%s touched", touched ? " not" : "");
}

static void compare_flow(struct run *run, struct difference *d)
{
	const struct pst_peer_key *key = &run->verdict.key;
	struct flow *flow = flow_find(&run->scene.world, key);
	struct pst_tracked entry;
	bool has = leg_flow(run->leg, key, &entry);

	if (has != (flow != NULL))
		differ(d, "the flow is%s in the table", has ? "" : " not");
	if (!has || !flow)
		return;
	compare_entry(run, flow, &entry, d);
	flow->last_ns = entry.last_ns;
}

static void compare_hits(struct run *run, uint32_t rule, struct difference *d)
{
	const struct hits *expected = &run->scene.world.hits[rule];
	struct hits now;

	if (!leg_hits(run->leg, rule, &now) || memcmp(&now, expected, sizeof(now)) != 0)
		differ(d,
		       "rule %u has %llu connections, %llu packets, %llu bytes, expected %llu, %llu, %llu",
		       rule, (unsigned long long)now.connections, (unsigned long long)now.packets,
		       (unsigned long long)now.bytes, (unsigned long long)expected->connections,
		       (unsigned long long)expected->packets, (unsigned long long)expected->bytes);
}

static void compare_names(struct run *run, struct difference *d)
{
	const struct verdict *v = &run->verdict;
	char text[CIDR_TEXT_MAX];
	struct pst_lease lease;

	if (v->asked && !leg_has_question(run->leg, v->asked))
		differ(d, "the question is not recorded");
	for (size_t i = 0; i < v->n_learned; i++)
		if (!leg_lease(run->leg, &v->learned[i], &lease))
			differ(d, "%s was not learned", addr_print(&v->learned[i], text));
}

static void show(const struct run *run, const struct difference *d)
{
	const struct verdict *v = &run->verdict;

	printf("difference, -s %llu -n 1: %s\n", (unsigned long long)run->seed, d->text);
	scene_print(&run->scene, &run->frame);
	printf("  model: %s, counts %s, because of %s\n", act_word(v->act),
	       v->reason ? words_reason(v->reason) : "nothing",
	       v->why ? words_reason(v->why) : "nothing that the policy says");
	printf("  kernel: code %d, %zu bytes, mark %#x, %u sent", run->outcome.code,
	       run->outcome.out.size, run->outcome.out.mark, run->outcome.n_sent);
	for (uint32_t reason = 0; reason < PST_REASON_MAX; reason++)
		if (leg_counter(run->leg, reason) !=
		    run->counters[reason] - (reason && reason == v->reason))
			printf(", counts %s", words_reason((uint8_t)reason));
	printf("\n");
}

static void count(struct run *run, const struct difference *d)
{
	const struct verdict *v = &run->verdict;

	run->acts[run->frame.to_device][v->act]++;
	run->reasons[v->why % PST_REASON_MAX]++;
	run->kept += v->is_kept;
	run->learned += v->n_learned > 0;
	run->named += v->is_new && v->why == PST_REASON_LEASE;
	if (!d->text[0]) {
		run->passed++;
		return;
	}
	if (run->failed++ < MAX_SHOWN)
		show(run, d);
}

static struct pst_peer_key *find_ended(struct run *run, const struct pst_peer_key *key)
{
	for (size_t i = 0; i < run->n_ended; i++)
		if (memcmp(&run->ended[i], key, sizeof(*key)) == 0)
			return &run->ended[i];
	return NULL;
}

void compare_forget_ended(struct run *run, const struct pst_peer_key *key)
{
	struct pst_peer_key *ended = find_ended(run, key);

	if (ended)
		*ended = run->ended[--run->n_ended];
}

/* What holds whatever the model thinks: only time, or a policy that allows it, brings a denied flow back. */
static void check_ended(struct run *run, struct difference *d)
{
	const struct verdict *v = &run->verdict;
	bool passed = v->act == ACT_PASS;

	if (v->swept)
		run->n_ended = 0;
	if (!v->has_key || v->key.protocol == PST_TCP)
		return;
	if (find_ended(run, &v->key) && passed && v->why == PST_REASON_INBOUND)
		differ(d, "a denied flow goes on as its peer's");
	if (passed && v->why != PST_REASON_INBOUND)
		compare_forget_ended(run, &v->key);
	else if (!passed && v->ends_own && !find_ended(run, &v->key) && run->n_ended < MAX_ENDED)
		run->ended[run->n_ended++] = v->key;
}

int compare_frame(struct run *run)
{
	struct difference d = {.text = ""};

	if (run->scene.world.uncertain) {
		run->uncertain++;
		return COMPARE_UNCERTAIN;
	}
	compare_outcome(run, &d);
	compare_quota(run, &d);
	compare_counter(run, &d);
	if (run->verdict.has_key)
		compare_flow(run, &d);
	compare_names(run, &d);
	check_ended(run, &d);
	if (run->verdict.counts_rule)
		compare_hits(run, run->verdict.rule, &d);
	count(run, &d);
	return 0;
}

void compare_begin(struct run *run)
{
	for (uint32_t reason = 0; reason < PST_REASON_MAX; reason++)
		run->counters[reason] = leg_counter(run->leg, reason);
}

void compare_all(struct run *run)
{
	struct difference d = {.text = ""};
	size_t n = leg_count_flows(run->leg);

	for (uint32_t reason = 0; reason < PST_REASON_MAX; reason++) {
		uint64_t now = leg_counter(run->leg, reason);

		if (now != run->counters[reason])
			differ(&d, "%s is counted %lld times more than expected",
			       words_reason((uint8_t)reason),
			       (long long)(now - run->counters[reason]));
		run->counters[reason] = now;
	}
	if (n != run->scene.world.n_flows)
		differ(&d, "%zu flows in the table, expected %zu", n, run->scene.world.n_flows);
	if (d.text[0])
		count(run, &d);
}
