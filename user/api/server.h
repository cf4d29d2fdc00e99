/* SPDX-License-Identifier: MIT */
/*
 * The HTTP server of posternd: sockets, connections, callers, bodies, limits; hands whole requests to the routes and
 * writes their replies. libmicrohttpd underneath, driven by the caller's loop; no thread of its own.
 */
#ifndef API_SERVER_H
#define API_SERVER_H

#include "api/api.h"
#include "base/loop.h"

struct api_key {
	uint8_t hash[32]; /* SHA-256 of the key */
	enum api_role role;
	char owner[API_OWNER_MAX + 1];
};

struct api_server_options {
	const struct api_backend *backend;
	struct loop *loop;
	/* The listening sockets stay the caller's, and are closed by it after the server is freed. */
	int unix_fd; /* -1: none. Its callers are operators (SO_PEERCRED), but for those inside a sandbox: 403 */
	int tcp_fd;	 /* -1: no TCP. Callers by key */
	bool check_host; /* TCP on loopback: only loopback names in Host (no web page may reach us) */
	const struct api_key *keys; /* live as long as the server */
	size_t n_keys;
	size_t max_body;	  /* bytes; 0: 9 MiB (a document and its wrapping) */
	unsigned max_connections; /* for each of the two sockets; 0: 2,048 */
	unsigned request_s;	  /* from a request's first byte to its last; 0: 10 */
	unsigned idle_s;	  /* between requests of a kept-alive connection; 0: 120 */
	unsigned max_streams;	  /* of events; 0: 64 */
	unsigned heartbeat_s;	  /* a quiet stream says so, and dead peers are noticed; 0: 15 */
};

struct api_server;

int api_server_new(const struct api_server_options *options, struct api_server **ret_server,
		   struct error *err);
/* Stops listening, ends every connection. */
void api_server_free(struct api_server *server);

/* To every stream that wants it. A stream that does not read loses events, and is told how many. */
void api_server_publish(struct api_server *server, const struct api_event *event);
/* Events that the kernel or the daemon lost before they could be published: every stream of that sandbox says so. */
void api_server_lost(struct api_server *server, const char *sandbox, uint64_t count);

struct api_server_counts {
	uint64_t requests[6];	       /* by status class: [2] is 2xx */
	uint64_t refused;	       /* connections over the limit, slow or broken requests */
	unsigned connections, streams; /* now */
	uint64_t lost;		       /* events that streams did not read in time */
};
void api_server_counts(const struct api_server *server, struct api_server_counts *ret_counts);

#endif
