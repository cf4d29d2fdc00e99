/* SPDX-License-Identifier: MIT */
/*
 * A session's verdict: what its origin and the name that it gave come to under its sandbox's policy, now and after each
 * change of it; and what is told of that.
 */
#include <stdio.h>
#include <string.h>

#include "relay/core.h"

/* ---- the verdict ---- */

bool session_is_web(const struct session *session)
{
	return session->origin.port == SESSION_HTTP || session->origin.port == SESSION_HTTPS;
}

/* An audit lets pass what a rule or the default denies: the kernel has reported that. */
static bool is_audited(const struct pst_origin *origin)
{
	return origin->reason == PST_REASON_DEFAULT_DENY ||
	       origin->reason == PST_REASON_DENY_RULE || origin->reason == PST_REASON_LEASE_EXPIRED;
}

static bool is_allowed_by_address(const struct pst_origin *origin)
{
	return origin->step == PST_STEP_CIDR_ALLOW || origin->step == PST_STEP_DEFAULT ||
	       is_audited(origin);
}

static bool is_leased(const struct pst_origin *origin)
{
	return origin->step == PST_STEP_NAME && origin->reason == PST_REASON_LEASE;
}

const char *session_leased_name(const struct session *session, char name[DOMAIN_MAX + 1])
{
	name[0] = '\0';
	if (is_leased(&session->origin))
		domain_from_key(&session->origin.name, name);
	return name;
}

/* The name that the origin's address was learned for; "" when it has none. */
static const char *origin_name(const struct session *session, char name[DOMAIN_MAX + 1])
{
	domain_from_key(&session->origin.name, name);
	return name;
}

static enum pst_reason judge_name(const struct session *session, const char *name,
				  uint32_t *ret_rule)
{
	const struct relay_name *found;

	if (!name[0])
		return PST_REASON_NO_NAME;
	found = relay_policy_name(session->sandbox->policy, name, PST_TCP, session->origin.port);
	if (!found)
		return PST_REASON_HOST_CHECK;
	*ret_rule = found->rule;
	return PST_REASON_UNSET;
}

/*
 * What the kernel allowed by address or lease is allowed, as it goes on judging that itself; but a policy that came
 * later may want the name of what an earlier one let pass without.
 */
bool session_passes_by_address(const struct session *session)
{
	const struct relay_policy *policy = session->sandbox->policy;
	bool is_strict = policy->flags & PST_RELAY_STRICT && session_is_web(session);

	return is_allowed_by_address(&session->origin) &&
	       !(is_strict && session->origin.generation < policy->generation);
}

enum pst_reason session_judge(const struct session *session, const char *name, uint32_t *ret_rule)
{
	const struct pst_origin *origin = &session->origin;
	const struct relay_policy *policy = session->sandbox->policy;
	bool is_strict = policy->flags & PST_RELAY_STRICT && session_is_web(session);
	bool is_old = origin->generation < policy->generation;
	char leased[DOMAIN_MAX + 1];

	if (session_passes_by_address(session)) {
		*ret_rule = origin->rule;
		return PST_REASON_UNSET;
	}
	if (is_leased(origin) && !is_strict) {
		if (is_old)
			return judge_name(session, origin_name(session, leased), ret_rule);
		*ret_rule = origin->rule;
		return PST_REASON_UNSET;
	}
	return judge_name(session, name, ret_rule);
}

/* The checks of rules and names, and nothing that was not understood or failed. */
static bool is_softened(enum pst_reason reason)
{
	return reason == PST_REASON_NO_NAME || reason == PST_REASON_HOST_CHECK ||
	       reason == PST_REASON_ECH || reason == PST_REASON_NOT_TLS ||
	       reason == PST_REASON_NOT_HTTP;
}

void session_report(struct session *session, uint8_t verdict, enum pst_reason reason)
{
	const struct pst_origin *origin = &session->origin;
	struct pst_relay_event event = {
		.header = {.sandbox = session->sandbox->id},
		.port = origin->port,
		.protocol = PST_TCP,
		.verdict = verdict,
		.reason = (__u8)reason,
		.step = origin->step,
		.rule = session->rule,
	};
	char leased[DOMAIN_MAX + 1];

	if (verdict == PST_VERDICT_ALLOW && reason == origin->reason && is_audited(origin))
		return;
	if (verdict == PST_VERDICT_DENY && session->sandbox->policy->flags & PST_RELAY_AUDIT &&
	    is_softened(reason))
		event.verdict = PST_VERDICT_WOULD_DENY;
	memcpy(event.addr, origin->addr, sizeof(event.addr));
	snprintf(event.name, sizeof(event.name), "%s",
		 session->name[0] ? session->name : origin_name(session, leased));
	control_event(session->sandbox->relay, &event);
}

