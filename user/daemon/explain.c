/* SPDX-License-Identifier: MIT */
/* GET /v1/explain: a destination -> what a sandbox's policy, its leases and this host say to it. */
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "daemon/learned.h"
#include "daemon/relay.h"
#include "events/explained.h"
#include "table/explain_answer.h"

#define NS_PER_S 1000000000u

/* The age of the answer that was the last to expire: what an event would tell. */
static void fill_age(const struct explain_input *in, const struct learned *learned,
		     const struct policy_dest *dest, struct explained *explained)
{
	const struct explain_lease *lease = explain_find_lease(in, &dest->cidr.addr, false);
	const struct kern_lease *rows;
	size_t count = 0;

	if (!lease)
		lease = explain_find_lease(in, &dest->cidr.addr, true);
	if (!lease)
		return;
	rows = learned_find(learned, lease->addr.bytes, &count);
	for (size_t i = 0; i < count; i++) {
		uint64_t age_s = rows[i].age_ns / NS_PER_S;

		if (explained->has_age && age_s >= explained->age_s)
			continue;
		explained->has_age = true;
		explained->age_s = age_s;
	}
}

static void put_answer(const struct explain_input *in, const struct learned *learned,
		       const struct policy_dest *dest, const struct explain_answer *answer,
		       struct buf *json)
{
	const struct pst_decision *d = &answer->report.decision;
	struct explained explained = {
		.verdict = d->verdict,
		.step = d->step,
		.reason = d->reason,
		.rule = answer->rule,
		.name = answer->report.name,
		.address = answer->address,
		.port = answer->port,
		.protocol = answer->protocol,
		.nearest = answer->nearest,
		.fix = answer->report.fix,
	};

	if (d->reason == PST_REASON_LEASE_EXPIRED)
		fill_age(in, learned, dest, &explained);
	explained_json(&explained, json);
}

enum api_status daemon_explain(struct daemon *daemon, struct sandbox *sandbox, const char *to,
			       struct buf *json, struct error *err)
{
	cleanup(learned_done) struct learned learned = {0};
	const struct policy *policy;
	struct explain_answer answer;
	struct explain_input in;
	struct policy_dest dest;
	int r;

	if (policy_dest_parse(to, true, &dest, err) < 0)
		return API_INVALID;
	policy = sandbox_policy(sandbox, err);
	if (!policy)
		return API_CONFLICT;
	r = learned_read(sandbox, &learned);
	if (r < 0) {
		(void)error_set(err, r, "its leases cannot be read: %s", strerror(-r));
		return API_FAILED;
	}
	in = learned_input(daemon, sandbox->stored.dialect, policy, &learned);
	in.device = sandbox_is_device(sandbox);
	in.dns_relay = daemon_relay_has_dns(sandbox);
	in.relay_down = daemon_relay_advice(daemon, sandbox);
	if (explain_answer(&in, &dest, &answer, err) < 0)
		return API_INVALID;
	put_answer(&in, &learned, &dest, &answer, json);
	if (buf_status(json) == 0)
		return API_OK;
	(void)error_set(err, -ENOMEM, "out of memory");
	return API_FAILED;
}
