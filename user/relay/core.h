/* SPDX-License-Identifier: MIT */
/* What the files that make up the process share, beyond relay.h: start, confinement, messages, sandboxes, sockets. */
#ifndef RELAY_CORE_H
#define RELAY_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "relay/relay.h"

/* What a sandbox may have of something however many the others have. */
#define RELAY_FEW 16

/* ---- confine.c ---- */

struct confine_options {
	uint64_t files; /* descriptors that are wanted */
	bool keeps_files; /* the signer: until it is sealed, it writes the CA's, in the directory that it was given */
};

/* Everything but confine_seal(); the user is the starter's to choose, but not root. *ret_files: descriptors that it may
 * have. err says what failed. */
int confine(const struct confine_options *options, uint64_t *ret_files, struct error *err);

/* ---- message.c: what the starter says, checked. Pure ---- */

struct message {
	struct pst_relay_header header;
	union {
		struct pst_relay_hello hello;
		struct pst_relay_sandbox sandbox;
		struct pst_relay_answer answer;
	};
	const void *rest; /* SIGNED: the certificate */
	size_t rest_size;
};

/* A packet with that many descriptors. -EINVAL: it is none that a starter sends. */
int message_parse(const void *bytes, size_t size, unsigned n_fds, struct message *ret_message);

/* ---- config_ask.c ---- */

/* When all its names are there: they are found by it from then on. */
void relay_policy_index(struct relay_policy *policy);

/* ---- control.c ---- */

int control_new(struct relay *relay, int fd, struct control **ret_control);
void control_free(struct control *control);
/* 0, or -ENOBUFS: it was not sent, and will not be. */
int control_send(struct relay *relay, const struct pst_relay_header *message);

/* ---- sandbox.c: what SANDBOX and DROP do ---- */

/* Takes the descriptors over (policy first), whatever comes of it. `ret_closed`: sessions that ended. */
int sandbox_apply(struct relay *relay, const struct pst_relay_sandbox *said, int *fds,
		  unsigned n_fds, unsigned *ret_closed);
void sandbox_drop(struct relay *relay, uint64_t id);
void sandbox_free(struct relay_sandbox *sandbox);
struct relay_sandbox *sandbox_find(struct relay *relay, uint64_t id);

/* ---- listen.c ---- */

/* Takes `fd` over, even when it fails. Nothing is accepted before the sandbox has its origins. */
int listener_add(struct relay_sandbox *sandbox, int fd);
void listeners_start(struct relay_sandbox *sandbox);
void listeners_free(struct relay_sandbox *sandbox);
/* For one more connection. */
bool sandbox_has_room(const struct relay_sandbox *sandbox);

struct endpoint {
	struct addr addr;
	uint16_t port;
};
/* -EAFNOSUPPORT for what is neither IPv4 nor IPv6. */
int endpoint_read(const struct sockaddr_storage *from, struct endpoint *ret_endpoint);
socklen_t endpoint_write(const struct endpoint *endpoint, struct sockaddr_storage *ret_to);

/* ---- session.c, judge.c, tally.c, pump.c ---- */

/* The ports whose first bytes name a host. */
#define SESSION_HTTP  80
#define SESSION_HTTPS 443

/* An accepted connection, its origin checked. Takes `fd` over, even when it fails. */
void session_start(struct relay_sandbox *sandbox, int fd, const struct pst_origin *origin);
/* No first bytes are waited for any more. */
void session_stop_reading(struct session *session);
/* After a change of the sandbox's policy. Returns how many sessions ended. */
unsigned session_judge_all(struct relay_sandbox *sandbox);
bool session_is_web(const struct session *session);
/* The name whose lease let it out; "": something else did. */
const char *session_leased_name(const struct session *session, char name[DOMAIN_MAX + 1]);
/* Closes a socket with a RST. */
void reset_socket(int fd);
/* Of what all sandboxes share, may this one have one more? As many as are still free: so the more there are at once,
 * the fewer each may have, and some are always left for whoever has none yet; or a few. */
static inline bool relay_has_share(uint32_t own, uint32_t all, uint32_t most)
{
	return own < (most > all ? most - all : 0) || own < RELAY_FEW;
}

/* What COUNT will tell: connections and bytes of a rule. */
void tally_session(struct session *session);
int tally_start(struct relay *relay);
void tally_stop(struct relay *relay);
void tally_free(struct relay_sandbox *sandbox);

/* ---- resolve.c ---- */

int resolver_new(struct relay *relay, struct resolver **ret_resolver);
void resolver_free(struct resolver *resolver);
/* For tests: where resolvers are asked, instead of port 53, and how many names at once. */
void resolver_set(struct resolver *resolver, uint16_t port, uint32_t most);

#endif
