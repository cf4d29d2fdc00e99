/* SPDX-License-Identifier: MIT */
/*
 * A connection from accept() to its end: what it asks for (its origin; on ports 80 and 443 the name in its first bytes
 * where the policy wants it), whether that is allowed, where it is dialled, who moves its bytes. Nothing is dialled
 * before the verdict.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "relay/core.h"

#define HTTP_PORT   80
#define HTTPS_PORT  443
#define HEAD_BEGIN  2048 /* bytes of room: more than most ClientHellos take */
#define RECORD_HEAD 5
#define HANDSHAKE   22

static bool is_web(const struct session *session)
{
	return session->origin.port == HTTP_PORT || session->origin.port == HTTPS_PORT;
}

/* ---- the verdict ---- */

static bool is_allowed_by_address(const struct pst_origin *origin)
{
	return origin->step == PST_STEP_CIDR_ALLOW || origin->step == PST_STEP_DEFAULT;
}

static bool is_leased(const struct pst_origin *origin)
{
	return origin->step == PST_STEP_NAME && origin->reason == PST_REASON_LEASE;
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
	bool is_strict = policy->flags & PST_RELAY_STRICT && is_web(session);

	return is_allowed_by_address(&session->origin) &&
	       !(is_strict && session->origin.generation < policy->generation);
}

enum pst_reason session_judge(const struct session *session, const char *name, uint32_t *ret_rule)
{
	const struct pst_origin *origin = &session->origin;
	const struct relay_policy *policy = session->sandbox->policy;
	bool is_strict = policy->flags & PST_RELAY_STRICT && is_web(session);
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

/* ---- life ---- */

static void stop_reading(struct session *session)
{
	if (session->reading)
		event_free(session->reading);
	if (session->timer)
		event_free(session->timer);
	session->reading = session->timer = NULL;
}

static void unlink_session(struct session *session)
{
	struct relay_sandbox *sandbox = session->sandbox;

	if (session->previous)
		session->previous->next = session->next;
	else
		sandbox->sessions = session->next;
	if (session->next)
		session->next->previous = session->previous;
	sandbox->n_sessions--;
	sandbox->relay->sessions--;
}

void session_end(struct session *session, bool reset)
{
	tally_session(session);
	session->reset = reset;
	stop_reading(session);
	relay_dial_cancel(session->dial);
	pump_end(session->pump);
	if (session->http)
		http_end(session->http);
	if (session->dns)
		dns_stream_end(session->dns);
	unlink_session(session);
	if (reset)
		reset_socket(session->fd);
	else
		close(session->fd);
	relay_policy_unref(session->policy);
	free(session->head);
	free(session);
}

/* Refused before anything was dialled, in the words of what it speaks where that is known. */
static void refuse(struct session *session, enum pst_reason reason)
{
	stop_reading(session);
	if (session->origin.port == HTTP_PORT)
		http_refuse(session, reason, session->name);
	else if (session->origin.port == HTTPS_PORT)
		tls_refuse(session, reason);
	else
		session_end(session, true);
}

static void fail(struct session *session, enum pst_reason reason)
{
	session_report(session, PST_VERDICT_DENY, reason);
	session_end(session, true);
}

/* ---- to the destination ---- */

static void on_dialled(void *context, int fd, enum pst_reason reason)
{
	struct session *session = context;

	session->dial = NULL;
	if (fd < 0)
		fail(session, reason);
	else if (pump_start(session, fd) < 0)
		fail(session, PST_REASON_RELAY_FAILED);
}

/* What was allowed by a name is dialled by it, whatever address the sandbox had in mind. */
static void make_target(const struct session *session, bool by_name,
			struct relay_target *ret_target)
{
	const struct pst_origin *origin = &session->origin;
	char leased[DOMAIN_MAX + 1];
	const char *name = "";

