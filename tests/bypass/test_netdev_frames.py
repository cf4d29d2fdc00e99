# SPDX-License-Identifier: MIT
"""
Row 29, 27 and 31 of the netdev kind: frames that are no plain IP, IP that is not what its frame says, headers that lie, and
hardware addresses that are somebody else's. Three on one bridge: who is held, who is free, and a bystander who listens.
"""

import re
import socket
import struct
from collections import Counter

import packets
from attack import assert_arrive, assert_silent, assert_stopped
from internet import ALLOWED4, ALLOWED6, DENIED4, DENIED6, PORT
from packets import ACK, ICMP, SYN, UDP, ether
from wait import until

STRANGER_MAC = "02:00:66:66:66:66"


def inner4(cell, token, dst=ALLOWED4):
    """A packet that is allowed as such."""
    return packets.udp(cell.addr4, dst, 9000, PORT, token)


def inner6(cell, token, dst=ALLOWED6):
    return packets.udp(cell.addr6, dst, 9000, PORT, token)


def tagged(*tags):
    """Around an allowed packet: (ethertype, tag control) from the outermost on."""
    def make(cell, token, dst):
        head = b"".join(struct.pack("!HH", kind, control) for kind, control in tags)
        return ether(dst, cell.mac, head + b"\x08\0", inner4(cell, token))
    return make


def typed(kind, before=b"", inner=inner4):
    """Another protocol's ethertype before something of its own and an allowed packet."""
    return lambda cell, token, dst: ether(dst, cell.mac, kind, before + inner(cell, token))


def llc(head, inner=inner4):
    """IEEE 802.3: a length in the ethertype's place."""
    def make(cell, token, dst):
        body = head + inner(cell, token)
        return ether(dst, cell.mac, len(body), body)
    return make


TAGGED = {
    "802.1q": tagged((0x8100, 5)),
    "priority-tag": tagged((0x8100, 0)),
    "priority-tag-7": tagged((0x8100, 0xE000)),
    "drop-eligible": tagged((0x8100, 0x1005)),
    "802.1ad": tagged((0x88A8, 7)),
    "qinq": tagged((0x88A8, 7), (0x8100, 5)),
    "qinq-8100": tagged((0x8100, 7), (0x8100, 5)),
    "qinq-9100": tagged((0x9100, 7), (0x8100, 5)),
    "9100": tagged((0x9100, 7)),
    "9200": tagged((0x9200, 7)),
    "three-tags": tagged((0x8100, 7), (0x8100, 5), (0x8100, 3)),
    "arp-in-a-tag": lambda cell, token, dst: ether(
        dst, cell.mac, struct.pack("!HHH", 0x8100, 5, 0x0806),
        packets.arp(1, cell.mac, cell.addr4, "00:00:00:00:00:00", cell.gate4, token)),
}

OTHER_TYPES = {
    "pppoe-session": typed(0x8864, bytes.fromhex("110000010030 0021")),
    "pppoe-discovery": typed(0x8863, bytes.fromhex("1109000000300101")),
    "mpls": typed(0x8847, bytes.fromhex("00064140")),
    "mpls-multicast": typed(0x8848, bytes.fromhex("00064140")),
    "lldp": typed(0x88CC, bytes.fromhex("020704")),
    "eapol": typed(0x888E),
    "macsec": typed(0x88E5, bytes.fromhex("2c00 00000001")),
    "wake-on-lan": typed(0x0842),
    "local-experimental": typed(0x88B5),
    "loopback-test": typed(0x9000),
    "hsr": typed(0x892F, bytes.fromhex("00340001 0800")),
    "profinet": typed(0x8892),
    "batman": typed(0x4305),
    "gre-teb": typed(0x6558),
    "ipx": typed(0x8137),
    "rarp": typed(0x8035),
    "zero": typed(0x0001),
    "ffff": typed(0xFFFF),
    "llc": llc(b"\xaa\xaa\3\0\0\0\x08\0"),
    "llc-stp": llc(b"\x42\x42\3"),
    "llc-netware": llc(b"\xff\xff"),
    "llc-ip6": llc(b"\xaa\xaa\3\0\0\0\x86\xdd", inner6),
    "ip4-called-ip6": typed(0x86DD),
    "ip6-called-ip4": typed(0x0800, inner=inner6),
}


