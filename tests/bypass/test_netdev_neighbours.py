# SPDX-License-Identifier: MIT
"""
Row 30 of the netdev kind: ARP and neighbour discovery pass for the sandbox's own addresses, and for nothing else; they
carry nothing, and there are not many of them.
"""

import struct
import time

import packets
import pytest
from attack import assert_arrive, assert_silent, assert_stopped, launch, seen
from cell import Cell
from internet import ALLOWED4
from packets import BROADCAST, arp, ether, lladdr
from wait import until

NONE, STRANGER = "00:00:00:00:00:00", "02:00:66:66:66:66"
NODES, ROUTERS = "ff02::1", "ff02::2"
BURST, RATE_S = 100, 50  # PST_NEIGHBOUR_BURST, and how many come back a second


def arping(op=1, *, sha=None, spa=None, tha=NONE, tpa=None, source=None, dst=BROADCAST, tail=b"", **options):
    """An ARP frame; what is not said is the sandbox's own. Callables get the cell."""
    def make(cell, token):
        def value(given, own):
            return own if given is None else given(cell) if callable(given) else given
        body = arp(op, value(sha, cell.mac), value(spa, cell.addr4), value(tha, NONE), value(tpa, cell.gate4),
                   token if tail == "token" else tail, **options)
        return ether(dst, value(source, cell.mac), 0x0806, body)
    return make


def neighbour_of(cell):
    return cell.addr4.rsplit(".", 1)[0] + ".254"


GOOD_ARP = {
    "request": arping(), "reply": arping(2, tha=lambda c: c.gate_mac), "probe": arping(spa="0.0.0.0", tpa=lambda c: c.addr4),
    "announcement": arping(tpa=lambda c: c.addr4), "gratuitous-reply": arping(2, tpa=lambda c: c.addr4, tha=BROADCAST),
}

BAD_ARP = {
    "for-the-gateway": arping(2, spa=lambda c: c.gate4), "request-as-the-gateway": arping(1, spa=lambda c: c.gate4),
    "for-a-neighbour": arping(2, spa=neighbour_of), "request-as-a-neighbour": arping(1, spa=neighbour_of),
    "announcing-the-gateway": arping(spa=lambda c: c.gate4, tpa=lambda c: c.gate4),
    "probe-for-another": arping(spa="0.0.0.0", tpa=neighbour_of), "reply-of-nobody": arping(2, spa="0.0.0.0"),
    "broadcast-address": arping(2, spa="255.255.255.255"), "loopback": arping(2, spa="127.0.0.1"),
    "other-sender": arping(2, sha=STRANGER), "other-frame": arping(2, source=STRANGER),
    "both-other": arping(2, sha=STRANGER, source=STRANGER), "gateways-sender": arping(2, sha=lambda c: c.gate_mac),
    "group-sender": arping(2, sha="01:00:5e:00:00:01"),
    "tail": arping(tail="token"), "long-tail": arping(tail=b"x" * 1000),
    "reverse-request": arping(3), "reverse-reply": arping(4), "in-arp": arping(8), "op-0": arping(0), "op-9": arping(9),
    "op-256": arping(256), "hardware-6": arping(kinds=(6, 0x0800, 6, 4)), "protocol-ip6": arping(kinds=(1, 0x86DD, 6, 4)),
    "lengths-8-4": arping(kinds=(1, 0x0800, 8, 4)), "lengths-6-16": arping(kinds=(1, 0x0800, 6, 16)),
    "lengths-0-0": arping(kinds=(1, 0x0800, 0, 0)),
}


def cut_arp(size):
    return lambda cell, token: arping()(cell, token)[:14 + size]


BAD_ARP |= {f"cut-at-{size}": cut_arp(size) for size in (0, 1, 8, 14, 18, 24, 27)}


def test_arp_for_its_own_addresses_passes(bridged):
    free, held, watcher = bridged
    assert_arrive(free, GOOD_ARP, watcher)
    assert_arrive(held, GOOD_ARP, watcher)


def test_arp_for_others_and_what_is_no_arp(bridged):
    free, held, watcher = bridged
    assert_stopped(free, held, BAD_ARP, watcher)


@pytest.mark.parametrize("padding", [bytes(18), b"eighteen bytes out"], ids=["empty", "payload"])
def test_padding_is_cut_off(bridged, padding):
    """Hardware, and guests that were told of it, fill short frames up to 60 bytes: nothing of that goes on."""
    free, held, watcher = bridged
    padded = {"padded": arping(tail=padding, tpa=lambda c: c.addr4)}
    assert_arrive(free, padded, watcher)
    since, (short,) = watcher.ear.mark(), [arping(tpa=lambda c: c.addr4)(held, b"")]
    held.send(padded["padded"](held, b""))
    until(lambda: short in [f.raw for f in watcher.ear.frames(since)], "it arrives without")
    assert not any(f.raw.startswith(short) and len(f.raw) > len(short) for f in watcher.ear.frames(since))


