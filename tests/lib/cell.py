# SPDX-License-Identifier: MIT
"""
Attackers: wires (see wire.py) whose inside sends what a test says, frame by frame, alone or as ports of one bridge.

    captives  eth0 10.70.0.N, fd70::N  <->  ports, Bridge 10.70.0.1, fd70::1  host  up0  <->  everything
                                       <->  port of a Watcher, who reads every frame that reaches it
"""

import array
import contextlib
import fcntl
import itertools
import os
import socket
import struct

import packets
from internet import ALLOWED4, HOST4, HOST6, PORT, Sniffer, canary
from wait import until
from wire import INSIDE, Wire

ETH_P_ALL = 0x0003

_numbers = itertools.count(1)


def prepare(net):
    """Nothing of the host's own stands between frames and verdict, or bounds what it is asked."""
    net.host.sysctl(net__ipv4__conf__all__send_redirects=0, net__ipv4__conf__default__send_redirects=0,
                    net__ipv4__icmp_ratelimit=0, net__ipv6__icmp__ratelimit=0)
    with contextlib.suppress(FileNotFoundError):
        net.host.sysctl(**{f"net__bridge__bridge-nf-call-{kind}tables": 0 for kind in ("ip", "ip6", "arp")})


def packet_socket(device, protocol=ETH_P_ALL):
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(protocol))
    sock.bind((device, protocol))
    return sock


class Ear:
    """What arrives at devices, each in a namespace; read when it is asked."""

    def __init__(self, *places):
        self._sniffers = [Sniffer(namespace, (device,)) for namespace, device in places]

    def _read(self):
        for sniffer in self._sniffers:
            for sock in sniffer.sockets:
                sniffer.read(sock)
            sniffer.check_drops()

    def mark(self):
        """The present, to ask later what has come since."""
        self._read()
        return [len(sniffer.frames) for sniffer in self._sniffers]

    def frames(self, since=None):
        self._read()
        return [frame for sniffer, start in zip(self._sniffers, since or [0] * len(self._sniffers))
                for frame in sniffer.frames[start:]]

    def close(self):
        for sniffer in self._sniffers:
            for sock in sniffer.sockets:
                sock.close()


class Bridge:
    """A bridge of the host, and the network on it. close() after its cells."""

    def __init__(self, net):
        self.net, self.device = net, f"pstb{next(_numbers)}"
        self.gate4, self.gate6, self.mac = "10.70.0.1", "fd70::1", "02:00:00:70:00:01"
        self.net4, self.net6 = "10.70.0.0/16", "fd70::/64"
        prepare(net)
        net.host.ip("link", "add", self.device, "address", self.mac, "type", "bridge", "forward_delay", "0",
                    "mcast_snooping", "0")
        net.host.ip("link", "set", self.device, "up")
        net.host.ip("addr", "add", f"{self.gate4}/16", "dev", self.device)
        net.host.ip("addr", "add", f"{self.gate6}/64", "dev", self.device, "nodad")
        self._route_back("add")

    def _route_back(self, what):
        for family, to, via in (("-4", self.net4, HOST4), ("-6", self.net6, HOST6)):
            self.net.internet.ip(family, "route", what, to, "via", via, "dev", "in0", "table", "local")

    def close(self):
        self._route_back("del")
        self.net.host.ip("link", "del", self.device)


