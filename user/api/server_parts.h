/* SPDX-License-Identifier: MIT */
/* What the files of the server share: connections, the request on each, the streams. Nobody else includes this. */
#ifndef API_SERVER_PARTS_H
#define API_SERVER_PARTS_H

#include <microhttpd.h>
#include <sys/types.h>

#include "api/query.h"
#include "api/routes.h"
#include "api/server.h"
#include "api/share.h"

struct listener {
	struct api_server *server;
	int fd; /* the caller's */
	bool is_unix;
	bool watched;
	struct MHD_Daemon *daemon;
	int daemon_fd; /* MHD's epoll */
	int again_fd;  /* timer: MHD has more to do than its epoll tells */
	bool is_due;   /* again_fd is set */
	unsigned connections;
};

enum conn_state {
	CONN_IDLE = 0, /* no byte of a request is there */
	CONN_READING,
	CONN_REPLYING,
	CONN_STREAMING,
	CONN_CUT, /* shut down, MHD will notice */
};

struct conn {
	struct conn *next, **link;
	struct listener *listener;
	int fd; /* MHD's */
	enum conn_state state;
	uint64_t since_ns; /* it is in that state */
	pid_t pid;	   /* unix: who connected */
	bool is_known;	   /* a request of it had a key, or needed none */
	bool was_inside;   /* pid was in a sandbox at some time: it stays refused */
};

struct stream;

struct api_server {
	struct api_server_options options;
	struct listener unix_listener, tcp_listener;
	struct conn *conns;
	struct stream *streams;
	int activity_fd; /* epoll, edges of all connections: tells when a request begins */
	int sweep_fd, heartbeat_fd;
	size_t held;	      /* bytes of all bodies in memory */
	struct share *shares; /* one for each key */
	struct api_server_counts counts;
};

/* One request and what is known of it. */
struct exchange {
	struct conn *conn;
	struct MHD_Connection *connection;
	struct query query;
	struct api_caller caller;
	struct share *share; /* NULL: the caller is not counted */
	struct buf body;
	size_t received; /* of the body, kept or not */
	bool started;
	bool is_query_bad;
	unsigned refusal; /* HTTP status; 0: none */
	unsigned wait_s;  /* for a refusal: 0, or when to come again */
	const char *refusal_text;
};

void conn_set(struct conn *c, enum conn_state state);
/* A run of MHD in the next round of the loop: whoever resumes a connection asks for it. */
void listener_run_soon(struct listener *l);

/* exchange.c: MHD's callbacks; cls is the listener. */
void *exchange_new(void *cls, const char *target, struct MHD_Connection *connection);
enum MHD_Result exchange_handle(void *cls, struct MHD_Connection *connection, const char *url,
				const char *method, const char *version, const char *upload,
				size_t *upload_size, void **context);
void exchange_completed(void *cls, struct MHD_Connection *connection, void **context,
			enum MHD_RequestTerminationCode code);

/* streams.c */
/* The response of a new stream, or NULL; `reply` is GET /v1/events'. */
struct MHD_Response *stream_response(struct exchange *x, const struct api_reply *reply);
/* Lets those that wait go on for the last time: nothing may be suspended when MHD is stopped. */
void streams_end(struct api_server *server);
/* Its peer will send no more; is_gone: nor read. */
void stream_hung_up(struct conn *conn, bool is_gone);
/* So that dead peers are noticed; ends the streams that have read nothing for idle_s. */
int streams_heartbeat(void *context, int fd);

#endif
