# SPDX-License-Identifier: MIT
"""
A little internet on this machine: a host, where the sandboxed commands run, and beyond it everything that
public-looking addresses stand for, with a sniffer that does not depend on any BPF program: the oracle.

    host namespace  up0 192.0.2.2     <-> 192.0.2.1     in0  internet namespace: owns every address below
                    up1 198.51.100.2  <-> 198.51.100.1  in1
"""

import ipaddress
import os
import re
import secrets
import select
import socket
import struct
import threading

import frames
from netns import Namespace, sweep
from wait import until

HOST4, HOST6 = "192.0.2.2", "2001:db8:1::2"
GATE4, GATE6 = "192.0.2.1", "2001:db8:1::1"
HOST4_SECOND = "198.51.100.2"

# What tests agree on: a policy that allows ALLOWED denies DENIED.
ALLOWED4, ALLOWED4_NET = "93.184.216.34", "93.184.216.0/24"
DENIED4, DENIED4_NET = "93.184.217.7", "93.184.217.0/24"
ALLOWED6, ALLOWED6_NET = "2606:2800:220:1::34", "2606:2800:220::/48"
DENIED6, DENIED6_NET = "2606:4700::1111", "2606:4700::/32"
PRIVATE4, PRIVATE4_NET = "10.9.0.5", "10.9.0.0/24"

TCP_PORTS = (22, 25, 53, 853, 5432, 7000, 8080)
UDP_PORTS = (53, 123, 443, 5353, 7000, 7001)
PORT = 7000  # echoes, by TCP and by UDP

# Prefixes whose every address the internet answers for.
PREFIXES4 = (
    "1.1.1.0/24", "8.8.0.0/16", "9.9.9.0/24", "93.184.0.0/16", "10.0.0.0/8", "100.64.0.0/10",
    "100.100.100.200/32", "168.63.129.16/32", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16",
    "198.18.0.0/15", "203.0.113.0/24", "192.0.0.0/24", "192.88.99.0/24",
)
PREFIXES6 = (
    "2606::/16", "2001:0::/32", "2002::/16", "2620::/16", "64:ff9b::/32", "fd00::/8", "2001:db8:f::/48",
    "::5db8:0/112", "fec0::/10",
)

SNIFFER_BYTES = 64 * 1024 * 1024
PACKET_OUTGOING = 4
PACKET_STATISTICS, SOL_PACKET = 6, 263
SO_RCVBUFFORCE = 33
TCP_FASTOPEN = 23
IPV6_RECVPKTINFO, IPV6_PKTINFO, IPV6_FREEBIND = 49, 50, 78

CANARY = re.compile(rb"pst[0-9a-f]{20}")


def canary():
    """Bytes that no other traffic carries."""
    return "pst" + secrets.token_hex(10)


def _bytes(token):
    return token if isinstance(token, bytes) else token.encode()


def tcp_listener(port, address="::"):
    server = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if address == "::":
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    server.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN, 16)
    server.bind((address, port))
    server.listen(64)
    return server


def udp_socket(port, address="::"):
    server = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    if address == "::":
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        server.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)
        server.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
    server.bind((address, port))
    return server


def dns_answer(query, address=ALLOWED4):
    """The answer to a query for A, no answer for other types; None when it is no query."""
    match = re.match(rb"(..)[\x00\x01].\x00\x01\x00\x00\x00\x00..((?:[\x01-\x3f][^\x00]*?)+\x00)(..)\x00\x01",
                     query, re.S)
    if not match:
        return None
    question = match[2] + match[3] + b"\0\1"
    is_a = match[3] == b"\0\1"
    head = match[1] + b"\x81\x80\0\1" + (b"\0\1" if is_a else b"\0\0") + b"\0\0\0\0"
    record = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + ipaddress.ip_address(address).packed
    return head + question + (record if is_a else b"")


