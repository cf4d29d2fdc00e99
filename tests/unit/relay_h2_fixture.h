/* SPDX-License-Identifier: MIT */
/* A client of HTTP/2 (libnghttp2's other half), and destinations that answer by themselves. */
#ifndef TESTS_RELAY_H2_FIXTURE_H
#define TESTS_RELAY_H2_FIXTURE_H

#include "relay_tls_fixture.h"

#include <nghttp2/nghttp2.h>

#define MAX_SEEN     128
#define MAX_REQUESTS 256

struct field {
	const char *name, *value;
	size_t size; /* of value; 0: its text */
};

/* What became of a stream. */
struct seen {
	unsigned status, interims;
	struct buf fields, body; /* "name: value\n" */
	bool has_ended, is_closed;
	uint32_t code;
	bool is_refused; /* REFUSED_STREAM */
	const char *upload;
	size_t left;
	bool is_cut; /* ends before all of it */
};

struct h2_test {
	struct fixture f;
	nghttp2_session *session;
	struct buf out;
	struct seen seen[MAX_SEEN];
	char *requests[MAX_REQUESTS]; /* heads and bodies, as they came to destinations */
	unsigned n_requests;
	const char *answer; /* of every destination; NULL: it says nothing */
	bool goes_away;	    /* GOAWAY came */
	uint32_t away_code;
	bool failed, is_silent; /* silent: but for what the test writes */
};

static inline struct seen *seen_of(struct h2_test *t, int32_t id)
{
	assert_true(id > 0 && (unsigned)id / 2 < MAX_SEEN);
	return &t->seen[id / 2];
}

/* NOLINTNEXTLINE(readability-function-size): libnghttp2 says what it takes */
static inline int c_on_header(nghttp2_session *session, const nghttp2_frame *frame,
			      const uint8_t *name, size_t name_size, const uint8_t *value,
			      size_t value_size, uint8_t flags, void *context)
{
	struct seen *seen = seen_of(context, frame->hd.stream_id);

	(void)session, (void)flags;
	if (name_size == 7 && memcmp(name, ":status", 7) == 0) {
		seen->interims += seen->status != 0;
		seen->status = (unsigned)atoi((const char *)value);
		return 0;
	}
	buf_add(&seen->fields, name, name_size);
	buf_puts(&seen->fields, ": ");
	buf_add(&seen->fields, value, value_size);
	buf_puts(&seen->fields, "\n");
	return 0;
}

static inline int c_on_data(nghttp2_session *session, uint8_t flags, int32_t id,
			    const uint8_t *bytes, size_t size, void *context)
{
	(void)session, (void)flags;
	buf_add(&seen_of(context, id)->body, bytes, size);
	return 0;
}

static inline int c_on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *context)
{
	struct h2_test *t = context;

	(void)session;
	if (frame->hd.type == NGHTTP2_GOAWAY) {
		t->goes_away = true;
		t->away_code = frame->goaway.error_code;
	}
	if ((frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS) &&
	    frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
		seen_of(t, frame->hd.stream_id)->has_ended = true;
	return 0;
}

static inline int c_on_close(nghttp2_session *session, int32_t id, uint32_t code, void *context)
{
	struct seen *seen = seen_of(context, id);

	(void)session;
	seen->is_closed = true;
	seen->code = code;
	return 0;
}

/* NOLINTNEXTLINE(readability-function-size): libnghttp2 says what it takes */
static inline ssize_t c_read(nghttp2_session *session, int32_t id, uint8_t *to, size_t room,
			     uint32_t *flags, nghttp2_data_source *source, void *context)
{
	struct seen *seen = source->ptr;
	size_t size = seen->left < room ? seen->left : room;

	(void)session, (void)id, (void)context;
	if (size) /* all the same */
		memcpy(to, seen->upload, size);
	seen->upload += size;
	seen->left -= size;
	if (!size && seen->is_cut)
		return NGHTTP2_ERR_DEFERRED;
	if (!seen->left && !seen->is_cut)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t)size;
}

/* It checks nothing: what is sent is what the test says, and what comes is for the test to judge. */
static inline void h2_client(struct h2_test *t)
{
	nghttp2_session_callbacks *callbacks;
	nghttp2_option *option;

	nghttp2_option_new(&option);
	nghttp2_option_set_no_http_messaging(option, 1);
	nghttp2_option_set_peer_max_concurrent_streams(option, 1000);
	nghttp2_session_callbacks_new(&callbacks);
	nghttp2_session_callbacks_set_on_header_callback(callbacks, c_on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, c_on_data);
	nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, c_on_frame);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, c_on_close);
	assert_int_equal(nghttp2_session_client_new2(&t->session, callbacks, t, option), 0);
	nghttp2_session_callbacks_del(callbacks);
	nghttp2_option_del(option);
}

/* ---- destinations ---- */

/* The size of the request at the beginning of what came; 0: it is not whole. */
static inline size_t request_size(const struct buf *got)
{
	const char *end = got->data ? strstr(got->data, "\r\n\r\n") : NULL;
	const char *length, *chunked;
	size_t head;

	if (!end)
		return 0;
	head = (size_t)(end - got->data) + 4;
	length = strstr(got->data, "ontent-");
	while (length && strncmp(length, "ontent-Length: ", 15) != 0 && length < end)
		length = strstr(length + 1, "ontent-");
	chunked = strstr(got->data, "Transfer-Encoding: chunked\r\n");
	if (chunked && chunked < end) {
		if (got->size >= head + 5 && memcmp(got->data + got->size - 5, "0\r\n\r\n", 5) == 0)
			return got->size;
		return 0;
	}
	if (length && length < end)
		head += (size_t)atol(length + 15);
	return got->size >= head ? head : 0;
}

