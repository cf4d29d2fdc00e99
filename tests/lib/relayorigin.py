# SPDX-License-Identifier: MIT
"""
A web server on 80 and 443 that keeps every request as it came over the wire, byte by byte, and answers with what it
made of it. It reads requests by itself, in no clever way: what it keeps is judged elsewhere (second_parser.py).

    /            JSON: method, target, fields, body (its size and SHA-256), scheme, sni
    /chunked     the request's body, chunked, in odd pieces; ?N: so many bytes of a pattern
    /sized       the same with a length
    /close       the same without a length, ended by the connection's end, and as HTTP/1.0
    /status/N    that status, no body
"""

import contextlib
import hashlib
import itertools
import json
import socket
import ssl
import threading
from dataclasses import dataclass, field

PATTERN = bytes(range(256)) * 4096


@dataclass
class Request:
    """head: as it came, without the empty line."""

    head: bytes
    scheme: str
    sni: str
    connection: int
    source: str
    address: str
    body: bytes = b""
    fields: list = field(default_factory=list)

    @property
    def target(self):
        return self.head.split(b"\r\n")[0].split(b" ")[1].decode("latin-1")

    def values(self, name):
        """Of the fields with that name, in their order."""
        return [value for key, value in self.fields if key.lower() == name.lower()]


class Gone(Exception):
    """The connection ended in the middle of something."""


class Reader:
    """Bytes of a connection, as much as is wanted."""

    def __init__(self, sock):
        self.sock, self.kept = sock, b""

    def more(self):
        data = self.sock.recv(65536)
        if not data:
            raise Gone
        self.kept += data

    def until(self, mark):
        while mark not in self.kept:
            self.more()
        found, _, self.kept = self.kept.partition(mark)
        return found

    def take(self, size):
        while len(self.kept) < size:
            self.more()
        found, self.kept = self.kept[:size], self.kept[size:]
        return found


class Origin:
    """certificate: (path, path). `requests` is every request so far, `names` every SNI."""

    def __init__(self, namespace, addresses, certificate):
        self.requests, self.names, self.connections = [], [], 0
        self._open, self._numbers = [], itertools.count()
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(*certificate)
        self._context.set_alpn_protocols(["http/1.1"])
        self._context.sni_callback = self._named
        for address in addresses:
            for port in (80, 443):
                server = namespace.call(self._listen, address, port)
                threading.Thread(target=self._accept, args=(server, port), daemon=True).start()

    def _listen(self, address, port):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        server = socket.create_server((address, port), family=family, backlog=512)
        self._open.append(server)
        return server

    def _named(self, sock, name, _):
        sock.asked_for = name
        self.names.append(name)

    def _accept(self, server, port):
        while True:
            try:
                client, peer = server.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(client, peer[0], port), daemon=True).start()

    def _serve(self, client, source, port):
        with contextlib.suppress(OSError, Gone, ValueError), client:
            client.settimeout(60)
            if port == 443:
                client = self._context.wrap_socket(client, server_side=True)
            with client:
                number, reader = next(self._numbers), Reader(client)
                sni = getattr(client, "asked_for", None)
                request = {"scheme": "https" if port == 443 else "http", "sni": sni, "connection": number, "source": source,
                           "address": client.getsockname()[0]}
                while self._talk(client, reader, Request(b"", **request)):
                    pass
                if port == 443:
                    client.unwrap()

    def _talk(self, client, reader, request):
        """One request and its answer; whether another may follow."""
        request.head = reader.until(b"\r\n\r\n")
        line, *rest = request.head.decode("latin-1").split("\r\n")
        request.fields = [tuple(part.strip() for part in row.split(":", 1)) for row in rest if ":" in row]
        self.requests.append(request)
        method, target, version = line.split(" ")
        if "100-continue" in request.values("expect"):
            client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.body = self._body(reader, request)
        path, _, size = target.partition("?")
        if path.startswith("http://"):
            path = "/" + path.split("/", 3)[-1]
        content = (PATTERN * (int(size) // len(PATTERN) + 1))[:int(size)] if size.isdigit() else request.body
        self._answer(client, path, method, content if path != "/" else self._told(request, method, target))
        keeps = "keep-alive" if version == "HTTP/1.0" else "close"
        said = [value.lower() for value in request.values("connection")]
        return path != "/close" and (keeps in said) == (version == "HTTP/1.0")

    @staticmethod
    def _body(reader, request):
        if "chunked" in [value.lower() for value in request.values("transfer-encoding")]:
            parts = []
            while size := int(reader.until(b"\r\n").split(b";")[0], 16):
                parts.append(reader.take(size))
                reader.until(b"\r\n")
            while reader.until(b"\r\n"):
                pass
            return b"".join(parts)
        lengths = request.values("content-length")
        return reader.take(int(lengths[0])) if lengths else b""

    @staticmethod
    def _told(request, method, target):
        return json.dumps({"method": method, "target": target, "fields": request.fields, "scheme": request.scheme,
                           "sni": request.sni, "size": len(request.body),
                           "sha256": hashlib.sha256(request.body).hexdigest()}).encode()

    @staticmethod
    def _answer(client, path, method, content):
        status, fields = b"200 OK", [b"Content-Type: text/plain"]
        if path.startswith("/status/"):
            status, content = path[8:].encode() + b" Status", b""
        if path == "/chunked":
            fields.append(b"Transfer-Encoding: chunked")
        elif path != "/close" and not status.startswith((b"204", b"304")):
            fields.append(b"Content-Length: %d" % len(content))
        version = b"HTTP/1.0" if path == "/close" else b"HTTP/1.1"
        client.sendall(b"\r\n".join([version + b" " + status, *fields, b"", b""]))
        if method == "HEAD":
            return
        if path != "/chunked":
            client.sendall(content)
            return
        for size in itertools.cycle((1, 3000, 16, 65537)):
            piece, content = content[:size], content[size:]
            client.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
            if not piece:
                return

    def close(self):
        for sock in self._open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
