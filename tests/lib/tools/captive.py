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
import socket
import subprocess
import sys
import time

sockets = {}
libc = ctypes.CDLL(None, use_errno=True)


def tried(call, *args):
    try:
        call(*args)
        return "ok"
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error.errno))


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
    return tried(sockets[sock].setsockopt, level, name, value)


def connect(to=None, sock="s"):
    """to: [address, port]; None dissolves the connection."""
    if to:
        return tried(sockets[sock].connect, tuple(to))
    result = libc.connect(sockets[sock].fileno(), bytes(16), 16)
    return "ok" if result == 0 else errno.errorcode[ctypes.get_errno()]


def send(data, to=None, sock="s", flags=0, control=()):
    """control: [level, type, hex]."""
    ancillary = [(level, kind, bytes.fromhex(value)) for level, kind, value in control]
    return tried(sockets[sock].sendmsg, [bytes.fromhex(data)], ancillary, flags, tuple(to) if to else None)


def receive(sock="s", seconds=2.0, count=1):
    """Up to `count` datagrams as [hex, address, port]."""
    found, end = [], time.monotonic() + seconds
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
        result = tried(sock.sendto, bytes.fromhex(data), tuple(to))
        if result != "ok":
            return [result, ""]
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
        return tried(sock.sendto, bytes.fromhex(data), flags, tuple(to))


def knock_all(to, data):
    """The same datagram to many: the results, each with how often."""
    results = {}
    with socket.socket(family_of(to[0][0]), socket.SOCK_DGRAM) as sock:
        for one in to:
            result = tried(sock.sendto, bytes.fromhex(data), tuple(one))
            results[result] = results.get(result, 0) + 1
    return results


def send_all(data, to):
    """Many payloads to one peer: result -> how often."""
    results = {}
    with socket.socket(family_of(to[0]), socket.SOCK_DGRAM) as sock:
        for one in data:
            result = tried(sock.sendto, bytes.fromhex(one), tuple(to))
            results[result] = results.get(result, 0) + 1
    return results


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
