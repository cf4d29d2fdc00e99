/* SPDX-License-Identifier: MIT */
/*
 * See h2_request.h. What could end a line, or could not be in a line, is refused here whatever libnghttp2 thinks of it;
 * what the lines mean is for head.c to say, which reads them next.
 */
#include "relay/h2_request.h"

#include <string.h>

/* Of a connection, which HTTP/2 has none of (RFC 9113 8.2.2); "te" apart. */
static const char *const forbidden[] = {
	"connection",	     "keep-alive", "proxy-connection",
	"transfer-encoding", "upgrade",	   "http2-settings",
};

/* RFC 9113 6.5.2 */
#define FIELD_OVERHEAD 32

void h2_request_done(struct h2_request *request)
{
	struct buf *all[] = {&request->method, &request->scheme, &request->authority,
			     &request->path,   &request->fields, &request->cookie};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		buf_done(all[i]);
}

static bool buf_is(const struct buf *b, const char *text)
{
	return b->size == strlen(text) && memcmp(b->data, text, b->size) == 0;
}

static struct buf *pseudo_of(struct h2_request *request, const struct head_text *name)
{
	const struct {
		const char *name;
		struct buf *value;
	} all[] = {
		{":method", &request->method},
		{":scheme", &request->scheme},
		{":authority", &request->authority},
		{":path", &request->path},
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		if (name->size == strlen(all[i].name) &&
		    memcmp(name->at, all[i].name, name->size) == 0)
			return all[i].value;
	}
	return NULL;
}

/* Each once, before all fields, and without anything that ends a word. */
static bool add_pseudo(struct h2_request *request, const struct head_text *name,
		       const struct head_text *value)
{
	struct buf *to = pseudo_of(request, name);

	if (!to || to->size || !value->size || request->has_fields)
		return false;
	for (size_t i = 0; i < value->size; i++) {
		if (value->at[i] <= 0x20 || value->at[i] >= 0x7f)
			return false;
	}
	buf_add(to, value->at, value->size);
	return true;
}

static bool is_name(const struct head_text *name)
{
	for (size_t i = 0; i < name->size; i++) {
		if (!head_is_token(name->at[i]) || (name->at[i] >= 'A' && name->at[i] <= 'Z'))
			return false;
	}
	for (size_t i = 0; i < sizeof(forbidden) / sizeof(forbidden[0]); i++) {
		if (head_text_is(name, forbidden[i]))
			return false;
	}
	return name->size > 0;
}

static bool is_value(const struct head_text *value)
{
	for (size_t i = 0; i < value->size; i++) {
		if (!head_is_value(value->at[i]))
			return false;
	}
	return true;
}

static void add_line(struct buf *to, const struct head_text *name, const struct head_text *value)
{
	buf_add(to, name->at, name->size);
	buf_add(to, ": ", 2);
	buf_add(to, value->at, value->size);
	buf_add(to, "\r\n", 2);
}

static bool add_field(struct h2_request *request, const struct head_text *name,
		      const struct head_text *value)
{
	const struct head_text authority = {request->authority.data, request->authority.size};

	request->has_fields = true;
	if (!is_name(name) || !is_value(value))
		return false;
	if (head_text_is(name, "te"))
		return head_text_is(value, "trailers");
	if (head_text_is(name, "host")) {
		/* It says once more what :authority says; otherwise readers may follow either. */
		return request->n_hosts++ == 0 && value->size && authority.size == value->size &&
		       memcmp(authority.at, value->at, value->size) == 0;
	}
	if (head_text_is(name, "cookie")) {
		if (request->cookie.size)
			buf_add(&request->cookie, "; ", 2);
		buf_add(&request->cookie, value->at, value->size);
		return true;
	}
	if (head_text_is(name, "content-length"))
		request->n_lengths++;
	add_line(&request->fields, name, value);
	return true;
}

void h2_request_add(struct h2_request *request, const struct head_text *name,
		    const struct head_text *value, size_t most)
{
	request->size += name->size + value->size + FIELD_OVERHEAD;
	if (request->size > most)
		request->is_long = true;
	if (request->is_long || request->is_bad)
		return;
	if (!(name->size && *name->at == ':' ? add_pseudo(request, name, value)
					     : add_field(request, name, value)))
		request->is_bad = true;
}

static bool is_connect(const struct h2_request *request)
{
	return buf_is(&request->method, "CONNECT");
}

/* All of them, as a client of our own certificate sends them; of CONNECT those that it has. */
static bool is_whole(const struct h2_request *request)
{
	if (!request->method.size || !request->authority.size)
		return false;
	if (is_connect(request))
		return !request->scheme.size && !request->path.size;
	return buf_is(&request->scheme, "https") &&
	       (buf_is(&request->path, "*") || (request->path.size && *request->path.data == '/'));
}

/* Methods whose servers ask for a length (RFC 9110 8.6). */
static bool is_for_content(const struct h2_request *request)
{
	return buf_is(&request->method, "POST") || buf_is(&request->method, "PUT") ||
	       buf_is(&request->method, "PATCH");
}

static void write_text(const struct h2_request *request, bool has_body, struct buf *to)
{
	const struct buf *target = is_connect(request) ? &request->authority : &request->path;

	buf_add(to, request->method.data, request->method.size);
	buf_add(to, " ", 1);
	buf_add(to, target->data, target->size);
	buf_puts(to, " HTTP/1.1\r\nHost: ");
	buf_add(to, request->authority.data, request->authority.size);
	buf_puts(to, "\r\n");
	if (request->fields.size)
		buf_add(to, request->fields.data, request->fields.size);
	if (request->cookie.size) {
		buf_puts(to, "Cookie: ");
		buf_add(to, request->cookie.data, request->cookie.size);
		buf_puts(to, "\r\n");
	}
	if (!request->n_lengths && has_body)
		buf_puts(to, "Transfer-Encoding: chunked\r\n");
	else if (!request->n_lengths && is_for_content(request))
		buf_puts(to, "Content-Length: 0\r\n");
	buf_puts(to, "\r\n");
}

enum pst_reason h2_request_write(const struct h2_request *request, bool has_body,
				 struct buf *ret_text)
{
	if (request->is_long)
		return PST_REASON_HEAD_SIZE;
	if (buf_status(&request->method) < 0 || buf_status(&request->scheme) < 0 ||
	    buf_status(&request->authority) < 0 || buf_status(&request->path) < 0 ||
	    buf_status(&request->fields) < 0 || buf_status(&request->cookie) < 0)
		return PST_REASON_RELAY_FAILED;
	if (request->is_bad || !is_whole(request))
		return PST_REASON_AMBIGUOUS;
	write_text(request, has_body, ret_text);
	return buf_status(ret_text) < 0 ? PST_REASON_RELAY_FAILED : PST_REASON_UNSET;
}