# ---- neighbour discovery ----

def linklocal(cell):
    mac = packets.mac_bytes(cell.mac)
    return "fe80::" + ":".join(f"{a:02x}{b:02x}" for a, b in zip(*[iter(
        bytes([mac[0] ^ 2]) + mac[1:3] + b"\xff\xfe" + mac[3:])] * 2))


def discovery(build, dst, **options):
    """build(cell, token): the packet."""
    def make(cell, token):
        packet = build(cell, token)
        group = packet[24] == 0xFF
        return ether(packets.group_mac(packet[24:40]) if group else dst(cell) if dst else cell.gate_mac,
                     options.get("source", cell.mac), 0x86DD, packet)
    return make


def ns(src=None, dst=None, target=None, options=None, **changed):
    def build(cell, token):
        what = target(cell) if target else cell.gate6
        extra = options(cell, token) if options else lladdr(1, cell.mac)
        return packets.solicitation(src(cell) if src else cell.addr6, dst(cell) if dst else packets.solicited(what), what,
                                    extra, **changed)
    return discovery(build, None)


def na(src=None, dst=None, target=None, options=None, **changed):
    def build(cell, token):
        extra = options(cell, token) if options else lladdr(2, cell.mac)
        return packets.advertisement(src(cell) if src else cell.addr6, dst(cell) if dst else NODES,
                                     target(cell) if target else cell.addr6, extra, **changed)
    return discovery(build, None)


def rs(src=linklocal, dst=ROUTERS, options=None, **changed):
    def build(cell, token):
        extra = options(cell, token) if options else b""
        return packets.icmp6(src(cell), dst, 133, bytes(4) + extra, **changed)
    return discovery(build, None)


def icmp6(kind, rest, dst=NODES, src=linklocal, **changed):
    return discovery(lambda cell, token: packets.icmp6(src(cell), dst, kind, rest(cell, token), **changed), None)


def unspecified(_):
    return "::"


GOOD_ND = {
    "router-solicitation": rs(options=lambda c, t: lladdr(1, c.mac)), "router-solicitation-of-nobody": rs(unspecified),
    "solicitation": ns(), "solicitation-of-its-link-local": ns(linklocal),
    "solicitation-by-unicast": ns(dst=lambda c: c.gate6),
    "duplicate-detection": ns(unspecified, target=lambda c: c.addr6, options=lambda c, t: b""),
    "duplicate-detection-link-local": ns(unspecified, target=linklocal, options=lambda c, t: b""),
    "advertisement": na(), "advertisement-link-local": na(linklocal, target=linklocal), "answer": na(dst=lambda c: c.gate6),
    "answer-without-options": na(dst=lambda c: c.gate6, options=lambda c, t: b""),
}


def other6(cell):
    return cell.addr6 + "7"


BAD_ND = {
    "advertisement-for-the-gateway": na(target=lambda c: c.gate6),
    "advertisement-as-the-gateway": na(src=lambda c: c.gate6, target=lambda c: c.gate6),
    "advertisement-for-a-neighbour": na(target=other6), "advertisement-as-a-neighbour": na(src=other6),
    "advertisement-of-nobody": na(src=unspecified), "advertisement-of-another-link-local": na(src=lambda c: "fe80::1"),
    "advertisement-others-hardware": na(options=lambda c, t: lladdr(2, STRANGER)),
    "advertisement-gateways-hardware": na(options=lambda c, t: lladdr(2, c.gate_mac)),
    "advertisement-hop-64": na(hops=64), "advertisement-hop-254": na(hops=254), "advertisement-code-1": na(code=1),
    "advertisement-payload": na(options=lambda c, t: lladdr(2, c.mac) + b"\x0e\4" + t + bytes(7)),
    "advertisement-two-addresses": na(options=lambda c, t: lladdr(2, c.mac) + lladdr(2, STRANGER)),
    "advertisement-option-0": na(options=lambda c, t: b"\2\0" + t[:6]),
    "advertisement-other-option": na(options=lambda c, t: b"\x0e\1" + t[:6]),
    "advertisement-half-an-option": na(options=lambda c, t: lladdr(2, c.mac)[:4]),
    "solicitation-as-a-neighbour": ns(other6), "solicitation-as-the-gateway": ns(lambda c: c.gate6),
    "solicitation-hop-1": ns(hops=1), "solicitation-code-7": ns(code=7),
    "solicitation-others-hardware": ns(options=lambda c, t: lladdr(1, STRANGER)),
    "solicitation-nonce": ns(options=lambda c, t: lladdr(1, c.mac) + b"\x0e\4" + t + bytes(7)),
    "solicitation-other-option": ns(options=lambda c, t: b"\x0e\1" + t[:6]),
    "detection-for-the-gateway": ns(unspecified, target=lambda c: c.gate6, options=lambda c, t: b""),
    "detection-for-a-neighbour": ns(unspecified, target=other6, options=lambda c, t: b""),
    "router-solicitation-as-a-neighbour": rs(lambda c: "fe80::1"), "router-solicitation-hop-64": rs(hops=64),
    "router-solicitation-payload": rs(options=lambda c, t: lladdr(1, c.mac) + b"\xfd\4" + t + bytes(7)),
    "router-solicitation-others-hardware": rs(options=lambda c, t: lladdr(1, STRANGER)),
    "router-advertisement": icmp6(134, lambda c, t: struct.pack("!BBHII", 64, 0, 1800, 0, 0) + lladdr(1, c.mac)),
    "router-advertisement-own": icmp6(134, lambda c, t: bytes(12) + t, src=lambda c: c.addr6),
    "redirect": icmp6(137, lambda c, t: bytes(4) + packets.raw(c.addr6) + packets.raw(c.gate6) + t),
    "inverse-solicitation": icmp6(141, lambda c, t: bytes(4) + t), "certification": icmp6(148, lambda c, t: t),
    "listener-query": icmp6(130, lambda c, t: bytes(20) + t, hops=1),
    "listener-report": icmp6(131, lambda c, t: bytes(20) + t),
    "node-query": icmp6(139, lambda c, t: t), "router-renumbering": icmp6(138, lambda c, t: t),
    "duplicate-address-request": icmp6(157, lambda c, t: t), "rpl": icmp6(155, lambda c, t: t),
    "solicitation-behind-options": discovery(lambda c, t: packets.ip6(
        c.addr6, NODES, 0, packets.extension(58) + packets.solicitation(c.addr6, NODES, c.gate6)[40:], hops=255), None),
}


