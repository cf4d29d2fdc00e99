/* SPDX-License-Identifier: MIT */
/* What a relay says -> what its starter does. Checked before; here, against what it may speak of. */
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "supervise/parts.h"

/* Of one wake-up: others wait, too. */
#define AT_ONCE 64

/* Of one sandbox: each is work for the starter's one thread. A certificate is made once a name, and kept by the relay;
 * an answer of the DNS is a lease each. */
static const struct rate_limit signs = {.per_s = 50, .at_once = 100};
static const struct rate_limit leases = {.per_s = 2000, .at_once = 1024};

/* Whoever can end a listener can end the next one, too; and reading a policy that cannot be taken has its price. */
#define AFTER_SHUT_NS	 4000000000ULL
#define AFTER_REFUSAL_NS 60000000000ULL

/* ---- requests ---- */

static void answer(struct relay *relay, const struct pst_relay_header *asked,
		   const struct pst_relay_answer *what)
{
	struct pst_relay_answer message = *what;
	const struct packet packet = {.bytes = &message, .size = sizeof(message)};

	message.header.size = sizeof(message);
	message.header.sandbox = asked->sandbox;
	message.header.seq = asked->seq;
	(void)relay_send(relay, &packet);
}

/* One refusal stands for those of its second. */
static void tell_refusal(const struct relay *relay, const struct placed *placed, const char *name,
			 enum pst_reason reason)
{
	const struct supervise_options *options = &relay->keeper.supervise->options;
	struct pst_relay_event event = {.port = reason == PST_REASON_DNS_BUSY ? 53 : 443,
					.protocol = PST_TCP,
					.verdict = PST_VERDICT_DENY,
					.step = PST_STEP_RELAY,
					.reason = (__u8)reason};

	memcpy(event.name, name, sizeof(event.name));
	if (options->event)
		options->event(options->context, placed->id, &event);
}

static bool may_ask(struct rate *rate, const struct rate_limit *limit, bool *ret_tell)
{
	uint64_t now_ns = loop_monotonic_ns();
	bool may = rate_take(rate, limit, now_ns);

	*ret_tell = !may && rate_may_tell(rate, now_ns);
	return may;
}

/* Which names and addresses may be leases is judged in the kernel. */
static void hear_lease(struct relay *relay, struct placed *placed,
		       const struct pst_relay_lease *lease)
{
	const struct supervise_options *options = &relay->keeper.supervise->options;
	struct pst_relay_answer reply = {.header.type = PST_RELAY_LEASED, .status = -ENOENT};
	bool tell = false;
	int learned;

	if (placed && !may_ask(&placed->leases, &leases, &tell)) {
		reply.status = -EBUSY;
		if (tell)
			tell_refusal(relay, placed, lease->name, PST_REASON_DNS_BUSY);
	} else if (placed && options->lease) {
		learned = options->lease(options->context, placed->id, lease);
		reply.status = learned < 0 ? learned : 0;
		reply.count = learned < 0 ? 0 : (uint32_t)learned;
	}
	answer(relay, &lease->header, &reply);
}

static bool is_transformed(const struct placed *placed, const char *name)
{
	for (size_t i = 0; i < placed->n_transforms; i++) {
		if (domain_matches(&placed->transforms[i], name))
			return true;
	}
	return false;
}

static void hear_sign(struct relay *relay, struct placed *placed, const struct pst_relay_sign *sign)
{
	struct pst_relay_answer refusal = {.header.type = PST_RELAY_SIGNED, .status = -EACCES};
	bool tell = false;

	if (!placed)
		refusal.status = -ENOENT;
	else if (!may_ask(&placed->signs, &signs, &tell))
		refusal.status = -EBUSY;
	else if (is_transformed(placed, sign->name))
		refusal.status = signer_ask(relay, sign);
	if (tell)
		tell_refusal(relay, placed, sign->name, PST_REASON_RELAY_BUSY);
	if (refusal.status < 0)
		answer(relay, &sign->header, &refusal);
}

/* ---- news ---- */

static void hear_ready(struct relay *relay)
{
	const struct loop_period off = {.off = true};

	if (relay->keeper.ready) {
		relay_died(relay, "was ready twice");
		return;
	}
	relay->keeper.ready = true;
	(void)loop_timer_set(relay->keeper.again_fd, &off);
	for (struct placed *p = relay->placed; p; p = p->next)
		p->epoch += p->has_sockets;
	supervise_tell_soon(relay->keeper.supervise);
	supervise_serve_soon(relay->keeper.supervise);
}

static void hear_applied(struct relay *relay, struct placed *placed,
			 const struct pst_relay_answer *applied)
{
	/* Of one that was removed since. */
	if (!placed)
		return;
	if (applied->header.seq > placed->sent || applied->header.seq <= placed->applied) {
		relay_died(relay, "has applied what it was not told");
		return;
	}
	placed->applied = applied->header.seq;
	placed->closed += applied->count;
	/* What came before its listeners was of others. */
	if (applied->status < 0 && applied->header.seq >= placed->since)
		relay_let_go(placed, "does not take its policy", AFTER_REFUSAL_NS);
}

static void hear_shut(struct placed *placed)
{
	if (placed)
		relay_let_go(placed, "lost a listener, which was ended from outside",
			     AFTER_SHUT_NS);
}

/* Numbers of the policy before may be on their way still. */
static uint32_t known_rule(const struct placed *placed, uint32_t rule)
{
	return rule <= placed->n_rules ? rule : 0;
}

static void hear_event(const struct relay *relay, const struct placed *placed,
		       struct pst_relay_event *event)
{
	const struct supervise_options *options = &relay->keeper.supervise->options;

	if (!placed || !options->event)
		return;
	event->rule = known_rule(placed, event->rule);
	options->event(options->context, placed->id, event);
}

static void hear_count(const struct relay *relay, const struct placed *placed,
		       struct pst_relay_count *count)
{
	const struct supervise_options *options = &relay->keeper.supervise->options;

	if (!placed || !options->count)
		return;
	count->rule = known_rule(placed, count->rule);
	options->count(options->context, placed->id, count);
}

static void dispatch(struct relay *relay, union message *message)
{
	struct placed *placed = relay_find(relay, message->header.sandbox);

	switch (message->header.type) {
	case PST_RELAY_READY:
		hear_ready(relay);
		break;
	case PST_RELAY_APPLIED:
		hear_applied(relay, placed, &message->answer);
		break;
	case PST_RELAY_LEASE:
		hear_lease(relay, placed, &message->lease);
		break;
	case PST_RELAY_SIGN:
		hear_sign(relay, placed, &message->sign);
		break;
	case PST_RELAY_EVENT:
		hear_event(relay, placed, &message->event);
		break;
	case PST_RELAY_COUNT:
		hear_count(relay, placed, &message->count);
		break;
	case PST_RELAY_SHUT:
		hear_shut(placed);
		break;
	}
}

int relay_hear(struct relay *relay)
{
	union message message;
	int size = process_receive(&relay->keeper.process, &message);

	if (size == -EAGAIN)
		return 0;
	if (size <= 0) {
		if (!relay->is_ending)
			relay_died(relay, size ? strerror(-size) : "has ended");
		return 0;
	}
	if (message_check(&message, (size_t)size, false) < 0) {
		relay_died(relay, "said what no relay says");
		return 0;
	}
	dispatch(relay, &message);
	return process_is_there(&relay->keeper.process);
}

int relay_heard(void *context, int fd)
{
	struct relay *relay = context;

	(void)fd;
	for (int i = 0; i < AT_ONCE && relay_hear(relay); i++)
		;
	return 0;
}