def to(watcher, forms):
    """The forms as the table's users want them: towards the bystander."""
    return {name: (lambda cell, token, form=form: form(cell, token, watcher.mac)) for name, form in forms.items()}


def test_tags_hide_nothing(bridged):
    free, held, watcher = bridged
    assert_stopped(free, held, to(watcher, TAGGED), watcher)


def test_other_ethertypes(bridged):
    free, held, watcher = bridged
    assert_stopped(free, held, to(watcher, OTHER_TYPES), watcher)


def test_what_is_allowed_reaches_the_bystanders_port(bridged):
    """The control of both: what tags and types go around, itself."""
    _, held, watcher = bridged
    assert_arrive(held, to(watcher, {"ip4": typed(0x0800), "ip6": typed(0x86DD, inner=inner6)}), watcher)


# ---- lengths and versions that lie ----

def lying4(**lies):
    def make(cell, token, dst):
        body = packets.udp_body(cell.addr4, ALLOWED4, 9000, PORT, token)
        return ether(dst, cell.mac, 0x0800, packets.ip4(cell.addr4, ALLOWED4, UDP, body, **lies))
    return make


def lying6(**lies):
    def make(cell, token, dst):
        body = packets.udp_body(cell.addr6, ALLOWED6, 9000, PORT, token)
        return ether(dst, cell.mac, 0x86DD, packets.ip6(cell.addr6, ALLOWED6, UDP, body, **lies))
    return make


def lying_tcp(flags, offset):
    def make(cell, token, dst):
        body = packets.tcp_body(cell.addr4, ALLOWED4, (9000, PORT), flags, token, offset=offset)
        return ether(dst, cell.mac, 0x0800, packets.ip4(cell.addr4, ALLOWED4, 6, body))
    return make


LIES = {
    "version-0": lying4(version=0), "version-5": lying4(version=5), "version-6": lying4(version=6),
    "version-15": lying4(version=15),
    "ihl-0": lying4(ihl=0), "ihl-2": lying4(ihl=2), "ihl-4": lying4(ihl=4),
    "ihl-6-without-options": lying4(ihl=6), "ihl-15-beyond": lying4(ihl=15),
    "length-0": lying4(length=0), "length-19": lying4(length=19), "length-20": lying4(length=20),
    "length-27": lying4(length=27), "length-beyond": lying4(length=1400), "length-65535": lying4(length=65535),
    "ip6-version-4": lying6(version=4), "ip6-version-0": lying6(version=0), "ip6-version-7": lying6(version=7),
    "ip6-length-0": lying6(length=0), "ip6-length-7": lying6(length=7), "ip6-length-beyond": lying6(length=1400),
    "tcp-offset-0": lying_tcp(ACK, 0), "tcp-offset-4": lying_tcp(SYN, 4), "tcp-offset-15-beyond": lying_tcp(SYN, 15),
}


def test_headers_that_lie(bridged):
    free, held, watcher = bridged
    assert_stopped(free, held, to(watcher, LIES), watcher)


def cut(cell, dst):
    """Packets that end before their headers do: nothing in them could be a token, so that they are told by their sizes."""
    for packet, sizes in ((inner4(cell, b""), range(0, 28)), (inner6(cell, b""), range(0, 48)),
                          (packets.tcp(cell.addr4, ALLOWED4, (9000, PORT), SYN), range(20, 40)),
                          (packets.tcp(cell.addr6, ALLOWED6, (9000, PORT), SYN), range(40, 60))):
        for size in sizes:
            yield ether(dst, cell.mac, packets.IPV4 if packet[0] >> 4 == 4 else packets.IPV6, packet[:size])


