# SPDX-License-Identifier: MIT
"""
Real resolvers (unbound, bind9, dnsmasq) that answer for zones of our own, in a namespace one veth away from the host
namespace, or in the host namespace itself. Two oracles: the resolvers' own logs of questions, and a sniffer.

    host namespace  up2 198.51.102.2 <-> 198.51.102.1 dn0  dns namespace: unbound, named and dnsmasq, each on
                                                           a public, a private and (IPv6) a link-local address
"""

import os
import secrets
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
from pathlib import Path

from internet import ALLOWED4, ALLOWED6, PRIVATE4, Sniffer, canary, send_from_cpu
from netns import Namespace, shell
from postern import execute, postern_run
from wait import until

KINDS = ("unbound", "named", "dnsmasq")
ADDRESSES = {kind: {"public": f"149.112.112.{n}", "private": f"10.53.0.{n}", "ipv6": f"2620:fe:53::{n}"}
             for n, kind in enumerate(KINDS, 1)}
LINK_LOCAL = "fe80::53"  # unbound's
DEVICE = "up2"
OWN_HOST4, OWN_GATE4 = "198.51.102.2", "198.51.102.1"
OWN_HOST6, OWN_GATE6 = "2001:db8:53::2", "2001:db8:53::1"

# What the zones hold: names below example.com, which the tests allow, and example.net, which they do not.
V4, V6 = "93.184.216.41", "2606:2800:220:1::41"
CHAIN = "93.184.216.50"
CHAINS = {n: f"93.184.216.{100 + n}" for n in range(1, 10)}  # by links; nine are one more than are followed
WILD = "93.184.216.60"
ROBIN = [f"93.184.216.{n}" for n in range(70, 74)]
TTL0, TTL_BIG = "93.184.216.80", "93.184.216.81"
HINT = "93.184.216.90"
SIXTY = [f"93.184.219.{n}" for n in range(1, 61)]
HUNDRED = [f"93.184.218.{n}" for n in range(1, 101)]
SIGNED = "93.184.216.95"
OFF_LIST = "93.184.217.9"



def links(n):
    """The aliases of chain<n>.example.com, which has n links, in order, and then the name that has the address."""
    return [f"chain{n}"] + [f"chain{n}-{m}" for m in range(n - 1, -1, -1)]


ALIASES = [(a, b) for n in CHAINS for a, b in zip(links(n), links(n)[1:])]

ZONE = """$TTL 300
@ SOA ns hostmaster 1 3600 600 86400 60
@ NS ns
ns A 149.112.112.1
"""
EXAMPLE = ZONE + "\n".join([
    f"web A {ALLOWED4}", f"web AAAA {ALLOWED6}", f"v4 A {V4}", f"v6 AAAA {V6}", f"chain0 A {CHAIN}",
    *(f"{alias} CNAME {target}" for alias, target in ALIASES),
    *(f"{links(n)[-1]} A {address}" for n, address in CHAINS.items()), f"*.wild A {WILD}",
    *(f"robin A {a}" for a in ROBIN), *(f"sixty A {a}" for a in SIXTY), *(f"hundred A {a}" for a in HUNDRED),
    f"ttl0 0 A {TTL0}", f"big 2147483647 A {TTL_BIG}", 'nodata TXT "no address"',
    f"svc HTTPS 1 . alpn=h2 ipv4hint={HINT}", f"svc SVCB 1 . alpn=h2 ipv4hint={HINT}", f"private A {PRIVATE4}", ""])
OTHER = ZONE + f"* A {OFF_LIST}\n"
SECURE = ZONE + f"www A {SIGNED}\nalias CNAME www\n*.wild A {SIGNED}\n"

UNBOUND = """
server:
    directory: "{dir}"
    chroot: ""
    username: ""
    pidfile: ""
    do-daemonize: no
    use-syslog: no
    logfile: "{dir}/log"
    log-queries: yes
    num-threads: 1
    module-config: "iterator"
    access-control: 0.0.0.0/0 allow
    access-control: ::/0 allow
    edns-buffer-size: 4096
    max-udp-size: 4096
    rrset-roundrobin: yes
    so-rcvbuf: 4m
    port: {port}
"""
UNBOUND_ZONE = 'auth-zone:\n    name: "{name}"\n    zonefile: "{file}"\n    fallback-enabled: no\n'
NAMED = """
controls {{ }};
options {{
    directory "{dir}";
    pid-file none;
    session-keyfile "{dir}/session.key";
    listen-on port {port} {{ {v4} }};
    listen-on-v6 port {port} {{ {v6} }};
    recursion no;
    allow-query {{ any; }};
    querylog yes;
    edns-udp-size 4096;
    max-udp-size 4096;
    dnssec-validation no;
}};
"""
DNSMASQ = """
keep-in-foreground
no-resolv
no-hosts
no-daemon
user=root
pid-file=
bind-interfaces
log-queries
log-facility={dir}/log
edns-packet-max=4096
local-ttl=300
local=/example.com/
local=/example.net/
address=/example.net/{off_list}
address=/wild.example.com/{wild}
host-record=web.example.com,{web4},{web6}
host-record=v4.example.com,{v4}
host-record=v6.example.com,{v6}
host-record=chain0.example.com,{chain0}
host-record=private.example.com,{private}
host-record=ttl0.example.com,{ttl0},0
host-record=big.example.com,{big},2147483647
txt-record=nodata.example.com,no address
dns-rr=svc.example.com,65,{svc}
dns-rr=svc.example.com,64,{svc}
"""


