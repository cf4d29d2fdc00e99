# SPDX-License-Identifier: MIT
"""
Rows 26, 28, 31 to 35 of the netdev kind: fragments, extension headers, sources and destinations of every kind, and bytes in
places that are no payload. On a bridge: a bystander's port tells what was let through, whatever a router thought of it.
"""

import struct

import packets
import pytest
from attack import assert_arrive, assert_silent, assert_stopped
from cell import Cell
from crafted import RESOLVER4, RESOLVER6
from internet import ALLOWED4, ALLOWED6, DENIED4, DENIED6, HOST4, HOST6, PORT
from packets import ACK, FIN, MF, PSH, RST, SYN, TCP, UDP, ether
from rows import CELL_POLICY

FRAGMENT, HOP, ROUTE, DEST, AH, MOBILITY, HIP, SHIM = 44, 0, 43, 60, 51, 135, 139, 140


def to(watcher, forms):
    """forms make IP packets, one or a list; they go to the bystander."""
    def frames(cell, token, form):
        made = form(cell, token)
        return [ether(watcher.mac, cell.mac, 0x0800 if p[0] >> 4 == 4 else 0x86DD, p)
                for p in ([made] if isinstance(made, bytes) else made)]
    return {name: (lambda cell, token, f=form: frames(cell, token, f)) for name, form in forms.items()}


# ---- fragments ----

