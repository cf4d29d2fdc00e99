/* SPDX-License-Identifier: MIT */
/*
 * A request's head: whom it is for, whether that is allowed now, and what goes on of it. Nothing is copied
 * blindly: lines are written anew from what was understood, and what a transform sets comes from the transform
 * alone.
 */
#include <errno.h>
#include <string.h>

#include "relay/http_parts.h"
#include "relay/writer.h"

/* What a head has of ours at the most: an address for a host, framing, and so on. */
#define HEAD_OURS 512

static bool is_method(const struct head *head, const char *method)
{
	return head->method.size == strlen(method) &&
	       memcmp(head->method.at, method, head->method.size) == 0;
}

bool http_is_injected(const struct relay_transform *transform, const struct head_text *name)
{
	for (size_t i = 0; transform && i < transform->n_headers; i++) {
		if (head_name_is_like(name, transform->headers[i].name))
			return true;
	}
	return false;
}

static void put_host(const struct http *http, const struct head *head, struct writer *writer)
{
	char text[CIDR_TEXT_MAX];
	struct addr addr = head->host_addr;

	if (!head->host[0] &&
	    !head->host_is_address) /* HTTP/1.0 without Host: what it connected to */
		memcpy(addr.bytes, http->session->origin.addr, sizeof(addr.bytes));
	writer_text(writer, "Host: ");
	if (head->host[0]) {
		writer_text(writer, head->host);
	} else if (addr_is_ipv4(&addr)) {
		writer_text(writer, addr_print(&addr, text));
	} else {
		writer_text(writer, "[");
		writer_text(writer, addr_print(&addr, text));
		writer_text(writer, "]");
	}
	writer_text(writer, "\r\n");
}

/* The policy was checked when it came in; what would break the message is left out all the same. */
static void put_injected(const struct relay_header *header, struct writer *writer)
{
	const struct head_field field = {.name = {header->name, strlen(header->name)},
					 .value = {header->value, strlen(header->value)}};

	for (size_t i = 0; i < field.name.size; i++) {
		if (!head_is_token(field.name.at[i]))
			return;
	}
	for (size_t i = 0; i < field.value.size; i++) {
		if (!head_is_value(field.value.at[i]))
			return;
	}
	if (field.name.size && !head_name_has_meaning(&field.name))
		writer_field(writer, &field);
}

static void put_framing(const struct http *http, const struct head *head, struct writer *writer)
{
	if (head->expects_continue)
		writer_text(writer, "Expect: 100-continue\r\n");
	if (http->request.may_upgrade)
		writer_text(writer, "Connection: Upgrade\r\nUpgrade: websocket\r\n");
	if (head->framing == HEAD_FRAMING_CHUNKED)
		writer_text(writer, "Transfer-Encoding: chunked\r\n");
	if (head->framing == HEAD_FRAMING_LENGTH) {
		writer_text(writer, "Content-Length: ");
		writer_number(writer, head->length);
		writer_text(writer, "\r\n");
	}
}

/* What is written of this request at the most. */
static size_t room_for(const struct head *head, const struct relay_transform *transform)
{
	size_t room = HEAD_OURS + head->method.size + head->target.size + sizeof(head->host);

	for (size_t i = 0; i < head->n_fields; i++)
		room += WRITER_FIELD + head->fields[i].name.size + head->fields[i].value.size;
	for (size_t i = 0; transform && i < transform->n_headers; i++)
		room += WRITER_FIELD + strlen(transform->headers[i].name) +
			strlen(transform->headers[i].value);
	return room;
}

