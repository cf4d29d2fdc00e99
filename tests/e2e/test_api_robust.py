# SPDX-License-Identifier: MIT
"""
posternd's sockets in bad company: malformed requests, slow and silent clients, bodies, connections and streams at their
limits. It lives, nobody waits for another, nothing grows, and no policy changes that nobody changed. PST_SEED=N: again.
"""

import concurrent.futures
import contextlib
import http.client
import json
import os
import random
import socket
import threading
import time
from pathlib import Path

import pytest

from daemon import DENY_ALL, TENANT_KEY, Daemon, Reply, UnixConnection
from far import LONG
from garbage import Garbage
from internet import ALLOWED4, DENIED4
from netns import shell
from reach import is_answered
from wait import until

ONLY_ALLOWED = {**DENY_ALL, "allowOut": [ALLOWED4]}
REQUESTS = 100_000 if LONG else 12_000
IDLE = 1000 if LONG else 300
SILENCE_S = 0.05  # after which a reply is not waited for any more
WAIT_S = 5  # generous: what would be held up would be for REQUEST_S of user/api/server.c, 10
GROWTH_KB = 48 * 1024


@pytest.fixture
def seed():
    number = int(os.environ.get("PST_SEED", random.randrange(1 << 32)))
    print(f"PST_SEED={number}")
    return number


def rss_kb(daemon):
    lines = Path(f"/proc/{posternd(daemon)}/status").read_text("ascii").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS:")))


def sockets(daemon):
    """How many it has. Maps and their like come and go with policies."""
    count, folder = 0, f"/proc/{posternd(daemon)}/fd"
    for number in os.listdir(folder):
        with contextlib.suppress(OSError):
            count += os.readlink(f"{folder}/{number}").startswith("socket:")
    return count


def fds(daemon):
    return len(os.listdir(f"/proc/{posternd(daemon)}/fd"))


def posternd(daemon):
    """Its pid: nsenter execs it."""
    assert daemon.process.process.poll() is None, daemon.log()
    return daemon.process.pid


def connect(daemon, timeout=20):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(timeout)
    sock.connect(str(daemon.socket))
    return sock


def connect_tcp(daemon, timeout=20):
    return daemon.net.host.call(lambda: socket.create_connection(("127.0.0.1", daemon.port), timeout))


def read_all(sock):
    data = b""
    with contextlib.suppress(OSError):
        while got := sock.recv(65536):
            data += got
    return data


def raw(daemon, data, half_close=True):
    """What comes back, until the daemon closes."""
    with connect(daemon) as sock:
        with contextlib.suppress(OSError):
            sock.sendall(data)
            if half_close:
                sock.shutdown(socket.SHUT_WR)
        return read_all(sock)


def status(data):
    return int(data.split(b" ", 2)[1]) if data.startswith(b"HTTP/1.1 ") else None


class Kept:
    """A sandbox whose policy is to stay: as the daemon says, as the kernel's record says, as its traffic says."""

    def __init__(self, box):
        self.box = box
        self.shown, self.record = self._show(), self._record()
        self.check_traffic()

    def _show(self):
        return {key: value for key, value in self.box.show().items() if key != "assurance"}

    def _record(self):
        """What the programs judge by: the pinned struct pst_sandbox."""
        pinned = self.box.daemon.pins / "maps" / "pst_sandbox"
        rows = json.loads(shell("bpftool", "-j", "map", "dump", "pinned", str(pinned)))
        number = self.box.cgroup.stat().st_ino
        return next(row["formatted"]["value"] for row in rows if row["formatted"]["key"] == number)

    def check_traffic(self):
        assert is_answered(self.box, ALLOWED4) and not is_answered(self.box, DENIED4)

    def check(self):
        assert self._show() == self.shown
        assert self._record() == self.record
        self.check_traffic()


