#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""
Runs inside a sandbox (or beside it) and does what lines of JSON on standard input tell: ["function", {arguments}],
answered by one line of JSON. Sockets are kept by name, bytes are hex, results are "ok" or the name of an errno.
"""

import ctypes
import errno
import json
import os
import re
import select
import socket
import subprocess
import sys
import time

TELL_S = 0.25 if "PST_TELL" in os.environ else 0
RECVERR = ((0, 11), (41, 25))  # IP_RECVERR, IPV6_RECVERR
BLOCKED = re.compile(rb"\0\x0f\0.\0\x0f", re.S)  # the EDNS option of an extended error: 15, "blocked"

sockets = {}
corked = set()
inbox = {}  # socket -> what told() took from it
libc = ctypes.CDLL(None, use_errno=True)
MSG_MORE, UDP_CORK, SO_RCVBUFFORCE = 0x8000, (17, 1), 33


def tried(call, *args):
    try:
        call(*args)
        return "ok"
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error.errno))


def hear(sock):
    """With PST_TELL: ICMP errors are told to a datagram socket, connected or not."""
    if TELL_S and sock.type == socket.SOCK_DGRAM:
        for level, option in RECVERR[:2 if sock.family == socket.AF_INET6 else 1]:
            sock.setsockopt(level, option, 1)
        drain(sock)


def drain(sock):
    """What has come so far goes to the inbox: what comes next comes of what is sent next."""
    while True:
        try:
            inbox.setdefault(sock, []).append(sock.recvfrom(65536, socket.MSG_DONTWAIT))
        except BlockingIOError:
            return
        except OSError:
            continue


def error_of(sock):
    """From the queue of errors: the errno's name, None when there is none."""
    try:
        _, control, _, _ = sock.recvmsg(1, 512, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT)
    except OSError:
        return None
    found = [data for level, kind, data in control if (level, kind) in RECVERR]
    name = errno.errorcode[int.from_bytes(found[0][:4], "little")] if found else None
    return "ok" if name == "ECONNREFUSED" else name  # it arrived where nobody listens


def is_refusal(data):
    """A resolver's "no such name" without a record; where it was asked with EDNS, with the reason "blocked"."""
    return (len(data) > 12 and data[2] & 0x80 and data[3] & 15 == 3 and not any(data[6:10]) and
            (not any(data[10:12]) or BLOCKED.search(data)))


def reply_of(sock):
    """What has come, to the inbox: "ok"; a resolver's word for a denial is not kept. None: nothing has come."""
    try:
        data, peer = sock.recvfrom(65536, socket.MSG_DONTWAIT)
    except OSError:
        return None
    if peer[1] == 53 and is_refusal(data):
        return "NXDOMAIN"
    inbox.setdefault(sock, []).append((data, peer))
    return "ok"


def told(sock, seconds=None):
    """What came of the datagram that was just sent: its answer or its error, for some time; "ok" without either."""
    if not TELL_S or sock.type != socket.SOCK_DGRAM:
        return "ok"
    end = time.monotonic() + (TELL_S if seconds is None else seconds)
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    while True:
        poll.poll(max(0, (end - time.monotonic()) * 1000))
        result = error_of(sock) or reply_of(sock)
        if result or time.monotonic() >= end:
            return result or "ok"


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def open_socket(sock="s", family=4, kind="udp", bind=None, options=(), protocol=0):
    """options: [level, name, value (a number, or text)]; bind: [address, port]."""
    if sock in sockets:
        sockets.pop(sock).close()
    try:
        new = socket.socket(socket.AF_INET6 if family == 6 else socket.AF_INET,
                            {"udp": socket.SOCK_DGRAM, "tcp": socket.SOCK_STREAM, "raw": socket.SOCK_RAW}[kind], protocol)
    except OSError as error:
        return errno.errorcode[error.errno]
    sockets[sock] = new
    inbox.pop(new, None)
    hear(new)
    for level, option, value in options:
        result = tried(new.setsockopt, level, option, value.encode() if isinstance(value, str) else value)
        if result != "ok":
            return result
    return tried(new.bind, tuple(bind)) if bind else "ok"


def port_of(sock="s"):
    return sockets[sock].getsockname()[1]


def close(sock="s"):
    sockets.pop(sock).close()


def option(level, name, value, sock="s"):
    if (level, name) == UDP_CORK:
        (corked.add if value else corked.discard)(sockets[sock])
    return tried(sockets[sock].setsockopt, level, name, value)


def connect(to=None, sock="s"):
    """to: [address, port]; None dissolves the connection."""
    if to:
        return tried(sockets[sock].connect, tuple(to))
    result = libc.connect(sockets[sock].fileno(), bytes(16), 16)
    return "ok" if result == 0 else errno.errorcode[ctypes.get_errno()]


