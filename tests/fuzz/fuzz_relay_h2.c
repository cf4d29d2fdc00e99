/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as what a client of HTTP/2 sends behind its preface. The first byte: 0, fields of a request (a byte each
 * for the sizes of name and value, then these); else frames, and which answer destinations give. Whatever comes, a
 * destination sees whole requests for the one name, each with what the rules put in, and nothing between or behind.
 */
#include "fuzz.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "relay/h2_parts.h"
#include "tests/lib/relay_wraps.h"

#define MAX_DIALS 256

static const char *const answers[] = {
	"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-T: 1\r\n\r\n",
	"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
	"HTTP/1.0 200 OK\r\n\r\nuntil the end",
	"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\ncut",
	"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
	"",
};

struct destination {
	struct http *http;  /* whose connection it is; NULL: it has ended */
	struct stream *end; /* of it, in the hands of the relay */
	struct buf got;
};

static struct {
	struct relay relay;
	struct relay_sandbox sandbox;
	struct relay_policy policy;
	struct relay_header headers[1];
	struct relay_transform transform;
	struct relay_name name;
	struct session session;
	bool has_ended;
	struct destination dials[MAX_DIALS];
	unsigned n_dials;
	const char *answer;
	char texts[2][16];
} f;

void __wrap_session_end(struct session *session, bool reset)
{
	(void)reset;
	MUST(!f.has_ended);
	f.has_ended = true;
	http_end(session->http);
	session->http = NULL;
}

enum pst_reason __wrap_session_judge(const struct session *session, const char *name,
				     uint32_t *ret_rule)
{
	(void)session;
	(void)ret_rule;
	MUST(strcmp(name, "good.test") == 0);
	return PST_REASON_UNSET;
}

bool __wrap_session_deny(struct session *session, enum pst_reason reason)
{
	(void)session;
	(void)reason;
	return true;
}

void __wrap_session_report(struct session *session, uint8_t verdict, enum pst_reason reason)
{
	(void)session;
	MUST(verdict == PST_VERDICT_DENY && reason != PST_REASON_UNSET);
}

const struct relay_name *__wrap_relay_policy_name(const struct relay_policy *policy,
						  const char *name, uint8_t protocol, uint16_t port)
{
	(void)policy;
	(void)name;
	MUST(protocol == PST_TCP && port == 443);
	return &f.name;
}

const struct relay_transform *__wrap_relay_policy_transform(const struct relay_policy *policy,
							    const char *name)
{
	(void)policy;
	(void)name;
	return &f.transform;
}

struct dial *__wrap_relay_dial(struct relay_sandbox *sandbox, const struct relay_target *target,
			       relay_dialled_fn fn, void *context)
{
	(void)sandbox;
	(void)fn;
	MUST(strcmp(target->name, "good.test") == 0 && target->port == 443);
	/* Its last one is gone, or that of another that was where this one is. */
	for (unsigned i = 0; i < f.n_dials; i++) {
		if (f.dials[i].http == context)
			f.dials[i].http = NULL;
	}
	if (f.n_dials == MAX_DIALS)
		return NULL;
	f.dials[f.n_dials].http = context;
	return (struct dial *)&f.dials[f.n_dials++];
}

void __wrap_relay_dial_cancel(struct dial *dial)
{
	if (dial)
		((struct destination *)dial)->http = NULL;
}

/* ---- what destinations see ---- */

static void check_injected(const char *text, size_t size)
{
	static const char line[] = "\r\nx-key: secret\r\n";
	unsigned count = 0;

	for (size_t i = 0; i + sizeof(line) - 1 <= size; i++)
		count += memcmp(text + i, line, sizeof(line) - 1) == 0;
	MUST(count == 1);
}

/* One request; what is behind it. 0: it is not whole. */
static size_t check_request(const uint8_t *bytes, size_t size)
{
	struct head head;
	struct body body;
	size_t at = 0, used, run_size;
	const uint8_t *run;
	enum body_status status;

	MUST(head_scan(bytes, size, &at) == HEAD_DONE); /* heads come at once */
	MUST(head_request(bytes, at, 443, &head) == HEAD_DONE);
	MUST(strcmp(head.host, "good.test") == 0 && head.minor == 1 && head.keeps_alive);
	check_injected((const char *)bytes, at);
	body_start(&body,
		   head.framing == HEAD_FRAMING_CHUNKED	 ? BODY_CHUNKED
		   : head.framing == HEAD_FRAMING_LENGTH ? BODY_LENGTH
							 : BODY_NONE,
		   head.length);
	do {
		status = body_step(&body, bytes + at, size - at, &used, &run, &run_size);
		MUST(status != BODY_BAD);
		at += used;
	} while (status == BODY_DATA || (status == BODY_MORE && at < size));
	return status == BODY_DONE ? at : 0;
}

/* True: there was a whole request, and it was answered. */
static bool serve(struct destination *d)
{
	size_t size = evbuffer_get_length(d->end->out), whole;
	const uint8_t *bytes = evbuffer_pullup(d->end->out, -1);

	if (size)
		buf_add(&d->got, bytes, size);
	(void)evbuffer_drain(d->end->out, size);
	if (!d->got.size)
		return false;
	whole = check_request((const uint8_t *)d->got.data, d->got.size);
	if (!whole)
		return false;
	MUST(whole == d->got.size);
	d->got.size = 0;
	if (evbuffer_add(d->end->in, f.answer, strlen(f.answer)))
		return false;
	d->end->ended = d->end->wire_ended =
		strstr(f.answer, "HTTP/1.0") || strstr(f.answer, "cut");
	return true;
}

