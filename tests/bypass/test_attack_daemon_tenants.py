# SPDX-License-Identifier: MIT
"""What one tenant does with its key, or from inside, does not hold up another."""

import contextlib
import json
import socket
import threading

import pytest

from daemon import DENY_ALL, OTHER_KEY, TENANT_KEY, UnixConnection
from insider import inside
from wait import until

CONNECTIONS = 8
LARGE = 60000
NINE_MIB = 9 << 20
CROWDED = 503


def made(daemon, key):
    reply = daemon.request_tcp("POST", "/sandboxes", {"templateID": "base"}, key=key)
    assert reply.status == 201, reply
    return reply.json["sandboxID"]


def connection(daemon):
    sock = daemon.net.host.call(lambda: socket.create_connection(("127.0.0.1", daemon.port)))
    sock.settimeout(60)
    return sock


def half_a_body(daemon, key):
    """A connection whose body stays in the daemon's memory, and does not come to an end."""
    sock = connection(daemon)
    sock.sendall(f"POST /sandboxes HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {key}\r\n"
                 f"Content-Type: application/json\r\nContent-Length: {NINE_MIB}\r\n\r\n".encode() + bytes(NINE_MIB - 1))
    return sock


def large(number):
    """A policy that takes long, and is not the one before."""
    entries = [f"{20 + i // 65536}.{i // 256 % 256}.{i % 256}.0/24" for i in range(LARGE)]
    return json.dumps({**DENY_ALL, "allowOut": [*entries, f"99.{number // 256}.{number % 256}.0/24"]})


def test_long_requests_of_one_tenant_are_a_part_of_the_time(daemon):
    mine, others = made(daemon, TENANT_KEY), made(daemon, OTHER_KEY)
    documents = [large(i) for i in range(CONNECTIONS)]
    seen, stop = [], threading.Event()

    def press(i):
        while not stop.is_set():
            with connection(daemon) as sock:
                sock.sendall(f"PUT /sandboxes/{mine}/network HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {TENANT_KEY}\r\n"
                             "Connection: close\r\nContent-Type: application/json\r\n"
                             f"Content-Length: {len(documents[i])}\r\n\r\n{documents[i]}".encode())
                seen.append(sock.recv(4096))
    threads = [threading.Thread(target=press, args=[i]) for i in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    try:
        until(lambda: [r for r in seen if b" 429 " in r], "it has had its part", 60)
        reply = daemon.request_tcp("PUT", f"/sandboxes/{others}/network", DENY_ALL, key=OTHER_KEY)
        assert reply.status == 204, reply
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    refused = [r for r in seen if b" 429 " in r]
    assert any(b" 204 " in r for r in seen), "it has a part"
    assert all(b"\r\nRetry-After: " in r for r in refused), refused[0]
    until(lambda: daemon.request_tcp("PUT", f"/sandboxes/{mine}/network", DENY_ALL).status == 204, "it may again", 60)


def test_bodies_that_do_not_end_take_no_room_from_others(daemon):
    """The daemon holds eight of the largest at a time."""
    others = made(daemon, OTHER_KEY)
    with contextlib.ExitStack() as stack:
        for _ in range(9):
            stack.enter_context(half_a_body(daemon, TENANT_KEY))
        large_body = {"templateID": "base", "network": json.loads(large(0))}
        mine = daemon.request_tcp("POST", "/sandboxes", large_body)
        assert mine.status == CROWDED, mine
        for _ in range(2):
            reply = daemon.request_tcp("PUT", f"/sandboxes/{others}/network", large(1), key=OTHER_KEY)
            assert reply.status == 204, reply


@pytest.mark.parametrize("brimble", [False, True], ids=["e2b", "brimble"])
def test_what_is_only_kept_is_little(daemon, brimble):
    """It is in memory, on disk and in every list for as long as the sandbox lives."""
    for size, status in ((60 << 10, 201), (64 << 10, 400), (8 << 20, 400)):
        body = {"templateID": "base", "metadata": {"m": "x" * size}}
        reply = daemon.request_tcp("POST", "/sandboxes", body, brimble=brimble)
        assert reply.status == status, reply
    assert len(daemon.boxes()) == 1


FLOOD = """
import time
end, out = time.monotonic() + seconds, 0
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    while time.monotonic() < end:
        for _ in range(500):
            tried(sock.sendto, b"x", (f"20.{out >> 16 & 255}.{out >> 8 & 255}.{out & 255}", 1000 + out % 60000))
            out += 1
"""


def test_a_flood_of_denials_takes_no_event_from_others(daemon):
    loud, quiet = daemon.create(DENY_ALL), daemon.create(DENY_ALL)
    stream = UnixConnection(daemon.socket, 60)
    stream.request("GET", "/v1/events")
    response, lines = stream.getresponse(), []

    def read():
        with contextlib.suppress(OSError, ValueError, AttributeError):
            for line in response:
                lines.append(json.loads(line))
    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    with inside(loud) as flood, inside(quiet) as who:
        sent = []
        flooding = threading.Thread(target=lambda: sent.append(flood.script(code=FLOOD, seconds=2)))
        flooding.start()
        until(lambda: any("lost" in line for line in lines), "events are lost")
        wanted = {f"198.18.7.{i}" for i in range(20)}
        for address in sorted(wanted):
            who.knock(to=[address, 4444], data="00")
        flooding.join()
    until(lambda: wanted <= {line.get("address") for line in lines}, f"all events of the other of {sent}")
    assert len(lines) < sent[0] / 10, "most of the flood's are counted, not told"
    stream.close()
