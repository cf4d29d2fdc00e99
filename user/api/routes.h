/* SPDX-License-Identifier: MIT */
/* A whole request -> the backend's call -> a whole reply. Pure but for the backend: no sockets here. */
#ifndef API_ROUTES_H
#define API_ROUTES_H

#include "api/api.h"

struct api_request {
	const char *method; /* "PUT" */
	const char
		*path; /* as sent, without the query: never decoded, so an id with '%' is no id */
	const char *body; /* NUL-terminated; "" */
	size_t body_size;
	struct api_caller caller; /* role NONE: no valid key */
	bool is_operator_socket;  /* the unix socket */
	/* NULL: not there. Values are decoded. Names of headers in any case. */
	const char *(*header)(const void *context, const char *name);
	const char *(*query)(const void *context, const char *name);
	const void *context;
};

struct api_stream_filter {
	char sandbox[API_ID_MAX + 1]; /* "": all */
	char verdict[16];
	char name[256]; /* a name, or *.suffix */
	bool sse;	/* text/event-stream instead of NDJSON */
};

#define API_MAX_HEADERS 6
struct api_reply {
	unsigned status;  /* HTTP */
	const char *type; /* of the body; NULL: none */
	struct buf body;
	struct {
		const char *name;
		char *value; /* owned */
	} headers[API_MAX_HEADERS];
	size_t n_headers;
	bool is_stream; /* GET /v1/events: `filter` says of what; the body is the first bytes */
	struct api_stream_filter filter;
};
void api_reply_done(struct api_reply *reply);

/* Always fills in a reply: what goes wrong is one. Replies to an unknown path: 404 in the caller's dialect. */
void api_route(const struct api_backend *backend, const struct api_request *request,
	       struct api_reply *reply);

#endif
