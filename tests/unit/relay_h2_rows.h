/* SPDX-License-Identifier: MIT */
/* Requests of HTTP/2 that could become two, or another's, in HTTP/1.1; none may be sent on. */
#ifndef TESTS_RELAY_H2_ROWS_H
#define TESTS_RELAY_H2_ROWS_H

#include "relay_h2_fixture.h"

#define MORE 8

struct smuggling {
	const char *what;
	struct field fields[MORE];
};

#define VALUE(name, value)                                                                         \
	{                                                                                          \
		name, value, sizeof(value) - 1                                                     \
	}
#define ROW(what, ...)                                                                             \
	{                                                                                          \
		what,                                                                              \
		{                                                                                  \
			__VA_ARGS__                                                                \
		}                                                                                  \
	}

/* Behind the pseudo-headers of a GET of "/" for good.test. */
static const struct smuggling added[] = {
	/* Lines within a value or a name. */
	ROW("a field in a value", VALUE("x-a", "b\r\nX-Injected: 1")),
	ROW("a bare LF in a value", VALUE("x-a", "b\nX-Injected: 1")),
	ROW("a bare CR in a value", VALUE("x-a", "b\rX-Injected: 1")),
	ROW("a request in a value", VALUE("x-a", "b\r\n\r\nGET /evil HTTP/1.1\r\nHost: x\r\n\r\n")),
	ROW("a NUL in a value", VALUE("x-a", "b\0c")),
	ROW("a control in a value", VALUE("x-a", "b\x01")),
	ROW("DEL in a value", VALUE("x-a", "b\x7f")),
	ROW("a field in a name", VALUE("x-a: 1\r\nx-injected", "b")),
	ROW("a colon in a name", VALUE("x-a:b", "c")),
	ROW("a space in a name", VALUE("x-a ", "c")),
	ROW("a capital in a name", VALUE("X-a", "c")),
	ROW("a name with a high byte", VALUE("x-\xc3\xa9", "c")),
	ROW("an empty name", VALUE("", "c")),
	ROW("a field in a cookie", VALUE("cookie", "a=b\r\nX-Injected: 1")),
	ROW("a second request in a cookie crumb", VALUE("cookie", "a"),
	    VALUE("cookie", "\r\n\r\nGET")),
	/* What says where the message ends. */
	ROW("Transfer-Encoding", VALUE("transfer-encoding", "chunked")),
	ROW("Transfer-Encoding to who takes '_' for '-'", VALUE("transfer_encoding", "chunked")),
	ROW("Content-Length to who takes '_' for '-'", VALUE("content_length", "5")),
	ROW("two lengths", VALUE("content-length", "0"), VALUE("content-length", "5")),
	ROW("the same length twice", VALUE("content-length", "0"), VALUE("content-length", "0")),
	ROW("two lengths in one", VALUE("content-length", "0, 0")),
	ROW("a length with a sign", VALUE("content-length", "+0")),
	ROW("a hexadecimal length", VALUE("content-length", "0x0")),
	ROW("an empty length", VALUE("content-length", " ")),
	ROW("a length beyond all numbers", VALUE("content-length", "18446744073709551616")),
	ROW("a length without a body", VALUE("content-length", "5")),
	/* Of a connection. */
	ROW("Connection", VALUE("connection", "close")),
	ROW("Connection that names what is put in", VALUE("connection", "authorization")),
	ROW("Keep-Alive", VALUE("keep-alive", "5")),
	ROW("Proxy-Connection", VALUE("proxy-connection", "keep-alive")),
	ROW("Upgrade", VALUE("upgrade", "websocket")),
	ROW("HTTP2-Settings", VALUE("http2-settings", "AAMAAABkAAQ")),
	ROW("TE of more than trailers", VALUE("te", "trailers, deflate")),
	ROW("an expectation that is none", VALUE("expect", "200-ok")),
	/* Whom it is for. */
	ROW("another Host", VALUE("host", "plain.test")),
	ROW("the same Host twice", VALUE("host", "good.test"), VALUE("host", "good.test")),
	ROW("an empty Host", VALUE("host", "")),
	ROW("a pseudo-header behind a field", VALUE("x-a", "b"), VALUE(":authority", "plain.test")),
	ROW("a second :authority", VALUE(":authority", "plain.test")),
	ROW("a second :path", VALUE(":path", "/evil")),
	ROW("a second :method", VALUE(":method", "POST")),
	ROW("a pseudo-header of a reply", VALUE(":status", "200")),
	ROW("a pseudo-header that there is not", VALUE(":evil", "1")),
	ROW("extended CONNECT", VALUE(":protocol", "websocket")),
};

