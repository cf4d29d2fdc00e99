# SPDX-License-Identifier: MIT
"""
Requests that nobody should send, by seed: for tests of a server that must outlive them. Some are well-formed by chance:
those name only what `prey` names; `protected` ids stand only in requests that can never be obeyed.
"""

import copy
import json
import random

DEEP = 20000
BODIES = {
    "e2b": {"allowOut": ["93.184.216.34", "8.8.8.0/24", "*.example.com"], "denyOut": ["0.0.0.0/0"],
            "allow_internet_access": False},
    "brimble": {"egress": {"mode": "allowlist", "allow": ["93.184.216.34"]}, "block_outbound": True},
    "native": {"allowOut": ["93.184.216.34:443", "example.com:443/tcp"], "denyOut": ["0.0.0.0/0"],
               "rules": {"example.com": [{"transform": {"headers": {"X": "y"}}}]}, "mode": "audit"},
    "create": {"templateID": "base", "network": {"denyOut": ["0.0.0.0/0"]}, "timeout": 3, "metadata": {"a": "b"}},
    "attach": {"id": "prey-n", "cgroup": "/no/such", "policy": {"denyOut": ["0.0.0.0/0"]}, "allowWeak": True},
    "many": {"ids": ["prey-n", "prey-m"], "policy": {"denyOut": ["0.0.0.0/0"]}},
}
ODD_VALUES = (None, True, -1, 0, 1e308, 10 ** 400, -10 ** 30, 0.1, "", "\0", "\ud800", "x" * 5000, [], {}, [[]], [None] * 50,
              "::/0", "1.2.3.4/99", "*", "*.*", "a" * 300 + ".com", "\u202e", "../../etc", {"": {"": ""}}, 2 ** 63, 2 ** 64)
METHODS = (b"GET", b"PUT", b"POST", b"DELETE", b"HEAD", b"OPTIONS", b"TRACE", b"CONNECT", b"PATCH", b"get", b"G\xc3\x84T", b"",
           b"PUT" * 1000, b"\0", b"GET\t")


