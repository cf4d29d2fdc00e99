/* SPDX-License-Identifier: MIT */
/*
 * One request: who asks and whether it may, its body within bounds, the routes' reply put on the wire. A request that
 * is refused is read to its end first (within bounds), as closing early would take the reply from a client that writes.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api/caller.h"
#include "api/server_parts.h"
#include "base/cleanup.h"
#include "base/text.h"

/* All bodies together, in bodies of the largest size. */
#define BODIES_AT_ONCE 8u
/* Those of tenants, and those of one. */
#define TENANTS_BODIES 6u
#define TENANT_BODIES  2u
/* A header's value; longer ones (warnings) are cut: request and reply share one small pool in MHD. */
#define HEADER_VALUE_MAX 2048u

static const struct api_server_options *options_of(const struct exchange *x)
{
	return &x->conn->listener->server->options;
}

void *exchange_new(void *cls, const char *target, struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	struct exchange *x;
	int r;

	(void)cls;
	if (!info || !info->socket_context)
		return NULL;
	x = calloc(1, sizeof(*x));
	if (!x)
		return NULL;
	x->conn = info->socket_context;
	x->connection = connection;
	if (x->conn->state == CONN_IDLE)
		conn_set(x->conn, CONN_READING);
	r = query_parse(target, &x->query);
	x->is_query_bad = r < 0;
	if (!x->query.text) {
		free(x);
		return NULL;
	}
	return x;
}

static void drop_body(struct exchange *x)
{
	x->conn->listener->server->held -= x->body.size;
	if (x->share)
		x->share->held -= x->body.size;
	buf_done(&x->body);
	x->body = (struct buf){0};
}

void exchange_completed(void *cls, struct MHD_Connection *connection, void **context,
			enum MHD_RequestTerminationCode code)
{
	struct exchange *x = *context;

	(void)cls;
	(void)connection;
	if (!x)
		return;
	*context = NULL;
	drop_body(x);
	query_done(&x->query);
	/* One that ended within its request stays what it was: conn_free() counts it. */
	if (code == MHD_REQUEST_TERMINATED_COMPLETED_OK && x->conn->state != CONN_CUT)
		conn_set(x->conn, CONN_IDLE);
	free(x);
}

static const char *find_header(const void *context, const char *name)
{
	const struct exchange *x = context;

	return MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, name);
}

static const char *find_parameter(const void *context, const char *name)
{
	const struct exchange *x = context;

	return query_find(&x->query, name);
}

static void refuse(struct exchange *x, unsigned status, const char *text)
{
	if (x->refusal)
		return;
	x->refusal = status;
	x->refusal_text = text;
	drop_body(x);
}

static enum MHD_Result send_response(struct exchange *x, unsigned status,
				     struct MHD_Response *response)
{
	struct api_server *server = x->conn->listener->server;
	enum MHD_Result r;

	if (!response)
		return MHD_NO;
	if (x->conn->state == CONN_READING)
		conn_set(x->conn, CONN_REPLYING);
	r = MHD_queue_response(x->connection, status, response);
	MHD_destroy_response(response);
	if (status >= 100 && status < 600)
		server->counts.requests[status / 100]++;
	return r;
}

static enum MHD_Result send_refusal(struct exchange *x)
{
	struct MHD_Response *response;
	char text[256];

	snprintf(text, sizeof(text), "{\"code\":%u,\"message\":\"%s\"}", x->refusal,
		 x->refusal_text);
	response = MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_COPY);
	if (response)
		(void)MHD_add_response_header(response, "Content-Type", "application/json");
	(void)snprintf(text, sizeof(text), "%u", x->wait_s);
	if (response && x->wait_s)
		(void)MHD_add_response_header(response, "Retry-After", text);
	return send_response(x, x->refusal, response);
}

struct framing {
	unsigned lengths, encodings, hosts;
	bool is_odd; /* an encoding that is not "chunked" */
};

