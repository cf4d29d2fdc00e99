/* SPDX-License-Identifier: MIT */
/*
 * An HTTP session of the relay with everything around it played here: the client and the destination are socketpairs in
 * the hands of the test, and session, policy, dialling and starter are the linker's --wrap of what the core does.
 */
#ifndef TESTS_RELAY_HTTP_FIXTURE_H
#define TESTS_RELAY_HTTP_FIXTURE_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/loop.h"
#include "relay/http_parts.h"
#include "relay/signer.h"
#include "relay/tls.h"
#include "tests/lib/relay_wraps.h"

#define MAX_DIALS  64
#define MAX_SIGNS  32
#define DEADLINE_S 60

#define owner_of(pointer, type, member)                                                            \
	((type *)(void *)((char *)(uintptr_t)(pointer)-offsetof(type, member)))

/* One end of a socketpair that the test holds. */
struct party {
	int fd;
	SSL *ssl;
	struct buf got;
	bool ended, failed, is_open, stops; /* stops: it does not read any more */
};

struct fixture;

struct dial {
	struct fixture *fixture;
	relay_dialled_fn fn;
	void *context;
	int fd;
	struct relay_target target;
};

struct relay_request {
	struct fixture *fixture;
	relay_answer_fn fn;
	void *context;
	struct pst_relay_sign sign;
};

struct resolve {
	struct fixture *fixture;
	relay_resolved_fn fn;
	void *context;
};

struct fixture {
	struct relay relay;
	struct relay_sandbox sandbox;
	struct relay_policy policy;
	char texts[4][32];
	struct relay_header headers[2];
	struct relay_transform transform; /* of good.test */
	struct relay_name name;
	struct session session;
	struct party client;
	struct party upstreams[MAX_DIALS];
	struct dial dials[MAX_DIALS];
	struct relay_request requests[MAX_SIGNS];
	struct resolve resolve;
	struct addr resolved;
	unsigned n_dials, n_resolves, n_signs, n_allowed, n_denied;
	enum pst_reason dial_fails, denied; /* UNSET: a dial succeeds */
	int sign_fails;
	bool ended, was_reset, audits, has_no_transform, is_unresolved, resolves_late;
	struct signer *signer, *upstream_ca;
	EVP_PKEY *upstream_key;
};

int __wrap_relay_resolve(struct relay_sandbox *sandbox, const char *name, relay_resolved_fn fn,
			 void *context, struct resolve **ret_resolve);
void __wrap_relay_resolve_cancel(struct resolve *resolve);
struct relay_request *__wrap_control_ask(struct relay *relay, struct pst_relay_header *message,
					 relay_answer_fn fn, void *context);
void __wrap_control_forget(struct relay_request *request);

static inline struct fixture *of_session(const struct session *session)
{
	return owner_of(session, struct fixture, session);
}

void __wrap_session_end(struct session *session, bool reset)
{
	struct fixture *f = of_session(session);

	assert_false(f->ended);
	f->ended = true;
	f->was_reset = reset;
	http_end(session->http);
	session->http = NULL;
	close(session->fd);
}

enum pst_reason __wrap_session_judge(const struct session *session, const char *name,
				     uint32_t *ret_rule)
{
	if (session->origin.step == PST_STEP_CIDR_ALLOW)
		return PST_REASON_UNSET;
	if (!name[0])
		return PST_REASON_NO_NAME;
	if (strcmp(name, "good.test") != 0 && strcmp(name, "plain.test") != 0)
		return PST_REASON_HOST_CHECK;
	*ret_rule = 7;
	return PST_REASON_UNSET;
}

bool __wrap_session_deny(struct session *session, enum pst_reason reason)
{
	struct fixture *f = of_session(session);

	f->n_denied++;
	f->denied = reason;
	return !f->audits;
}

void __wrap_session_report(struct session *session, uint8_t verdict, enum pst_reason reason)
{
	struct fixture *f = of_session(session);

	if (verdict == PST_VERDICT_DENY) {
		f->n_denied++;
		f->denied = reason;
	} else {
		f->n_allowed++;
	}
}

const struct relay_name *__wrap_relay_policy_name(const struct relay_policy *policy,
						  const char *name, uint8_t protocol, uint16_t port)
{
	struct fixture *f = owner_of(policy, struct fixture, policy);

	(void)protocol;
	(void)port;
	return strcmp(name, "good.test") == 0 || strcmp(name, "plain.test") == 0 ? &f->name : NULL;
}

const struct relay_transform *__wrap_relay_policy_transform(const struct relay_policy *policy,
							    const char *name)
{
	struct fixture *f = owner_of(policy, struct fixture, policy);

	return strcmp(name, "good.test") == 0 && !f->has_no_transform ? &f->transform : NULL;
}

