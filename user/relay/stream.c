/* SPDX-License-Identifier: MIT */
/* Sockets and TLS to buffers and back; see stream.h. */
#include "relay/stream.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define READ_SIZE 16384
/* Pieces of a buffer that are written at once: a head, and some of a body. */
#define PIECES 8

static void wait_to_write(struct stream *stream)
{
	if (stream->is_waiting)
		return;
	stream->is_waiting = event_add(stream->writable, NULL) == 0;
	if (!stream->is_waiting)
		stream->failed = true;
}

static void watch(struct stream *stream)
{
	bool reads =
		!stream->wire_ended && !stream->failed && (stream->wants_read || !stream->is_open);

	if (stream->fd < 0)
		return;
	if (reads ? event_add(stream->readable, NULL) : event_del(stream->readable))
		stream->failed = true;
}

/* What SSL_* said to a result of 0 or less: true when it only has to wait. */
static bool tls_waits(struct stream *stream, int result)
{
	switch (SSL_get_error(stream->ssl, result)) {
	case SSL_ERROR_WANT_READ:
		if (stream->wire_ended)
			stream->failed = true;
		break;
	case SSL_ERROR_WANT_WRITE:
		wait_to_write(stream);
		break;
	case SSL_ERROR_ZERO_RETURN:
		stream->ended = true;
		break;
	default:
		stream->failed = true;
	}
	ERR_clear_error();
	return !stream->failed;
}

static void tls_shake(struct stream *stream)
{
	int r = SSL_do_handshake(stream->ssl);

	if (r == 1)
		stream->is_open = true;
	else
		(void)tls_waits(stream, r);
	stream->verify = SSL_get_verify_result(stream->ssl);
}

/* To ask for more than there is makes an error, to be taken back. That the wire has ended is TLS's to judge. */
static bool tls_has_more(const struct stream *stream)
{
	return stream->wire_ended || SSL_has_pending(stream->ssl) ||
	       BIO_ctrl_pending(SSL_get_rbio(stream->ssl)) > 0;
}

/* Everything that the socket gave goes into `in`: it was bounded when it was read. */
static void tls_read(struct stream *stream)
{
	unsigned char bytes[READ_SIZE];

	while (!stream->failed && !stream->ended && tls_has_more(stream)) {
		int r = SSL_read(stream->ssl, bytes, sizeof(bytes));

		if (r > 0 && evbuffer_add(stream->in, bytes, (size_t)r) != 0)
			stream->failed = true;
		if (r <= 0) {
			(void)tls_waits(stream, r);
			return;
		}
	}
}

static void tls_advance(struct stream *stream)
{
	ERR_clear_error();
	if (!stream->is_open && !stream->failed)
		tls_shake(stream);
	if (stream->is_open && !stream->failed)
		tls_read(stream);
}