def _svc():
    hint = socket.inet_aton(HINT)
    return (b"\0\1\0" + b"\0\1\0\3\2h2" + b"\0\4\0\4" + hint).hex()


def sign(directory):
    """The zone signed.example as signed by bind's own tool."""
    directory = Path(directory)
    (directory / "secure").write_text(SECURE)
    shell("dnssec-keygen", "-q", "-a", "ECDSAP256SHA256", "-f", "KSK", "-K", str(directory), "signed.example")
    shell("dnssec-keygen", "-q", "-a", "ECDSAP256SHA256", "-K", str(directory), "signed.example")
    shell("dnssec-signzone", "-q", "-S", "-K", str(directory), "-d", str(directory), "-o", "signed.example",
          "-f", str(directory / "signed.example"), str(directory / "secure"))
    return (directory / "signed.example").read_text()


class Resolver:
    """One daemon, on port `port` of `addresses` (with %device where that is needed)."""

    def __init__(self, namespace, kind, addresses, port=53):
        self.namespace, self.kind, self.addresses, self.port = namespace, kind, addresses, port
        self.dir = Path(tempfile.mkdtemp(prefix="pst-dns-"))
        self.process = None
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self):
        self._write_zones()
        # A copy, because a distribution's AppArmor profile holds the installed one to the distribution's files.
        program = shutil.copy(shutil.which(self.kind, path="/usr/sbin:/usr/bin"), self.dir)
        with open(self.dir / "output", "wb") as output:
            argv = ["setpriv", "--pdeathsig", "KILL", program, *getattr(self, self.kind)()]
            self.process = subprocess.Popen(self.namespace.command(argv), stdin=subprocess.DEVNULL, stdout=output,
                                            stderr=output)
        try:
            for address in self.addresses:
                until(lambda a=address: self.ask(a, "ready.wild.example.com"), f"{self.kind} answers on {address}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log()}") from None

    def _write_zones(self):
        self.zones = {"example.com": EXAMPLE, "example.net": OTHER}
        if self.kind != "dnsmasq":
            self.zones["signed.example"] = sign(self.dir)
        for name, text in self.zones.items():
            (self.dir / f"{name}.zone").write_text(text)

    def unbound(self):
        text = UNBOUND.format(dir=self.dir, port=self.port)
        text += "".join(f"    interface: {address}\n" for address in self.addresses)
        text += "".join(UNBOUND_ZONE.format(name=name, file=self.dir / f"{name}.zone") for name in self.zones)
        (self.dir / "conf").write_text(text)
        return ["-d", "-c", str(self.dir / "conf")]

    def named(self):
        v4 = "".join(f"{a}; " for a in self.addresses if ":" not in a)
        v6 = "".join(f"{a}; " for a in self.addresses if ":" in a)
        text = NAMED.format(dir=self.dir, port=self.port, v4=v4 or "none;", v6=v6 or "none;")
        text += "".join(f'zone "{name}" {{ type primary; file "{self.dir}/{name}.zone"; }};\n' for name in self.zones)
        (self.dir / "conf").write_text(text)
        return ["-g", "-n", "1", "-c", str(self.dir / "conf")]

    def dnsmasq(self):
        lines = DNSMASQ.format(dir=self.dir, off_list=OFF_LIST, wild=WILD, web4=ALLOWED4, web6=ALLOWED6, v4=V4, v6=V6,
                               chain0=CHAIN, ttl0=TTL0, big=TTL_BIG, svc=_svc(), private=PRIVATE4).splitlines()
        lines += [f"cname={alias}.example.com,{target}.example.com" for alias, target in ALIASES]
        lines += [f"host-record={links(n)[-1]}.example.com,{address}" for n, address in CHAINS.items()]
        for name, addresses in (("robin", ROBIN), ("sixty", SIXTY), ("hundred", HUNDRED)):
            lines += [f"host-record={name}.example.com,{address}" for address in addresses]
        lines += [f"listen-address={address}" for address in self.addresses] + [f"port={self.port}"]
        (self.dir / "conf").write_text("\n".join(lines) + "\n")
        return [f"--conf-file={self.dir}/conf"]

    def log(self):
        parts = [self.dir / "log", self.dir / "output"]
        return "".join(part.read_text(errors="replace") for part in parts if part.exists())

    def asked(self, name):
        """How many lines of its log name it."""
        return sum(name.lower() in line.lower() for line in self.log().splitlines())

    def ask(self, address, name, kind=1, namespace=None):
        return (namespace or self.namespace).call(ask, address, self.port, name, kind)

    def close(self):
        if self.process:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