	memset(ret_target, 0, sizeof(*ret_target));
	if (by_name)
		name = is_leased(origin) && !session->name[0] ? origin_name(session, leased)
							      : session->name;
	if (relay_policy_name(session->sandbox->policy, name, PST_TCP, origin->port))
		memcpy(ret_target->name, name, strlen(name) + 1);
	memcpy(ret_target->addr.bytes, origin->addr, sizeof(ret_target->addr.bytes));
	ret_target->port = origin->port;
}

/* The sandbox's bytes wait in its socket until there is somewhere to write them to. */
static void dial(struct session *session, bool by_name)
{
	struct relay_target target;

	stop_reading(session);
	make_target(session, by_name, &target);
	session->to_address = !target.name[0];
	session->dial = relay_dial(session->sandbox, &target, on_dialled, session);
	if (!session->dial)
		fail(session, PST_REASON_RELAY_FAILED);
}

static bool is_transformed(const struct session *session)
{
	return session->name[0] && relay_policy_transform(session->sandbox->policy, session->name);
}

/* The first bytes have told what there is to know: `reason` what they were not, where they were not understood. */
static void decide(struct session *session, enum pst_reason reason)
{
	const struct pst_origin *origin = &session->origin;
	enum pst_reason judged = session_judge(session, session->name, &session->rule);
	bool by_name = judged == PST_REASON_UNSET && !session_passes_by_address(session);

	if (judged != PST_REASON_UNSET) {
		if (reason == PST_REASON_UNSET)
			reason = judged;
		if (session_deny(session, reason)) {
			refuse(session, reason);
			return;
		}
	} else {
		session->verdict = PST_VERDICT_ALLOW;
		session_report(session, PST_VERDICT_ALLOW, origin->reason);
	}
	if (origin->port == HTTPS_PORT && is_transformed(session)) {
		stop_reading(session);
		if (http_start(session, true) < 0)
			fail(session, PST_REASON_RELAY_FAILED);
		return;
	}
	dial(session, by_name);
}

/* ---- the first bytes ---- */

/* Does it look like a request line: a method (M-SEARCH, some in small letters), then a space? -1: not known yet. */
static int looks_like_http(const uint8_t *head, size_t size)
{
	size_t at = 0;

	while (at < size &&
	       (((head[at] | 0x20) >= 'a' && (head[at] | 0x20) <= 'z') || head[at] == '-'))
		at++;
	if (at == size && at < 32)
		return -1;
	return at > 0 && at < size && head[at] == ' ';
}

/* Only what is HTTP is read as such: a port 80 whose addresses are allowed may speak anything, others nothing else. */
static void look_at_http(struct session *session)
{
	int is_http = looks_like_http(session->head, session->head_size);

	if (is_http < 0)
		return;
	stop_reading(session);
	if (!is_http) {
		decide(session, PST_REASON_NOT_HTTP);
		return;
	}
	if (http_start(session, false) < 0)
		fail(session, PST_REASON_RELAY_FAILED);
}

/* Do whole TLS records end here? Between them there is nothing new to be read in a ClientHello. */
static bool ends_record(const uint8_t *head, size_t size)
{
	size_t at = 0;

	while (at + RECORD_HEAD <= size && head[at] == HANDSHAKE)
		at += RECORD_HEAD + ((size_t)head[at + 3] << 8 | head[at + 4]);
	return at == size || (at < size && head[at] != HANDSHAKE);
}

static void look_at_tls(struct session *session)
{
	struct hello hello;

	if (!ends_record(session->head, session->head_size))
		return;
	memset(&hello, 0, sizeof(hello));
	switch (hello_parse(session->head, session->head_size, &hello)) {
	case HELLO_MORE:
		return;
	case HELLO_DONE:
		memcpy(session->name, hello.name, sizeof(session->name));
		decide(session, hello.has_ech ? PST_REASON_ECH : PST_REASON_UNSET);
		return;
	case HELLO_TOO_LONG:
		decide(session, PST_REASON_HEAD_SIZE);
		return;
	case HELLO_BAD:
		decide(session, PST_REASON_NOT_TLS);
		return;
	}
}

static int make_room(struct session *session, size_t *ret_room)
{
	size_t max = session->sandbox->relay->limits.head_bytes, wanted = HEAD_BEGIN;
	uint8_t *head;

	while (wanted <= session->head_size)
		wanted *= 2;
	if (wanted > max)
		wanted = max;
	if (wanted <= session->head_size)
		return -ENOBUFS;
	head = realloc(session->head, wanted);
	if (!head)
		return -ENOMEM;
	session->head = head;
	*ret_room = wanted - session->head_size;
	return 0;
}

static void on_first_bytes(evutil_socket_t fd, short what, void *context)
{
	struct session *session = context;
	size_t room = 0;
	int r = make_room(session, &room);
	ssize_t got;

	(void)what;
	if (r == -ENOBUFS) {
		decide(session, PST_REASON_HEAD_SIZE);
		return;
	}
	if (r < 0) {
		fail(session, PST_REASON_RELAY_FAILED);
		return;
	}
	got = recv(fd, session->head + session->head_size, room, MSG_DONTWAIT);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got < 0 || (got == 0 && !session->head_size)) {
		session_end(session, got < 0); /* it has asked for nothing */
		return;
	}
	session->head_size += (size_t)got;
	if (got == 0)
		decide(session, session->origin.port == HTTPS_PORT ? PST_REASON_NOT_TLS
								   : PST_REASON_NOT_HTTP);
	else if (session->origin.port == HTTPS_PORT)
		look_at_tls(session);
	else
		look_at_http(session);
}