static void on_end(void *context)
{
	(void)context;
}

/* The relay may have let go of it, and of the session that it was for. */
static bool is_alive(const struct destination *d)
{
	const struct h2 *h2 = f.has_ended ? NULL : f.session.http->h2;

	for (const struct h2_lane *lane = h2 ? h2->lanes : NULL; lane; lane = lane->next) {
		if (lane->http == d->http)
			return true;
	}
	return false;
}

static bool is_there(const struct destination *d)
{
	return d->http && d->end && is_alive(d) && d->http->upstream == d->end;
}

static void connect_all(void)
{
	for (unsigned i = 0; i < f.n_dials && !f.has_ended; i++) {
		struct destination *d = &f.dials[i];

		if (!d->http || d->end || !is_alive(d) || d->http->dial != (struct dial *)d)
			continue;
		d->http->dial = NULL;
		MUST(stream_new_inner(on_end, NULL, &d->end) == 0);
		d->http->upstream = d->end;
		http_run(d->http);
	}
}

static void turn(void)
{
	for (int i = 0; i < 4 && !f.has_ended; i++) {
		event_base_loop(f.relay.base, EVLOOP_NONBLOCK);
		if (!f.has_ended)
			connect_all();
	}
}

/* ---- a connection ---- */

static void setup(void)
{
	memset(&f, 0, sizeof(f));
	f.relay.base = event_base_new();
	f.relay.limits = (struct relay_limits){512, 8192, 4096, 60000, 60000, 60000};
	f.sandbox = (struct relay_sandbox){.relay = &f.relay, .policy = &f.policy};
	memcpy(f.texts[0], "x-key", 6);
	memcpy(f.texts[1], "secret", 7);
	f.headers[0] = (struct relay_header){f.texts[0], f.texts[1]};
	f.transform.headers = f.headers;
	f.transform.n_headers = 1;
	f.session = (struct session){.sandbox = &f.sandbox,
				     .policy = &f.policy,
				     .fd = -1,
				     .name = "good.test",
				     .origin = {.port = 443, .step = PST_STEP_NAME}};
}

static void frames(const uint8_t *data, size_t size)
{
	static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0";
	struct http *http = http_new(&f.session, true);
	const size_t piece = 61;

	MUST(http && stream_new_inner(on_end, NULL, &http->client) == 0);
	MUST(evbuffer_add(http->client->in, preface, sizeof(preface)) == 0);
	if (h2_begin(http) != STEP_AGAIN)
		return;
	for (size_t at = 0; at < size && !f.has_ended; at += piece) {
		MUST(evbuffer_add(http->client->in, data + at,
				  size - at < piece ? size - at : piece) == 0);
		http_run(http);
		turn();
		for (unsigned i = 0; i < f.n_dials; i++) {
			if (is_there(&f.dials[i]) && serve(&f.dials[i]))
				http_run(f.dials[i].http);
			turn();
		}
		if (!f.has_ended) /* as if it was read */
			(void)evbuffer_drain(http->client->out, SIZE_MAX);
	}
	if (!f.has_ended)
		__wrap_session_end(&f.session, false);
	MUST(f.relay.kept == 0 && f.relay.sessions == 0 && f.sandbox.n_sessions == 0);
}

/* ---- fields alone ---- */

static void fields(const uint8_t *data, size_t size)
{
	cleanup_buf struct buf text = {.data = NULL};
	struct h2_request request = {.size = 0};
	bool has_body = size & 1;
	struct head head;
	size_t at = 0;

	while (size >= 2 && (size_t)data[0] + data[1] <= size - 2) {
		const struct head_text name = {(const char *)data + 2, data[0]},
				       value = {(const char *)data + 2 + data[0], data[1]};

		h2_request_add(&request, &name, &value, 4096);
		size -= 2u + data[0] + data[1];
		data += 2 + data[0] + data[1];
	}
	if (h2_request_write(&request, has_body, &text) == PST_REASON_UNSET) {
		/* One head, and no more: what it means is for the reader of HTTP/1.1. */
		if (head_scan((const uint8_t *)text.data, text.size, &at) == HEAD_DONE) {
			MUST(at == text.size);
			if (head_request((const uint8_t *)text.data, at, 443, &head) == HEAD_DONE)
				MUST(head.keeps_alive && !head.has_upgrade &&
				     (!has_body || head.framing != HEAD_FRAMING_NONE));
		}
		MUST(text.size <= 4096 + 64);
	}
	h2_request_done(&request);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	if (data[0] == 0) {
		fields(data + 1, size - 1);
		return 0;
	}
	setup();
	f.answer = answers[data[0] % (sizeof(answers) / sizeof(answers[0]))];
	frames(data + 1, size - 1);
	for (unsigned i = 0; i < f.n_dials; i++)
		buf_done(&f.dials[i].got);
	event_base_free(f.relay.base);
	return 0;
}