def question(name, kind=1, txid=None):
    wire = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".") if label) + b"\0"
    txid = secrets.randbelow(65536) if txid is None else txid
    return struct.pack("!HHHHHH", txid, 0x0100, 1, 0, 0, 0) + wire + struct.pack("!HH", kind, 1)


def ask(address, port, name, kind=1, wait_s=0.5):
    """The reply of a server, None for silence. Runs in the namespace of the calling thread."""
    where = socket.getaddrinfo(address, port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST)[0]
    with socket.socket(where[0], socket.SOCK_DGRAM) as sock:
        sock.settimeout(wait_s)
        try:
            sock.connect(where[4])
            sock.send(question(name, kind))
            return sock.recv(65536)
        except OSError:
            return None


class Resolvers:
    """The three daemons in a namespace of their own, joined to net's host namespace; close() leaves nothing."""

    def __init__(self, net):
        self.net, self.running = net, {}
        self.namespace = Namespace("dns")
        try:
            self._join()
            self.sniffer = Sniffer(self.namespace, ("dn0",))
            for kind in KINDS:
                addresses = list(ADDRESSES[kind].values()) + [f"{LINK_LOCAL}%dn0"] * (kind == "unbound")
                self.running[kind] = Resolver(self.namespace, kind, addresses)
        except BaseException:
            self.close()
            raise

    def __getitem__(self, kind):
        return self.running[kind]

    def _join(self):
        host, dns = self.net.host, self.namespace
        dns.sysctl(net__ipv6__conf__all__accept_dad=0, net__ipv6__conf__default__accept_dad=0)
        host.ip("link", "add", DEVICE, "mtu", "9000", "type", "veth", "peer", "dn0", "mtu", "9000", "netns", dns.name)
        for namespace, device, v4, v6 in ((host, DEVICE, OWN_HOST4, OWN_HOST6), (dns, "dn0", OWN_GATE4, OWN_GATE6)):
            namespace.ip("addr", "add", f"{v4}/24", "dev", device)
            namespace.ip("addr", "add", f"{v6}/64", "dev", device, "nodad")
            namespace.ip("link", "set", device, "up")
        dns.ip("addr", "add", f"{LINK_LOCAL}/64", "dev", "dn0", "nodad")
        dns.ip("route", "add", "default", "via", OWN_HOST4)
        for address in (a for each in ADDRESSES.values() for a in each.values()):
            v6 = ":" in address
            dns.ip("addr", "add", f"{address}/{128 if v6 else 32}", "dev", "dn0", *(["nodad"] if v6 else []))
            host.ip("route", "add", address, "via", OWN_GATE6 if v6 else OWN_GATE4, "dev", DEVICE)

    def addresses(self, kind):
        return ADDRESSES[kind]

    def mark(self):
        self._read()
        return len(self.sniffer.frames)

    def _read(self):
        for sock in self.sniffer.sockets:
            self.sniffer.read(sock)

    def questions(self, text, since=0):
        """Frames that hold a name, or bytes, and came here. All that the host sent before are counted."""
        self._fence()
        wire = text if isinstance(text, bytes) else question(text)[12:-4]
        return [f for f in self.sniffer.frames[since:] if wire.lower() in f.raw.lower()]

    def _fence(self):
        def arrived(token):
            self._read()
            return any(token in frame.raw for frame in self.sniffer.frames[-2000:])
        for cpu in sorted(os.sched_getaffinity(0)):
            token = canary().encode()
            self.net.host.call(send_from_cpu, cpu, DEVICE.encode(), token, OWN_GATE4)
            until(lambda t=token: arrived(t), "a fence arrives")
        self.sniffer.check_drops()

    def close(self):
        for resolver in self.running.values():
            resolver.close()
        self.namespace.close()