def test_packets_cut_at_every_byte(bridged):
    free, held, watcher = bridged
    since = watcher.ear.mark()
    for cell in (held, free):
        cell.send(*cut(cell, watcher.mac))
    held.fence()
    # Among whatever else its kernel says now and then, such as router solicitations.
    wanted = Counter(cut(free, watcher.mac))
    until(lambda: wanted <= Counter(f.raw for f in watcher.ear.frames(since)), "the control's arrive")
    assert not [f for f in watcher.ear.frames(since)
                if f.raw[:12] == packets.mac_bytes(watcher.mac) + packets.mac_bytes(held.mac)]


# ---- IPv4 options ----

OPTIONS = {
    "lsrr": b"\x83\x07\x04" + socket.inet_aton(DENIED4),
    "ssrr": b"\x89\x07\x04" + socket.inet_aton(DENIED4),
    "record-route": b"\x07\x0b\x04" + bytes(8),
    "timestamp": b"\x44\x0c\x05\0" + bytes(8),
    "router-alert": b"\x94\4\0\0",
    "security": b"\x82\x0b" + bytes(9),
    "nop": b"\1\1\1\1",
    "end": b"\0\0\0\0",
    "forty-bytes": b"\1" * 40,
}


def with_options(options, protocol=UDP):
    def make(cell, token, dst):
        body = packets.udp_body(cell.addr4, ALLOWED4, 9000, PORT, token) if protocol == UDP else \
            packets.tcp_body(cell.addr4, ALLOWED4, (9000, PORT), SYN, token)
        return ether(dst, cell.mac, 0x0800, packets.ip4(cell.addr4, ALLOWED4, protocol, body, options=options))
    return make


def test_ip4_options(bridged):
    free, held, watcher = bridged
    forms = {f"{name}-{protocol}": with_options(options, protocol) for name, options in OPTIONS.items()
             for protocol in (UDP, 6)}
    assert_stopped(free, held, to(watcher, forms), watcher)


# ---- hardware addresses ----

def from_mac(mac):
    def make(cell, token, dst):
        source = mac(cell) if callable(mac) else mac
        return ether(dst, source, 0x0800, inner4(cell, token))
    return make


def test_hardware_addresses_of_others(bridged):
    free, held, watcher = bridged
    forms = {
        "stranger": from_mac(STRANGER_MAC), "bystander": from_mac(watcher.mac), "gateway": from_mac(lambda c: c.gate_mac),
        "zero": from_mac("00:00:00:00:00:00"), "broadcast": from_mac(packets.BROADCAST),
        "group": from_mac("01:00:5e:00:00:01"), "almost": from_mac(lambda c: c.mac[:-1] + "3"),
    }
    # A bridge itself takes no frame from these, and the bystander's would be learned: they are for the verdict alone.
    alone = ("broadcast", "group", "zero", "gateway", "bystander")
    assert_arrive(free, to(watcher, {n: f for n, f in forms.items() if n not in alone}), watcher)
    assert_silent(held, to(watcher, forms), watcher)


def test_the_bystanders_place_cannot_be_taken(bridged):
    """A frame with its address would teach the bridge that it is here, and the next frames for it would come here."""
    free, held, watcher = bridged
    ip4 = to(watcher, {"ip4": typed(0x0800)})
    lesson = ether(packets.BROADCAST, watcher.mac, 0x0800, inner4(held, b"x"))
    held.send(lesson)
    held.fence()
    assert_arrive(free, ip4, watcher)
    free.send(lesson)
    assert_silent(held, ip4, watcher)
    watcher.send(watcher.udp(ALLOWED4, b"here"))
    until(lambda: watcher.heard([b"again"]) or held.send(ether(watcher.mac, held.mac, 0x0800, inner4(held, b"again"))),
          "it is here again")


def test_an_allowed_address_by_the_hardware_address_of_another_sandbox(bridged, other):
    """The bridge delivers by hardware address: another sandbox's port admits nobody whom its policy does not."""
    free, held, watcher = bridged
    forms = {"ip4": typed(0x0800), "ip6": typed(0x86DD, inner=inner6)}
    assert_arrive(held, to(watcher, forms), watcher)
    for sender in (free, held):
        assert_silent(sender, to(other, forms), other)