class Sniffer:
    """Every frame that comes in over the internet's devices, and the time it was seen."""

    def __init__(self, namespace, devices):
        self.frames = []
        self.devices = {}
        self.sockets = [namespace.call(self._open, device) for device in devices]
        self.drops = 0

    def _open(self, device):
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, SNIFFER_BYTES)
        sock.bind((device, 3))
        sock.setblocking(False)
        return sock

    def read(self, sock):
        """Takes what is there."""
        while True:
            try:
                raw, address = sock.recvfrom(65536)
            except BlockingIOError:
                return
            if address[2] != PACKET_OUTGOING:
                self.frames.append(frames.parse(raw))

    def count_drops(self):
        """How many frames were lost so far."""
        for sock in self.sockets:
            _, dropped = struct.unpack("II", sock.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
            self.drops += dropped
        return self.drops

    def check_drops(self, before=0):
        assert self.count_drops() == before, "the sniffer lost frames: its silence proves nothing"


class Internet:
    """The namespaces, the sniffer, and servers on every address. close() leaves nothing."""

    def __init__(self):
        sweep()
        self.namespaces = []
        self._clients = set()
        self._stop = threading.Event()
        self._servers = {}
        self._forbidden = []
        self.hits = []  # (protocol, source, destination, port, data) that the servers got
        try:
            self.host, self.internet = self._namespace("host"), self._namespace("inet")
            self._join()
            self.sniffer = Sniffer(self.internet, ("in0", "in1"))
            self.internet.call(self._serve)
        except BaseException:
            self._close_namespaces()
            raise
        self._loop = threading.Thread(target=self._run, daemon=True)
        self._loop.start()

    # Building

    def _namespace(self, role):
        namespace = Namespace(role)
        self.namespaces.append(namespace)
        namespace.sysctl(net__ipv6__conf__all__accept_dad=0, net__ipv6__conf__default__accept_dad=0,
                         net__ipv6__conf__default__accept_ra=0, net__ipv4__conf__all__rp_filter=0,
                         net__ipv4__conf__default__rp_filter=0)
        return namespace

    def _join(self):
        host, inet = self.host, self.internet
        for n, (near, far) in enumerate(((HOST4, GATE4), (HOST4_SECOND, "198.51.100.1"))):
            host.ip("link", "add", f"up{n}", "address", f"02:00:00:00:0{n}:02", "type", "veth", "peer",
                    f"in{n}", "address", f"02:00:00:00:0{n}:01", "netns", inet.name)
            host.ip("addr", "add", f"{near}/24", "dev", f"up{n}")
            inet.ip("addr", "add", f"{far}/24", "dev", f"in{n}")
            for namespace, device in ((host, f"up{n}"), (inet, f"in{n}")):
                namespace.ip("link", "set", device, "up")
        host.ip("addr", "add", f"{HOST6}/64", "dev", "up0", "nodad")
        inet.ip("addr", "add", f"{GATE6}/64", "dev", "in0", "nodad")
        for near, far in ((GATE4, HOST4), (GATE6, HOST6)):
            host.ip("neigh", "replace", near, "lladdr", "02:00:00:00:00:01", "dev", "up0")
            inet.ip("neigh", "replace", far, "lladdr", "02:00:00:00:00:02", "dev", "in0")
        host.ip("route", "add", "default", "via", GATE4, "dev", "up0")
        host.ip("route", "add", "default", "via", "198.51.100.1", "dev", "up1", "metric", "200")
        host.ip("-6", "route", "add", "default", "via", GATE6, "dev", "up0")
        for prefix in PREFIXES4:
            inet.ip("route", "add", "local", prefix, "dev", "lo")
        for prefix in PREFIXES6:
            inet.ip("-6", "route", "add", "local", prefix, "dev", "lo")
        host.sysctl(net__ipv4__ping_group_range="0 2147483647", net__ipv4__tcp_fastopen=5,
                    net__ipv4__ip_local_port_range="20000 60000")
        inet.sysctl(net__ipv4__tcp_fastopen=0x603, net__ipv4__icmp_ratelimit=0,
                    net__ipv6__icmp__ratelimit=0)

    def _serve(self):
        for port in TCP_PORTS:
            self._servers[tcp_listener(port)] = self._accept
        for port in UDP_PORTS:
            self._servers[udp_socket(port)] = self._datagram
        for sock in self.sniffer.sockets:
            self._servers[sock] = self.sniffer.read
        for sock in self._servers:
            sock.setblocking(False)

    # Serving

    def _run(self):
        poll = select.poll()
        handlers = {}
        while not self._stop.is_set():
            for sock, handler in list(self._servers.items()):
                if sock.fileno() >= 0 and sock.fileno() not in handlers:
                    handlers[sock.fileno()] = (sock, handler)
                    poll.register(sock, select.POLLIN)
            for fd, _ in poll.poll(50):
                sock, handler = handlers[fd]
                try:
                    handler(sock)
                except OSError:
                    self._drop(sock)
                if sock.fileno() < 0:
                    poll.unregister(fd)
                    del handlers[fd]

    def _drop(self, sock):
        if sock in self._clients:
            self._clients.discard(sock)
            self._servers.pop(sock, None)
            sock.close()

    def _accept(self, server):
        client, _ = server.accept()
        client.settimeout(5)
        self._clients.add(client)
        self._servers[client] = self._echo

    def _echo(self, client):
        data = client.recv(65536)
        if not data:
            self._drop(client)
            return
        local, remote = client.getsockname(), client.getpeername()
        self.hits.append(("tcp", remote[0], local[0], local[1], data))
        client.sendall(data)

    def _datagram(self, server):
        data, control, _, peer = server.recvmsg(65536, 256)
        info = [c[2] for c in control if c[:2] == (socket.IPPROTO_IPV6, IPV6_PKTINFO)]
        local = socket.inet_ntop(socket.AF_INET6, info[0][:16]) if info else "?"
        port = server.getsockname()[1]
        self.hits.append(("udp", peer[0], local, port, data))
        reply = (dns_answer(data) if port == 53 else None) or data
        source = [(socket.IPPROTO_IPV6, IPV6_PKTINFO, info[0][:16] + bytes(4))] if info else []
        server.sendmsg([reply], source, 0, peer)

    # Asking

    def mark(self):
        """The present, to ask later what has come since."""
        return len(self.sniffer.frames)

    def fence(self):
        """Returns when the sniffer has read all that this host sent before, on every CPU's queue."""
        for cpu in sorted(os.sched_getaffinity(0)):
            for device in (b"up0", b"up1"):
                token = canary().encode()
                self.host.call(send_from_cpu, cpu, device, token)
                until(lambda t=token: any(t in f.raw for f in self._recent()), "a fence arrives")
        self.sniffer.check_drops()

    def _recent(self):
        return self.sniffer.frames[-4000:]

    def seen(self, token=None, dst=None, port=None, since=0, protocol=None):
        """The frames that carry the token, or go to dst (and port)."""
        address = ipaddress.ip_address(dst) if dst else None
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        found = []
        for frame in self.sniffer.frames[since:]:
            carries = token is not None and _bytes(token) in frame.raw
            goes = address is not None and frame.dst == address and port in (None, frame.dport) \
                and protocol in (None, frame.protocol)
            if carries or goes:
                found.append(frame)
        return found

    def await_seen(self, **what):
        return until(lambda: self.seen(**what), f"a frame arrives: {what}")

    def forbid(self, token):
        """Nothing may ever carry this token again; looked at once more when everything is over."""
        self._forbidden.append((token, self.mark()))

    def forgive(self):
        """For tests of the oracle itself, which send what they forbid."""
        self._forbidden.clear()

    def clear_hits(self):
        self.hits.clear()

    # The end

    def check_forbidden(self):
        self.fence()
        text = b"\n".join(f.raw for f in self.sniffer.frames)
        there = set(CANARY.findall(text))
        late = [t for t, since in self._forbidden if
                (_bytes(t) in there if CANARY.fullmatch(_bytes(t)) else _bytes(t) in text) and self.seen(t, since=since)]
        assert not late, f"denied traffic arrived late: {late}"

    def _close_namespaces(self):
        for namespace in self.namespaces:
            namespace.close()

    def close(self):
        self._stop.set()
        self._loop.join(5)
        for sock in list(self._servers):
            sock.close()
        self._close_namespaces()


def send_from_cpu(cpu, device, token, to="203.0.113.200"):
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device)
            sock.sendto(token, (to, 9))
    finally:
        os.sched_setaffinity(0, before)
