# SPDX-License-Identifier: MIT
"""
Requests that try to be two at once (lib/smuggling.txt), through the real relay to a server that reads them with parsers of
its own: a strict one (lib/strictparser.py), and every sloppy one of lib/second_parser.py, which must all see the same. None
that could be understood in two ways gets there, and what gets there is whole.
"""

import re
import socket
import threading

import pytest

from postern import ROOT
from relaybox import KINDS, LONG
from relaypeers import CATCH4
from second_parser import Disagreement, agreed
from strictparser import Parser, Violation
from wait import until

TABLE = ROOT / "tests" / "lib" / "smuggling.txt"
GOOD, PLAIN = "good.test", "plain.test"
SECRETS = {"Authorization": "Bearer pst-smuggled-03c7", "X-Api-Key": "pst-smuggled-key-41"}
POLICY = {"allow": [GOOD, PLAIN], "hostCheck": "strict", "rules": {GOOD: [{"transform": {"headers": SECRETS}}]}}
ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|\{(\d+)\*(.)\}|([rnt\\]))", re.S)
PLAINLY = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"\\": b"\\"}


def rows():
    """(name, what must become of it, bytes)."""
    for line in TABLE.read_bytes().splitlines():
        if line and not line.startswith(b"#"):
            name, expected, text = line.split(b"\t")
            yield name.decode(), expected.decode(), ESCAPE.sub(
                lambda m: bytes([int(m[1], 16)]) if m[1] else m[3] * int(m[2]) if m[2] else PLAINLY[m[4]], text)


class Catch:
    """Answers each whole request, and keeps it; what is none is kept as a violation. raw: all bytes, by connection."""

    def __init__(self, namespace, port=80, context=None):
        self.seen, self.violations, self.raw, self.busy = [], [], [], 0
        self._port, self._context = port, context
        self._server = namespace.call(socket.create_server, (CATCH4, port))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            self.busy += 1
            self.raw.append(b"")
            threading.Thread(target=self._talk, args=(client, len(self.raw) - 1), daemon=True).start()

    def _talk(self, client, number):
        hosts = (b"good.test", b"plain.test")
        parser = Parser({*hosts, *(b"%s:%d" % (host, self._port) for host in hosts)})
        try:
            with client:
                client.settimeout(60)
                if self._context:
                    client = self._context.wrap_socket(client, server_side=True)
                while data := client.recv(65536):
                    self.raw[number] += data
                    for request in parser.feed(data):
                        self.seen.append(request)
                        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        except Violation as violation:
            self.violations.append(str(violation))
        except OSError:
            pass
        self.busy -= 1

    def close(self):
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()


@pytest.fixture(name="catch", scope="module")
def catch_fixture(peers):
    running = Catch(peers.namespace)
    peers.dns.zone.update({GOOD: [CATCH4], PLAIN: [CATCH4]})
    yield running
    running.close()


@pytest.mark.parametrize("way", [kind for kind in KINDS if LONG or kind == "cgroup"])
def test_nothing_that_is_two_things_at_once_gets_through(relays, catch, way):
    wrong = []
    with relays.ward(way, **POLICY) as ward:
        for name, expected, data in rows():
            start, violations, connections = len(catch.seen), len(catch.violations), len(catch.raw)
            told = ward.talker.exchange(address=CATCH4, port=80, data=data.decode("latin-1"))
            until(lambda: not catch.busy, "the server has read all", 60)
            seen = catch.seen[start:]
            problems = [*judged(expected, told, seen), *catch.violations[violations:], *disputed(catch.raw[connections:], data)]
            wrong += [f"{name}, expected {expected}: {problem}: {told} {seen}" for problem in problems]
    assert not wrong, f"{len(wrong)} problems, the first: " + "\n".join(wrong[:10])


def disputed(streams, data):
    """What some reader sees in them that another does not."""
    for raw in streams:
        try:
            agreed(raw, gets_have_bodies=data.startswith((b"GET", b"HEAD")))
        except Disagreement as disagreement:
            yield str(disagreement)


def judged(expected, told, seen):
    """What is wrong with what became of a row: "N", "N CODE", "CODE" or "cut", as the table says."""
    count, _, code = expected.partition(" ") if len(expected.split()[0]) == 1 else ("0", "", expected)
    final = [int(status) for status in re.findall(r"HTTP/1\.1 ([2-5]\d\d) ", told["data"])]
    if len(seen) != int(count):
        yield f"{len(seen)} requests went on"
    if code.isdigit() and final != [200] * int(count) + [int(code)] or not code and final != [200] * int(count):
        yield f"answered {final}"
    for request in seen:
        is_good = request.values(b"host")[0].startswith(b"good.test")
        for name, value in SECRETS.items():
            found = request.values(name.lower().encode())
            if found != [value.encode()] if is_good else value.encode() in found:
                yield f"{name} is {found}"
        if b"smuggled" in request.target:
            yield f"{request.target} was smuggled"


def test_the_parsers_tell_them_apart():
    """The control: sent on as they are, they would be refused or disputed, and what is plain would not."""
    def parsed(data):
        try:
            return len(Parser({b"good.test"}).feed(data)) if agreed(data) is not None else 0
        except (Violation, Disagreement):
            return "refused"
    ambiguous = [(name, data) for name, expected, data in rows() if expected == "400"]
    assert len(ambiguous) >= 200
    plain = b"POST / HTTP/1.1\r\nHost: good.test\r\nContent-Length: 2\r\n\r\nhiGET / HTTP/1.1\r\nHost: good.test\r\n\r\n"
    assert parsed(plain) == 2
    assert parsed(b"POST / HTTP/1.1\r\nHost: good.test\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n") == 1
    taken = [name for name, data in ambiguous if parsed(data) not in ("refused", 0)]
    assert len(taken) < len(ambiguous) // 10, taken