int http_write_request(struct http *http, const struct head *head,
		       const struct relay_transform *transform, struct evbuffer *out)
{
	struct writer writer;

	writer_start(&writer, out, room_for(head, transform));
	writer_put(&writer, head->method.at, head->method.size);
	writer_text(&writer, " ");
	writer_put(&writer, head->target.at, head->target.size);
	writer_text(&writer, " HTTP/1.1\r\n");
	put_host(http, head, &writer);
	for (size_t i = 0; i < head->n_fields; i++) {
		if (!head->fields[i].is_hop && !http_is_injected(transform, &head->fields[i].name))
			writer_field(&writer, &head->fields[i]);
	}
	for (size_t i = 0; transform && i < transform->n_headers; i++)
		put_injected(&transform->headers[i], &writer);
	put_framing(http, head, &writer);
	writer_text(&writer, "\r\n");
	return writer_end(&writer) ? -ENOMEM : 0;
}

/* Upgrade to anything else is left out, as RFC 9110 7.8 lets us: behind h2c, names would go by unread. */
static bool asks_for_websocket(const struct head *head)
{
	unsigned upgrades = 0, websockets = 0;

	for (size_t i = 0; i < head->n_fields; i++) {
		if (!head_text_is(&head->fields[i].name, "upgrade"))
			continue;
		upgrades++;
		websockets += head_text_is(&head->fields[i].value, "websocket");
	}
	return upgrades == 1 && websockets == 1 && is_method(head, "GET") && head->minor == 1 &&
	       head->framing == HEAD_FRAMING_NONE;
}

static void begin_request(struct http *http, const struct head *head,
			  const struct relay_transform *transform)
{
	struct http_request *r = &http->request;
	bool is_safe =
		is_method(head, "GET") || is_method(head, "HEAD") || is_method(head, "OPTIONS");

	*r = (struct http_request){
		.by_name = head->host[0] && !session_passes_by_address(http->session) &&
			   relay_policy_name(http->session->sandbox->policy, head->host, PST_TCP,
					     http_port(http)),
		.is_head = is_method(head, "HEAD"),
		.is_old = head->minor == 0,
		.keeps_alive = head->keeps_alive && head->minor == 1,
		.expects_continue = head->expects_continue,
		.may_upgrade = !transform && asks_for_websocket(head),
		.is_chunked = head->framing == HEAD_FRAMING_CHUNKED,
		.may_repeat = is_safe && head->framing == HEAD_FRAMING_NONE,
	};
	memcpy(r->name, head->host, sizeof(r->name));
	body_start(&r->body,
		   r->is_chunked			  ? BODY_CHUNKED
		   : head->framing == HEAD_FRAMING_LENGTH ? BODY_LENGTH
							  : BODY_NONE,
		   head->length);
}

/* The newest name that a trusted resolver answered this address for, as the kernel has learned it. */
static bool was_learned(const struct session *session, const char *name)
{
	char learned[DOMAIN_MAX + 1];

	return strcmp(domain_from_key(&session->origin.name, learned), name) == 0;
}

static enum step send_on(struct http *http, const struct head *head,
			 const struct relay_transform *transform)
{
	begin_request(http, head, transform);
	(void)evbuffer_drain(http->head, evbuffer_get_length(http->head));
	if (http_write_request(http, head, transform, http->head) < 0)
		return http_deny_for(http, PST_REASON_RELAY_FAILED);
	if (transform && !http->is_tls)
		http->request.has_to_resolve =
			http->request.by_name ? http->session->sandbox->policy->proxy != NULL
					      : !was_learned(http->session, head->host);
	http->state = HTTP_ROUTE;
	return STEP_AGAIN;
}

static enum step deny(struct http *http, enum pst_reason reason)
{
	session_report(http->session, PST_VERDICT_DENY, reason);
	return http_deny_for(http, reason);
}

/* With a transform, what follows the request has to stay readable, and must not come back with its secrets. */
static enum step check_method(struct http *http, const struct head *head, bool has_transform)
{
	static const char trace[] = "TRACE and TRACK would send back what the rules put in";