def send(data, to=None, sock="s", flags=0, control=(), wait=True):
    """control: [level, type, hex]. wait: for what comes of it, with PST_TELL."""
    ancillary = [(level, kind, bytes.fromhex(value)) for level, kind, value in control]
    to_tell = wait and TELL_S and sockets[sock] not in corked and sockets[sock].type == socket.SOCK_DGRAM and not flags & MSG_MORE
    if to_tell:
        drain(sockets[sock])
    result = tried(sockets[sock].sendmsg, [bytes.fromhex(data)], ancillary, flags, tuple(to) if to else None)
    return told(sockets[sock]) if to_tell and result == "ok" else result


def receive(sock="s", seconds=2.0, count=1):
    """Up to `count` datagrams as [hex, address, port]."""
    found, end = [], time.monotonic() + seconds
    kept = inbox.get(sockets[sock], [])
    while kept and len(found) < count:
        data, peer = kept.pop(0)
        found.append([data.hex(), peer[0], peer[1]])
    while len(found) < count and time.monotonic() < end:
        sockets[sock].settimeout(max(end - time.monotonic(), 0.001))
        try:
            data, peer = sockets[sock].recvfrom(65536)
            found.append([data.hex(), peer[0], peer[1]])
        except OSError:
            break
    sockets[sock].settimeout(None)
    return found


def ask(data, to, seconds=2.0):
    """A question by a socket of its own: [result, reply in hex or ""]."""
    with socket.socket(family_of(to[0]), socket.SOCK_DGRAM) as sock:
        hear(sock)
        result = tried(sock.sendto, bytes.fromhex(data), tuple(to))
        if result != "ok":
            return [result, ""]
        if TELL_S:
            result = told(sock, seconds)
            return [result, inbox[sock].pop(0)[0].hex() if inbox.get(sock) else ""]
        sock.settimeout(seconds)
        try:
            return [result, sock.recv(65536).hex()]
        except OSError:
            return [result, ""]


def ask_all(data, to, seconds=5.0):
    """Many questions, each answered before the next, by one socket: how many got an answer with their own txid."""
    answered = 0
    with socket.socket(family_of(to[0]), socket.SOCK_DGRAM) as sock:
        sock.settimeout(seconds)
        for one in data:
            one = bytes.fromhex(one)
            sock.sendto(one, tuple(to))
            try:
                while sock.recv(65536)[:2] != one[:2]:
                    pass
                answered += 1
            except OSError:
                pass
    return answered


def knock(to, data="", flags=0):
    """A datagram by a socket of its own."""
    with socket.socket(family_of(to[0]), socket.SOCK_DGRAM) as sock:
        hear(sock)
        result = tried(sock.sendto, bytes.fromhex(data), flags, tuple(to))
        return told(sock) if result == "ok" else result


def knock_all(to, data):
    """The same datagram to many: the results, each with how often."""
    results = {}
    # With PST_TELL always the same: what comes of many flows is another test.
    sock = TELL_S and sockets.get("all") or socket.socket(family_of(to[0][0]), socket.SOCK_DGRAM)
    sockets["all"] = sock
    for one in to:
        result = tried(sock.sendto, bytes.fromhex(data), tuple(one))
        results[result] = results.get(result, 0) + 1
    if not TELL_S:
        sockets.pop("all").close()
    return results


def send_all(data, to):
    """Many payloads to one peer: result -> how often. What is told of them later is told of as many."""
    results = {}
    with socket.socket(family_of(to[0]), socket.SOCK_DGRAM) as sock:
        if TELL_S:
            sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 24)
        hear(sock)
        for one in data:
            result = tried(sock.sendto, bytes.fromhex(one), tuple(to))
            results[result] = results.get(result, 0) + 1
        while TELL_S and results.get("ok"):
            result = told(sock)
            if result == "ok":
                if not inbox.pop(sock, None):
                    break
                continue
            results["ok"] -= 1
            results[result] = results.get(result, 0) + 1
    return {result: count for result, count in results.items() if count}


def call(to, data="", seconds=2.0):
    """A TCP connection, and data over it."""
    with socket.socket(family_of(to[0]), socket.SOCK_STREAM) as sock:
        sock.settimeout(seconds)
        try:
            sock.connect(tuple(to))
            sock.sendall(bytes.fromhex(data))
            return "ok"
        except TimeoutError:
            return "ETIMEDOUT"
        except OSError as error:
            return errno.errorcode.get(error.errno, str(error))


def run(argv, seconds=20):
    done = subprocess.run(argv, capture_output=True, text=True, timeout=seconds, check=False, stdin=subprocess.DEVNULL)
    return [done.returncode, done.stdout, done.stderr]


def script(code, **arguments):
    """Python that leaves its result in `out`."""
    names = {**globals(), **arguments}
    exec(code, names)  # pylint: disable=exec-used
    return names.get("out")


FUNCTIONS = {f.__name__: f for f in (open_socket, port_of, close, option, connect, send, receive, ask, ask_all, knock,
                                     knock_all, send_all, call, run, script)}


def main():
    print(json.dumps({"up": os.getpid()}), flush=True)
    for line in sys.stdin:
        function, arguments = json.loads(line)
        try:
            answer = {"out": FUNCTIONS[function](**arguments)}
        except Exception as error:  # pylint: disable=broad-except
            answer = {"failed": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


main()
