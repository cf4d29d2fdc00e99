/* SPDX-License-Identifier: MIT */
/*
 * The connection that requests go out on. By name where a name is what was allowed; by the address that the
 * sandbox asked for where that is, so that a rule never opens what the policy does not: TLS proves whose it is,
 * and in the clear it has to be one of the name's addresses, as the relay resolves it, before a header is put in; so
 * a proxy is told the address then, too.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "relay/h2.h"
#include "relay/http_parts.h"
#include "relay/tls.h"

void http_disconnect(struct http *http)
{
	if (http->dial)
		relay_dial_cancel(http->dial);
	http->dial = NULL;
	stream_free(http->upstream);
	http->upstream = NULL;
	http->was_used = false;
	http->scanned_reply = 0;
}

bool http_reaches_closed(const struct http *http, const struct relay_policy *policy)
{
	if (http->h2)
		return h2_reaches_closed(http->h2, policy);
	return http->upstream && relay_reaches_closed(http->upstream->fd, policy);
}

static enum step failed(struct http *http, enum pst_reason reason)
{
	session_report(http->session, PST_VERDICT_DENY, reason);
	return http_deny_for(http, reason);
}

static int open_upstream(struct http *http, int fd)
{
	struct session *session = http->session;
	struct relay *relay = session->sandbox->relay;
	SSL *ssl = http->is_tls ? tls_connect(relay->upstream, session->name) : NULL;

	if (http->is_tls && !ssl)
		return -ENOMEM;
	if (stream_new(relay->base, fd, ssl, http_run, http, &http->upstream) < 0)
		return -ENOMEM;
	http->upstream->owns_fd = true;
	relay_dialled_options(fd);
	stream_start(http->upstream);
	return 0;
}

static void on_dialled(void *context, int fd, enum pst_reason reason)
{
	struct http *http = context;
	enum step came_to = STEP_AGAIN;

	http->dial = NULL;
	if (fd < 0) {
		came_to = failed(http, reason);
	} else if (open_upstream(http, fd) < 0) {
		close(fd);
		came_to = failed(http, PST_REASON_RELAY_FAILED);
	}
	if (came_to != STEP_GONE)
		http_run(http);
}

static bool is_reusable(const struct http *http)
{
	const struct stream *upstream = http->upstream;

	return upstream && !upstream->failed && !upstream->ended && !upstream->wire_ended &&
	       upstream->is_open && evbuffer_get_length(upstream->in) == 0 &&
	       evbuffer_get_length(upstream->out) == 0 &&
	       http->upstream_by_name == http->request.by_name &&
	       strcmp(http->upstream_name, http->request.name) == 0;
}

enum step http_connect(struct http *http)
{
	struct session *session = http->session;
	struct relay_target target = {.port = http_port(http)};

	http->state = HTTP_DIAL;
	if (is_reusable(http))
		return STEP_AGAIN;
	http_disconnect(http);
	memcpy(http->upstream_name, http->request.name, sizeof(http->upstream_name));
	http->upstream_by_name = http->request.by_name;
	if (http->request.is_resolved)
		target.addr = http->request.at;
	else if (http->request.by_name)
		memcpy(target.name, http->request.name, sizeof(target.name));
	else
		memcpy(target.addr.bytes, session->origin.addr, sizeof(target.addr.bytes));
	session->to_address = !http->request.by_name;
	http->dial = relay_dial(session->sandbox, &target, on_dialled, http);
	return http->dial ? STEP_WAIT : failed(http, PST_REASON_RELAY_FAILED);
}

enum step http_connecting(struct http *http)
{
	struct stream *upstream = http->upstream;
	const unsigned char *head;

	if (!upstream)
		return STEP_WAIT;
	if (upstream->failed && upstream->ssl && !upstream->is_open && upstream->verify)
		return failed(http, PST_REASON_CERTIFICATE);
	if (upstream->failed || (!upstream->is_open && upstream->ended))
		return failed(http, PST_REASON_UNREACHED);
	if (!upstream->is_open)
		return STEP_WAIT;
	head = evbuffer_pullup(http->head, -1);
	if (!head || evbuffer_add(upstream->out, head, evbuffer_get_length(http->head)))
		return failed(http, PST_REASON_RELAY_FAILED);
	http->state = HTTP_EXCHANGE;
	return STEP_AGAIN;
}

static void on_resolved(void *context, const struct addr *addrs, size_t count)
{
	static const char text[] = "headers go in only where the name has this address";
	struct http *http = context;
	struct http_request *r = &http->request;
	enum step came_to;
	bool is_found = false;

	http->resolve = NULL;
	/* One address is all that a proxy is told: of the family that every proxy has. */
	if (r->by_name && count) {
		r->is_resolved = is_found = true;
		r->at = addrs[0];
		for (size_t i = 0; i < count && !addr_is_ipv4(&r->at); i++)
			r->at = addr_is_ipv4(&addrs[i]) ? addrs[i] : r->at;
	}
	for (size_t i = 0; i < count && !is_found; i++)
		is_found = memcmp(addrs[i].bytes, http->session->origin.addr, 16) == 0;
	if (is_found) {
		came_to = http_connect(http);
	} else {
		session_report(http->session, PST_VERDICT_DENY, PST_REASON_UNRESOLVED);
		came_to = http_deny(http, 502, PST_REASON_UNRESOLVED, text);
	}
	if (came_to != STEP_GONE)
		http_run(http);
}

enum step http_route(struct http *http)
{
	int r;

	if (!http->request.has_to_resolve)
		return http_connect(http);
	http->state = HTTP_RESOLVE;
	r = relay_resolve(http->session->sandbox, http->request.name, on_resolved, http,
			  &http->resolve);
	return r < 0 ? failed(http, relay_reason(r)) : STEP_WAIT;
}
