# SPDX-License-Identifier: MIT
"""Peers of postern-relay that a test makes up: servers, resolvers, SOCKS5 proxies, and what clients say first."""

import itertools
import os
import select
import socket
import ssl
import struct
import threading
from contextlib import contextmanager, suppress

from relaystub import DEADLINE_S

LOOPBACK = ["127.0.0.0/8"]
# Of this run alone, so that it can have port 53 to itself; and so can each server below.
OWN = f"127.{10 + os.getpid() % 200}.{os.getpid() // 200 % 250}"
hosts = (f"{OWN}.{n}" for n in itertools.count(1))
GRANTED = b"\5\0\0\1" + bytes(6)


@contextmanager
def server(serve, address=None, port=0):
    """A TCP server; serve(connection) in a thread each. What it was asked is in .asked, if `serve` writes there."""
    listener = socket.create_server((address or next(hosts), port))
    listener.settimeout(0.1)
    over = threading.Event()

    def one(connection):
        with connection:
            connection.settimeout(DEADLINE_S)
            try:
                serve(connection)
            except OSError:
                pass

    def loop():
        while not over.is_set():
            try:
                connection = listener.accept()[0]
            except TimeoutError:
                continue
            threading.Thread(target=one, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()
    finally:
        over.set()
        thread.join()
        listener.close()


def echo(connection):
    while data := connection.recv(65536):
        connection.sendall(data)


def read_all(sock):
    data = b""
    while part := sock.recv(65536):
        data += part
    return data


def ask(sock, data=b"ping"):
    sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)
    return read_all(sock)


def is_reset(sock):
    """Nothing came but a RST."""
    try:
        data = sock.recv(1)
    except ConnectionResetError:
        return True
    assert data == b"", data
    return False


def read_exactly(connection, size):
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise ConnectionAbortedError
        data += part
    return data


def answer(query, addresses, ttl=60, truncated=False):
    flags = 0x8180 | (0x0200 if truncated else 0)
    end = 12 + query[12:].index(b"\0") + 5
    kind = struct.unpack("!H", query[end - 4:end - 2])[0]
    family = {1: socket.AF_INET, 28: socket.AF_INET6}.get(kind)
    found = [a for a in addresses if family == (socket.AF_INET6 if ":" in a else socket.AF_INET)]
    out = query[:2] + struct.pack("!HHHHH", flags, 1, 0 if truncated else len(found), 0, 0) + query[12:end]
    for address in [] if truncated else found:
        packed = socket.inet_pton(family, address)
        out += b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, ttl, len(packed)) + packed
    return out


def name_in(query):
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1:at + 1 + query[at]].decode())
        at += 1 + query[at]
    return ".".join(labels)


class Resolver:
    """A resolver of the test's: reply(query, over_tcp) gives datagrams to send, in order."""

    def __init__(self, reply):
        self.address = next(hosts)
        self.reply = reply
        self.asked = []
        self.over = threading.Event()
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind((self.address, 53))
        self.tcp = socket.create_server((self.address, 53))
        self.thread = threading.Thread(target=self.loop, daemon=True)
        self.thread.start()

    def loop(self):
        while not self.over.is_set():
            for ready in select.select([self.udp, self.tcp], [], [], 0.1)[0]:
                with suppress(OSError):  # whoever asked is gone
                    (self.serve_udp if ready is self.udp else self.serve_tcp)()

    def serve_udp(self):
        query, peer = self.udp.recvfrom(4096)
        self.asked.append(name_in(query))
        for reply in self.reply(query, False):
            self.udp.sendto(reply, peer)

    def serve_tcp(self):
        with self.tcp.accept()[0] as connection:
            connection.settimeout(DEADLINE_S)
            query = read_exactly(connection, struct.unpack("!H", read_exactly(connection, 2))[0])
            for reply in self.reply(query, True):
                whole = struct.pack("!H", len(reply)) + reply
                connection.sendall(whole[:1])
                connection.sendall(whole[1:])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()
        self.udp.close()
        self.tcp.close()


def socks(connection, asked, target=None):
    """A whole SOCKS5 server; `target`: where everything goes. asked: (user, password, kind, host, port)."""
    greeting = read_exactly(connection, 2)
    methods = read_exactly(connection, greeting[1])
    user = password = None
    if 2 in methods:
        connection.sendall(b"\5\2")
        user = read_exactly(connection, read_exactly(connection, 2)[1])
        password = read_exactly(connection, read_exactly(connection, 1)[0])
        connection.sendall(b"\1\0")
    else:
        connection.sendall(b"\5\0")
    kind = read_exactly(connection, 4)[3]
    size = {1: 4, 4: 16}.get(kind) or read_exactly(connection, 1)[0]
    host, port = read_exactly(connection, size), struct.unpack("!H", read_exactly(connection, 2))[0]
    asked.append((user, password, kind, host, port))
    connection.sendall(GRANTED)
    if target:
        target(connection)


def client_hello(name):
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname=name).do_handshake()
    return outgoing.read()
