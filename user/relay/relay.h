/* SPDX-License-Identifier: MIT */
/*
 * postern-relay as this room's files share it. One process serves the sandboxes of one owner: sockets, policies and
 * answers come from its starter (pst_relay.h); the bytes of sandboxes are parsed here and nowhere else. One thread,
 * libevent's loop, nothing blocks. A session is decided once it is known what it asks for; then its bytes are moved
 * (pump), or read request by request (http), or answered here (dns).
 *
 *   listener -> origin -> [first bytes -> name] -> verdict -> dial -> pump | http
 */
#ifndef RELAY_RELAY_H
#define RELAY_RELAY_H

#include <errno.h>
#include <event2/event.h>
#include <openssl/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/domain.h"
#include "base/error.h"
#include "pst_relay.h"

/* ---- what the starter told (config.c) ---- */

struct relay_header {
	char *name, *value; /* value: secret */
};

struct relay_transform {
	struct domain domain;
	struct relay_header *headers;
	size_t n_headers;
};

struct relay_name {
	struct domain domain;
	uint32_t rule;
	uint16_t first, last;
	uint8_t protocols;
	bool web;
};

struct relay_proxy {
	char host[PST_NAME_SIZE];
	char username[PST_NAME_SIZE], password[PST_NAME_SIZE];
	uint16_t port;
};

/* In locked memory, wiped when freed. Sessions hold a reference: a change replaces it, and judges them again. */
struct relay_policy {
	unsigned refs;
	uint64_t generation;
	uint32_t flags; /* PST_RELAY_* */
	uint32_t lease_min_s, lease_max_s;
	struct addr *resolvers;
	size_t n_resolvers;
	struct cidr_list closed, open;
	struct relay_name *names; /* in the document's order */
	size_t n_names;
	uint32_t *index; /* names by hash: heads of chains, `next` behind them */
	size_t n_index;
	struct relay_transform *transforms;
	size_t n_transforms;
	struct relay_proxy *proxy; /* NULL: none */
	void *secrets;		   /* pages of their own: the proxy, headers */
	size_t secrets_size;
};

/* -EINVAL: not understood (nothing of it is kept); -ENOMEM. Pure, for the fuzzer too. */
int relay_policy_parse(const void *bytes, size_t size, struct relay_policy **ret_policy);
struct relay_policy *relay_policy_ref(struct relay_policy *policy);
void relay_policy_unref(struct relay_policy *policy);
/* The allow rule whose name covers this one on that port (PST_TCP or PST_UDP): that with the most exact name, of those
 * the first; NULL: none. However many names there are, it costs as much as the name has labels. */
const struct relay_name *relay_policy_name(const struct relay_policy *policy, const char *name,
					   uint8_t protocol, uint16_t port);
/* Does an allow rule's name cover this one, whatever the port ("" is the root)? */
bool relay_policy_covers(const struct relay_policy *policy, const char *name);
/* Its transform: exact beats the longest wildcard; NULL: none. */
const struct relay_transform *relay_policy_transform(const struct relay_policy *policy,
						     const char *name);
/* May the relay connect there for this sandbox: not always denied (in either reading of it), or lifted. */
bool relay_policy_may_dial(const struct relay_policy *policy, const struct addr *addr);

/* ---- the process (main.c, control.c) ---- */

struct relay_limits {
	uint32_t connections, total, head_bytes, head_ms, idle_ms, dial_ms;
};

/* What all that is kept may take before reads become small. */
#define RELAY_KEPT_MAX (64u * 1024 * 1024)

struct relay {
	struct event_base *base;
	struct relay_limits limits;
	struct relay_sandbox *sandboxes;
	uint32_t sessions;  /* of all sandboxes */
	uint32_t n_spare;   /* dial.c: addresses that are tried besides a first one */
	uint32_t questions; /* dns: that wait for an answer, of all sandboxes */
	struct control *control;
	struct resolver *resolver; /* resolve.c: asks, and keeps answers until their TTL */
	SSL_CTX *upstream;	   /* tls.c: verifies; NULL until HELLO */
	struct leaves *leaves;	   /* leaf.c: certificates for sandboxes */
	struct event *tick;	   /* tally.c: once a second, for COUNT */
	void *shared;		   /* pump.c: the buffer of all pumps */
	uint64_t kept;		   /* bytes of all sessions that were read and not yet taken */
	bool failed;		   /* control.c: the starter said what makes no sense */
};