class Cell(Wire):
    """Somebody with every privilege behind a device of its own, or behind a port of a bridge."""

    def __init__(self, net, bridge=None, kind="veth"):
        self.bridge, self.box = bridge, None
        prepare(net)
        super().__init__(net, kind, known=True)
        self._socket = self.captive.call(packet_socket, INSIDE)
        self.ear = Ear((self.captive, INSIDE))

    def _configure(self):
        self.gate_mac, self.segment = self.host_mac, self.device
        if self.bridge:
            self._join()
        else:
            super()._configure()
        self.captive.sysctl(net__ipv6__conf__all__accept_ra=0, net__ipv6__conf__eth0__router_solicitations=0)
        for gate in (self.gate4, self.gate6):
            self.captive.ip("neigh", "replace", gate, "lladdr", self.gate_mac, "dev", INSIDE, "nud", "permanent")

    def _join(self):
        bridge, host, captive = self.bridge, self.net.host, self.captive
        self.gate4, self.gate6, self.gate_mac, self.segment = bridge.gate4, bridge.gate6, bridge.mac, bridge.device
        self.addr4, self.addr6 = f"10.70.{self.number // 200}.{self.number % 200 + 2}", f"fd70::{self.number + 1:x}"
        host.ip("link", "set", self.device, "master", bridge.device, "up")
        captive.ip("addr", "add", f"{self.addr4}/16", "dev", INSIDE)
        captive.ip("addr", "add", f"{self.addr6}/64", "dev", INSIDE, "nodad")
        captive.ip("link", "set", INSIDE, "up")
        for own, gate in ((self.addr4, self.gate4), (self.addr6, self.gate6)):
            captive.ip("-6" if ":" in gate else "-4", "route", "add", "default", "via", gate, "dev", INSIDE)
            host.ip("neigh", "replace", own, "lladdr", self.mac, "dev", bridge.device, "nud", "permanent")

    def _route_back(self, what):
        if not self.bridge:
            super()._route_back(what)

    def attach(self, daemon, policy=None, name=None, **fields):
        self.box = super().attach(daemon, policy, name, **{"allowWeak": True, **fields})
        return self.box

    # ---- what it sends ----

    def send(self, *frames):
        self.say()
        for frame in frames:
            self._socket.send(frame)

    def reopen(self):
        """After the device was down its socket tells of that once more."""
        self._socket.close()
        self._socket = self.captive.call(packet_socket, INSIDE)

    def frame(self, packet, dst=None):
        """An IP packet, towards the host unless told otherwise."""
        kind = packets.IPV4 if packet[0] >> 4 == 4 else packets.IPV6
        return packets.ether(dst or self.gate_mac, self.mac, kind, packet)

    def own(self, dst):
        return self.addr6 if len(packets.raw(dst)) == 16 else self.addr4

    def udp(self, dst, data, port=PORT, sport=9000, **options):
        """A frame with a datagram."""
        return self.frame(packets.udp(options.pop("src", self.own(dst)), dst, sport, port, data, **options))

    def tcp(self, dst, flags, data=b"", ports=(9000, PORT), **segment):
        return self.frame(packets.tcp(segment.pop("src", self.own(dst)), dst, ports, flags, data, **segment))

    def call(self, function, *args):
        """In the namespace."""
        self.say()
        return self.captive.call(function, *args)

    def fence(self, to=ALLOWED4):
        """
        Returns when all that it sent before was judged and, if it was let through, was seen. What it sends for that must
        pass: a test that calls this knows that silence is the verdict's, not the wire's.
        """
        before = os.sched_getaffinity(0)
        for cpu in sorted(before):
            token = canary().encode()
            self.captive.call(os.sched_setaffinity, 0, {cpu})
            try:
                self.captive.call(self._socket.send, self.udp(to, token))
            finally:
                self.captive.call(os.sched_setaffinity, 0, before)
            until(lambda t=token: self.net.seen(token=t, since=max(0, self.net.mark() - 4000)), "a frame of it arrives")
        self.net.fence()

    def close(self):
        if self.box:
            self.box.delete()
            self.box = None
        if hasattr(self, "ear"):
            self.ear.close()
            self._socket.close()
        super().close()


class Watcher(Cell):
    """A bystander on the bridge: nobody enforces it, and it reads all that reaches its port, or the bridge's own."""

    def __init__(self, net, bridge):
        super().__init__(net, bridge)
        self.ear.close()
        self.ear = Ear((self.captive, INSIDE), (net.host, bridge.device))

    def heard(self, tokens, since=0):
        """Which of the tokens some frame carried."""
        text = b"\n".join(frame.raw for frame in self.ear.frames(since))
        return {token for token in tokens if token in text}


def new_tokens(count):
    return [canary().encode() for _ in range(count)]


SIOCETHTOOL, ETHTOOL_STXCSUM, ETHTOOL_STSO, ETHTOOL_SGSO = 0x8946, 0x17, 0x1F, 0x24


def set_offload(namespace, device, command, on):
    """What `ethtool -K DEVICE tx on|off` does."""
    def change():
        value = array.array("B", struct.pack("II", command, on))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            fcntl.ioctl(sock, SIOCETHTOOL, struct.pack("16sQ16x", device.encode(), value.buffer_info()[0]))
    namespace.call(change)