class Client:
    """A well-behaved one that goes on asking and changing its own sandbox, and notes how long that took."""

    def __init__(self, daemon):
        self.daemon, self.box = daemon, daemon.create(DENY_ALL)
        self.took, self.failed = [], []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _once(self, n):
        start = time.monotonic()
        self.daemon.get("/healthz")
        policy = {**DENY_ALL, "allowOut": [f"93.184.216.{n % 200}"]}
        reply = self.daemon.request("PUT", f"/v1/sandboxes/{self.box.id}/policy", policy, timeout=60)
        self.took.append(time.monotonic() - start)
        if reply.status != 200:
            self.failed.append(reply)

    def _run(self):
        n = 0
        while not self._stop.is_set():
            try:
                self._once(n)
            except (OSError, http.client.HTTPException) as error:
                self.failed.append(error)
            n += 1

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc):
        self._stop.set()
        self._thread.join()

    def check(self, capsys, what):
        assert not self.failed, self.failed[:3]
        assert self.took
        times = sorted(self.took)
        with capsys.disabled():
            print(f"\n  {what}: another client's {len(times)} turns p50 {times[len(times) // 2] * 1000:.1f} ms, "
                  f"p99 {times[len(times) * 99 // 100] * 1000:.1f} ms, slowest {times[-1] * 1000:.1f} ms")
        assert times[-1] < WAIT_S


def throw(daemon, garbage, count):
    """So many requests, one or some on a connection, some of which is cut; returns how many replies were read."""
    dice, replies = garbage.random, 0
    while count > 0:
        many = min(count, dice.choice((1, 1, 1, 2, 3, 16)))
        count -= many
        data = b"".join(garbage.request(many == 1) for _ in range(many))
        with connect(daemon, SILENCE_S) as sock, contextlib.suppress(OSError):
            if dice.random() < 0.3:
                sock.sendall(data[:dice.randrange(len(data) + 1)])
                continue
            if dice.random() < 0.1:
                for at in range(0, len(data), 997):
                    sock.sendall(data[at:at + 997])
            else:
                sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            replies += read_all(sock).count(b"HTTP/1.1 ")
    return replies