static inline void tell_dialled(evutil_socket_t fd, short what, void *context)
{
	struct dial *dial = context;
	struct fixture *f = dial->fixture;

	(void)fd;
	(void)what;
	if (!dial->fn)
		return;
	dial->fn(dial->context, TAKE_FD(dial->fd), f->dial_fails);
}

struct dial *__wrap_relay_dial(struct relay_sandbox *sandbox, const struct relay_target *target,
			       relay_dialled_fn fn, void *context)
{
	struct fixture *f = owner_of(sandbox, struct fixture, sandbox);
	const struct timeval at_once = {0};
	struct dial *dial = &f->dials[f->n_dials];
	int pair[2] = {-1, -1};

	assert_true(f->n_dials < MAX_DIALS);
	if (f->dial_fails == PST_REASON_UNSET)
		assert_int_equal(
			socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair),
			0);
	f->upstreams[f->n_dials].stops = target->port == 443; /* until it speaks TLS */
	f->upstreams[f->n_dials++].fd = pair[0];
	*dial = (struct dial){f, fn, context, pair[1], *target};
	event_base_once(f->relay.base, -1, EV_TIMEOUT, tell_dialled, dial, &at_once);
	return dial;
}

void __wrap_relay_dial_cancel(struct dial *dial)
{
	dial->fn = NULL;
	if (dial->fd >= 0)
		close(TAKE_FD(dial->fd));
}

static inline void tell_resolved(evutil_socket_t fd, short what, void *context)
{
	struct resolve *resolve = context;

	(void)fd;
	(void)what;
	if (resolve->fn)
		resolve->fn(resolve->context, &resolve->fixture->resolved,
			    resolve->fixture->is_unresolved ? 0 : 1);
}

int __wrap_relay_resolve(struct relay_sandbox *sandbox, const char *name, relay_resolved_fn fn,
			 void *context, struct resolve **ret_resolve)
{
	struct fixture *f = owner_of(sandbox, struct fixture, sandbox);
	const struct timeval at_once = {0};

	(void)name;
	f->n_resolves++;
	f->resolve = (struct resolve){f, fn, context};
	if (!f->resolves_late)
		event_base_once(f->relay.base, -1, EV_TIMEOUT, tell_resolved, &f->resolve,
				&at_once);
	*ret_resolve = &f->resolve;
	return 0;
}

void __wrap_relay_resolve_cancel(struct resolve *resolve)
{
	resolve->fn = NULL;
}

static inline void tell_signed(evutil_socket_t fd, short what, void *context)
{
	struct relay_request *request = context;
	struct fixture *f = request->fixture;
	struct pst_relay_answer answer = {.status = f->sign_fails};
	uint8_t cert[PST_RELAY_MAX_CERT];
	int size = 0;

	(void)fd;
	(void)what;
	if (!request->fn)
		return;
	if (f->sign_fails == 0)
		size = signer_sign(f->signer, request->sign.name, request->sign.key,
				   request->sign.key_size, cert);
	request->fn(request->context, size < 0 ? size : 0, &answer, cert,
		    size > 0 ? (size_t)size : 0);
}

struct relay_request *__wrap_control_ask(struct relay *relay, struct pst_relay_header *message,
					 relay_answer_fn fn, void *context)
{
	struct fixture *f = owner_of(relay, struct fixture, relay);
	const struct timeval at_once = {0};
	struct relay_request *request = &f->requests[f->n_signs % MAX_SIGNS];

	assert_int_equal(message->type, PST_RELAY_SIGN);
	assert_int_equal(message->size, sizeof(request->sign));
	f->n_signs++;
	*request = (struct relay_request){.fixture = f, .fn = fn, .context = context};
	memcpy(&request->sign, message, sizeof(request->sign));
	event_base_once(relay->base, -1, EV_TIMEOUT, tell_signed, request, &at_once);
	return request;
}

void __wrap_control_forget(struct relay_request *request)
{
	request->fn = NULL;
}

/* ---- parties ---- */

static inline void party_done(struct party *p)
{
	SSL_free(p->ssl);
	p->ssl = NULL;
	if (p->fd >= 0)
		close(TAKE_FD(p->fd));
	buf_done(&p->got);
}

static inline bool party_shake(struct party *p)
{
	int r;

	if (!p->ssl || p->is_open)
		return true;
	r = SSL_do_handshake(p->ssl);
	p->is_open = r == 1;
	if (r != 1 && SSL_get_error(p->ssl, r) != SSL_ERROR_WANT_READ &&
	    SSL_get_error(p->ssl, r) != SSL_ERROR_WANT_WRITE)
		p->failed = true;
	return p->is_open;
}

