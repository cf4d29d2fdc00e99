#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""
A client inside a sandbox (or beside it), told by lines of JSON on standard input what to do: ["function", {arguments}],
each answered by one line of JSON. Connections are kept by name, bytes are latin-1 text.
"""

import errno
import json
import os
import random
import re
import select
import socket
import ssl
import struct
import sys
import threading
import time

kept = {}


def word(error):
    """An exception in one word: an errno's name, what OpenSSL calls it, or "timeout"."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return "certificate: " + error.verify_message
    if isinstance(error, ssl.SSLError):
        return error.reason or type(error).__name__
    if isinstance(error, TimeoutError):
        return "timeout"
    return errno.errorcode.get(error.errno, str(error))


def tried(call, *args):
    try:
        call(*args)
        return "ok"
    except OSError as error:
        return word(error)


def close(name):
    if name in kept:
        kept.pop(name).close()
    return "ok"


def connect(name, address, port, timeout=30, device=None, mptcp=False, bound=None, own_port=0):
    """ "ok" or why not."""
    close(name)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        sock = kept[name] = socket.socket(family, socket.SOCK_STREAM, 262 if mptcp else 0)
        sock.settimeout(timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if device:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        if bound or own_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((bound or "0.0.0.0", own_port))
        sock.connect((address, port))
        return "ok"
    except OSError as error:
        return word(error)


def listen(name, address, port):
    close(name)
    sock = kept[name] = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    result = tried(sock.bind, (address, port))
    return tried(sock.listen) if result == "ok" else result


def accepted(name, wait_s=0.3):
    """How many have come."""
    count = 0
    while select.select([kept[name]], [], [], wait_s)[0]:
        kept[name].accept()[0].close()
        count += 1
    return count


def addresses(name):
    """What the application sees: of itself and of its peer."""
    return [kept[name].getsockname()[:2], kept[name].getpeername()[:2]]


def send(name, data):
    return tried(kept[name].sendall, data.encode("latin-1"))


def half(name):
    return tried(kept[name].shutdown, socket.SHUT_WR)


def reset(name):
    kept[name].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return close(name)


def receive(name, until=None, size=None, timeout=30):
    """Until that text is among it, so many bytes have come, or it ends. {data, end: "eof", an error's word, or None}."""
    sock, data, mark = kept[name], b"", until.encode("latin-1") if until else None
    sock.settimeout(timeout)
    end = None
    try:
        while not (mark and mark in data) and not (size is not None and len(data) >= size):
            more = sock.recv(1 << 20 if size is None else min(1 << 20, size - len(data)))
            if not more:
                end = "eof"
                break
            data += more
    except OSError as error:
        end = word(error)
    return {"data": data.decode("latin-1"), "end": end}


def some(name, timeout=30):
    """What comes next, as receive() tells it."""
    sock = kept[name]
    sock.settimeout(timeout)
    try:
        data = sock.recv(1 << 20)
        return {"data": data.decode("latin-1"), "end": None if data else "eof"}
    except OSError as error:
        return {"data": "", "end": word(error)}


def split(name, data, places, gap_s=0.0):
    """Sends data in pieces that end at these places, each in a segment of its own."""
    raw, sock = data.encode("latin-1"), kept[name]

    def pieces():
        for start, end in zip([0, *places], [*places, len(raw)]):
            sock.sendall(raw[start:end])
            time.sleep(gap_s)
    return tried(pieces)


def tls(name, server=None, trust=None, alpn=None, timeout=30, newest="TLSv1_3", pieces=0):
    """
    A handshake over the connection. {result: "ok" or why not, issuer, alpn, version}. pieces: the ClientHello goes out in
    so many segments.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.maximum_version = getattr(ssl.TLSVersion, newest)
    context.check_hostname = bool(trust and server)
    context.verify_mode = ssl.CERT_REQUIRED if trust else ssl.CERT_NONE
    if trust:
        context.load_verify_locations(trust)
    if alpn:
        context.set_alpn_protocols(alpn)
    sock = kept[name]
    sock.settimeout(timeout)
    try:
        if pieces:
            return _tls_by_hand(name, context, server, pieces)
        kept[name] = sock = context.wrap_socket(sock, server_hostname=server)
    except OSError as error:
        return {"result": word(error)}
    return told(sock)


def told(sock):
    issuer = dict(pair[0] for pair in (sock.getpeercert() or {}).get("issuer", ()))
    names = [value for kind, value in (sock.getpeercert() or {}).get("subjectAltName", ()) if kind == "DNS"]
    return {"result": "ok", "issuer": issuer.get("commonName"), "names": names, "alpn": sock.selected_alpn_protocol(),
            "version": sock.version()}


class Memory:
    """TLS over a socket that we write to ourselves."""

    def __init__(self, sock, context, server):
        self.sock, self.incoming, self.outgoing = sock, ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=server)

    def flush(self):
        self.sock.sendall(self.outgoing.read())

    def work(self, call, *args):
        while True:
            try:
                result = call(*args)
                self.flush()
                return result
            except ssl.SSLWantReadError:
                self.flush()
                data = self.sock.recv(65536)
                if not data:
                    raise ConnectionResetError(errno.ECONNRESET, "ended") from None
                self.incoming.write(data)

    def sendall(self, data):
        self.work(self.tls.write, data)

    def recv(self, size):
        try:
            return self.work(self.tls.read, size)
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""

    def __getattr__(self, name):
        return getattr(self.tls if hasattr(self.tls, name) else self.sock, name)


def _tls_by_hand(name, context, server, pieces):
    sock = kept[name]
    over = Memory(sock, context, server)
    try:
        over.tls.do_handshake()
    except ssl.SSLWantReadError:
        hello = over.outgoing.read()
    step = max(1, len(hello) // pieces)
    for at in range(0, len(hello), step):
        sock.sendall(hello[at:at + step])
        time.sleep(0.2 / pieces)
    over.work(over.tls.do_handshake)
    kept[name] = over
    return told(over.tls)


def exchange(address, port, data, timeout=20):
    """Says all of it, that this was all, and hears what comes until the end."""
    with socket.create_connection((address, port), timeout) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        heard, end = b"", "eof"
        try:
            sock.sendall(data.encode("latin-1"))
            sock.shutdown(socket.SHUT_WR)
            while more := sock.recv(65536):
                heard += more
        except OSError as error:
            end = word(error)
        return {"data": heard.decode("latin-1"), "end": end}


def hello(server):
    """A ClientHello for that name, as OpenSSL writes it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    outgoing = ssl.MemoryBIO()
    try:
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=server).do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read().decode("latin-1")