def test_ping_of_every_size_and_type(bridged):
    """ICMP is echo requests, and only those."""
    free, held, watcher = bridged
    kinds = [t for t in range(0, 45) if t not in (3, 4, 5, 11, 12, 8, 0)] + [253, 254]
    forms = {f"icmp-{kind}": lambda cell, token, dst, k=kind: ether(
        dst, cell.mac, 0x0800, packets.icmp4(cell.addr4, ALLOWED4, k, 0, bytes(4) + token)) for kind in kinds}
    forms |= {f"icmp6-{kind}": lambda cell, token, dst, k=kind: ether(
        dst, cell.mac, 0x86DD, packets.icmp6(cell.addr6, ALLOWED6, k, bytes(4) + token, hops=64))
        for kind in (100, 101, 127, 130, 131, 132, 138, 139, 140, 141, 143, 148, 151, 160, 200, 255)}
    forms["echo-code-1"] = lambda cell, token, dst: ether(
        dst, cell.mac, 0x0800, packets.echo(cell.addr4, ALLOWED4, 7, token, code=1))
    assert_stopped(free, held, to(watcher, forms), watcher)
    assert_arrive(held, {"echo": lambda cell, token: cell.frame(packets.echo(cell.addr4, ALLOWED4, 7, token)),
                         "echo6": lambda cell, token: cell.frame(packets.echo(cell.addr6, ALLOWED6, 7, token))})
    assert_stopped(free, held, {
        "echo-denied": lambda cell, token: cell.frame(packets.echo(cell.addr4, DENIED4, 7, token)),
        "echo6-denied": lambda cell, token: cell.frame(packets.echo(cell.addr6, DENIED6, 7, token)),
        "reply-denied": lambda cell, token: cell.frame(packets.echo(cell.addr4, DENIED4, 8, token, reply=True)),
        "reply6-denied": lambda cell, token: cell.frame(packets.echo(cell.addr6, DENIED6, 8, token, reply=True)),
    })


def test_protocols(bridged):
    """Every protocol but TCP, UDP and ICMP, to an allowed address: tunnels, SCTP, and what has no name."""
    free, held, watcher = bridged
    forms = {}
    for protocol in range(256):
        if protocol not in (ICMP, 6, UDP):
            forms[f"ip4-{protocol}"] = lambda cell, token, dst, p=protocol: ether(
                dst, cell.mac, 0x0800, packets.ip4(cell.addr4, ALLOWED4, p, token + inner4(cell, token, DENIED4)))
        if protocol not in (6, UDP, 58):
            forms[f"ip6-{protocol}"] = lambda cell, token, dst, p=protocol: ether(
                dst, cell.mac, 0x86DD, packets.ip6(cell.addr6, ALLOWED6, p, token + inner6(cell, token, DENIED6)))
    assert_stopped(free, held, to(watcher, forms), watcher)


def reasons(warden):
    """reason -> denials so far, of all sandboxes."""
    text = warden.get("/metrics").body.decode()
    return {reason: int(count) for reason, count in re.findall(
        r'^postern_denials_total\{reason="([^"]+)"\} (\d+)', text, re.M)}


def test_each_denial_is_counted_with_its_reason(warden, bridged):
    _, held, watcher = bridged
    tables = {"vlan": ("802.1q", TAGGED), "protocol": ("mpls", OTHER_TYPES), "malformed": ("version-6", LIES)}
    forms = {reason: to(watcher, {name: table[name]}) for reason, (name, table) in tables.items()}
    forms["ip-options"] = to(watcher, {"lsrr": with_options(OPTIONS["lsrr"])})
    forms["spoofed"] = to(watcher, {"stranger": from_mac(STRANGER_MAC)})
    for reason, form in forms.items():
        before = reasons(warden).get(reason, 0)
        assert_silent(held, form, watcher)
        until(lambda r=reason, b=before: reasons(warden).get(r, 0) > b, f"{reason} is counted")
