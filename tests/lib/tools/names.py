# SPDX-License-Identifier: MIT
"""
names.py STEP...: resolves and connects, one system call a line as the C tools report it. HOST is an address, or a name
that `look` resolved before (its first address, or name#n).
    look NAME            getaddrinfo(); prints the addresses
    tcp HOST PORT DATA   connect() and send
    udp HOST PORT DATA   sendto()
    each NAME PORT       connect() to every address of a name
    ask SERVER NAME      one question for A by sendto(), and its answer
    stream SERVER NAME   the same by TCP
    until HOST PORT RESULT   connect()s until the result is that
    keep HOST PORT DATA  connect() and send; the connection stays open
    again DATA           sends on that connection and receives
    many BELOW THREADS COUNT PORT   so many names below it at a time are resolved and connected to; what came of them
    await PATH           until that file is there
"""

import errno
import os
import re
import select
import socket
import struct
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

TELL_S = 0.25 if "PST_TELL" in os.environ else 0  # how long an ICMP error or an answer is waited for
RECVERR = ((0, 11), (41, 25))  # IP_RECVERR, IPV6_RECVERR
BLOCKED = re.compile(rb"\0\x0f\0.\0\x0f", re.S)  # the EDNS option of an extended error: 15, "blocked"
KNOWN = {}
KEPT = []
DEADLINE_S = 20


def op(name, call, failures=(OSError,)):
    """Reports; returns what the call returned, None when it failed."""
    start = time.monotonic()
    result, value = "ok", None
    try:
        value = call()
    except failures as error:
        if isinstance(error, socket.gaierror):
            result = [n for n in dir(socket) if n.startswith("EAI_") and getattr(socket, n) == error.errno][0]
        elif isinstance(error, TimeoutError):
            result = "timeout"
        else:
            result = errno.errorcode.get(error.errno, str(error))
    print(name, result, f"{(time.monotonic() - start) * 1000:.2f}", flush=True)
    return value


def where(host, port):
    name, _, n = host.partition("#")
    address = KNOWN[name][int(n or 0)] if name in KNOWN else host
    return socket.getaddrinfo(address, port, flags=socket.AI_NUMERICHOST, type=socket.SOCK_STREAM)[0]


def look(name):
    found = op("look", lambda: socket.getaddrinfo(name, None, type=socket.SOCK_STREAM))
    KNOWN[name] = [info[4][0] for info in found or []]
    for address in KNOWN[name]:
        print("address", address, flush=True)


def connected(host, port):
    family, _, _, _, to = where(host, port)
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.settimeout(5)
    sock.connect(to)
    return sock


def tcp(host, port, data):
    sock = op("connect", lambda: connected(host, port))
    if sock:
        op("send", lambda: sock.sendall(data.encode()))


def udp(host, port, data):
    family, _, _, _, to = where(host, port)
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        op("sendto", lambda: told(sock, data.encode(), to))


def told(sock, data, to):
    """Sends; with PST_TELL the ICMP error for it, where there is one, is raised."""
    if TELL_S:
        sock.setsockopt(*RECVERR[sock.family == socket.AF_INET6], 1)
    sock.sendto(data, to)
    if TELL_S and select.select([sock], [], [], TELL_S)[0]:
        sock.recv(4096)


def each(name, port):
    for n in range(len(KNOWN[name])):
        print("address", KNOWN[name][n], flush=True)
        op("connect", lambda n=n: connected(f"{name}#{n}", port).close())


def message(name):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return os.urandom(2) + struct.pack("!5H", 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", 1, 1)


def ask(server, name):
    family, _, _, _, to = where(server, 53)
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(2)
        if TELL_S:
            tell(sock, name, to)
        elif op("sendto", lambda: sock.sendto(message(name), to)):
            op("answer", lambda: sock.recv(4096))


def tell(sock, name, to):
    """An answer that says "blocked" is the refusal of the question."""
    sock.sendto(message(name), to)
    start, reply = time.monotonic(), sock.recv(4096)
    ms = f"{(time.monotonic() - start) * 1000:.2f}"
    if reply[3] & 15 == 3 and not any(reply[6:10]) and (not any(reply[10:12]) or BLOCKED.search(reply)):
        print("sendto NXDOMAIN", ms, flush=True)
    else:
        print("sendto ok 0", f"answer ok {ms}", sep="\n", flush=True)


def stream(server, name):
    sock, data = op("connect", lambda: connected(server, 53)), message(name)
    if sock:
        sock.sendall(struct.pack("!H", len(data)) + data)
        op("answer", lambda: sock.recv(4096) or sock.recv(1)[0])


def until(host, port, result):
    def done():
        end = time.monotonic() + DEADLINE_S
        while time.monotonic() < end:
            try:
                connected(host, port).close()
                found = "ok"
            except OSError as error:
                found = errno.errorcode.get(error.errno)
                if TELL_S and found == "ECONNREFUSED":
                    found = "EPERM"  # the tests' word, tests/lib/kinds.py
            if found == result:
                return
            time.sleep(0.02)
        raise TimeoutError
    op("until", done)


def keep(host, port, data):
    KEPT[:] = [op("connect", lambda: connected(host, port))]
    again(data)


def again(data):
    def talk():
        KEPT[0].sendall(data.encode())
        assert KEPT[0].recv(65536)
    op("talk", talk)


def many(below, threads, count, port):
    def reach(n):
        name = f"n{os.getpid()}-{n}.{below}"
        try:
            socket.create_connection((name, int(port)), 10).close()
            return "ok"
        except OSError as error:
            return str(error)
    with ThreadPoolExecutor(int(threads)) as pool:
        for result, times in Counter(pool.map(reach, range(int(count)))).items():
            print("many", result.replace(" ", "-"), times, flush=True)


def wait(path):
    end = time.monotonic() + DEADLINE_S
    while not os.path.exists(path):
        if time.monotonic() > end:
            sys.exit(f"{path} never came")
        time.sleep(0.01)


for step in sys.argv[1:]:
    verb, *words = step.split()
    {"look": look, "tcp": tcp, "udp": udp, "each": each, "ask": ask, "stream": stream, "until": until, "keep": keep,
     "again": again, "await": wait,
     "many": many}[verb](*words)
