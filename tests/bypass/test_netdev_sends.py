# SPDX-License-Identifier: MIT
"""
Rows 5 to 7, 9 to 11 and 37 of the netdev kind: every way in which somebody with all privileges can hand a packet to a device.
None is out of sight of the other end; and what is judged is what leaves, whoever goes on writing to it.
"""

import contextlib
import fcntl
import ipaddress
import os
import socket
import struct

import packets
import pytest
from attack import assert_arrive, assert_silent, assert_stopped
from cell import ETHTOOL_STXCSUM, Cell, new_tokens, set_offload
from internet import ALLOWED4, ALLOWED4_NET, ALLOWED6, ALLOWED6_NET, DENIED4, DENIED6, PORT
from netns import shell
from packets import ACK, SYN, UDP, ether
from postern import tool
from rows import CELL_POLICY

SOL_PACKET, PACKET_VNET_HDR, PACKET_QDISC_BYPASS, SO_MARK = 263, 15, 20, 36
UDP_SEGMENT, UDP_CORK, MSG_ZEROCOPY, SO_ZEROCOPY = 103, 1, 0x4000000, 60
NEEDS_CSUM = 1
GSO_TCP4, GSO_UFO, GSO_TCP6, GSO_UDP = 1, 3, 4, 5
ANSWER_MARK = 0x50535401
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 1, 0x1000
DENIED, ALLOWED = (DENIED4, DENIED6), (ALLOWED4, ALLOWED6)


def packet_send(frame, *, options=(), kind=socket.SOCK_RAW, address=None):
    protocol = 0x0800 if frame[12:14] == b"\x08\0" else 0x86DD
    with socket.socket(socket.AF_PACKET, kind, 0) as sock:
        for level, option, value in options:
            sock.setsockopt(level, option, value)
        if address:
            sock.sendto(frame, address)
        else:
            sock.bind(("eth0", protocol))
            sock.send(frame)


def inet_send(dst, data, *, kind=socket.SOCK_DGRAM, protocol=0, options=(), flags=0, port=PORT):
    with socket.socket(socket.AF_INET6 if ":" in dst else socket.AF_INET, kind, protocol) as sock:
        for level, option, value in options:
            sock.setsockopt(level, option, value)
        sock.sendto(data, flags, (dst, port))


def offloaded(frame, *, gso=0, size=0, start=0, at=0, header=0):
    """With the header by which a sender says what is left to do (struct virtio_net_hdr)."""
    return struct.pack("<BBHHHH", NEEDS_CSUM if start else 0, gso, header, size, start, at) + frame