static inline void party_read_tls(struct party *p)
{
	char bytes[16384];
	int r;

	ERR_clear_error();
	if (!party_shake(p))
		return;
	while ((r = SSL_read(p->ssl, bytes, sizeof(bytes))) > 0)
		buf_add(&p->got, bytes, (size_t)r);
	if (SSL_get_error(p->ssl, r) == SSL_ERROR_ZERO_RETURN)
		p->ended = true;
	else if (SSL_get_error(p->ssl, r) != SSL_ERROR_WANT_READ)
		p->failed = true;
}

static inline void party_pump(struct party *p)
{
	char bytes[16384];
	ssize_t r;

	if (p->fd < 0 || p->ended || p->failed || p->stops)
		return;
	if (p->ssl) {
		party_read_tls(p);
		return;
	}
	while ((r = recv(p->fd, bytes, sizeof(bytes), 0)) > 0)
		buf_add(&p->got, bytes, (size_t)r);
	if (r == 0)
		p->ended = true;
	else if (errno != EAGAIN)
		p->failed = true;
}

static inline size_t party_write(struct party *p, const void *bytes, size_t size)
{
	ssize_t r = p->ssl ? SSL_write(p->ssl, bytes, (int)size)
			   : send(p->fd, bytes, size, MSG_NOSIGNAL);

	return r > 0 ? (size_t)r : 0;
}

static inline void party_say(struct party *p, const char *text)
{
	assert_int_equal(party_write(p, text, strlen(text)), strlen(text));
}

static inline const char *party_text(const struct party *p)
{
	return p->got.data ? p->got.data : "";
}

/* ---- the whole ---- */

static inline void round_of(struct fixture *f)
{
	event_base_loop(f->relay.base, EVLOOP_NONBLOCK);
	party_pump(&f->client);
	for (unsigned i = 0; i < f->n_dials; i++)
		party_pump(&f->upstreams[i]);
}

/* Rounds until the condition holds, or the test fails. */
#define until(f, condition)                                                                        \
	do {                                                                                       \
		uint64_t end_ns_ = loop_boot_ns() + DEADLINE_S * 1000000000ull;                    \
		do {                                                                               \
			assert_true(loop_boot_ns() < end_ns_);                                     \
			round_of(f);                                                               \
		} while (!(condition));                                                            \
	} while (0)

static inline void setup(struct fixture *f, uint16_t port)
{
	int pair[2];

	signal(SIGPIPE, SIG_IGN);
	*f = (struct fixture){.client.fd = -1};
	f->relay.base = event_base_new();
	f->relay.limits = (struct relay_limits){.connections = PST_RELAY_CONNECTIONS,
						.total = PST_RELAY_TOTAL,
						.head_bytes = PST_RELAY_HEAD_BYTES,
						.head_ms = 60000,
						.idle_ms = 60000,
						.dial_ms = 60000};
	f->sandbox = (struct relay_sandbox){.relay = &f->relay, .id = 5, .policy = &f->policy};
	for (unsigned i = 0; i < 2; i++) {
		strcpy(f->texts[2 * i], i ? "X-Api-Key" : "Authorization");
		strcpy(f->texts[2 * i + 1], i ? "k3y" : "Bearer s3cret");
		f->headers[i] = (struct relay_header){f->texts[2 * i], f->texts[2 * i + 1]};
	}
	f->transform.headers = f->headers;
	f->transform.n_headers = 2;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair),
			 0);
	f->client.fd = pair[0];
	f->session = (struct session){
		.sandbox = &f->sandbox,
		.policy = &f->policy,
		.fd = pair[1],
		.origin = {.port = port, .step = PST_STEP_NAME, .reason = PST_REASON_HOST_NAME}};
	memcpy(f->session.origin.addr, "\0\0\0\0\0\0\0\0\0\0\xff\xff\xcb\0\x71\7", 16);
	f->resolved = (struct addr){{0}};
	for (size_t i = 0; i < MAX_DIALS; i++)
		f->upstreams[i].fd = -1;
}

static inline void teardown(struct fixture *f)
{
	if (!f->ended)
		__wrap_session_end(&f->session, false);
	/* What was put off is told to nobody. */
	event_base_loop(f->relay.base, EVLOOP_NONBLOCK);
	relay_tls_done(&f->relay);
	free(f->session.head);
	party_done(&f->client);
	for (size_t i = 0; i < MAX_DIALS; i++)
		party_done(&f->upstreams[i]);
	event_base_free(f->relay.base);
	signer_free(f->signer);
	signer_free(f->upstream_ca);
	EVP_PKEY_free(f->upstream_key);
}

#endif
