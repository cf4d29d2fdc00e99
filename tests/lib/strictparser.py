# SPDX-License-Identifier: MIT
"""
A reader of what the relay sends on: HTTP/1.1 requests in the one spelling that nobody understands in two ways (RFC 9112),
and nothing else. Written from the RFC, beside the relay's parser, and stricter: whatever it does not know is a violation.
"""

import re

TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*\Z")
TARGET = re.compile(rb"(?:/[\x21-\x7e\x80-\xff]*|\*)\Z")
DIGITS, HEX = re.compile(rb"(?:0|[1-9][0-9]{0,17})\Z"), re.compile(rb"[0-9A-Fa-f]{1,16}\Z")
HOP = (b"te", b"trailer", b"proxy-authorization", b"proxy-connection", b"keep-alive", b"http2-settings")


class Violation(Exception):
    """What came is not a request as the relay may send one."""


class Seen:
    def __init__(self, method, target, fields):
        self.method, self.target, self.fields, self.body = method, target, fields, b""

    def values(self, name):
        """Of the fields that somebody could take for that one."""
        return [value for key, value in self.fields if key.lower().replace(b"_", b"-") == name]

    def __repr__(self):
        return f"{self.method} {self.target} {self.fields} {self.body[:100]}"


class Parser:
    """feed() gives the requests that these bytes complete."""

    def __init__(self, hosts):
        self._hosts, self._kept, self._request, self._left = hosts, b"", None, None

    def feed(self, data):
        self._kept += data
        found = []
        while request := self._next():
            found.append(request)
        return found

    def _next(self):
        if self._request is None and not self._read_head():
            return None
        if not (self._read_chunks() if self._left is None else self._read_body()):
            return None
        request, self._request = self._request, None
        return request

    def _read_head(self):
        head, mark, rest = self._kept.partition(b"\r\n\r\n")
        for line in head.split(b"\r\n")[:None if mark else -1]:
            if b"\r" in line or b"\n" in line or b"\0" in line:
                raise Violation(f"a control in a line: {line!r}")
        if not mark:
            return False
        line, *rows = head.split(b"\r\n")
        parts = line.split(b" ")
        if len(parts) != 3 or not TOKEN.match(parts[0]) or not TARGET.match(parts[1]) or parts[2] != b"HTTP/1.1":
            raise Violation(f"the request line {line!r}")
        fields = []
        for row in rows:
            name, colon, value = row.partition(b":")
            if not colon or not TOKEN.match(name) or not VALUE.match(value):
                raise Violation(f"the field {row!r}")
            fields.append((name, value.strip(b" \t")))
        self._request, self._kept = Seen(parts[0], parts[1], fields), rest
        self._frame()
        return True

    def _frame(self):
        """How long the body is, said once."""
        request = self._request
        hosts, lengths, codings = (request.values(name) for name in (b"host", b"content-length", b"transfer-encoding"))
        if len(hosts) != 1 or hosts[0] not in self._hosts:
            raise Violation(f"Host: {hosts}")
        if len(lengths) + len(codings) > 1:
            raise Violation(f"two ways to say a length: {lengths} {codings}")
        if lengths and not DIGITS.match(lengths[0]) or codings and codings[0] != b"chunked":
            raise Violation(f"the length {lengths} {codings}")
        if request.method == b"CONNECT" or request.values(b"upgrade") not in ([], [b"websocket"]):
            raise Violation("what follows would not be HTTP")
        hop = [name for name in HOP if request.values(name)]
        if hop:
            raise Violation(f"{hop} are for the hop before")
        self._left = None if codings else int(lengths[0]) if lengths else 0

    def _read_body(self):
        piece, self._kept = self._kept[:self._left], self._kept[self._left:]
        self._request.body += piece
        self._left -= len(piece)
        return self._left == 0

    def _read_chunks(self):
        while True:
            size, mark, rest = self._kept.partition(b"\r\n")
            if not mark:
                return False
            if not HEX.match(size):
                raise Violation(f"the chunk size {size!r}")
            size = int(size, 16)
            if len(rest) < size + 2:
                return False
            if rest[size:size + 2] != b"\r\n":
                raise Violation("behind a chunk is no line's end" if size else "there are trailers")
            self._request.body += rest[:size]
            self._kept = rest[size + 2:]
            if size == 0:
                return True
