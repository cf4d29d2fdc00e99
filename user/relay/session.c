/* SPDX-License-Identifier: MIT */
/*
 * A connection from accept() to its end: what it asks for (its origin; on ports 80 and 443 the name in its first bytes
 * where the policy wants it), whether that is allowed, where it is dialled, who moves its bytes. Nothing is dialled
 * before the verdict.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "relay/core.h"

#define HEAD_BEGIN  2048 /* bytes of room: more than most ClientHellos take */
#define RECORD_HEAD 5
#define HANDSHAKE   22

/* ---- life ---- */

static void stop_timer(struct session *session)
{
	if (session->timer)
		event_free(session->timer);
	session->timer = NULL;
}

void session_stop_reading(struct session *session)
{
	stop_timer(session);
	if (session->reading)
		event_free(session->reading);
	session->reading = NULL;
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
	session_stop_reading(session);
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
	session_stop_reading(session);
	if (session->origin.port == SESSION_HTTP)
		http_refuse(session, reason, session->name);
	else if (session->origin.port == SESSION_HTTPS)
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
		name = session->name[0] ? session->name : session_leased_name(session, leased);
	if (relay_policy_name(session->sandbox->policy, name, PST_TCP, origin->port))
		memcpy(ret_target->name, name, strlen(name) + 1);
	memcpy(ret_target->addr.bytes, origin->addr, sizeof(ret_target->addr.bytes));
	ret_target->port = origin->port;
}

/* The sandbox's bytes wait in its socket until there is somewhere to write them to. That socket goes on being watched:
 * most have nothing to say until then (on_first_bytes()), and the pump goes on with it. */
static void dial(struct session *session, bool by_name)
{
	struct relay_target target;

	stop_timer(session);
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
	if (origin->port == SESSION_HTTPS && is_transformed(session)) {
		int r;

		session_stop_reading(session);
		r = http_start(session, true);
		if (r < 0)
			fail(session, relay_reason(r));
		return;
	}
	dial(session, by_name);
}

/* ---- the first bytes ---- */

/* DONE: it is decided, or over. */
enum look { LOOK_MORE, LOOK_DONE };

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
static enum look look_at_http(struct session *session)
{
	int is_http = looks_like_http(session->head, session->head_size);

	if (is_http < 0)
		return LOOK_MORE;
	session_stop_reading(session);
	if (!is_http)
		decide(session, PST_REASON_NOT_HTTP);
	else if (http_start(session, false) < 0)
		fail(session, PST_REASON_RELAY_FAILED);
	return LOOK_DONE;
}

/* Do whole TLS records end here? Between them there is nothing new to be read in a ClientHello. */
static bool ends_record(const uint8_t *head, size_t size)
{
	size_t at = 0;

	while (at + RECORD_HEAD <= size && head[at] == HANDSHAKE)
		at += RECORD_HEAD + ((size_t)head[at + 3] << 8 | head[at + 4]);
	return at == size || (at < size && head[at] != HANDSHAKE);
}

static enum look look_at_tls(struct session *session)
{
	struct hello hello;

	if (!ends_record(session->head, session->head_size))
		return LOOK_MORE;
	memset(&hello, 0, sizeof(hello));
	switch (hello_parse(session->head, session->head_size, &hello)) {
	case HELLO_MORE:
		return LOOK_MORE;
	case HELLO_DONE:
		memcpy(session->name, hello.name, sizeof(session->name));
		decide(session, hello.has_ech ? PST_REASON_ECH : PST_REASON_UNSET);
		break;
	case HELLO_TOO_LONG:
		decide(session, PST_REASON_HEAD_SIZE);
		break;
	case HELLO_BAD:
		decide(session, PST_REASON_NOT_TLS);
		break;
	}
	return LOOK_DONE;
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

static enum look look_at(struct session *session)
{
	return session->origin.port == SESSION_HTTPS ? look_at_tls(session) : look_at_http(session);
}

static enum look take_first_bytes(struct session *session)
{
	bool is_tls = session->origin.port == SESSION_HTTPS;
	size_t room = 0;
	int r = make_room(session, &room);
	ssize_t got;

	if (r == -ENOBUFS) {
		decide(session, PST_REASON_HEAD_SIZE);
		return LOOK_DONE;
	}
	if (r < 0) {
		fail(session, PST_REASON_RELAY_FAILED);
		return LOOK_DONE;
	}
	got = recv(session->fd, session->head + session->head_size, room, MSG_DONTWAIT);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return LOOK_MORE;
	if (got < 0 || (got == 0 && !session->head_size)) {
		session_end(session, got < 0); /* it has asked for nothing */
		return LOOK_DONE;
	}
	session->head_size += (size_t)got;
	if (got > 0)
		return look_at(session);
	decide(session, is_tls ? PST_REASON_NOT_TLS : PST_REASON_NOT_HTTP);
	return LOOK_DONE;
}

static void on_first_bytes(evutil_socket_t fd, short what, void *context)
{
	struct session *session = context;

	(void)fd, (void)what;
	/* More of them, while it is dialled: they wait. */
	if (session->dial)
		(void)event_del(session->reading);
	else
		(void)take_first_bytes(session);
}

static void on_head_late(evutil_socket_t fd, short what, void *context)
{
	(void)fd, (void)what;
	decide(context, PST_REASON_HEAD_TIME);
}

/* Many clients have said it by now. */
static int read_first_bytes(struct session *session)
{
	struct relay *relay = session->sandbox->relay;
	struct timeval limit = {.tv_sec = relay->limits.head_ms / 1000,
				.tv_usec = relay->limits.head_ms % 1000 * 1000};

	if (take_first_bytes(session) == LOOK_DONE)
		return 0;
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
	if (!session_is_web(session) || (!is_strict && !policy->n_transforms)) {
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
	struct session *session = new_session(sandbox, fd, origin);

	if (!session) {
		reset_socket(fd);
		return;
	}
	if (serve(session) < 0)
		fail(session, PST_REASON_RELAY_FAILED);
}
