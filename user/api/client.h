/* SPDX-License-Identifier: MIT */
/* One request to posternd over its unix socket, as the command line makes it. */
#ifndef API_CLIENT_H
#define API_CLIENT_H

#include <stddef.h>

#include "base/buf.h"
#include "base/error.h"

#define API_CLIENT_SOCKET "/run/postern/postern.sock"

struct api_client_request {
	const char *socket; /* path; NULL: $POSTERN_SOCKET, else API_CLIENT_SOCKET */
	const char *method;
	const char *path;   /* with its query, encoded */
	const char *accept; /* NULL: application/json */
	const char *body;   /* NULL: none */
	size_t body_size;
};

/*
 * The whole reply, within 60 s. -ECONNREFUSED, -ENOENT, ... with err ("cannot reach posternd at PATH: ...; is it
 * running?"), -EBADMSG for what is no HTTP.
 */
int api_client_call(const struct api_client_request *request, unsigned *ret_status,
		    struct buf *ret_body, struct error *err);
/*
 * A stream: fn gets each line without its newline (a NUL is there instead) until it returns non-zero (then that is
 * returned), the daemon ends it (0), or it breaks; -EINTR when a signal was caught. Empty lines are signs of life
 * and not told. A status other than 200 has a whole body instead.
 */
typedef int (*api_client_line_fn)(void *context, const char *line, size_t size);
int api_client_stream(const struct api_client_request *request, unsigned *ret_status,
		      struct buf *ret_error_body, api_client_line_fn fn, void *context,
		      struct error *err);

/* Appends `text` percent-encoded for a path segment or a query value. */
void api_client_encode(struct buf *out, const char *text);

#endif