class Garbage:
    def __init__(self, seed, prey, protected):
        self.random = random.Random(seed)
        self.prey, self.protected = prey, protected
        self.kinds = (self.line, self.headers, self.chunks, self.lengths, self.truncated, self.mutated, self.broken_json,
                      self.paths, self.noise, self.smuggled)

    def request(self, alone=True):
        """Behind another (not alone), a smuggled one may be reached where its inner one begins, and be rightly obeyed."""
        return self.random.choice(self.kinds if alone else self.kinds[:-1])()

    def bytes(self, most):
        return self.random.randbytes(self.random.randrange(most))

    def path(self):
        name = self.random.choice(self.prey)
        return self.random.choice((f"/sandboxes/{name}/network", f"/sandboxes/{name}/egress", f"/v1/sandboxes/{name}/policy",
                                   "/v1/sandboxes", "/sandboxes", "/v2/sandboxes", "/v1/policies", f"/sandboxes/{name}/timeout",
                                   f"/v1/sandboxes/{name}/policy?dry_run=1", f"/sandboxes/{name}", f"/v1/sandboxes/{name}/rules",
                                   "/v1/explain?sandbox=" + name + "&to=1.2.3.4", "/metrics", "/healthz")).encode()

    def head(self, method=None, path=None, extra=b""):
        return b"%s %s HTTP/1.1\r\nHost: localhost\r\n%s" % (method or self.random.choice((b"PUT", b"POST", b"GET")),
                                                            path or self.path(), extra)

    @staticmethod
    def whole(head, body):
        return head + b"Content-Length: %d\r\n\r\n" % len(body) + body

    def line(self):
        version = self.random.choice((b"HTTP/1.1", b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"HTTP/99999.9", b"", b"\0", b"http/1.1"))
        space = self.random.choice((b" ", b"  ", b"\t", b"", b"\r", b"\x0b"))
        end = self.random.choice((b"\r\n", b"\n", b"\r", b"\0\r\n"))
        method = self.random.choice(METHODS)
        return method + space + self.path() + self.random.choice((b"", b"\0", b" x")) + space + version + end + b"Host: x" + end * 2

    def headers(self):
        kind = self.random.randrange(6)
        if kind == 0:
            extra = b"X-%d: y\r\n" * 1 % self.random.randrange(9) * self.random.randrange(1, 3000)
        elif kind == 1:
            extra = b"X: " + b"a" * self.random.randrange(40000) + b"\r\n"
        elif kind == 2:
            extra = self.bytes(300) + b"\r\n"
        elif kind == 3:
            extra = b" folded: x\r\n\tmore\r\n: no name\r\nno colon\r\n"
        elif kind == 4:
            extra = b"Expect: 100-continue\r\nContent-Length: 5\r\n"
        else:
            extra = b"Cookie: " + b"a=b;" * self.random.randrange(4000) + b"\r\n"
        return self.head(extra=extra) + b"\r\n"

    def chunks(self):
        body = json.dumps(BODIES["native"]).encode()
        size = self.random.choice((b"%x" % len(body), b"-1", b"ffffffffffffffff", b"0x10", b"", b"zz", b"1" * 400, b" 5", b"5;" + b"e" * 900,
                                   b"%x" % (len(body) + 1), b"%x" % (len(body) - 1)))
        end = self.random.choice((b"\r\n0\r\n\r\n", b"0\r\n\r\n", b"\r\n0\r\nTrailer: x\r\n\r\n", b"\r\n-0\r\n\r\n", b"\n0\n\n"))
        return self.head(extra=b"Transfer-Encoding: chunked\r\n") + b"\r\n" + size + b"\r\n" + body + end

    def lengths(self):
        length = self.random.choice((b"-1", b"18446744073709551616", b"99999999999999999999999", b"5, 5", b"+5", b"0x5", b"", b"5 5",
                                     b"18874369", b"9437184", b"\0"))
        return self.head(extra=b"Content-Length: " + length + b"\r\n") + b"\r\nhello"

    def truncated(self):
        """What follows on the connection becomes a part of this body."""
        body = self.body()
        return self.head(extra=b"Content-Length: %d\r\n" % (len(body) + self.random.randrange(1, 2000))) + b"\r\n" + body

    def body(self):
        value = json.loads(json.dumps(self.random.choice(list(BODIES.values()))))
        for _ in range(self.random.randrange(4)):
            value = self.change(value)
        text = json.dumps(value, ensure_ascii=self.random.random() < 0.5).encode("utf-8", "surrogatepass")
        if self.random.random() < 0.4:
            at = self.random.randrange(len(text))
            text = text[:at] + self.bytes(4) + text[at + self.random.randrange(3):]
        return text

    def change(self, value):
        if isinstance(value, dict) and value and self.random.random() < 0.8:
            key = self.random.choice(list(value))
            kind = self.random.randrange(4)
            if kind == 0:
                value[key + self.random.choice(("x", " ", "\0", "\u00e9"))] = value.pop(key)
            elif kind == 1:
                del value[key]
            else:
                value[key] = self.change(value[key])
            return value
        if isinstance(value, list) and value and self.random.random() < 0.7:
            at = self.random.randrange(len(value))
            value[at] = self.change(value[at])
            return value * self.random.choice((1, 1, 1, 40))
        return copy.deepcopy(self.random.choice(ODD_VALUES))

    def mutated(self):
        key = self.random.choice((b"", b"", b"x-brimble-key: x\r\n", b"X-API-Key: " + self.bytes(30).replace(b"\n", b"") + b"\r\n"))
        return self.whole(self.head(extra=key), self.body())

    def broken_json(self):
        """To the protected ones: no reader may take it."""
        good = json.dumps({"allowOut": ["0.0.0.0/0"]}).encode()
        body = self.random.choice((
            good[:-self.random.randrange(1, len(good))], b"[" * DEEP, b'{"a":' * DEEP, b"[" * DEEP + b"]" * DEEP,
            good[:-1] + b',"allowOut":[]}', b"\xff" + good, good + b"\0", good + good, b"\xef\xbb\xbf" + good[1:],
            b'{"allowOut":["\xc0\xaf"]}', b'{"allowOut":["\\ud800"]}', b'{"allowOut":[1e999999]}', b'{"allowOut":[' + b"9" * 9999 + b"]}",
            b'{"allowOut":["0.0.0.0/0",]}', b"{'allowOut':[]}", b'{"allowOut\0":[]}', b'{"allowOut":["\\u0000"]}', b"null", b"\0", b"{",
            b'{"allowOut":["a\x01b"]}', b"NaN", b'{"allowOut":NaN}', b'{"allowOut":["' + b"x" * 50000))
        name = self.random.choice(self.protected)
        path = self.random.choice((f"/sandboxes/{name}/network", f"/v1/sandboxes/{name}/policy"))
        return self.whole(self.head(b"PUT", path.encode()), body)

    def paths(self):
        name = self.random.choice(self.protected)
        path = self.random.choice((f"/v1/sandboxes/../{name}", f"/v1//sandboxes/{name}", f"/v1/sandboxes/%2e%2e/{name}", "/" + "a" * 4000,
                                   f"/v1/sandboxes/{name}%00", f"/v1/sandboxes/{name}/", f"//v1/sandboxes/{name}", "*", f"?/{name}",
                                   f"http://localhost/v1/sandboxes/{name}", f"/v1/sandboxes/{name.upper()}x", f"/v1/sandboxes/{name};x",
                                   f"/v1/sandboxes\0/{name}", "/?" + "a=b&" * 500, "/v1/explain?sandbox=%&to=%zz", f"/v1/sandboxes/{name}#")).encode()
        return self.whole(self.head(self.random.choice((b"DELETE", b"PUT", b"POST")), path), b'{"allowOut":["0.0.0.0/0"]}')

    def noise(self):
        return self.random.choice((self.bytes(2000), b"\r\n" * self.random.randrange(200), b"\0" * 500, b"\x16\x03\x01" + self.bytes(200),
                                   b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))

    def smuggled(self):
        """A whole request in what must not be read as one, as where the first ends is not certain."""
        name = self.random.choice(self.protected)
        inner = self.whole(b"PUT /v1/sandboxes/%s/policy HTTP/1.1\r\nHost: localhost\r\n" % name.encode(), b'{"allowOut":["0.0.0.0/0"]}')
        extra, before = self.random.choice((
            (b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", b""), (b"Transfer-Encoding: chunked\r\n", b"zz\r\n"),
            (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", b""), (b"Transfer-Encoding: xchunked\r\n", b""),
            (b"Content-Length: 0\r\nContent-Length: 9\r\n", b""), (b"Content-Length: 0x0\r\n", b""), (b"Content-Length: -0\r\n", b""),
            (b"Transfer-Encoding: chunked\r\n", b"-0\r\n\r\n"), (b"Transfer-Encoding: chunked\r\n", b"0x0\r\n\r\n"),
            (b"Host: two\r\nContent-Length: 3\r\n", b"abc"), (b"Transfer-Encoding: chunked\r\n", b"fffffffffffffffff0\r\n\r\n")))
        return self.head(b"PUT", b"/v1/sandboxes/%s/policy" % self.prey[0].encode(), extra) + b"\r\n" + before + inner