static inline void serve_one(struct h2_test *t, unsigned i)
{
	struct party *p = &t->f.upstreams[i];
	size_t size;

	if (p->fd < 0)
		return;
	if (!p->ssl)
		start_upstream_at(&t->f, i, t->f.upstream_ca, "good.test");
	size = request_size(&p->got);
	if (!size)
		return;
	assert_true(t->n_requests < MAX_REQUESTS);
	assert_int_equal(size, p->got.size); /* one at a time */
	t->requests[t->n_requests++] = strdup(p->got.data);
	buf_done(&p->got);
	if (t->answer)
		party_say(p, t->answer);
}

static inline void h2_turn(struct h2_test *t)
{
	const uint8_t *bytes;
	ssize_t size;
	size_t written;

	round_of(&t->f);
	for (unsigned i = 0; i < t->f.n_dials; i++)
		serve_one(t, i);
	if (t->f.client.got.size &&
	    nghttp2_session_mem_recv(t->session, (const uint8_t *)t->f.client.got.data,
				     t->f.client.got.size) < 0)
		t->failed = true;
	buf_done(&t->f.client.got);
	while (!t->is_silent && t->out.size < 65536 &&
	       (size = nghttp2_session_mem_send(t->session, &bytes)) > 0)
		buf_add(&t->out, bytes, (size_t)size);
	if (!t->f.client.is_open || !t->out.size || t->f.ended)
		return;
	written = party_write(&t->f.client, t->out.data, t->out.size);
	memmove(t->out.data, t->out.data + written, t->out.size - written);
	t->out.size -= written;
}

#define until_h2(t, condition)                                                                     \
	do {                                                                                       \
		uint64_t end_ns_ = loop_boot_ns() + DEADLINE_S * 1000000000ull;                    \
		do {                                                                               \
			assert_true(loop_boot_ns() < end_ns_);                                     \
			h2_turn(t);                                                                \
		} while (!(condition));                                                            \
	} while (0)

static inline void h2_setup(struct h2_test *t)
{
	memset(t, 0, sizeof(*t));
	begin(&t->f, "good.test", "good.test", "\x02h2");
	SSL_set_mode(t->f.client.ssl,
		     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	t->answer = "HTTP/1.1 200 OK\r\nX-Is: it\r\nContent-Length: 2\r\n\r\nok";
	h2_client(t);
}

static inline void h2_start(struct h2_test *t)
{
	h2_setup(t);
	assert_int_equal(nghttp2_submit_settings(t->session, NGHTTP2_FLAG_NONE, NULL, 0), 0);
	assert_int_equal(http_start(&t->f.session, true), 0);
	until(&t->f, t->f.client.is_open);
	/* What a test writes itself comes behind the preface. */
	h2_turn(t);
	assert_int_equal(t->out.size, 0);
}

static inline void h2_teardown(struct h2_test *t)
{
	nghttp2_session_del(t->session);
	for (unsigned i = 0; i < MAX_SEEN; i++) {
		buf_done(&t->seen[i].fields);
		buf_done(&t->seen[i].body);
	}
	for (unsigned i = 0; i < t->n_requests; i++)
		free(t->requests[i]);
	buf_done(&t->out);
	teardown(&t->f);
}

/* ---- requests ---- */

#define GOOD(method, path)                                                                         \
	{":method", method, 0}, {":scheme", "https", 0}, {":authority", "good.test", 0},           \
	{                                                                                          \
		":path", path, 0                                                                   \
	}

/* With a body where upload is not NULL; as it is, capitals and all. */
static inline struct seen *h2_ask(struct h2_test *t, const struct field *fields, size_t count,
				  const char *upload, size_t size)
{
	nghttp2_nv all[64];
	nghttp2_data_provider body = {.read_callback = c_read};
	struct seen *seen;
	int32_t id = (int32_t)nghttp2_session_get_next_stream_id(t->session);

	assert_true(count <= 64);
	for (size_t i = 0; i < count; i++)
		all[i] = (nghttp2_nv){
			.name = (uint8_t *)(uintptr_t)fields[i].name,
			.value = (uint8_t *)(uintptr_t)fields[i].value,
			.namelen = strlen(fields[i].name),
			.valuelen = fields[i].size ? fields[i].size : strlen(fields[i].value),
			.flags = NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE,
		};
	seen = seen_of(t, id);
	seen->upload = upload;
	seen->left = size;
	body.source.ptr = seen;
	assert_int_equal(
		nghttp2_submit_request(t->session, NULL, all, count, upload ? &body : NULL, NULL),
		id);
	return seen;
}

#define ask(t, fields, upload, size)                                                               \
	h2_ask(t, fields, sizeof(fields) / sizeof((fields)[0]), upload, size)

static inline bool seen_has(const struct seen *seen, const char *line)
{
	return seen->fields.data && strstr(seen->fields.data, line);
}

static inline const char *body_of(const struct seen *seen)
{
	return seen->body.data ? seen->body.data : "";
}

#endif
