# SPDX-License-Identifier: MIT
"""
Somebody behind a device: a network namespace `captive` with root, its own addresses and routes, joined to the host
namespace of the little internet (or of far.py's) by a veth, or by a tap that this process serves as a hypervisor does.
The host routes for it, without masquerading: the far side sees the captive's own addresses.

    captive  eth0 10.77.N.2, fd77:N::2  <->  10.77.N.1, fd77:N::1 DEVICE  host  up0  <->  everything
"""

import contextlib
import fcntl
import itertools
import json
import os
import select
import struct
import threading

from daemon import Box
from evidence import NOW
from internet import HOST4, HOST6
from netns import Namespace, shell
from postern import Running, execute

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 2, 0x1000
INSIDE = "eth0"

_numbers = itertools.count(1)


def open_tap(name):
    """In the namespace of the calling thread."""
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    return fd


class Pump:
    """Carries frames between the file descriptors of two taps: what a hypervisor does for its guest."""

    def __init__(self, one, other):
        self.fds = (one, other)
        self._end, self._told = os.pipe()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        across = dict(zip(self.fds, reversed(self.fds)))
        poll = select.poll()
        for fd in (*self.fds, self._end):
            poll.register(fd, select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd == self._end:
                    return
                # One side is down, or was removed: the frame is lost, as on a wire.
                with contextlib.suppress(OSError):
                    os.write(across[fd], os.read(fd, 65536))

    def close(self):
        os.write(self._told, b"x")
        self._thread.join(5)
        for fd in (*self.fds, self._end, self._told):
            os.close(fd)


class Wire:
    """
    net: an Internet, or a Far (IPv4 alone). kind: "veth" or "tap". known: the host has permanent neighbour entries, as
    runtimes make them, from which addresses can be learned.
    """

    def __init__(self, net, kind="veth", *, device=None, known=False):
        self.net, self.kind, self.known = net, kind, known
        self.number = number = next(_numbers)
        self.device = device or f"pw{number}"
        self.index = None  # of the device, told apart from its name
        high, low = divmod(number, 250)  # a run of all tests has hundreds of wires
        base = f"10.{77 + high}.{low}"
        self.gate4, self.addr4, self.net4 = f"{base}.1", f"{base}.2", f"{base}.0/24"
        self.gate6, self.addr6, self.net6 = f"fd77:{number}::1", f"fd77:{number}::2", f"fd77:{number}::/64"
        self.host_mac, self.mac = f"02:00:{high:02x}:77:{low:02x}:01", f"02:00:{high:02x}:77:{low:02x}:02"
        self.has6 = hasattr(net, "internet")
        self.pump, self.held = None, None
        self.captive = Namespace("captive")
        try:
            for namespace in (self.captive, net.host):
                namespace.sysctl(net__ipv6__conf__all__accept_dad=0, net__ipv6__conf__default__accept_dad=0,
                                 net__ipv4__conf__all__rp_filter=0, net__ipv4__conf__default__rp_filter=0)
            self.captive.sysctl(net__ipv4__ping_group_range="0 2147483647",
                                net__ipv4__ip_local_port_range="20000 60000")
            net.host.sysctl(net__ipv4__ip_forward=1, net__ipv6__conf__all__forwarding=1)
            self.make()
            self._route_back("add")
        except BaseException:
            self.close()
            raise

    # ---- the device ----

    def make(self, index=None):
        """The device and what is on both sides of it. With `index`: as this number, which must be free."""
        if self.kind == "tap":
            self._make_taps()
        else:
            given = ["index", str(index)] if index else []
            self.net.host.ip("link", "add", self.device, *given, "address", self.host_mac, "type", "veth", "peer",
                             INSIDE, "address", self.mac, "netns", self.captive.name)
        self._configure()
        self.index = self.read_index()

    def _make_taps(self):
        self.pump = Pump(self.net.host.call(open_tap, self.device), self.captive.call(open_tap, INSIDE))
        self.net.host.ip("link", "set", self.device, "address", self.host_mac)
        self.captive.ip("link", "set", INSIDE, "address", self.mac)

    def _configure(self):
        host, captive = self.net.host, self.captive
        for namespace, device, own4, own6 in ((host, self.device, self.gate4, self.gate6),
                                              (captive, INSIDE, self.addr4, self.addr6)):
            namespace.ip("addr", "add", f"{own4}/24", "dev", device)
            namespace.ip("link", "set", device, "up")
            namespace.ip("addr", "add", f"{own6}/64", "dev", device, "nodad")
        captive.ip("route", "add", "default", "via", self.gate4, "dev", INSIDE)
        captive.ip("-6", "route", "add", "default", "via", self.gate6, "dev", INSIDE)
        for address in (self.addr4, self.addr6) if self.known else ():
            host.ip("neigh", "replace", address, "lladdr", self.mac, "dev", self.device, "nud", "permanent")

    def _route_back(self, what):
        # The far side's table `local` has prefixes that hold these; a longer one there is found before them.
        far = getattr(self.net, "internet", None) or self.net.far
        far.ip("route", what, self.net4, "via", HOST4, "dev", "in0", "table", "local")
        if self.has6:
            far.ip("-6", "route", what, self.net6, "via", HOST6, "dev", "in0", "table", "local")

    def read_index(self):
        return json.loads(self.net.host.ip("-j", "link", "show", "dev", self.device))[0]["ifindex"]

    def remove(self):
        """The device goes, and its other end with it."""
        if self.pump:
            self.pump.close()
            self.pump = None
        else:
            self.net.host.ip("link", "del", self.device)

    def rename(self, name):
        """As a network manager may: it has to be down for that on older kernels."""
        self.net.host.ip("link", "set", self.device, "down")
        self.net.host.ip("link", "set", self.device, "name", name)
        self.net.host.ip("link", "set", name, "up")
        self.device = name
        # What goes with a device that goes down.
        self.net.host.ip("addr", "replace", f"{self.gate6}/64", "dev", name, "nodad")

    # ---- who is behind it ----

    def argv(self, argv):
        """What runs argv inside, with the privileges and the files of the caller."""
        return ["nsenter", f"--net={self.captive.path}", "--", *map(str, argv)]

    def run(self, argv, **options):
        self.say()
        return execute(self.net, self.argv(argv), **options)

    def start(self, argv, **options):
        self.say()
        return Running(self.net, self.argv(argv), **options)

    def fields(self):
        """What to attach to, as POST /v1/sandboxes takes it."""
        addresses = [self.addr4] + ([self.addr6] if self.has6 else [])
        return {"netdev": self.device, "addresses": addresses, "macs": [self.mac]}

    def options(self):
        """The same for `postern attach`."""
        fields = self.fields()
        return ["--netdev", self.device, *(w for a in fields["addresses"] for w in ("--addr", a)), "--mac", self.mac]

    def attach(self, daemon, policy=None, name=None, **fields):
        """A sandbox of that daemon, enforced on this device. A field that is None is left out."""
        body = {"id": name or f"wire{self.number}", "policy": policy or {}, "allowWeak": True, **self.fields(),
                **fields}
        body = {key: value for key, value in body.items() if value is not None}
        reply = daemon.request("POST", "/v1/sandboxes", body)
        assert reply.status == 201, f"{reply}\n{daemon.log()}"
        self.held = daemon.tc(body["id"]), body["policy"]
        self.say()
        return self.box_of(daemon, body["id"])

    def say(self):
        """What is sent now is sent by who is held so."""
        if self.held:
            NOW.sandbox(*self.held)

    def box_of(self, daemon, name):
        """The one that is called so, however it was attached."""
        return WireBox(daemon, name, self)

    def close(self):
        if self.pump:
            self.pump.close()
            self.pump = None
        with contextlib.suppress(AssertionError):
            self._route_back("del")
        self.captive.close()
        # The veth goes with the namespace, and that when its last socket is closed: not at once.
        with contextlib.suppress(AssertionError):
            shell("ip", "-n", self.net.host.name, "link", "del", self.device)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


class WireBox(Box):
    """A Box whose inside is the far end of a wire."""

    kind = "netdev"

    def __init__(self, daemon, name, wire):
        super().__init__(daemon, name)
        self.wire, self.cgroup = wire, None

    def say(self, policy):
        self.wire.held = self.daemon.tc(self.id), policy
        self.wire.say()

    def argv(self, argv):
        return self.wire.argv(argv)

    def refusal(self, mode, address):
        """The kernel's word for an RST, and for an ICMP error "administratively prohibited": connected sockets hear it."""
        if mode == "tcp":
            return "ECONNREFUSED"
        return "EACCES" if ":" in address else "EHOSTUNREACH"