struct relay_sandbox {
	struct relay_sandbox *next;
	struct relay *relay;
	uint64_t id;
	struct relay_policy *policy;
	bool is_device;
	int origins;		    /* map descriptor; -1 */
	struct listener *listeners; /* listen.c */
	struct session *sessions;
	uint32_t n_sessions;
	uint32_t n_lookups;	 /* resolve.c: names that are asked for on its account */
	uint32_t n_spare;	 /* dial.c: addresses that it tries besides the first */
	struct dns_service *dns; /* dns.c: UDP, and the questions in flight; NULL */
	struct tally *tally;	 /* session.c: what COUNT has not told yet */
	uint64_t events_next_ns; /* of its events: GCRA, as the kernel's (PST_EVENT_*) */
	uint32_t events_lost;
};

/* control.c: to the starter. Requests are answered by a callback, with -errno when the starter does not. */
typedef void (*relay_answer_fn)(void *context, int status, const struct pst_relay_answer *answer,
				const void *rest, size_t size);
struct relay_request;
struct relay_request *control_ask(struct relay *relay, struct pst_relay_header *message,
				  relay_answer_fn fn, void *context);
void control_forget(struct relay_request *request);
/* One decision: to the log, streams and counters of the starter. Dropped, and told as lost, when it does not read. */
void control_event(struct relay *relay, const struct pst_relay_event *event);

/* tls.c, leaf.c: what HELLO begins: upstreams are verified against the certificates (PEM) that `trust` holds (-1: none;
 * not taken over). Once; done() is fine without it. */
int relay_tls_init(struct relay *relay, int trust);
void relay_tls_done(struct relay *relay);
/* signer.c: `postern-relay --signer`: makes or takes the CA, serves SIGN on `fd` until it closes. The exit status. `ca`
 * is where the CA is kept (a directory's descriptor, opened before); -1: in memory. It is unprivileged already, but may
 * open files until it calls confine_seal(), which it does before it reads the first message. */
int signer_run(int fd, int ca);
/* confine.c: from here on the process has only the system calls of a relay (seccomp). 0 or -errno. */
int confine_seal(void);

/* ---- resolve.c, dial.c ---- */

/* Addresses of a name, from the policy's resolvers; only those that may be dialled. -EBUSY: too many are asked for. */
typedef void (*relay_resolved_fn)(void *context, const struct addr *addrs, size_t count);
struct resolve;
int relay_resolve(struct relay_sandbox *sandbox, const char *name, relay_resolved_fn fn,
		  void *context, struct resolve **ret_resolve);
void relay_resolve_cancel(struct resolve *resolve);

/* Where to: by name (resolved here; or sent as a name to the proxy), else by address. */
struct relay_target {
	char name[PST_NAME_SIZE]; /* "": by address */
	struct addr addr;
	uint16_t port;
};
/* A connected socket, nonblocking, past the proxy where the policy has one (the callee owns it); or -1, with the reason
 * (PST_REASON_UNRESOLVED, _UNREACHED, _PROXY, _ALWAYS_DENIED, _RELAY_BUSY, _RELAY_FAILED). */
typedef void (*relay_dialled_fn)(void *context, int fd, enum pst_reason reason);
struct dial;
struct dial *relay_dial(struct relay_sandbox *sandbox, const struct relay_target *target,
			relay_dialled_fn fn, void *context);
void relay_dial_cancel(struct dial *dial);
/* What the callee gives its socket, once it has said what it has to say first, which needs none of it: that nothing is
 * held back to be sent with more, and that a peer that is gone without a word is noticed after two hours. */
void relay_dialled_options(int fd);
/* Is the other end of this socket (-1: none) an address that the relay may not dial under that policy? */
bool relay_reaches_closed(int fd, const struct relay_policy *policy);

/* ---- sessions (session.c) ---- */

struct session {
	struct session *next, *previous; /* of its sandbox */
	struct relay_sandbox *sandbox;
	struct relay_policy *policy; /* that it was judged by last */
	struct pst_origin origin;
	int fd;			  /* the sandbox's end */
	char name[PST_NAME_SIZE]; /* SNI or Host, lower case, no trailing dot; "": none */
	uint32_t rule;
	uint8_t verdict; /* PST_VERDICT_*; DENY until it is decided */
	uint8_t *
		head; /* first bytes that were read to know the name; given on before anything else */
	size_t head_size;
	struct event *reading, *timer;
	struct dial *dial;
	struct pump *pump;
	struct http *http;	      /* http.c: reads its requests; NULL */
	struct dns_stream *dns;	      /* dns_tcp.c; NULL */
	uint64_t bytes_out, bytes_in; /* from, to the sandbox */
	uint64_t told_out, told_in;   /* of these, what COUNT knows */
	bool to_address;	      /* dialled by the address that the sandbox asked for */
	bool is_counted;	      /* COUNT knows of the connection */
	bool reset;		      /* it is ending, with a RST */
};