def test_discovery_of_its_own_addresses_passes(bridged):
    free, held, watcher = bridged
    assert_arrive(free, GOOD_ND, watcher)
    assert_arrive(held, GOOD_ND, watcher)


def test_discovery_for_others_and_what_hides_in_it(bridged):
    free, held, watcher = bridged
    assert_stopped(free, held, BAD_ND, watcher)


def test_discovery_for_others_in_open_mode(bridged, lax):
    _, _, watcher = bridged
    assert_silent(lax, BAD_ND | BAD_ARP, watcher)


def test_discovery_leads_nowhere_else(bridged):
    """As a message to somebody far away it is one more way to send bytes: a denied address, and one that is allowed."""
    free, held, _ = bridged
    for dst in ("2606:4700::1111", "2606:2800:220:1::34"):
        assert_stopped(free, held, {
            "solicitation": lambda cell, token, d=dst: cell.frame(
                packets.solicitation(cell.addr6, d, cell.gate6, token + b"x")),
            "advertisement": lambda cell, token, d=dst: cell.frame(
                packets.advertisement(cell.addr6, d, cell.addr6, token + b"x")),
            "router-solicitation": lambda cell, token, d=dst: cell.frame(
                packets.icmp6(cell.addr6, d, 133, bytes(4) + token)),
        })


def test_discovery_of_the_right_shape_does_not_reach_a_denied_address(bridged):
    free, held, _ = bridged
    dst = "2606:4700::1111"
    since = free.net.mark()
    for cell in (held, free):
        cell.send(cell.frame(packets.advertisement(cell.addr6, dst, cell.addr6, lladdr(2, cell.mac))),
                  cell.frame(packets.solicitation(cell.addr6, dst, cell.gate6, lladdr(1, cell.mac))))
    held.fence()
    found = [str(f.src) for f in free.net.seen(dst=dst, since=since)]
    assert found == [free.addr6] * 2, found


# ---- how many ----

@pytest.fixture
def noisy(net, segment, warden):
    with Cell(net, segment) as cell:
        cell.attach(warden, {"allowOut": [ALLOWED4], "denyOut": ["0.0.0.0/0"]})
        yield cell


def flood(cell, watcher, forms, count):
    """How many of them came out, and in which time."""
    since, start = watcher.ear.mark(), time.monotonic()
    frames = [form(cell, b"") for form in forms for _ in range(count)]
    cell.send(*frames)
    took = time.monotonic() - start
    cell.fence()
    # Each reaches two places that the bystander listens at: its own port, and the bridge's.
    made = set(frames)
    return sum(frame.raw in made for frame in watcher.ear.frames(since)) // 2, took


def test_a_flood_is_bounded(bridged, noisy):
    free, _, watcher = bridged
    forms, count = (arping(), ns(), na(), rs()), 1000
    assert flood(free, watcher, forms, count)[0] == 4 * count
    came, took = flood(noisy, watcher, forms, count)
    assert 0 < came <= BURST + 1 + RATE_S * took * 1.1, (came, took)


def test_a_flood_of_others_addresses_does_not_use_up_its_own(bridged, noisy):
    _, _, watcher = bridged
    for _ in range(5):
        assert_silent(noisy, BAD_ARP | BAD_ND, watcher)
    sent = launch(noisy, GOOD_ARP)
    noisy.fence()
    assert len(seen(noisy.net, watcher, sent, None)) == len(sent)