/* All that there are. */
#define ALL(method, scheme, authority, path)                                                       \
	VALUE(":method", method), VALUE(":scheme", scheme), VALUE(":authority", authority),        \
		VALUE(":path", path)

static const struct smuggling whole[] = {
	ROW("a user in :authority", ALL("GET", "https", "good.test@plain.test", "/")),
	ROW("a path in :authority", ALL("GET", "https", "good.test/..", "/")),
	ROW("another port", ALL("GET", "https", "good.test:8443", "/")),
	ROW("a line in :authority", ALL("GET", "https", "good.test\r\nX-Injected: 1", "/")),
	ROW("a space in :authority", ALL("GET", "https", "good.test plain.test", "/")),
	ROW("an empty :authority", ALL("GET", "https", "", "/")),
	ROW("two authorities", ALL("GET", "https", "good.test,plain.test", "/")),
	ROW("plain HTTP", ALL("GET", "http", "good.test", "/")),
	ROW("another scheme", ALL("GET", "wss", "good.test", "/")),
	ROW("an empty path", ALL("GET", "https", "good.test", "")),
	ROW("a path that is a whole address",
	    ALL("GET", "https", "good.test", "https://plain.test/")),
	ROW("a path that is this whole address",
	    ALL("GET", "https", "good.test", "https://good.test/")),
	ROW("a path without a slash", ALL("GET", "https", "good.test", "evil")),
	ROW("'*' of what is not OPTIONS", ALL("GET", "https", "good.test", "*")),
	ROW("a version in the path", ALL("GET", "https", "good.test", "/ HTTP/1.1")),
	ROW("a request in the path",
	    ALL("GET", "https", "good.test", "/ HTTP/1.1\r\nHost: x\r\n\r\nGET /")),
	ROW("a line in the path", ALL("GET", "https", "good.test", "/\r\nX-Injected: 1")),
	ROW("a tab in the path", ALL("GET", "https", "good.test", "/\tHTTP/1.1")),
	ROW("a NUL in the path", ALL("GET", "https", "good.test", "/\0evil")),
	ROW("a high byte in the path", ALL("GET", "https", "good.test", "/\xff")),
	ROW("a line in the method",
	    ALL("GET / HTTP/1.1\r\nX-Injected: 1\r\nX:", "https", "good.test", "/")),
	ROW("a space in the method", ALL("GET /evil", "https", "good.test", "/")),
	ROW("an empty method", ALL("", "https", "good.test", "/")),
	ROW("no :method", VALUE(":scheme", "https"), VALUE(":authority", "good.test"),
	    VALUE(":path", "/")),
	ROW("no :scheme", VALUE(":method", "GET"), VALUE(":authority", "good.test"),
	    VALUE(":path", "/")),
	ROW("no :path", VALUE(":method", "GET"), VALUE(":scheme", "https"),
	    VALUE(":authority", "good.test")),
	ROW("no :authority", VALUE(":method", "GET"), VALUE(":scheme", "https"),
	    VALUE(":path", "/")),
	ROW("Host instead of :authority", VALUE(":method", "GET"), VALUE(":scheme", "https"),
	    VALUE(":path", "/"), VALUE("host", "good.test")),
	ROW("CONNECT with a path", ALL("CONNECT", "https", "good.test", "/")),
	ROW("no pseudo-header at all", VALUE("x-a", "b")),
};

#endif