/* What is told when a call of the relay's own failed with -errno. */
static inline enum pst_reason relay_reason(int status)
{
	return status == -EBUSY ? PST_REASON_RELAY_BUSY : PST_REASON_RELAY_FAILED;
}

/* Ends it: closes both sides, tells COUNT, frees it. `reset`: with a RST. */
void session_end(struct session *session, bool reset);
/* Tells an event about it: PST_VERDICT_ALLOW or _DENY (a policy's audit makes it _WOULD_DENY where it may). */
void session_report(struct session *session, uint8_t verdict, enum pst_reason reason);
/* A reason to refuse it: reports the denial. False: by audit it is reported only, and goes on. */
bool session_deny(struct session *session, enum pst_reason reason);
/* Is the session, or a request for `name` in it, allowed under its sandbox's policy of now? Sets *ret_rule. The reason
 * when it is not; PST_REASON_UNSET when it is. */
enum pst_reason session_judge(const struct session *session, const char *name, uint32_t *ret_rule);
/* By its address, whatever its name: so it is dialled by it, too. */
bool session_passes_by_address(const struct session *session);

/* pump.c: bytes both ways, with half-close, until both sides have ended or nothing moves for idle_ms. Owns `fd` (the
 * upstream end); session->head goes first. */
int pump_start(struct session *session, int fd);
void pump_end(struct pump *pump);
bool pump_reaches_closed(const struct pump *pump, const struct relay_policy *policy);

/* http.c: HTTP/1.1 (and, where ALPN chose it, h2) request by request, on port 80 or behind TLS that ends here. Takes
 * the session over with what was read of it so far. */
int http_start(struct session *session, bool tls);
void http_end(struct http *http);
bool http_reaches_closed(const struct http *http, const struct relay_policy *policy);
/* A 403 (400 for PST_REASON_AMBIGUOUS, 431, 408) with one line of text for whoever reads it, written and then closed:
 * for a session that is denied before or within HTTP. */
void http_refuse(struct session *session, enum pst_reason reason, const char *name);
/* tls_alert.c: a fatal alert (unrecognized_name, handshake_failure ...) in the clear, then the end. */
void tls_refuse(struct session *session, enum pst_reason reason);

/* dns.c, dns_tcp.c: the service on the sandbox's UDP sockets, and on a session to port 53. Both gate, forward to a
 * trusted resolver, write leases (LEASE, LEASED) and only then answer. A service takes the sockets over, even
 * when it fails (-1: none);
 * where there is none, the first stream of a sandbox makes it. A service is freed after its sandbox's sessions. */
int dns_service_new(struct relay_sandbox *sandbox, int udp4, int udp6,
		    struct dns_service **ret_service);
void dns_service_free(struct dns_service *service);
/* After a change of the policy: questions in flight that it would not let out, or not to that resolver, end. */
void dns_service_judge(struct dns_service *service);
int dns_stream_start(struct session *session);
void dns_stream_end(struct dns_stream *stream);

/* ---- parsers: bytes -> values, pure, each with a fuzz target ---- */

/* hello.c: TLS ClientHello over any number of records. */
enum hello_status { HELLO_MORE = 0, HELLO_DONE = 1, HELLO_BAD = -1, HELLO_TOO_LONG = -2 };
struct hello {
	char name[PST_NAME_SIZE]; /* SNI, lower case; "": none */
	bool has_ech, alpn_http11, alpn_h2, has_alpn;
};
enum hello_status hello_parse(const uint8_t *bytes, size_t size, struct hello *ret_hello);

/* socks.c: RFC 1928 and 1929, the client's side. */
enum socks_status { SOCKS_MORE = 0, SOCKS_WRITE = 1, SOCKS_DONE = 2, SOCKS_FAILED = -1 };
#define SOCKS_REPLY_MAX 262
struct socks {
	unsigned char state;
	const struct relay_proxy *proxy;
	const struct relay_target *target;
	uint8_t out[600]; /* to be written after SOCKS_WRITE; then wiped */
	size_t out_size;
	uint8_t in[SOCKS_REPLY_MAX]; /* of a reply that is not whole yet */
	size_t in_size;
	uint8_t reply; /* the proxy's code, when it failed; 0: it broke the protocol */
};
void socks_start(struct socks *socks, const struct relay_proxy *proxy,
		 const struct relay_target *target);
/* So many bytes of the reply that is waited for are still to come, at the least: who reads no more reads nothing that
 * belongs to the connection. */
size_t socks_wanted(const struct socks *socks);
/* Takes what the proxy sent; the first `ret_used` bytes of it belong to the handshake. WRITE: send `out`, and go on.
 * The first WRITE comes without bytes (size 0). */
enum socks_status socks_step(struct socks *socks, const uint8_t *bytes, size_t size,
			     size_t *ret_used);

#endif
