# SPDX-License-Identifier: MIT
"""
postern-relay by itself (as in test_relay_alone.py), with everything at once: clients that stop in the middle, servers,
proxies and resolvers that answer anything, policies that change under live connections, sandboxes that come and go. It
is neither to end nor to stop serving. PST_LONG=1: for a minute, instead of some seconds.
"""

import os
import random
import socket
import struct
import threading
import time
from contextlib import ExitStack, suppress

from crafted_peers import GRANTED, LOOPBACK, Resolver, answer, ask, client_hello, echo, hosts, read_exactly, server, socks
from relaystub import STEP_CIDR, Origins, Starter, policy, sealed

SECONDS = 60 if os.environ.get("PST_LONG") else 4
RESET = struct.pack("ii", 1, 0)
FIRST = [client_hello("a.example.com"), client_hello("t.example.com"), client_hello("evil.net"), b"xx",
         b"GET / HTTP/1.1\r\nHost: a.example.com\r\n\r\n", b"GET / HTTP/1.1\r\nHost: t.example.com\r\n\r\n"]


def web(connection):
    while connection.recv(65536):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


def rude(connection):
    data = connection.recv(100)
    if random.random() < 0.5:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    else:
        connection.sendall(data * 100)


def odd_proxy(connection):
    with suppress(ConnectionAbortedError):
        read_exactly(connection, 3)
        connection.sendall(b"\5\0"[:random.randint(0, 2)])
        connection.recv(20)
        connection.sendall(random.choice([GRANTED, GRANTED + b"hi", b"\5\1\0", b"xx"]))
        connection.recv(10)


class Chaos:
    def __init__(self, enter):
        self.web = next(hosts)
        enter(server(web, self.web, 80))
        enter(server(echo, self.web, 443))
        self.targets = [enter(server(echo)), enter(server(rude)), (self.web, 80), (self.web, 443), (self.web, 443),
                        (self.web, 9)]
        good, odd = enter(server(lambda c: socks(c, [], echo))), enter(server(odd_proxy))
        self.proxies = [None, None, None, None, good, odd, (*good, "u", "p"), ("proxy.example.com", good[1]),
                        ("127.0.0.1", 1)]
        self.resolver = enter(Resolver(self.reply))
        self.starter = Starter(head_ms=300, dial_ms=700, idle_ms=1500, connections=40, total=100)
        self.over = threading.Event()
        self.generation = 0
        self.sandboxes = {}
        self.dropped = []

    def reply(self, query, over_tcp):
        return random.choice([[answer(query, [self.web], ttl=random.choice([0, 1, 60]))], [],
                              [answer(query, [], truncated=not over_tcp)], [query[:2] + b"\x81\x83" + query[4:]],
                              [b"x", answer(query, [self.web])]])

    def policy(self):
        self.generation += 1
        names = random.choice([[(1, "*.example.com", 0, 65535)], [(1, "a.example.com", 443, 443)]])
        return policy(self.generation, random.choice([0, 1, 1, 3, 4, 5, 8]), [self.resolver.address], opened=LOOPBACK,
                      names=names, proxy=random.choice(self.proxies),
                      transforms=random.choice([(), (), [("t.example.com", {"X-A": "b"})]]))

    def tell(self, number, data, fds=(), sockets=0):
        fd = sealed(data)
        self.starter.send("SANDBOX", struct.pack("=QII", self.generation, sockets, 0), number, [fd, *fds])
        os.close(fd)

    def add(self, number):
        listener, origins = socket.create_server(("127.0.0.1", 0), backlog=100), Origins()
        self.sandboxes[number] = listener, origins
        self.tell(number, self.policy(), [listener.fileno(), origins.fd], 17)

    def change(self):
        number = random.choice(list(self.sandboxes))
        if random.random() < 0.9:
            self.tell(number, self.policy())
            return
        self.starter.send("DROP", sandbox=number)
        self.dropped.append(self.sandboxes[number])  # a client may hold it yet
        self.add(number)

    def connect(self, client, number, target, **said):
        listener, origins = self.sandboxes[number]
        client.settimeout(0.5)
        client.bind(("127.0.0.1", 0))
        origins.put(client.getsockname(), target, number, **said)
        client.connect(listener.getsockname())

    def client(self):
        step, reason = random.choice([(8, 32), (11, 33), (9, 38), (9, 39), (9, 39)])
        data = random.choice(FIRST)
        with socket.socket() as client:
            self.connect(client, random.choice(list(self.sandboxes)), random.choice(self.targets), step=step,
                         reason=reason, generation=random.choice([1, 1 << 62]),
                         name=random.choice(["", "a.example.com", "evil.net"]))
            if random.random() < 0.3:
                for byte in data[:40]:
                    client.sendall(bytes([byte]))
                data = data[40:]
            client.sendall(data)
            if random.random() < 0.3:
                client.shutdown(socket.SHUT_WR)
            if random.random() < 0.7:
                client.recv(100)
            if random.random() < 0.2:
                client.sendall(bytes(300000))
            if random.random() < 0.4:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)

    def clients(self):
        while not self.over.is_set():
            with suppress(OSError):
                self.client()

    def run(self):
        """Turns everything for a while; the messages that came, by type."""
        heard, end, next_change = set(), time.monotonic() + SECONDS, 0
        while time.monotonic() < end:
            message = self.starter.read(0.01)
            if message:
                self.starter.heard.clear()
                heard.add(message[0])
                if message[0] == "SIGN":
                    self.starter.send("SIGNED", struct.pack("=QiI", 0, -1, 0), message[1], seq=message[2])
            if time.monotonic() > next_change:
                next_change = time.monotonic() + 0.05
                self.change()
        return heard


def test_it_outlives_everything_at_once():
    with ExitStack() as stack:
        chaos = Chaos(stack.enter_context)
        stack.callback(chaos.starter.close)
        for number in range(1, 5):
            chaos.add(number)
        threads = [threading.Thread(target=chaos.clients, daemon=True) for _ in range(12)]
        for thread in threads:
            thread.start()
        heard = chaos.run()
        chaos.over.set()
        for thread in threads:
            thread.join()
        assert {"APPLIED", "EVENT", "COUNT"} <= heard
        sandbox = chaos.starter.sandbox(9, generation=1 << 62, opened=LOOPBACK)
        assert ask(sandbox.connect(chaos.targets[0], step=STEP_CIDR)) == b"ping"
        assert chaos.starter.process.poll() is None
    assert chaos.starter.process.returncode == 0 and not chaos.starter.stderr