def throw_all(daemon, each, count):
    with concurrent.futures.ThreadPoolExecutor(len(each)) as pool:
        return sum(done.result() for done in [pool.submit(throw, daemon, garbage, count // len(each)) for garbage in each])


def test_malformed_requests_change_nothing(net, seed, capsys):
    with Daemon(net, limits={"sandboxes": 24}) as daemon:
        before_sockets = sockets(daemon)
        kept = [Kept(daemon.create(ONLY_ALLOWED)), Kept(daemon.attach("kept-n", daemon.cgroup("n"), ONLY_ALLOWED))]
        daemon.attach("prey-n", daemon.cgroup("prey"))
        protected = [each.box.id for each in kept]
        each_garbage = [Garbage(seed + n, ["prey-n", "i0123", "0123456789abcdef01234567"], protected) for n in range(6)]
        pid = posternd(daemon)
        with Client(daemon) as client:
            throw_all(daemon, each_garbage, REQUESTS // 4)
            before_kb, before_fds = rss_kb(daemon), fds(daemon)
            replies = throw_all(daemon, each_garbage, REQUESTS - REQUESTS // 4)
        client.check(capsys, f"{REQUESTS} malformed requests")
        assert posternd(daemon) == pid
        assert replies > REQUESTS // 10, "the control: it did read them"
        until(lambda: sockets(daemon) <= before_sockets + 4, f"sockets go: {before_sockets} before", 30)
        assert fds(daemon) <= before_fds + 1024  # maps for policies to come; a leak would be one for each request
        assert rss_kb(daemon) - before_kb < GROWTH_KB
        for each in kept:
            each.check()
        # The control: what is well-formed does change it.
        kept[0].box.put({**DENY_ALL, "allowOut": [DENIED4]})
        assert is_answered(kept[0].box, DENIED4)
        with pytest.raises(AssertionError):
            kept[0].check()
        with capsys.disabled():
            print(f"  {replies} replies, rss {before_kb} -> {rss_kb(daemon)} kB, fds {before_fds} -> {fds(daemon)}")


# ---- slow and silent clients ----

def hold(sock, data):
    sock.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            sock.send(data)


def test_slow_clients_hold_up_nobody(daemon, capsys):
    """Headers and bodies that drip, replies that nobody reads, a stream that nobody reads."""
    request = b"GET /v1/sandboxes HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(contextlib.closing(connect(daemon))) for _ in range(60)]
        for sock in socks[:20]:
            sock.sendall(b"PUT /v1/sandboxes/x/policy HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n{")
        for sock in socks[20:40]:
            sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX")
        for sock in socks[40:]:
            hold(sock, request * 100)
        with Client(daemon) as client:
            end = time.monotonic() + 12
            while time.monotonic() < end:
                for sock in socks[:40]:
                    with contextlib.suppress(OSError):
                        sock.sendall(b"x")
                client.daemon.get("/healthz")
                time.sleep(0.1)
        client.check(capsys, "60 slow clients")
        # From a request's first byte to its last it has 10 s: those that drip are cut.
        for sock in socks[:40]:
            sock.settimeout(WAIT_S)
            assert not read_all(sock).startswith(b"HTTP/1.1 200")
    assert posternd(daemon)


def test_a_stream_that_nobody_reads_loses_events_and_is_told(daemon):
    box = daemon.create(DENY_ALL)
    script = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for n in range(int(sys.argv[2])):
    try:
        s.sendto(b"x", (sys.argv[1], 1 + n % 60000))
    except PermissionError:
        pass
"""
    with connect(daemon) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.sendall(b"GET /v1/events?sandbox=%s HTTP/1.1\r\nHost: localhost\r\n\r\n" % box.id.encode())
        assert sock.recv(12) == b"HTTP/1.1 200"

        def lost():
            for _ in range(5):
                assert box.run(["/usr/bin/python3", "-S", "-c", script, DENIED4, "2000"]).code == 0
            text = daemon.get("/metrics").body.decode()
            return [line for line in text.splitlines() if line.startswith("postern_") and "lost" in line and not line.endswith(" 0")]
        until(lost, "events are lost", 60)
        data = b""

        def told():
            nonlocal data
            data += sock.recv(65536)
            return b'{"lost":' in data
        until(told, "its reader is told", 30)


def test_idle_connections_are_kept_and_one_more_is_served(daemon, capsys):
    before = sockets(daemon)
    with contextlib.ExitStack() as stack:
        for _ in range(IDLE):
            stack.enter_context(contextlib.closing(connect(daemon)))
        with Client(daemon) as client:
            until(lambda: sockets(daemon) >= before + IDLE, "all are accepted")
            until(lambda: len(client.took) >= 20, "it is served", 60)
        client.check(capsys, f"{IDLE} idle connections")
    until(lambda: sockets(daemon) <= before, f"sockets are given back: {before} before")


# ---- limits ----

def say_with_key(sock):
    """A whole request of a tenant on a connection that is kept; its reply has come."""
    sock.sendall(f"GET /sandboxes HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {TENANT_KEY}\r\n\r\n".encode())
    assert sock.recv(65536).startswith(b"HTTP/1.1 200")


def test_who_never_says_who_it_is_makes_room(net):
    with Daemon(net, limits={"connections": 16}) as daemon, contextlib.ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(contextlib.closing(connect_tcp(daemon)))
        for _ in range(10):
            assert daemon.request_tcp("GET", "/sandboxes", timeout=5).status == 200


def test_tcp_is_full_and_the_unix_socket_serves(net):
    with Daemon(net, limits={"connections": 16}) as daemon:
        with contextlib.ExitStack() as stack:
            for _ in range(16):
                say_with_key(stack.enter_context(contextlib.closing(connect_tcp(daemon))))
            with pytest.raises((OSError, http.client.HTTPException)):
                for _ in range(3):
                    daemon.request_tcp("GET", "/healthz", timeout=5)
            assert daemon.get("/healthz").status == 200
            assert is_answered(daemon.create({}), ALLOWED4)

        def served():
            with contextlib.suppress(OSError, http.client.HTTPException):
                return daemon.request_tcp("GET", "/healthz", timeout=5).status == 200
            return False
        until(served, "there is room again")


def put_of_size(daemon, box, size, chunked):
    policy = json.dumps(ONLY_ALLOWED).encode()
    return daemon.request("PUT", f"/v1/sandboxes/{box.id}/policy", policy + b" " * (size - len(policy)), chunked=chunked)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("limits,most", [({"body": 65536}, 65536), ({}, 9 * 1024 * 1024)])
def test_bodies_at_the_limit_and_over_it(net, chunked, limits, most):
    with Daemon(net, limits=limits) as daemon:
        kept = Kept(daemon.create(ONLY_ALLOWED))
        box = daemon.create(DENY_ALL)
        document_most = min(most, 8 * 1024 * 1024)  # of a policy's text
        assert put_of_size(daemon, box, document_most, chunked).status == 200
        assert is_answered(box, ALLOWED4)
        box.put(DENY_ALL)
        assert put_of_size(daemon, box, most + 1, chunked).status == 413
        if most > document_most:
            assert put_of_size(daemon, box, most, chunked).status == 400
        with contextlib.suppress(OSError, http.client.HTTPException):  # cut, or refused at once
            assert put_of_size(daemon, box, 2 * most + 1, chunked).status == 413
        assert not is_answered(box, ALLOWED4)
        kept.check()


def test_no_more_sandboxes_than_the_limit(net):
    with Daemon(net, limits={"sandboxes": 2}) as daemon:
        kept = [Kept(daemon.create(ONLY_ALLOWED)), Kept(daemon.attach("native", daemon.cgroup("n"), ONLY_ALLOWED))]
        for path, body in (("/sandboxes", {"templateID": "base"}),
                           ("/v1/sandboxes", {"id": "more", "cgroup": str(daemon.cgroup("more")), "allowWeak": True})):
            reply = daemon.request("POST", path, body)
            assert reply.status == 507 and "limits.sandboxes" in reply.json["message"], reply
        assert len([each for each in daemon.cgroups.iterdir() if each.is_dir()]) == 3, "nothing is left of the one that was refused"
        for each in kept:
            each.check()
        kept[1].box.delete()
        daemon.create({})


def test_no_more_streams_than_the_limit(net):
    with Daemon(net, limits={"streams": 2}) as daemon, contextlib.ExitStack() as stack:
        def stream():
            sock = stack.enter_context(contextlib.closing(connect(daemon)))
            sock.sendall(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            return sock, status(sock.recv(4096))
        first = stream()[0]
        assert stream()[1] == 200
        assert stream()[1] == 503
        assert daemon.get("/healthz").status == 200
        first.close()
        until(lambda: stream()[1] == 200, "there is room again")


# ---- paths and methods ----

def test_paths_are_taken_as_they_came(daemon):
    kept = Kept(daemon.attach("kept", daemon.cgroup("kept"), ONLY_ALLOWED))
    body = json.dumps({"allowOut": ["0.0.0.0/0"]}).encode()
    for path in ("/v1/sandboxes/../sandboxes/kept/policy", "/v1/sandboxes/./kept/policy", "/v1//sandboxes/kept/policy",
                 "//v1/sandboxes/kept/policy", "/v1/sandboxes/kept//policy", "/v1/sandboxes/kept/policy/", "/v1/sandboxes/%6bept/policy",
                 "/v1/sandboxes/kept%00/policy", "/v1/sandboxes/kept%2fpolicy", "/v1/sandboxes/%2e%2e/kept/policy", "*",
                 "/v1/sandboxes/kept;a=b/policy", "/V1/sandboxes/kept/policy", "/v1/sandboxes/KEPT/policy", "/v1/sandboxes/kept/policy#x",
                 "http://localhost/v1/sandboxes/kept/policy", "v1/sandboxes/kept/policy", "/v1/sandboxes/" + "k" * 4096 + "/policy",
                 "/v1/sandboxes/\xe9/policy", "/v1\\sandboxes\\kept\\policy", "/v1/sandboxes/kept/policy%3fdry_run=1"):
        for method in ("PUT", "DELETE", "POST"):
            line = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
            reply = raw(daemon, line.encode("latin-1") + body, half_close=False)
            assert status(reply) in (400, 404, 405), f"{method} {path}: {reply}"
    kept.check()


def test_methods_are_taken_as_they_came(daemon):
    kept = Kept(daemon.attach("kept", daemon.cgroup("kept"), ONLY_ALLOWED))
    body = json.dumps({"allowOut": ["0.0.0.0/0"]}).encode()
    for method in ("put", "Put", "PATCH", "POST", "HEAD", "TRACE", "OPTIONS", "CONNECT", "PUTT", "PU", "DELETE", "X" * 4000):
        line = f"{method} /v1/sandboxes/kept/policy HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-HTTP-Method-Override: PUT\r\n"
        reply = raw(daemon, f"{line}Content-Length: {len(body)}\r\n\r\n".encode() + body, half_close=False)
        assert status(reply) in (400, 404, 405, 413, 414, 431, 501), f"{method}: {reply}"
    reply = raw(daemon, b"DELETE /v1/sandboxes HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", half_close=False)
    assert status(reply) == 405 and b"Allow: " in reply
    kept.check()


FORBIDDEN = ("", ".", "..", "a/b", "../up", "Upper", "spa ce", "nul\0", "dot.", "x" * 65, "\u00e9", "a\n", "%2e", "*", "-\u2010", "\ud800")


@pytest.mark.parametrize("name", FORBIDDEN, ids=repr)
def test_an_id_that_is_none_makes_nothing(daemon, name):
    place = daemon.cgroup("place")
    reply = daemon.request("POST", "/v1/sandboxes", {"id": name, "cgroup": str(place), "policy": {}, "allowWeak": True})
    assert reply.status == 400, reply
    assert not daemon.boxes()
    reply = daemon.request("PUT", "/v1/policies", {"ids": [name], "policy": {}})
    assert reply.status == 400, reply


# ---- one policy for many, many changes of one ----

def test_a_policy_for_many_is_for_all_or_for_none(daemon):
    kept = [Kept(daemon.attach(f"k{n}", daemon.cgroup(f"k{n}"), ONLY_ALLOWED)) for n in range(3)]
    ids = [each.box.id for each in kept]
    policy = {**DENY_ALL, "allowOut": [DENIED4]}
    for body, expected in (({"ids": [*ids, "nobody"], "policy": policy}, 404), ({"ids": ["nobody", *ids], "policy": policy}, 404),
                           ({"ids": [*ids, ids[0]], "policy": policy}, 400), ({"ids": [], "policy": policy}, 400),
                           ({"ids": ids, "policy": {"allowOut": ["1.2.3.4/99"]}}, 400), ({"ids": ids}, 400), ({"policy": policy}, 400),
                           ({"ids": ids, "policy": policy, "more": 1}, 400), ({"ids": "k0", "policy": policy}, 400),
                           ({"ids": [*ids, 7], "policy": policy}, 400), ({"ids": ids * 3334, "policy": policy}, 400),
                           ({"ids": [*ids, *(f"n{n}" for n in range(9997))], "policy": policy}, 404),
                           ({"ids": [*ids, *(f"n{n}" for n in range(9998))], "policy": policy}, 400)):
        reply = daemon.request("PUT", "/v1/policies", body)
        assert reply.status == expected, (str(body)[:200], reply)
    for each in kept:
        each.check()
    assert daemon.request("PUT", "/v1/policies", {"ids": ids, "policy": policy}).status == 200
    assert all(is_answered(each.box, DENIED4) and not is_answered(each.box, ALLOWED4) for each in kept)


def test_changes_of_one_sandbox_by_many_follow_each_other(daemon):
    box = daemon.attach("busy", daemon.cgroup("busy"), DENY_ALL)
    acknowledged = []

    def change(client):
        with contextlib.closing(UnixConnection(daemon.socket, 60)) as connection:
            for n in range(25):
                policy = {**DENY_ALL, "allowOut": [f"93.184.{client}.{n}", ALLOWED4 if (client + n) % 2 else DENIED4]}
                connection.request("PUT", "/v1/sandboxes/busy/policy", json.dumps(policy))
                reply = Reply(connection.getresponse())
                assert reply.status == 200, reply
                acknowledged.append((reply.json["generation"], reply.json["policyHash"], policy))
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        for done in [pool.submit(change, client) for client in range(16)]:
            done.result()
    assert len({generation for generation, _, _ in acknowledged}) == 16 * 25
    generation, policy_hash, policy = max(acknowledged, key=lambda each: each[0])
    shown = box.show()
    assert (shown["generation"], shown["policyHash"]) == (generation, policy_hash)
    assert shown["policy"]["allowOut"] == policy["allowOut"]
    for address in (ALLOWED4, DENIED4):
        assert is_answered(box, address) == (address in policy["allowOut"])