static enum MHD_Result look_at_header(void *cls, enum MHD_ValueKind kind, const char *name,
				      const char *value)
{
	struct framing *f = cls;

	(void)kind;
	if (strcasecmp(name, "Content-Length") == 0)
		f->lengths++;
	if (strcasecmp(name, "Host") == 0)
		f->hosts++;
	if (strcasecmp(name, "Transfer-Encoding") == 0) {
		f->encodings++;
		f->is_odd |= !value || strcasecmp(value, "chunked") != 0;
	}
	return MHD_YES;
}

/* Where a request ends must not be a matter of opinion. */
static bool is_framed(struct exchange *x)
{
	struct framing f = {0};

	MHD_get_connection_values(x->connection, MHD_HEADER_KIND, look_at_header, &f);
	return f.lengths + f.encodings <= 1 && f.hosts <= 1 && !f.is_odd;
}

static void identify_peer(struct exchange *x)
{
	const struct api_backend *backend = options_of(x)->backend;

	x->caller = (struct api_caller){.role = API_ROLE_OPERATOR};
	/* Asked each time: it may have been moved into a sandbox since. */
	if (!x->conn->was_inside)
		x->conn->was_inside = caller_is_inside(backend, x->conn->fd, x->conn->pid);
	if (x->conn->was_inside) {
		x->caller.role = API_ROLE_NONE;
		refuse(x, 403, "the caller is inside a sandbox");
	}
}

static void identify_key(struct exchange *x)
{
	const struct api_server_options *o = options_of(x);
	const char *host = find_header(x, "Host"), *key = find_header(x, "X-API-Key");

	if (o->check_host && !host)
		refuse(x, 400, "no Host header");
	else if (o->check_host && !caller_host_is_loopback(host))
		refuse(x, 403, "this Host is not served here");
	caller_by_key(o->keys, o->n_keys, key ? key : find_header(x, "x-brimble-key"), &x->caller);
	x->share = share_find(x->conn->listener->server->shares, o, &x->caller);
}

/* One tenant's long requests must not hold up the others. */
static void refuse_spent(struct exchange *x)
{
	unsigned wait_s;

	if (!x->share || x->refusal || !share_is_spent(x->share, loop_boot_ns(), &wait_s))
		return;
	x->wait_s = wait_s;
	refuse(x, 429, "your requests took too much time: try again later");
}

static bool is_crowded(const struct exchange *x, size_t more)
{
	const struct api_server *server = x->conn->listener->server;
	size_t max = server->options.max_body, held = server->held + more;

	if (!x->share)
		return held > BODIES_AT_ONCE * max;
	return held > TENANTS_BODIES * max || x->share->held + more > TENANT_BODIES * max;
}

/* A body that is announced too large for us even to read and drop. */
static bool is_far_too_large(struct exchange *x)
{
	const char *length = find_header(x, "Content-Length");
	size_t max = options_of(x)->max_body;
	unsigned long long size = length ? strtoull(length, NULL, 10) : 0;

	return size > 2 * max || (size > max && find_header(x, "Expect"));
}

static enum MHD_Result begin(struct exchange *x)
{
	if (!is_framed(x)) {
		refuse(x, 400, "ambiguous Content-Length, Transfer-Encoding or Host");
		return send_refusal(x); /* MHD closes the connection, as there may be a body */
	}
	if (x->conn->listener->is_unix)
		identify_peer(x);
	else
		identify_key(x);
	x->conn->is_known |= x->caller.role != API_ROLE_NONE;
	refuse_spent(x);
	if (x->is_query_bad)
		refuse(x, 400, "malformed query");
	if (is_far_too_large(x)) {
		refuse(x, 413, "the body is too large");
		return send_refusal(x);
	}
	return MHD_YES;
}

static void hold_body(struct exchange *x, size_t size)
{
	x->conn->listener->server->held += size;
	if (x->share)
		x->share->held += size;
}