bool session_deny(struct session *session, enum pst_reason reason)
{
	bool audited = session->sandbox->policy->flags & PST_RELAY_AUDIT && is_softened(reason);

	session_report(session, PST_VERDICT_DENY, reason);
	session->verdict = audited ? PST_VERDICT_WOULD_DENY : PST_VERDICT_DENY;
	return !audited;
}

/* ---- a change of the policy ---- */

static bool same_proxy(const struct relay_policy *a, const struct relay_policy *b)
{
	if (!a->proxy || !b->proxy)
		return a->proxy == b->proxy;
	return a->proxy->port == b->proxy->port && strcmp(a->proxy->host, b->proxy->host) == 0 &&
	       strcmp(a->proxy->username, b->proxy->username) == 0 &&
	       strcmp(a->proxy->password, b->proxy->password) == 0;
}

static bool same_transform(const struct relay_transform *a, const struct relay_transform *b)
{
	if (!a || !b)
		return a == b;
	if (a->n_headers != b->n_headers)
		return false;
	for (size_t i = 0; i < a->n_headers; i++) {
		if (strcmp(a->headers[i].name, b->headers[i].name) != 0 ||
		    strcmp(a->headers[i].value, b->headers[i].value) != 0)
			return false;
	}
	return true;
}

static bool same_transforms(const struct relay_policy *a, const struct relay_policy *b)
{
	if (a->n_transforms != b->n_transforms)
		return false;
	for (size_t i = 0; i < a->n_transforms; i++) {
		const struct relay_transform *one = &a->transforms[i], *two = &b->transforms[i];

		if (one->domain.kind != two->domain.kind ||
		    strcmp(one->domain.name, two->domain.name) != 0 || !same_transform(one, two))
			return false;
	}
	return true;
}

/* Would it be treated as it is now? What speaks HTTP may ask for any name next. */
static bool is_treated_alike(const struct session *session, const struct relay_policy *next)
{
	const struct relay_policy *now = session->policy;

	if (!same_proxy(now, next))
		return false;
	if (session->http)
		return same_transforms(now, next);
	return !session_is_web(session) || !session->name[0] ||
	       same_transform(relay_policy_transform(now, session->name),
			      relay_policy_transform(next, session->name));
}

/*
 * It went where the sandbox said, and now that is for a name to say: the one that it gave is not of that place. Or it
 * went to the name that it gave, which is no longer allowed, whatever the lease was of.
 */
static bool is_stray(const struct session *session, const struct relay_policy *next)
{
	bool is_strict = next->flags & PST_RELAY_STRICT && session_is_web(session);

	if (next->flags & PST_RELAY_AUDIT || session_passes_by_address(session))
		return false;
	if (session->to_address)
		return is_strict || !is_leased(&session->origin);
	return session->name[0] &&
	       !relay_policy_name(next, session->name, PST_TCP, session->origin.port);
}

/* Always denied since, or no longer lifted: the address that the relay has found for a name, which the kernel does not
 * know. */
static bool reaches_closed(const struct session *session, const struct relay_policy *next)
{
	if (session->pump)
		return pump_reaches_closed(session->pump, next);
	return session->http && http_reaches_closed(session->http, next);
}

/* False: it ended. What is not decided yet will be, by the policy of then. */
static bool judge_again(struct session *session)
{
	struct relay_policy *next = session->sandbox->policy;
	enum pst_reason reason = PST_REASON_UNSET;
	bool alike = next->flags & PST_RELAY_KEEP ||
		     (is_treated_alike(session, next) && !is_stray(session, next));
	bool named = session->http && session->name[0];
	bool decided = session->verdict != PST_VERDICT_DENY || session->http;

	if (!(next->flags & PST_RELAY_KEEP) && (session->verdict != PST_VERDICT_DENY || named))
		reason = session_judge(session, session->name, &session->rule);
	if (reaches_closed(session, next)) {
		session_report(session, PST_VERDICT_DENY, PST_REASON_ALWAYS_DENIED);
		session_end(session, true);
		return false;
	}
	if (reason != PST_REASON_UNSET && session_deny(session, reason)) {
		session_end(session, true);
		return false;
	}
	if (decided && !alike) {
		session_end(session, true);
		return false;
	}
	relay_policy_unref(session->policy);
	session->policy = relay_policy_ref(next);
	return true;
}

unsigned session_judge_all(struct relay_sandbox *sandbox)
{
	struct session *session = sandbox->sessions, *next;
	unsigned ended = 0;

	for (; session; session = next) {
		next = session->next;
		ended += !judge_again(session);
	}
	return ended;
}