# ---- questions ----

BLOCKED = re.compile(rb"\0\x0f\0.\0\x0f", re.S)  # the EDNS option of an extended error: 15, "blocked"


def _question(name, kind, edns):
    wire = b"".join(bytes([len(part)]) + part.encode() for part in name.split(".") if part) + b"\0"
    extra = b"\0\0\x29\4\xd0\0\0\0\0\0\0" if edns else b""
    return struct.pack("!HHHHHH", random.randrange(65536), 0x0100, 1, 0, 0, 1 if edns else 0) + wire + struct.pack(
        "!HH", kind, 1) + extra


def _told_reply(data, source=None):
    found, at = [], 12
    counts = struct.unpack("!HHHH", data[4:12])
    while data[at]:
        at += data[at] + 1
    at += 5
    for n in range(sum(counts[1:])):
        while data[at] and data[at] < 64:
            at += data[at] + 1
        at += 1 if not data[at] else 2
        kind, size = struct.unpack("!HxxxxxxH", data[at:at + 10])
        at += 10
        if n < counts[1] and kind in (1, 28):
            found.append(socket.inet_ntop(socket.AF_INET if kind == 1 else socket.AF_INET6, data[at:at + size]))
        at += size
    return {"result": "ok", "rcode": data[3] & 15, "truncated": bool(data[2] & 2), "addresses": found,
            "blocked": bool(BLOCKED.search(data)), "edns": counts[3] > 0, "source": source, "size": len(data)}


def ask(server, name, kind=1, edns=True, tcp=False, timeout=10, connected=False):
    """One question, and what the answer says: result, rcode, truncated, addresses, blocked (EDE 15), edns, source."""
    raw = _question(name, kind, edns)
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM) as sock:
            sock.settimeout(timeout)
            if tcp or connected:
                sock.connect((server, 53))
            if not tcp:
                sock.sendall(raw) if connected else sock.sendto(raw, (server, 53))
                data, source = sock.recvfrom(65536)
                return _told_reply(data, list(source[:2]))
            sock.sendall(struct.pack("!H", len(raw)) + raw)
            return _told_reply(_exactly(sock, int.from_bytes(_exactly(sock, 2), "big")))
    except OSError as error:
        return {"result": word(error)}


def _exactly(sock, size):
    data = b""
    while len(data) < size:
        more = sock.recv(size - len(data))
        if not more:
            raise ConnectionResetError(errno.ECONNRESET, "ended")
        data += more
    return data