static enum MHD_Result take(struct exchange *x, const char *bytes, size_t size)
{
	struct api_server *server = x->conn->listener->server;
	size_t max = server->options.max_body;

	x->received += size;
	if (x->received > 2 * max)
		return MHD_NO;
	if (x->received > max)
		refuse(x, 413, "the body is too large");
	/* Who has no key is told so whatever the body is. */
	if (x->refusal || x->caller.role == API_ROLE_NONE)
		return MHD_YES;
	if (is_crowded(x, size)) {
		refuse(x, 503, "too many requests at once");
		return MHD_YES;
	}
	buf_add(&x->body, bytes, size);
	if (buf_status(&x->body) < 0)
		refuse(x, 503, "out of memory");
	else
		hold_body(x, size);
	return MHD_YES;
}

/* MHD refuses a value with a control character; a line break must not come that far. */
static void add_header(struct MHD_Response *response, const char *name, const char *value)
{
	cleanup_free char *copy = strndup(value, HEADER_VALUE_MAX);

	if (!copy)
		return;
	text_blank_controls(copy);
	(void)MHD_add_response_header(response, name, copy);
}

static struct MHD_Response *whole_response(struct api_reply *reply)
{
	struct MHD_Response *response;
	size_t size = reply->body.size;
	char *body;

	if (size == 0)
		return MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
	body = buf_take(&reply->body);
	if (!body)
		return NULL;
	response = MHD_create_response_from_buffer(size, body, MHD_RESPMEM_MUST_FREE);
	if (!response)
		free(body);
	return response;
}

static enum MHD_Result send_reply(struct exchange *x, struct api_reply *reply)
{
	struct MHD_Response *response =
		reply->is_stream ? stream_response(x, reply) : whole_response(reply);

	if (response && reply->type)
		add_header(response, "Content-Type", reply->type);
	for (size_t i = 0; response && i < reply->n_headers; i++)
		add_header(response, reply->headers[i].name, reply->headers[i].value);
	if (response && reply->is_stream)
		conn_set(x->conn, CONN_STREAMING);
	return send_response(x, reply->status, response);
}

static enum MHD_Result finish(struct exchange *x, const char *method)
{
	struct api_server *server = x->conn->listener->server;
	struct api_reply reply = {0};
	struct api_request request = {
		.method = method,
		.path = x->query.text,
		.body = x->body.data ? x->body.data : "",
		.body_size = x->body.size,
		.caller = x->caller,
		.is_operator_socket = x->conn->listener->is_unix,
		.header = find_header,
		.query = find_parameter,
		.context = x,
	};
	uint64_t start_ns = loop_boot_ns();
	enum MHD_Result r;

	/* Asked again: others of its requests may have been done since this one began. */
	refuse_spent(x);
	if (x->refusal)
		return send_refusal(x);
	api_route(server->options.backend, &request, &reply);
	if (x->share)
		share_charge(x->share, start_ns, loop_boot_ns());
	drop_body(x);
	if (reply.is_stream && server->counts.streams >= server->options.max_streams) {
		refuse(x, 503, "too many streams");
		r = send_refusal(x);
	} else if (buf_status(&reply.body) < 0) {
		refuse(x, 500, "out of memory");
		r = send_refusal(x);
	} else {
		r = send_reply(x, &reply);
	}
	api_reply_done(&reply);
	return r;
}

/* NOLINTNEXTLINE(readability-function-size): MHD's parameters */
enum MHD_Result exchange_handle(void *cls, struct MHD_Connection *connection, const char *url,
				const char *method, const char *version, const char *upload,
				size_t *upload_size, void **context)
{
	struct exchange *x = *context;
	size_t size = *upload_size;

	(void)cls;
	(void)connection;
	(void)url;
	(void)version;
	if (!x)
		return MHD_NO;
	if (!x->started) {
		x->started = true;
		return begin(x);
	}
	if (size == 0)
		return finish(x, method);
	*upload_size = 0;
	return take(x, upload, size);
}