	if (head_text_is(&head->method, "CONNECT"))
		return deny(http, PST_REASON_UPGRADE);
	if (has_transform && head->has_upgrade)
		return deny(http, PST_REASON_UPGRADE);
	if (!head_text_is(&head->method, "TRACE") && !head_text_is(&head->method, "TRACK"))
		return STEP_AGAIN;
	session_report(http->session, PST_VERDICT_DENY, PST_REASON_UPGRADE);
	return http_deny(http, 403, PST_REASON_UPGRADE, trace);
}

/* The session is about this name from now on: events say it, and a change of policy judges it. False: denied,
 * told. */
static bool judge(struct http *http, const char *name, enum pst_reason *ret_reason)
{
	struct session *session = http->session;
	bool is_new = !http->is_judged || strcmp(session->name, name) != 0;
	uint32_t rule = 0;

	if (strcmp(session->name, name) != 0)
		memcpy(session->name, name, strlen(name) + 1);
	*ret_reason = session_judge(session, name, &rule);
	if (*ret_reason != PST_REASON_UNSET)
		return !session_deny(session, *ret_reason);
	session->rule = rule;
	session->verdict = PST_VERDICT_ALLOW;
	http->is_judged = true;
	if (is_new)
		session_report(session, PST_VERDICT_ALLOW,
			       session_passes_by_address(session) ? session->origin.reason
								  : PST_REASON_HOST_NAME);
	return true;
}

static enum step take_request(struct http *http, const struct head *head)
{
	static const char misdirected[] = "Host is not the name that TLS was opened for";
	const struct relay_transform *transform;
	enum pst_reason reason;
	enum step came_to;

	if (http->is_tls && strcmp(head->host, http->session->name) != 0) {
		session_report(http->session, PST_VERDICT_DENY, PST_REASON_HOST_CHECK);
		return http_deny(http, 421, PST_REASON_HOST_CHECK, misdirected);
	}
	if (!judge(http, head->host, &reason))
		return http_deny_for(http, reason);
	transform = relay_policy_transform(http->session->sandbox->policy, head->host);
	came_to = check_method(http, head, transform != NULL);
	if (came_to != STEP_AGAIN || http->state == HTTP_FINISHING)
		return came_to;
	/* The rule that made us read this is gone: the next connection goes through unread. */
	if (http->is_tls && !transform)
		return http_gone(http, false);
	return send_on(http, head, transform);
}

enum step http_read_head(struct http *http)
{
	struct stream *client = http->client;
	size_t most = http->session->sandbox->relay->limits.head_bytes;
	size_t size = evbuffer_get_length(client->in);
	struct head head;
	const uint8_t *bytes;
	enum head_status status;
	enum step came_to;

	/* What the last one's server says unasked, or that it is gone: the next request goes to a new one. */
	if (http->upstream && (http->upstream->failed || http->upstream->wire_ended ||
			       evbuffer_get_length(http->upstream->in)))
		http_disconnect(http);
	if (!client->is_open || size == 0)
		return client->ended ? http_finish(http) : STEP_WAIT;
	bytes = evbuffer_pullup(client->in, -1);
	if (!bytes)
		return http_gone(http, true);
	status = head_scan(bytes, size < most ? size : most, &http->scanned);
	if (status == HEAD_MORE && size < most)
		return client->ended ? http_gone(http, true) : STEP_WAIT;
	if (status == HEAD_MORE)
		status = HEAD_TOO_LONG;
	/* What became of the last one says nothing of this one, which may be refused before it begins. */
	memset(&http->request, 0, sizeof(http->request));
	if (status == HEAD_DONE)
		status = head_request(bytes, http->scanned, http_port(http), &head);
	if (status != HEAD_DONE)
		return deny(http,
			    status == HEAD_TOO_LONG ? PST_REASON_HEAD_SIZE : PST_REASON_AMBIGUOUS);
	size = http->scanned;
	http->scanned = 0;
	http->has_begun = true;
	http->session->bytes_out += size;
	came_to = take_request(http, &head);
	if (came_to != STEP_GONE)
		(void)evbuffer_drain(client->in, size);
	return came_to;
}