static void on_head_late(evutil_socket_t fd, short what, void *context)
{
	(void)fd, (void)what;
	decide(context, PST_REASON_HEAD_TIME);
}

static int read_first_bytes(struct session *session)
{
	struct relay *relay = session->sandbox->relay;
	struct timeval limit = {.tv_sec = relay->limits.head_ms / 1000,
				.tv_usec = relay->limits.head_ms % 1000 * 1000};

	session->reading =
		event_new(relay->base, session->fd, EV_READ | EV_PERSIST, on_first_bytes, session);
	session->timer = evtimer_new(relay->base, on_head_late, session);
	if (!session->reading || !session->timer || event_add(session->reading, NULL) < 0 ||
	    evtimer_add(session->timer, &limit) < 0)
		return -ENOMEM;
	return 0;
}

/* ---- start ---- */

static int serve(struct session *session)
{
	const struct relay_policy *policy = session->sandbox->policy;
	bool is_strict = policy->flags & PST_RELAY_STRICT;

	/* Port 53 of a trusted resolver; where an entry opens that of another, it is a port like any. */
	if (session->origin.step == PST_STEP_RESOLVER)
		return dns_stream_start(session);
	if (!is_web(session) || (!is_strict && !policy->n_transforms)) {
		decide(session, PST_REASON_UNSET);
		return 0;
	}
	return read_first_bytes(session);
}

static struct session *new_session(struct relay_sandbox *sandbox, int fd,
				   const struct pst_origin *origin)
{
	struct session *session = calloc(1, sizeof(*session));

	if (!session)
		return NULL;
	session->sandbox = sandbox;
	session->policy = relay_policy_ref(sandbox->policy);
	session->origin = *origin;
	session->rule = origin->rule;
	session->fd = fd;
	session->next = sandbox->sessions;
	if (session->next)
		session->next->previous = session;
	sandbox->sessions = session;
	sandbox->n_sessions++;
	sandbox->relay->sessions++;
	return session;
}

void session_start(struct relay_sandbox *sandbox, int fd, const struct pst_origin *origin)
{
	static const int one = 1;
	struct session *session = new_session(sandbox, fd, origin);

	if (!session) {
		reset_socket(fd);
		return;
	}
	/* A peer that is gone without a word is noticed after two hours. */
	(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	if (serve(session) < 0)
		fail(session, PST_REASON_RELAY_FAILED);
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
	return !is_web(session) || !session->name[0] ||
	       same_transform(relay_policy_transform(now, session->name),
			      relay_policy_transform(next, session->name));
}

/*
 * It went where the sandbox said, and now that is for a name to say: the one that it gave is not of that place. Or it
 * went to the name that it gave, which is no longer allowed, whatever the lease was of.
 */
static bool is_stray(const struct session *session, const struct relay_policy *next)
{
	bool is_strict = next->flags & PST_RELAY_STRICT && is_web(session);

	if (next->flags & PST_RELAY_AUDIT || session_passes_by_address(session))
		return false;
	if (session->to_address)
		return is_strict || !is_leased(&session->origin);
	return session->name[0] &&
	       !relay_policy_name(next, session->name, PST_TCP, session->origin.port);
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
