/* SPDX-License-Identifier: MIT */
/*
 * The DNS service as its files share it. A message of the sandbox is judged (dns_gate.c), answered at once or made a
 * question in flight (dns_ask.c), which a resolver is asked (dns_upstream.c); its reply is released to where it came
 * from: a datagram (dns.c) or a stream (dns_tcp.c), and never before its addresses are leases.
 */
#ifndef RELAY_DNS_H
#define RELAY_DNS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "dns/dns.h"
#include "relay/dns_socket.h"
#include "relay/relay.h"

/* A reply of our own: header, the question, an OPT record with one option. */
#define DNS_OWN_MAX (DNS_HEADER_SIZE + PST_WIRE_SIZE + 17)

/* Questions in flight of one stream, and bytes that it has not taken yet: then it is not read from. */
#define DNS_STREAM_ASKS	 16
#define DNS_STREAM_BYTES 65536
/* Room for these bytes, of all streams of a sandbox: one that needs more ends. */
#define DNS_STREAMS_ROOM (8u * 1024 * 1024)
/* A stream without a whole question or an answer for so long is closed (RFC 7766 6.2.3 asks for some seconds). */
#define DNS_STREAM_IDLE_MS 30000
/* Replies that a sandbox's questions hold until they are leased. */
#define DNS_HELD_BYTES (4u * 1024 * 1024)
/* Leases that the starter is asked for at once: the others of a sandbox wait here, and not before another's. */
#define DNS_LEASES 32
/* Questions in flight of all sandboxes of the relay; one that has fewer than the second may have them all the same. */
#define DNS_TOTAL 4096
#define DNS_SHARE 16
/* How long a resolver is waited for before the next one is asked; the only one is given more. */
#define DNS_TRY_MS	2000
#define DNS_TRY_ONLY_MS 4000
#define DNS_TRIES	8

enum dns_rcode {
	DNS_NOERROR = 0,
	DNS_FORMERR = 1,
	DNS_SERVFAIL = 2,
	DNS_NXDOMAIN = 3,
	DNS_NOTIMP = 4,
	DNS_REFUSED = 5,
};

/* ---- dns_gate.c: pure ---- */

enum dns_fate {
	DNS_DROP = 0, /* a response, or too short to be answered */
	DNS_ANSWER = 1,
	DNS_FORWARD = 2,
};

struct dns_judged {
	enum dns_fate fate;
	uint8_t rcode;	 /* ANSWER */
	uint8_t reason;	 /* to be told: PST_REASON_*; UNSET: nothing is */
	bool is_plain;	 /* `question` is there */
	bool is_covered; /* a rule's name covers it: its addresses become leases */
	struct dns_question question;
};

void dns_judge(const struct relay_policy *policy, const uint8_t *message, size_t size,
	       struct dns_judged *ret_judged);

struct dns_own {
	uint8_t rcode;
	bool is_blocked;   /* RFC 8914: EDE 15, where the question has an OPT record */
	bool is_truncated; /* TC */
};
/* The reply to a message of DNS_HEADER_SIZE bytes or more, with its question if that can be found. Returns its size. */
size_t dns_compose(const uint8_t *message, size_t size, struct dns_own own,
		   uint8_t reply[DNS_OWN_MAX]);

/* ---- dns_ask.c: from the question to its reply ---- */

struct dns_stream;

/* Where a question came from, and its reply goes. */
struct dns_asker {
	struct dns_stream *stream; /* NULL: by a datagram */
	int fd;
	struct sockaddr_storage peer;
	socklen_t peer_size;
	struct in_addr asked; /* IPv4: where it was sent to; the reply is sent from there */
};

struct dns_ask {
	struct dns_ask *next, *previous; /* of its service */
	struct dns_service *service;
	struct dns_asker asker;
	bool is_plain, is_covered;
	uint16_t txid;		      /* the asker's; question.txid is ours */
	struct dns_question question; /* only txid, when it is not plain */
	uint16_t size;
	uint8_t message[PST_DNS_MAX_QUERY]; /* as it was sent, but for the txid */
	uint64_t deadline_ns;
	unsigned first, tried;	    /* where in the resolvers it began, and how many were asked */
	struct addr resolver;	    /* that is asked, or has answered */
	struct dns_socket upstream; /* to it */
	struct event *timer;
	uint8_t *reply;	   /* being read, or held until it is leased */
	size_t reply_size; /* held: counted in service->held */
	struct relay_request *lease;
	bool waits_for_lease; /* until fewer are asked for */
};

/* Judges a message and sees to it that it is answered, now or later, or dropped. */
void dns_ask_start(struct dns_service *service, const struct dns_asker *asker,
		   const uint8_t *message, size_t size);
/* Ends it without an answer. */
void dns_ask_free(struct dns_ask *ask);
/* The resolver's reply: 0 if that ends the wait for resolvers; -EAGAIN: it is none to this question; another error: the
 * next resolver is to be asked. The ask may be gone after 0. */
int dns_ask_reply(struct dns_ask *ask, const uint8_t *reply, size_t size);
/* Room for a reply; -ENOBUFS: the sandbox holds too much already. */
int dns_ask_hold(struct dns_ask *ask, size_t size);
/* After questions have gone: those that wait to be leased may have their turn. */
void dns_ask_settled(struct dns_service *service);
/* SERVFAIL, and its end. */
void dns_ask_fail(struct dns_ask *ask);

/* ---- dns_upstream.c ---- */

/* Asks the next resolver; the question fails when none is left, and is gone then. */
void dns_upstream_next(struct dns_ask *ask);
void dns_upstream_close(struct dns_ask *ask);
/* Is there another resolver that was not asked yet? */
bool dns_upstream_has_more(const struct dns_ask *ask);

/* ---- dns.c ---- */

struct dns_service {
	struct relay_sandbox *sandbox;
	uint16_t port; /* of resolvers: 53 (tests have others) */
	int udp[2];    /* IPv4, IPv6; -1 */
	struct event *reading[2];
	struct dns_ask *asks;
	unsigned n_asks, n_leases;
	size_t held; /* bytes of replies */
	size_t room; /* of what streams have not taken */
};

/* Sends a reply by where the question came from. */
void dns_send(const struct dns_asker *asker, const uint8_t *reply, size_t size);
struct dns_told {
	uint8_t verdict, reason; /* PST_VERDICT_*, PST_REASON_* */
	const char *name;	 /* NULL: it asks for none that can be read */
};
/* Tells a decision about a question. */
void dns_tell(struct dns_service *service, const struct dns_asker *asker,
	      const struct dns_told *told);

/* ---- dns_tcp.c ---- */

struct dns_stream {
	struct session *session;
	struct event *reading, *writing, *idle;
	uint8_t in[2 + PST_DNS_MAX_QUERY]; /* a length and what is there of its message */
	size_t in_size;
	uint8_t *out;
	size_t out_size, out_room;
	unsigned n_asks;
	bool is_ending; /* nothing more will be read */
	bool is_broken; /* ends at the next event, whatever waits */
};

/* Puts a reply with its length to what is to be written. Never ends the session. */
void dns_stream_send(struct dns_stream *stream, const uint8_t *reply, size_t size);
/* One question less in flight: it may read on. */
void dns_stream_settled(struct dns_stream *stream);

#endif