static void tls_receive(struct stream *stream)
{
	unsigned char bytes[READ_SIZE];
	BIO *wire = SSL_get_rbio(stream->ssl);
	ssize_t size = recv(stream->fd, bytes, sizeof(bytes), 0);

	if (size < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (size < 0)
		stream->failed = true;
	else if (size == 0)
		stream->wire_ended = true;
	else if (BIO_write(wire, bytes, (int)size) != size)
		stream->failed = true;
	tls_advance(stream);
}

/* Copied to where there is room for no more than came: what is in a buffer takes what it is counted for. */
static void plain_receive(struct stream *stream)
{
	unsigned char bytes[READ_SIZE];
	ssize_t size = recv(stream->fd, bytes, sizeof(bytes), 0);

	if (size == 0)
		stream->wire_ended = stream->ended = true;
	else if (size > 0 ? evbuffer_add(stream->in, bytes, (size_t)size) != 0
			  : errno != EAGAIN && errno != EINTR)
		stream->failed = true;
}

static void on_readable(evutil_socket_t fd, short what, void *context)
{
	struct stream *stream = context;

	(void)fd;
	(void)what;
	if (stream->ssl)
		tls_receive(stream);
	else
		plain_receive(stream);
	watch(stream);
	stream->fn(stream->context);
}

static void on_writable(evutil_socket_t fd, short what, void *context)
{
	struct stream *stream = context;

	(void)fd;
	(void)what;
	stream->is_waiting = false;
	if (stream->ssl)
		tls_advance(stream);
	stream_flush(stream);
	watch(stream);
	stream->fn(stream->context);
}

/* In: what recv() gave, so that bytes read earlier can be put in front. Out: the socket. */
static bool set_wires(SSL *ssl, int fd)
{
	BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new_socket(fd, BIO_NOCLOSE);

	if (!in || !out) {
		BIO_free(in);
		BIO_free(out);
		return false;
	}
	BIO_set_mem_eof_return(in, -1);
	SSL_set_bio(ssl, in, out);
	return true;
}

int stream_new(struct event_base *base, int fd, SSL *ssl, stream_fn fn, void *context,
	       struct stream **ret_stream)
{
	struct stream *stream = calloc(1, sizeof(*stream));

	if (!stream) {
		SSL_free(ssl);
		return -ENOMEM;
	}
	stream->fd = fd;
	stream->ssl = ssl;
	stream->fn = fn;
	stream->context = context;
	stream->is_open = !ssl;
	stream->in = evbuffer_new();
	stream->out = evbuffer_new();
	stream->readable = event_new(base, fd, EV_READ | EV_PERSIST, on_readable, stream);
	stream->writable = event_new(base, fd, EV_WRITE, on_writable, stream);
	if (!stream->in || !stream->out || !stream->readable || !stream->writable ||
	    (ssl && !set_wires(ssl, fd))) {
		stream_free(stream);
		return -ENOMEM;
	}
	*ret_stream = stream;
	return 0;
}

int stream_new_inner(stream_fn fn, void *context, struct stream **ret_stream)
{
	struct stream *stream = calloc(1, sizeof(*stream));

	if (!stream)
		return -ENOMEM;
	stream->fd = -1;
	stream->fn = fn;
	stream->context = context;
	stream->is_open = true;
	stream->in = evbuffer_new();
	stream->out = evbuffer_new();
	if (!stream->in || !stream->out) {
		stream_free(stream);
		return -ENOMEM;
	}
	*ret_stream = stream;
	return 0;
}

void stream_free(struct stream *stream)
{
	if (!stream)
		return;
	if (stream->readable)
		event_free(stream->readable);
	if (stream->writable)
		event_free(stream->writable);
	if (stream->in)
		evbuffer_free(stream->in);
	if (stream->out)
		evbuffer_free(stream->out);
	if (stream->ssl) {
		SSL_free(stream->ssl);
		ERR_clear_error();
	}
	if (stream->owns_fd)
		close(stream->fd);
	free(stream);
}

int stream_feed(struct stream *stream, const void *bytes, size_t size)
{
	if (size == 0)
		return 0;
	if (!stream->ssl)
		return evbuffer_add(stream->in, bytes, size) == 0 ? 0 : -ENOMEM;
	return size <= INT32_MAX &&
			       BIO_write(SSL_get_rbio(stream->ssl), bytes, (int)size) == (int)size
		       ? 0
		       : -ENOMEM;
}

void stream_start(struct stream *stream)
{
	if (stream->ssl)
		tls_advance(stream);
	watch(stream);
}

void stream_want(struct stream *stream, bool read)
{
	if (stream->wants_read == read)
		return;
	stream->wants_read = read;
	watch(stream);
}

static bool plain_write(struct stream *stream)
{
	struct iovec pieces[PIECES];
	int count = evbuffer_peek(stream->out, -1, NULL, pieces, PIECES);
	const struct msghdr message = {.msg_iov = pieces, .msg_iovlen = (size_t)count};
	ssize_t size = count == 1
			       ? send(stream->fd, pieces->iov_base, pieces->iov_len, MSG_NOSIGNAL)
			       : sendmsg(stream->fd, &message, MSG_NOSIGNAL);

	if (size >= 0)
		return evbuffer_drain(stream->out, (size_t)size) == 0;
	if (errno != EAGAIN && errno != EINTR)
		stream->failed = true;
	wait_to_write(stream);
	return false;
}

static bool tls_write(struct stream *stream)
{
	struct evbuffer_iovec piece;
	int r;

	if (evbuffer_peek(stream->out, READ_SIZE, NULL, &piece, 1) < 1)
		return false;
	ERR_clear_error();
	r = SSL_write(stream->ssl, piece.iov_base,
		      piece.iov_len > READ_SIZE ? READ_SIZE : (int)piece.iov_len);
	if (r <= 0) {
		(void)tls_waits(stream, r);
		return false;
	}
	(void)evbuffer_drain(stream->out, (size_t)r);
	return true;
}

void stream_flush(struct stream *stream)
{
	if (stream->fd < 0) {
		stream->fn(stream->context);
		return;
	}
	while (stream->is_open && !stream->failed && !stream->is_waiting &&
	       evbuffer_get_length(stream->out) > 0) {
		if (!(stream->ssl ? tls_write(stream) : plain_write(stream)))
			return;
	}
}

void stream_finish(struct stream *stream)
{
	if (stream->is_finished || stream->failed || evbuffer_get_length(stream->out) > 0)
		return;
	stream->is_finished = true;
	if (stream->fd < 0) {
		stream->fn(stream->context);
		return;
	}
	if (stream->ssl && stream->is_open)
		(void)SSL_shutdown(stream->ssl);
	if (stream->ssl)
		ERR_clear_error();
	(void)shutdown(stream->fd, SHUT_WR);
}