def pieces4(*cuts, protocol=UDP, dst=ALLOWED4, order=1, skip=()):
    """A packet in fragments; cuts: (from, to) in its payload, in bytes; more than there are make them overlap."""
    def make(cell, token):
        body = packets.udp_body(cell.addr4, dst, 9000, PORT, token + bytes(64)) if protocol == UDP else \
            packets.tcp_body(cell.addr4, dst, (9000, PORT), SYN, token + bytes(64))
        made = []
        for n, (start, end) in enumerate(cuts):
            more = MF if n + 1 < len(cuts) else 0
            # Whichever part the token is in, every piece that has room carries it.
            part = body[start:end] if end - start <= 8 else (token + body[start:end])[:end - start]
            made.append(packets.ip4(cell.addr4, dst, protocol, part if start else body[start:end],
                                    fragment=more | start // 8))
        return [m for n, m in enumerate(made) if n not in skip][::order]
    return make


def pieces6(*cuts, skip=(), before=()):
    def make(cell, token):
        body = packets.udp_body(cell.addr6, ALLOWED6, 9000, PORT, token + bytes(64))
        made = []
        for n, (start, end) in enumerate(cuts):
            head = struct.pack("!BBHI", UDP, 0, start | (n + 1 < len(cuts)), 4711)
            kind, part = packets.chain(before, FRAGMENT, head + body[start:end])
            made.append(packets.ip6(cell.addr6, ALLOWED6, kind, part))
        return [m for n, m in enumerate(made) if n not in skip]
    return make


FRAGMENTS = {
    "two": pieces4((0, 40), (40, 96)),
    "tiny-first": pieces4((0, 8), (8, 96)),
    "tcp-tiny-first": pieces4((0, 8), (8, 96), protocol=TCP),
    "tcp-flags-behind": pieces4((0, 16), (8, 96), protocol=TCP),
    "overlapping": pieces4((0, 48), (8, 96)),
    "overlapping-the-ports": pieces4((0, 48), (0, 48), (8, 96)),
    "backwards": pieces4((0, 40), (40, 96), order=-1),
    "later-alone": pieces4((0, 8), (8, 96), skip=(0,)),
    "middle-alone": pieces4((0, 8), (8, 64), (64, 96), skip=(0, 2)),
    "first-alone": pieces4((0, 40), (40, 96), skip=(1,)),
    "far-offset": lambda cell, token: packets.ip4(cell.addr4, ALLOWED4, UDP, token, fragment=0x1FFF),
    "more-and-offset-0": lambda cell, token: packets.ip4(
        cell.addr4, ALLOWED4, UDP, packets.udp_body(cell.addr4, ALLOWED4, 9000, PORT, token), fragment=MF),
    "more-and-do-not": lambda cell, token: packets.ip4(
        cell.addr4, ALLOWED4, UDP, packets.udp_body(cell.addr4, ALLOWED4, 9000, PORT, token), fragment=MF | 0x4000),
    "ip6-two": pieces6((0, 40), (40, 96)),
    "ip6-tiny-first": pieces6((0, 8), (8, 96)),
    "ip6-atomic": pieces6((0, 96)),
    "ip6-later-alone": pieces6((0, 8), (8, 96), skip=(0,)),
    "ip6-behind-options": pieces6((0, 96), before=(DEST,)),
}


def test_fragments(bridged):
    free, held, watcher = bridged
    assert_stopped(free, held, to(watcher, FRAGMENTS), watcher)


def test_fragments_in_open_mode(bridged, lax):
    _, _, watcher = bridged
    assert_silent(lax, to(watcher, FRAGMENTS), watcher)


# ---- extension headers ----

def chained(*kinds, dst=ALLOWED6, last=UDP):
    def make(cell, token):
        body = packets.udp_body(cell.addr6, dst, 9000, PORT, token) if last == UDP else \
            packets.tcp_body(cell.addr6, dst, (9000, PORT), SYN, token) if last == TCP else token
        return packets.ip6(cell.addr6, dst, *packets.chain(kinds, last, body))
    return make


def routed_by(kind, left, *hops, dst=ALLOWED6):
    def make(cell, token):
        body = packets.udp_body(cell.addr6, dst, 9000, PORT, token)
        head = packets.segments(UDP, hops, left)
        return packets.ip6(cell.addr6, dst, ROUTE, head[:2] + bytes([kind]) + head[3:] + body)
    return make


HEADERS = {f"{name}-by-{count}": chained(*[kind] * count) for count in range(1, 17) for name, kind in (
    ("hop", HOP), ("destination", DEST))}
HEADERS |= {f"{name}-{last}": chained(kind, last=last) for last in (TCP, UDP, 58, 59) for name, kind in (
    ("hop", HOP), ("route", ROUTE), ("fragment", FRAGMENT), ("destination", DEST), ("authentication", AH),
    ("mobility", MOBILITY), ("identity", HIP), ("shim", SHIM), ("experiment", 253), ("none", 59), ("esp", 50))}
HEADERS |= {
    "mixed-3": chained(HOP, DEST, FRAGMENT), "mixed-5": chained(HOP, DEST, ROUTE, FRAGMENT, DEST),
    "hop-not-first": chained(DEST, HOP),
    "segments-to-a-denied-address": routed_by(4, 1, ALLOWED6, DENIED6),
    "segments-by-a-denied-hop": routed_by(4, 1, DENIED6, ALLOWED6),
    "segments-done": routed_by(4, 0, ALLOWED6, DENIED6),
    "route-type-0": routed_by(0, 1, DENIED6),
    "route-type-2": routed_by(2, 1, DENIED6),
    "route-type-3": routed_by(3, 1, DENIED6),
    "jumbo": lambda cell, token: packets.ip6(
        cell.addr6, ALLOWED6, HOP, packets.extension(UDP, b"\xc2\4\0\1\0\0") +
        packets.udp_body(cell.addr6, ALLOWED6, 9000, PORT, token), length=0),
    "header-longer-than-the-packet": lambda cell, token: packets.ip6(cell.addr6, ALLOWED6, DEST, b"\x11\xff" + token),
    "cut-in-a-header": lambda cell, token: packets.ip6(cell.addr6, ALLOWED6, DEST, token[:7] + token),
}


def test_extension_headers(bridged):
    free, held, watcher = bridged
    assert_stopped(free, held, to(watcher, HEADERS), watcher)


def test_extension_headers_in_open_mode(bridged, lax):
    _, _, watcher = bridged
    assert_silent(lax, to(watcher, HEADERS), watcher)


# ---- sources that are not its own ----

def from_source(source, protocol, dst=None):
    def make(cell, token):
        src = source(cell) if callable(source) else source
        there = dst or (ALLOWED6 if len(packets.raw(src)) == 16 else ALLOWED4)
        if protocol == "echo":
            return packets.echo(src, there, 5, token)
        if protocol == "tcp":
            return packets.tcp(src, there, (9000, PORT), SYN, token)
        return packets.udp(src, there, 53 if protocol == "dns" else 9000, PORT, token)
    return make


SOURCES = {
    "resolver": RESOLVER4, "resolver6": RESOLVER6, "host": HOST4, "host6": HOST6, "gateway": lambda c: c.gate4,
    "gateway6": lambda c: c.gate6, "neighbour": lambda c: c.addr4.rsplit(".", 1)[0] + ".254",
    "neighbour6": lambda c: c.addr6 + "9", "allowed": ALLOWED4, "allowed6": ALLOWED6, "denied": DENIED4,
    "loopback": "127.0.0.1", "loopback6": "::1", "multicast": "224.0.0.1", "multicast6": "ff02::1",
    "broadcast": "255.255.255.255", "nobody": "0.0.0.0", "nobody6": "::", "metadata": "169.254.169.254",
    "linklocal": "169.254.7.7", "linklocal6": "fe80::dead", "compatible": lambda c: "::" + c.addr4,
    "translated": lambda c: "64:ff9b::" + c.addr4, "private": "10.1.2.3",
    "subnet": lambda c: c.addr4.rsplit(".", 1)[0] + ".0", "broadcast-of-the-subnet": lambda c: c.addr4.rsplit(".", 1)[0] + ".255",
}


def spoofed(watcher, others=()):
    sources = {**SOURCES, **{f"sandbox-{n}": lambda c, a=address: a for n, address in enumerate(others)}}
    return to(watcher, {f"{name}-{protocol}": from_source(source, protocol) for name, source in sources.items()
                        for protocol in ("udp", "tcp", "echo", "dns")})


def test_sources_of_others(bridged, other):
    free, held, watcher = bridged
    assert_stopped(free, held, spoofed(watcher, (other.addr4, other.addr6, free.addr4, watcher.addr6)), watcher)


def test_its_own_address_of_the_other_family(bridged):
    free, held, watcher = bridged
    assert_stopped(free, held, to(watcher, {protocol: from_source(lambda c: "::ffff:" + c.addr4, protocol)
                                            for protocol in ("udp", "tcp", "echo", "dns")}), watcher)


def test_sources_of_others_in_open_mode(bridged, lax, other):
    _, held, watcher = bridged
    assert_silent(lax, spoofed(watcher, (other.addr4, other.addr6, held.addr4, held.addr6)), watcher)


# ---- bytes that are no payload, to a denied peer ----

NOT_OF_A_FLOW = (FIN, RST, ACK, PSH | ACK, FIN | ACK, RST | ACK, SYN | ACK, 0, 0x29, 0x3F, 0x20, 0xC2, SYN | FIN, SYN | RST)


def segment(flags, dst, *, hide="payload", **numbers):
    def make(cell, token):
        options = b"\xfd" + bytes([2 + len(token)]) + token if hide == "options" else b""
        return packets.tcp(cell.own(dst), dst, (9001, PORT), flags, token if hide == "payload" else b"", options=options,
                           **numbers)
    return make


def hidden(dst):
    forms = {f"flags-{flags:02x}-{hide}": segment(flags, dst, hide=hide) for flags in (SYN, *NOT_OF_A_FLOW)
             for hide in ("payload", "options")}
    forms["fast-open"] = lambda cell, token: packets.tcp(
        cell.own(dst), dst, (9001, PORT), SYN, token, options=b"\x22\x0a" + token[:8])
    forms["udp"] = lambda cell, token: packets.udp(cell.own(dst), dst, 9001, PORT, token)
    forms["udp-without-checksum"] = lambda cell, token: packets.ip(
        cell.own(dst), dst, UDP, struct.pack("!HHHH", 9001, PORT, 8 + len(token), 0) + token)
    forms["udp-port-0"] = lambda cell, token: packets.udp(cell.own(dst), dst, 0, 0, token)
    forms["echo"] = lambda cell, token: packets.echo(cell.own(dst), dst, 6, token)
    forms["behind-the-end"] = lambda cell, token: packets.udp(cell.own(dst), dst, 9001, PORT, b"") + token
    if ":" not in dst:
        forms |= {f"error-{kind}": lambda cell, token, k=kind: packets.icmp4(
            cell.addr4, dst, k, 0, bytes(4) + packets.udp(dst, cell.addr4, PORT, 9001, token)) for kind in (3, 4, 5, 11, 12)}
    else:
        forms |= {f"error-{kind}": lambda cell, token, k=kind: packets.icmp6(
            cell.addr6, dst, k, bytes(4) + packets.udp(dst, cell.addr6, PORT, 9001, token), hops=64) for kind in (1, 2, 3, 4)}
    return forms


def test_nothing_hides_towards_a_denied_peer(bridged):
    free, held, watcher = bridged
    forms = {f"{name} {dst}": form for dst in (DENIED4, DENIED6) for name, form in hidden(dst).items()}
    assert_stopped(free, held, to(watcher, forms), watcher)


def test_nothing_hides_on_the_way_through_a_router(routed):
    """The same, as it is for a container: the host routes, and the oracle is far behind it."""
    free, held = routed
    forms = {f"{name} {dst}": lambda cell, token, f=form: cell.frame(f(cell, token))
             for dst in (DENIED4, DENIED6) for name, form in hidden(dst).items() if name != "behind-the-end"}
    assert_stopped(free, held, forms)


# ---- destinations ----

NEVER = (
    "127.0.0.1", "127.9.9.9", "0.0.0.0", "0.1.2.3", "224.0.0.1", "239.255.255.250", "224.0.0.251", "255.255.255.255",
    "169.254.169.254", "169.254.170.2", "168.63.129.16", "100.100.100.200", "10.1.2.3", "172.17.0.1", "192.168.1.1",
    "100.64.0.1", "192.0.0.8", "198.18.0.1", "240.0.0.1", "::", "::1", "ff02::1", "ff02::fb", "ff05::2", "fd00:ec2::254",
    "fd00::1", "fe80::1", "2002:5db8:d822::1", "2001:0:5db8::1", "::ffff:169.254.169.254", "64:ff9b::169.254.169.254",
    "::ffff:127.0.0.1", "64:ff9b::10.0.0.1", HOST4, HOST6,
)


def reach(dst, port=PORT):
    return {f"udp {dst}": lambda cell, token: packets.udp(cell.own(dst), dst, 9000, port, token),
            f"tcp {dst}": lambda cell, token: packets.tcp(cell.own(dst), dst, (9000, port), SYN, token),
            f"echo {dst}": lambda cell, token: packets.echo(cell.own(dst), dst, 5, token)}


def everywhere(cell):
    """What nobody may reach in any mode, those that only this cell's network has included."""
    group4 = cell.addr4.rsplit(".", 1)[0] + ".255"
    return {name: form for dst in (*NEVER, cell.gate4, cell.gate6) for name, form in reach(dst).items()} | {
        f"broadcast {group4}": reach(group4)[f"udp {group4}"]}


def test_what_no_policy_opens(bridged, lax):
    free, held, watcher = bridged
    forms = to(watcher, everywhere(lax))
    subnet = {name: form for name, form in forms.items() if name.startswith("broadcast")}
    assert_stopped(free, held, forms, watcher)
    assert_silent(lax, {n: f for n, f in forms.items() if n not in subnet}, watcher)


def test_open_mode_is_open(bridged, lax):
    """The control of all that is said of it here."""
    _, _, watcher = bridged
    assert_arrive(lax, to(watcher, reach(DENIED4) | reach(DENIED6)), watcher)


def test_other_sandboxes_by_address(bridged, other):
    free, held, watcher = bridged
    forms = to(other, reach(other.addr4) | reach(other.addr6))
    assert_silent(held, forms, other)
    assert_silent(free, forms, other)
    assert_arrive(free, to(watcher, reach(watcher.addr4) | reach(watcher.addr6)), watcher)


def test_other_sandboxes_by_way_of_the_host(bridged, other):
    """The host would send it back to where it came from, the bridge: hairpin."""
    free, held, watcher = bridged

    def by_host(cell):
        forms = reach(cell.addr4) | reach(cell.addr6)
        return {name: lambda c, t, f=form: c.frame(f(c, t)) for name, form in forms.items()}
    assert_arrive(free, by_host(watcher), watcher)
    for sender in (free, held):
        assert_silent(sender, by_host(other), other)
    assert_silent(held, by_host(watcher), watcher)


EMBEDDED = (f"::ffff:{DENIED4}", f"64:ff9b::{DENIED4}", f"::{DENIED4}")


def test_embedded_addresses(bridged):
    free, held, watcher = bridged
    assert_stopped(free, held, to(watcher, {n: f for dst in EMBEDDED for n, f in reach(dst).items()}), watcher)


def test_an_allowed_address_mapped_on_the_wire(bridged):
    """As IPv6 it would go another way, to somebody else."""
    free, held, watcher = bridged
    assert_stopped(free, held, to(watcher, reach(f"::ffff:{ALLOWED4}")), watcher)


# ---- a policy that only reports ----

@pytest.fixture
def audited(net, warden, segment):
    with Cell(net, segment) as cell:
        cell.attach(warden, {**CELL_POLICY, "audit": True})
        yield cell


def test_what_audit_does_not_open(bridged, audited, other):
    """Rules would deny and do not; what cannot be judged, is somebody else's, or is nobody's to reach, stays shut."""
    _, _, watcher = bridged
    assert_arrive(audited, to(watcher, reach(DENIED4) | reach(DENIED6)), watcher)
    assert_silent(audited, to(watcher, FRAGMENTS | HEADERS), watcher)
    assert_silent(audited, spoofed(watcher, (other.addr4, other.addr6)), watcher)
    assert_silent(audited, {n: f for n, f in to(watcher, everywhere(audited)).items() if "broadcast" not in n}, watcher)