def vnet(dst, gso, size, data_size, *, tcp=False):
    """A large segment, to be cut into pieces of `size` on the way."""
    def make(cell, token):
        data = (token * (data_size // len(token) + 1))[:data_size]
        packet = packets.tcp(cell.own(dst), dst, (9002, PORT), ACK, data) if tcp else \
            packets.udp(cell.own(dst), dst, 9002, PORT, data)
        l4 = 14 + (40 if ":" in dst else 20)
        whole = offloaded(cell.frame(packet), gso=gso, size=size, start=l4, at=16 if tcp else 6,
                          header=l4 + (20 if tcp else 8))
        cell.call(lambda: packet_send_vnet(whole))
    return make


def packet_send_vnet(whole):
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        sock.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        sock.bind(("eth0", 0x0800 if whole[22:24] == b"\x08\0" else 0x86DD))
        sock.send(whole)


def by_dgram(cell, dst, token):
    packet = packets.udp(cell.own(dst), dst, 9000, PORT, token)
    kind = packets.IPV6 if ":" in dst else packets.IPV4
    packet_send(packet, kind=socket.SOCK_DGRAM, address=("eth0", kind, 0, 0, packets.mac_bytes(cell.gate_mac)))


def by_raw_ip(cell, dst, token):
    packet = packets.udp(cell.own(dst), dst, 9000, PORT, token)
    inet_send(dst, packet, kind=socket.SOCK_RAW, protocol=socket.IPPROTO_RAW, port=0)


def by_zerocopy(cell, dst, token):  # pylint: disable=unused-argument
    inet_send(dst, token * 50, options=[(socket.SOL_SOCKET, SO_ZEROCOPY, 1)], flags=MSG_ZEROCOPY)


def by_tun(cell, dst, token):
    """A frame written to a device of its own, and forwarded."""
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", b"tun7", IFF_TUN | IFF_NO_PI))
        shell("ip", "-n", cell.captive.name, "link", "set", "tun7", "up")
        os.write(fd, packets.udp(cell.own(dst), dst, 9000, PORT, token))
    finally:
        os.close(fd)


def ways(dst):
    """name -> form, each by other means."""
    def inside(function, *args, **options):
        return lambda cell, token: cell.call(lambda: function(cell, dst, token, *args, **options))

    def framed(**options):
        return lambda cell, token: cell.call(lambda: packet_send(cell.udp(dst, token), **options))
    forms = {
        "packet": framed(), "packet-dgram": inside(by_dgram),
        "qdisc-bypass": framed(options=[(SOL_PACKET, PACKET_QDISC_BYPASS, 1)]),
        "answer-mark": framed(options=[(socket.SOL_SOCKET, SO_MARK, ANSWER_MARK)]),
        "raw-ip": inside(by_raw_ip), "zerocopy": inside(by_zerocopy),
        "udp": lambda cell, token: cell.call(lambda: inet_send(dst, token)),
        "udp-marked": lambda cell, token: cell.call(
            lambda: inet_send(dst, token, options=[(socket.SOL_SOCKET, SO_MARK, ANSWER_MARK)])),
        "udp-segments": lambda cell, token: cell.call(lambda: inet_send(
            dst, token * 200, options=[(socket.IPPROTO_UDP, UDP_SEGMENT, 1000)])),
        "udp-lite": lambda cell, token: cell.call(lambda: inet_send(dst, token, protocol=136)),
        "ring": lambda cell, token: run(cell, "ring", "eth0", 1, *[cell.udp(dst, token).hex()] * 2),
        "xdp": lambda cell, token: run(cell, "xsk", "eth0", cell.udp(dst, token).hex()),
        "vnet": vnet(dst, 0, 0, 500), "vnet-gso-udp": vnet(dst, GSO_UDP, 1000, 4000),
        "vnet-gso-tcp": vnet(dst, GSO_TCP6 if ":" in dst else GSO_TCP4, 1000, 4000, tcp=True),
        "vnet-ufo": vnet(dst, GSO_UFO, 1000, 4000),
    }
    return {f"{name} {dst}": form for name, form in forms.items()}


def run(cell, name, *args):
    done = cell.run(tool(name, *args))
    assert done.code == 0, done


NOT_AS_THEY_ARE = ("udp-lite", "vnet-ufo")  # never pass: another protocol; made into fragments by whoever cuts it


def test_no_way_of_sending_is_out_of_sight(routed):
    free, held = routed
    assert_stopped(free, held, {name: form for dst in DENIED for name, form in ways(dst).items()})


def test_every_way_of_sending_works_towards_what_is_allowed(routed):
    _, held = routed
    forms = {name: form for dst in ALLOWED for name, form in ways(dst).items() if name.split()[0] not in NOT_AS_THEY_ARE}
    # A TCP segment of no flow: judged by its destination, as its kind says.
    assert_arrive(held, forms)


def test_what_a_tun_device_forwards(routed):
    free, held = routed
    for cell in routed:
        cell.captive.sysctl(net__ipv4__ip_forward=1, net__ipv6__conf__all__forwarding=1,
                            net__ipv4__conf__default__accept_local=1)
    forms = {dst: lambda cell, token, d=dst: cell.call(lambda: by_tun(cell, d, token)) for dst in DENIED + ALLOWED}
    assert_stopped(free, held, {dst: forms[dst] for dst in DENIED})
    assert_arrive(held, {dst: forms[dst] for dst in ALLOWED})


@contextlib.contextmanager
def device_inside(cell, name, kind, *args, addresses=(), below=()):
    """A device that the captive makes, or a skip by name."""
    try:
        cell.captive.ip("link", "add", *below, "name", name, "type", kind, *args)
    except AssertionError as error:
        pytest.skip(f"this kernel has no {kind} devices: {str(error).splitlines()[-1]}")
    try:
        for address in addresses:
            cell.captive.ip("addr", "add", address, "dev", name)
        cell.captive.ip("link", "set", name, "up")
        yield
    finally:
        cell.captive.ip("link", "del", name)


TUNNELS = {
    "vxlan": ["id", "5", "dstport", "4789", "remote", DENIED4], "gre": ["remote", DENIED4], "ipip": ["remote", DENIED4],
    "sit": ["remote", DENIED4], "geneve": ["id", "5", "remote", DENIED4],
}


@pytest.mark.parametrize("kind", TUNNELS)
def test_tunnel_devices_made_inside(routed, kind):
    free, held = routed
    with contextlib.ExitStack() as stack:
        for cell in (free, held):
            local = ["local", cell.addr4] if kind in ("gre", "ipip", "sit") else []
            stack.enter_context(device_inside(cell, "tun8", kind, *TUNNELS[kind], *local, addresses=["10.99.0.1/24"]))
            cell.captive.ip("neigh", "replace", "10.99.0.2", "lladdr", "02:00:00:99:00:02", "dev", "tun8") \
                if kind in ("vxlan", "geneve") else None
        assert_stopped(free, held, {"inner": lambda cell, token: cell.call(lambda: inet_send("10.99.0.2", token))})


@pytest.mark.parametrize("kind", ["macvlan", "vlan"])
def test_other_devices_on_top_of_its_own(bridged, kind):
    """What they send has other hardware addresses, or tags."""
    free, held, watcher = bridged
    args = {"macvlan": ["mode", "bridge"], "vlan": ["id", "7"]}
    with contextlib.ExitStack() as stack:
        for cell in (free, held):
            stack.enter_context(device_inside(cell, "top7", kind, *args[kind], below=["link", "eth0"]))
        assert_stopped(free, held, {"udp": lambda cell, token: top_send(cell, token, watcher)}, watcher)


def test_a_bond_over_its_device(net, warden):
    """The same device under another name."""
    with Cell(net) as free, Cell(net) as held, contextlib.ExitStack() as stack:
        held.attach(warden, CELL_POLICY)
        for cell in (free, held):
            stack.enter_context(device_inside(cell, "top7", "bond", "mode", "active-backup"))
            for words in (["eth0", "down"], ["eth0", "master", "top7"], ["eth0", "up"]):
                cell.captive.ip("link", "set", *words)
        assert_stopped(free, held, ways(DENIED4))


def top_send(cell, token, watcher):
    """A packet that would be allowed, with the address that the device on top has."""
    mac = cell.captive.ip("-br", "link", "show", "dev", "top7").split()[2]
    frame = packets.ether(watcher.mac, mac, 0x0800, packets.udp(cell.addr4, ALLOWED4, 9000, PORT, token))

    def send():
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
            sock.bind(("top7", 0x0800))
            sock.send(frame)
    cell.call(send)


# ---- what changes after it was sent ----

RACES = 12000


def turned(cell, sent, other):
    """How many frames of the two kinds reached the internet: (as sent, as the other)."""
    net, (token,) = cell.net, new_tokens(1)
    since = net.mark()
    run(cell, "ring", "eth0", RACES, sent(cell, token).hex(), other(cell, token).hex())
    cell.fence()
    wanted = [frame.payload for frame in (packets_of(sent(cell, token)), packets_of(other(cell, token)))]
    assert wanted[0] == wanted[1]
    found = [frame for frame in net.sniffer.frames[since:] if token in frame.raw]
    key = {name: (str(f.dst), f.dport) for name, f in (("sent", packets_of(sent(cell, token))),
                                                     ("other", packets_of(other(cell, token))))}
    count = {name: sum((str(f.dst), f.dport) == key[name] and f.protocol == UDP for f in found) for name in key}
    odd = [str(f) for f in found if f.protocol == UDP and (str(f.dst), f.dport) not in key.values()]
    return count, odd


def packets_of(frame):
    import frames  # pylint: disable=import-outside-toplevel
    return frames.parse(frame)


def unsummed(frame):
    """UDP's checksum is left out, so that whatever half is which, it is none of the receiver's business."""
    return frame[:40] + b"\0\0" + frame[42:]


RING = {
    "address": (lambda c, t: unsummed(c.udp(ALLOWED4, t)), lambda c, t: unsummed(c.udp(DENIED4, t))),
    "port": (lambda c, t: unsummed(c.udp(ALLOWED4, t)), lambda c, t: unsummed(c.udp(ALLOWED4, t, port=PORT + 1))),
}


@pytest.fixture
def one_port(net, warden):
    """Nobody but one port of one address of each family."""
    with Cell(net) as cell:
        cell.attach(warden, {"allowOut": [f"{ALLOWED4}:{PORT}", f"[{ALLOWED6}]:{PORT}"], "denyOut": ["0.0.0.0/0"]})
        yield cell


@pytest.mark.parametrize("what", RING)
def test_what_is_judged_is_what_leaves(routed, one_port, what):
    """The ring's pages are the packet's: the sender writes to them while the packet is on its way."""
    free, _ = routed
    for _ in range(5):
        count, _ = turned(free, *RING[what])
        if count["other"]:
            break
    assert count["other"], f"the control never won the race: {count}"
    count, odd = turned(one_port, *RING[what])
    assert count["sent"] and not count["other"] and not odd, (count, odd[:3])


def advertised(cell, target, mac):
    return ether(packets.group_mac(packets.raw("ff02::1")), cell.mac, packets.IPV6, packets.advertisement(
        cell.addr6, "ff02::1", target, packets.lladdr(2, mac)))


STRANGER_MAC = "02:00:66:66:66:66"
def plain(dst, src=None):
    def make(cell, mac):
        packet = packets.udp(src(cell) if src else cell.own(dst), dst, 9000, PORT, b"turned")
        return ether(mac, cell.mac, packets.IPV6 if ":" in dst else packets.IPV4, packet)
    return make


def claiming(address):
    return lambda cell, mac: ether(mac, cell.mac, packets.ARP, packets.arp(2, cell.mac, address(cell), mac, cell.gate4))


def within(net, at, size):
    """Is that part of a frame an address of the net?"""
    return lambda cell, raw: ipaddress.ip_address(raw[at:at + size]) in ipaddress.ip_network(net)


# What is sent, what it turns into, and what of a frame was judged: half turned it may be, if it is allowed as it is. A
# bridge reads none of it: the sender's pages go on as they are.
BRIDGED = {
    "address": (plain(ALLOWED4), plain(DENIED4), within(ALLOWED4_NET, 30, 4)),
    "address-6": (plain(ALLOWED6), plain(DENIED6), within(ALLOWED6_NET, 38, 16)),
    "source": (plain(ALLOWED4), plain(ALLOWED4, lambda c: c.gate4), lambda c, raw: raw[26:30] == packets.raw(c.addr4)),
    "arp": (claiming(lambda c: c.addr4), claiming(lambda c: c.gate4), lambda c, raw: raw[28:32] == packets.raw(c.addr4)),
    "target": (lambda c, mac: advertised(c, c.addr6, c.mac), lambda c, mac: advertised(c, c.gate6, c.mac),
               lambda c, raw: raw[62:78] == packets.raw(c.addr6)),
    "hardware-address": (lambda c, mac: advertised(c, c.addr6, c.mac), lambda c, mac: advertised(c, c.addr6, STRANGER_MAC),
                         lambda c, raw: raw[80:86] == packets.mac_bytes(c.mac)),
}


@pytest.mark.parametrize("what", BRIDGED)
def test_what_is_judged_is_what_a_bridge_passes_on(bridged, what):
    free, held, watcher = bridged
    first, second, is_right = BRIDGED[what]

    def came(cell, count):
        """How many arrived as they may, and in another shape."""
        sent, other = first(cell, watcher.mac), second(cell, watcher.mac)
        since = watcher.ear.mark()
        run(cell, "ring", "eth0", count, sent.hex(), other.hex())
        cell.fence()
        found = [is_right(cell, f.raw) for f in watcher.ear.frames(since) if f.raw[:14] == sent[:14] and len(f.raw) == len(sent)]
        return found.count(True), found.count(False)
    for _ in range(10):
        turned_over = came(free, 2000)[1]
        if turned_over:
            break
    assert turned_over, "the control: it turns on the way"
    right, wrong = came(held, 4000)
    assert right and not wrong, (right, wrong)


@pytest.fixture
def summing(net):
    """The way out finishes checksums itself, behind the verdict, as one does that cannot leave it to hardware."""
    set_offload(net.host, "up0", ETHTOOL_STXCSUM, 0)
    yield
    set_offload(net.host, "up0", ETHTOOL_STXCSUM, 1)


def places(dst):
    """(csum_start, csum_offset): the checksum is put at their sum, which may be anywhere."""
    l3, l4 = (40, 54) if ":" in dst else (20, 34)
    right = (l4, 6)
    return [(start, at) for start in (20, 24, 30, l3, l4 - 2, l4, l4 + 2, l4 + 8)
            for at in range(0, 40, 2) if (start, at) != right]


def rewriting(cell, dst):
    """The frames that left, as (dst, dport, sport) for each that a checksum changed."""
    net, (token,) = cell.net, new_tokens(1)
    since = net.mark()
    frame = cell.udp(dst, token * 4)

    def send_all():
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
            sock.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
            sock.bind(("eth0", packets.IPV6 if ":" in dst else packets.IPV4))
            for start, at in places(dst):
                with contextlib.suppress(OSError):
                    sock.send(offloaded(frame, start=start, at=at))
    cell.call(send_all)
    cell.fence()
    found = [f for f in net.sniffer.frames[since:] if token in f.raw and f.protocol == UDP]
    return {(str(f.dst), f.dport) for f in found} - {(dst, PORT)}


@pytest.mark.parametrize("dst", ALLOWED)
def test_the_checksum_that_is_written_later(routed, one_port, summing, dst):
    """
    Whoever sends says where a checksum is to be put, and whoever finishes the packet puts it there, after the verdict: two
    bytes of the sender's choice, in a port or in the destination's address.
    """
    free, _ = routed
    assert rewriting(free, dst), "the control: nothing was rewritten"
    assert not rewriting(one_port, dst)
    right = 54 if ":" in dst else 34
    assert_arrive(one_port, {"in-its-place": lambda cell, token: cell.call(
        lambda: packet_send_vnet(offloaded(cell.udp(dst, token), start=right, at=6)))})


def test_segments_of_one_packet_are_judged_as_one(one_port):
    """A large send to what is allowed arrives in pieces, all of them; to the next port none does."""
    (token,) = new_tokens(1)
    since = one_port.net.mark()
    data = token + bytes(9000 - len(token))
    one_port.call(lambda: inet_send(ALLOWED4, data, options=[(socket.IPPROTO_UDP, UDP_SEGMENT, 1000)]))
    one_port.fence()
    size = sum(len(f.payload) for f in one_port.net.seen(dst=ALLOWED4, since=since, protocol=UDP) if f.sport != 9000)
    assert size == 9000
    assert_silent(one_port, {"next-port": lambda cell, token: cell.call(lambda: inet_send(
        ALLOWED4, token * 300, options=[(socket.IPPROTO_UDP, UDP_SEGMENT, 1000)], port=PORT + 1))})


def test_a_syn_with_a_large_body(one_port):
    """More than a packet's linear part in one piece, flagged as what opens a connection."""
    def large(cell, token):
        data = token * 60
        packet = packets.tcp(cell.addr4, DENIED4, (9003, PORT), SYN, data)
        cell.call(lambda: packet_send_vnet(offloaded(cell.frame(packet), start=34, at=16, header=54)))
    assert_silent(one_port, {"syn": large})