def datagram(address, port, data):
    """One UDP datagram: "ok" when the kernel took it, and no error came back within a moment."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        def go():
            sock.connect((address, port))
            sock.send(data.encode("latin-1"))
            if select.select([sock], [], [], 0.3)[0]:
                sock.recv(65536)
        return tried(go)


def race(server, names, port, tcp=False):
    """Asks for each and connects at once; what of it went wrong, by its word."""
    wrong = {}
    for name in names:
        reply = ask(server, name, tcp=tcp)
        result = reply["result"] if not reply.get("addresses") else connect("race", reply["addresses"][0], port)
        if result != "ok":
            wrong[result] = wrong.get(result, 0) + 1
    close("race")
    return wrong


def at_once(server, name, count):
    """So many questions over TCP, each by a connection of its own; how many ended how."""
    results = {}
    lock = threading.Lock()

    def one():
        word_of_it = ask(server, name, tcp=True, timeout=60)["result"]
        with lock:
            results[word_of_it] = results.get(word_of_it, 0) + 1
    threads = [threading.Thread(target=one) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def stream(server, names, pieces=0, timeout=10):
    """All questions in one go over one TCP connection, in pieces of so many bytes; the answers in their order."""
    raw = b"".join(struct.pack("!H", len(one)) + one for one in (_question(name, 1, True) for name in names))
    answers = []
    try:
        with socket.create_connection((server, 53), timeout) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for at in range(0, len(raw), pieces or len(raw)):
                sock.sendall(raw[at:at + (pieces or len(raw))])
            for _ in names:
                answers.append(_told_reply(_exactly(sock, int.from_bytes(_exactly(sock, 2), "big"))))
    except OSError as error:
        answers.append({"result": word(error)})
    return answers


def raw_question(server, data, timeout=2):
    """Any bytes as a datagram; the reply as text, or why there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(timeout)
        try:
            sock.sendto(data.encode("latin-1"), (server, 53))
            return {"result": "ok", "data": sock.recv(65536).decode("latin-1")}
        except OSError as error:
            return {"result": word(error)}


# ---- load ----

load = {"stop": threading.Event(), "threads": [], "results": {}, "bytes": 0}


def _count(result):
    load["results"][result] = load["results"].get(result, 0) + 1


def _echo_for_ever(address, port, payload):
    """Connects and says it, again and again; on one connection as long as that works."""
    while not load["stop"].is_set():
        try:
            with socket.create_connection((address, port), 10) as sock:
                _count("connected")
                while not load["stop"].is_set():
                    sock.sendall(payload)
                    got = 0
                    while got < len(payload):
                        more = sock.recv(65536)
                        if not more:
                            raise ConnectionResetError(errno.ECONNRESET, "ended")
                        got += len(more)
                    load["bytes"] += got
                    _count("echoed")
        except OSError as error:
            _count(word(error))
            load["stop"].wait(0.02)


def start_load(address, port, threads, data):
    """Until stop_load()."""
    load.update(stop=threading.Event(), results={}, bytes=0)
    load["threads"] = [threading.Thread(target=_echo_for_ever, args=(address, port, data.encode("latin-1")), daemon=True)
                       for _ in range(threads)]
    for thread in load["threads"]:
        thread.start()


def read_load():
    return dict(load["results"])


def stop_load():
    load["stop"].set()
    for thread in load["threads"]:
        thread.join(15)
    return dict(load["results"])


crowd = []


def gather(address, port, count, data="", timeout=10):
    """So many connections, kept open, each having said `data`; how each began, by its word."""
    results = {}
    for _ in range(count):
        sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        sock.settimeout(timeout)
        result = tried(sock.connect, (address, port))
        if result == "ok" and data:
            result = tried(sock.sendall, data.encode("latin-1"))
        crowd.append(sock)
        results[result] = results.get(result, 0) + 1
    return results


def alive():
    """How many of the crowd are still open."""
    poll = select.poll()
    for sock in crowd:
        poll.register(sock, select.POLLIN | select.POLLRDHUP)
    ended = sum(1 for _, what in poll.poll(0) if what & (select.POLLRDHUP | select.POLLHUP | select.POLLERR))
    return len(crowd) - ended


def scatter():
    for sock in crowd:
        sock.close()
    crowd.clear()


def upload(name, size, seed):
    """Sends and receives the echo of so many bytes at once; whether it is the same."""
    sock, piece = kept[name], random.Random(seed).randbytes(1 << 16)
    sock.settimeout(60)
    wrong = []

    def write():
        try:
            for _ in range(size >> 16):
                sock.sendall(piece)
            sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            wrong.append(word(error))
    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    got = 0
    try:
        while data := sock.recv(1 << 18):
            at = got % len(piece)
            wanted = (piece * (len(data) // len(piece) + 2))[at:at + len(data)]
            if data != wanted and not wrong:
                wrong.append(f"other bytes behind {got}")
            got += len(data)
    except OSError as error:
        wrong.append(word(error))
    writer.join(60)
    return {"size": got, "wrong": wrong}


def main():
    print(json.dumps({"up": os.getpid()}), flush=True)
    for line in sys.stdin:
        function, arguments = json.loads(line)
        try:
            answer = {"out": globals()[function](**arguments)}
        except Exception as error:  # pylint: disable=broad-except
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
