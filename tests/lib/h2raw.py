# SPDX-License-Identifier: MIT
"""
A client of HTTP/2 (RFC 9113) that says whatever it is told, however wrong: a program, run inside of a sandbox.

    h2raw.py ADDRESS NAME TRUST <rows >results

rows: JSON, a list of {"fields": [[name, value], ...], "data": [text, ...] or null, "ends": true}; texts are Latin-1. Each is
a stream, of the same connection for as long as it is there. results: for each what came back: {"body": text} when the
reply has ended, {"reset": code}, or {"gone": code} when the connection ends.
"""

import json
import socket
import ssl
import struct
import sys

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7
ACK = END_STREAM = 1
END_HEADERS = 4
DEADLINE_S = 60


def number(value, bits):
    """RFC 7541 5.1, the first byte's other bits 0."""
    most = (1 << bits) - 1
    if value < most:
        return bytes([value])
    found, value = bytes([most]), value - most
    while value >= 128:
        found, value = found + bytes([value % 128 + 128]), value // 128
    return found + bytes([value])


def block(fields):
    """Each as a literal, not indexed, not Huffman's."""
    return b"".join(b"\0" + b"".join(number(len(text), 7) + text for text in (one.encode("latin-1") for one in pair))
                    for pair in fields)


class Connection:
    def __init__(self, address, name, trust):
        context = ssl.create_default_context(cafile=trust)
        context.set_alpn_protocols(["h2"])
        self.sock = context.wrap_socket(socket.create_connection((address, 443), DEADLINE_S), server_hostname=name)
        self.sock.settimeout(DEADLINE_S)
        assert self.sock.selected_alpn_protocol() == "h2", self.sock.selected_alpn_protocol()
        self.kept, self.next, self.gone = b"", 1, None
        self.sock.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        self.send(SETTINGS, 0, 0)

    def send(self, kind, flags, stream, data=b""):
        self.sock.sendall(struct.pack(">I", len(data))[1:] + struct.pack(">BBI", kind, flags, stream) + data)

    def take(self, size):
        while len(self.kept) < size:
            data = self.sock.recv(65536)
            if not data:
                raise ConnectionError
            self.kept += data
        found, self.kept = self.kept[:size], self.kept[size:]
        return found

    def ask(self, row):
        stream, self.next = self.next, self.next + 2
        ends = END_STREAM if row.get("ends", True) else 0
        pieces = row.get("data")
        try:
            self.send(HEADERS, END_HEADERS | (ends if pieces is None else 0), stream, block(row["fields"]))
            for at, piece in enumerate(pieces or []):
                self.send(DATA, ends if at == len(pieces) - 1 else 0, stream, piece.encode("latin-1"))
            return self.answer(stream)
        except (OSError, ConnectionError):
            self.gone = self.gone or {"gone": None}
            return self.gone

    def answer(self, stream):
        body = b""
        while True:
            size, kind, flags, number_of = struct.unpack(">IBBI", b"\0" + self.take(9))
            data = self.take(size)
            if kind in (SETTINGS, PING) and not flags & ACK:
                self.send(kind, ACK, 0, data if kind == PING else b"")
            if kind == GOAWAY:
                self.gone = {"gone": struct.unpack(">I", data[4:8])[0]}
            if number_of != stream:
                continue
            if kind == RST_STREAM:
                return {"reset": struct.unpack(">I", data)[0]}
            body += data if kind == DATA else b""
            if kind in (DATA, HEADERS) and flags & END_STREAM:
                return {"body": body.decode("latin-1")}


def main():
    connection, results = None, []
    for row in json.load(sys.stdin):
        if not connection or connection.gone:
            connection = Connection(*sys.argv[1:])
        results.append(connection.ask(row))
    print(json.dumps(results))


if __name__ == "__main__":
    main()
