/* SPDX-License-Identifier: MIT */
/*
 * What a refused client is told: in HTTP one line that a person or an agent can act on, in TLS an alert. It is written,
 * and then read past for a moment, as closing at once would take it away from a client that still writes.
 */
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "relay/h2.h"
#include "relay/http_parts.h"

static const struct {
	const char *word, *text;
} reasons[] = {
#define X(code, NAME, name, text) [code] = {name, text},
	PST_REASONS(X)
#undef X
};

static unsigned status_of(enum pst_reason reason)
{
	switch ((unsigned)reason) {
	case PST_REASON_AMBIGUOUS:
	case PST_REASON_NOT_HTTP:
		return 400;
	case PST_REASON_HEAD_TIME:
		return 408;
	case PST_REASON_HEAD_SIZE:
		return 431;
	case PST_REASON_UNRESOLVED:
	case PST_REASON_UNREACHED:
	case PST_REASON_PROXY:
	case PST_REASON_CERTIFICATE:
		return 502;
	case PST_REASON_RELAY_DOWN:
	case PST_REASON_RELAY_BUSY:
	case PST_REASON_RELAY_FAILED:
		return 503;
	}
	return 403;
}

static const char *phrase_of(unsigned status)
{
	switch (status) {
	case 400:
		return "Bad Request";
	case 408:
		return "Request Timeout";
	case 421:
		return "Misdirected Request";
	case 431:
		return "Request Header Fields Too Large";
	case 502:
		return "Bad Gateway";
	case 503:
		return "Service Unavailable";
	}
	return "Forbidden";
}

/* Whom it was for: a name that was checked, else the address. */
static void print_place(const struct session *session, const char *name, uint16_t port,
			struct buf *text)
{
	char address[CIDR_TEXT_MAX];
	struct addr addr;

	memcpy(addr.bytes, session->origin.addr, sizeof(addr.bytes));
	if (name[0])
		buf_printf(text, "%s:%u", name, port);
	else
		buf_printf(text, addr_is_ipv4(&addr) ? "%s:%u" : "[%s]:%u",
			   addr_print(&addr, address), port);
}

static void print_advice(enum pst_reason reason, const char *name, struct buf *text)
{
	switch ((unsigned)reason) {
	case PST_REASON_HOST_CHECK:
		if (name[0])
			buf_printf(text, " Allow it with allowOut \"%s\".", name);
		break;
	case PST_REASON_NO_NAME:
		buf_puts(text, " Ask for it by its name, or allow its address in allowOut.");
		break;
	case PST_REASON_AMBIGUOUS:
		buf_puts(text, " Nothing of it was sent on.");
		break;
	case PST_REASON_CERTIFICATE:
		buf_puts(text, " The host's operator can trust another CA.");
		break;
	}
}

static void print_line(const struct session *session, enum pst_reason reason, const char *name,
		       const char *why, struct buf *text)
{
	uint16_t port = session->origin.port;
	bool is_known =
		(size_t)reason < sizeof(reasons) / sizeof(reasons[0]) && reasons[reason].word;

	buf_puts(text, status_of(reason) >= 500 ? "postern: failed " : "postern: blocked ");
	print_place(session, name, port, text);
	if (!why)
		why = is_known ? reasons[reason].text : "refused";
	buf_printf(text, ": %s (%s).", why, is_known ? reasons[reason].word : "?");
	print_advice(reason, name, text);
	buf_puts(text, "\n");
}

static int write_refusal(struct http *http, unsigned status, const struct buf *line)
{
	struct evbuffer *out = http->client->out;

	if (evbuffer_add_printf(out,
				"HTTP/1.1 %u %s\r\nContent-Type: text/plain; charset=utf-8\r\n"
				"Content-Length: %zu\r\nCache-Control: no-store\r\n"
				"Connection: close\r\n\r\n",
				status, phrase_of(status), line->size) < 0)
		return -1;
	return http->request.is_head ? 0 : evbuffer_add(out, line->data, line->size);
}

enum step http_deny(struct http *http, unsigned status, enum pst_reason reason, const char *text)
{
	cleanup_buf struct buf line = {.data = NULL};

	if (http->h2)
		return h2_close(http);
	if (!http->client || !http->client->is_open || http->request.has_replied)
		return http_gone(http, true);
	print_line(http->session, reason, http->session->name, text, &line);
	if (buf_status(&line) < 0 || write_refusal(http, status, &line))
		return http_gone(http, true);
	return http_finish(http);
}

enum step http_deny_for(struct http *http, enum pst_reason reason)
{
	return http_deny(http, status_of(reason), reason, NULL);
}

/* A session that has not come to HTTP: it becomes one that only says why. */
static struct http *take_over(struct session *session)
{
	struct http *http = http_new(session, false);

	if (http && http_open(http, NULL) == 0)
		return http;
	session_end(session, true);
	return NULL;
}

void http_refuse(struct session *session, enum pst_reason reason, const char *name)
{
	cleanup_buf struct buf line = {.data = NULL};
	struct http *http = session->http;

	if (http) {
		if (http_deny_for(http, reason) != STEP_GONE)
			http_run(http);
		return;
	}
	print_line(session, reason, name ? name : session->name, NULL, &line);
	http = take_over(session);
	if (!http)
		return;
	if (buf_status(&line) < 0 || write_refusal(http, status_of(reason), &line)) {
		session_end(session, true);
		return;
	}
	http->state = HTTP_FINISHING;
	http_run_later(http);
}

static uint8_t alert_of(enum pst_reason reason)
{
	switch ((unsigned)reason) {
	case PST_REASON_NOT_TLS:
	case PST_REASON_AMBIGUOUS:
		return 50; /* decode_error */
	case PST_REASON_NO_NAME:
	case PST_REASON_HOST_CHECK:
	case PST_REASON_ECH:
		return 112; /* unrecognized_name */
	case PST_REASON_HEAD_SIZE:
		return 22; /* record_overflow */
	case PST_REASON_RELAY_DOWN:
	case PST_REASON_RELAY_BUSY:
	case PST_REASON_RELAY_FAILED:
	case PST_REASON_UNRESOLVED:
	case PST_REASON_UNREACHED:
	case PST_REASON_PROXY:
	case PST_REASON_CERTIFICATE:
		return 80; /* internal_error */
	}
	return 49; /* access_denied */
}

void tls_refuse(struct session *session, enum pst_reason reason)
{
	const uint8_t alert[] = {21, 3, 3, 0, 2, 2, alert_of(reason)}; /* RFC 8446 6: fatal */
	struct http *http = take_over(session);

	if (!http)
		return;
	if (evbuffer_add(http->client->out, alert, sizeof(alert))) {
		session_end(session, true);
		return;
	}
	http->state = HTTP_FINISHING;
	http_run_later(http);
}
