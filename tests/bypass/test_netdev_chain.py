# SPDX-License-Identifier: MIT
"""
Where the device stands, and who else has a say there: programs of others before and behind ours, taps, bridges, and what the
host does with an answer; and the hole that DHCP is.
"""

import os
import time

import packets
import pytest
import verdict
from attack import assert_arrive, assert_silent, assert_stopped
from cell import Cell, new_tokens
from internet import ALLOWED4, ALLOWED6, DENIED4, DENIED6, HOST4, PORT
from packets import SYN, UDP, ether
from postern import WITHOUT_TCX
from rows import CELL_POLICY
from wait import until

SIZES = {"answers": (256, 200)}  # PST_ANSWER_BURST, and how many come back a second


def denied_ways(cell=None):  # pylint: disable=unused-argument
    return {f"{name} {dst}": form for dst in (DENIED4, DENIED6) for name, form in {
        "udp": lambda c, t, d=dst: c.udp(d, t), "tcp": lambda c, t, d=dst: c.tcp(d, SYN, t),
        "echo": lambda c, t, d=dst: c.frame(packets.echo(c.own(d), d, 5, t))}.items()}


def allowed_ways():
    return {f"{name} {dst}": form for dst in (ALLOWED4, ALLOWED6) for name, form in {
        "udp": lambda c, t, d=dst: c.udp(d, t), "tcp": lambda c, t, d=dst: c.tcp(d, SYN, t),
        "echo": lambda c, t, d=dst: c.frame(packets.echo(c.own(d), d, 5, t))}.items()}


@pytest.fixture
def free(net):
    with Cell(net) as cell:
        yield cell


@pytest.fixture
def cell(net):
    """Not attached yet."""
    with Cell(net) as cell:
        yield cell


def foreign(cell, value, **options):
    if WITHOUT_TCX:
        pytest.skip("its programs are of TCX, which this run does without")
    try:
        return verdict.Foreign(cell.net.host, cell.index, value, **options)
    except OSError as error:
        pytest.skip(f"this kernel has no TCX: {error}")


def holes(cell):
    return str(cell.box.show()["assurance"])


@pytest.mark.parametrize("value", [verdict.PASS, verdict.NEXT])
def test_a_program_that_was_there_before(free, cell, warden, value):
    """It would let everything pass, and is asked behind ours."""
    with foreign(cell, value):
        cell.attach(warden, CELL_POLICY)
        assert_stopped(free, cell, denied_ways())
        assert_arrive(cell, allowed_ways())
        assert "foreign" not in holes(cell), holes(cell)


def test_a_program_that_comes_behind_ours(cell, warden):
    cell.attach(warden, CELL_POLICY)
    with foreign(cell, verdict.PASS, where=verdict.AFTER):
        assert_silent(cell, denied_ways())
        assert_arrive(cell, allowed_ways())
        assert "foreign" not in holes(cell), holes(cell)


def test_a_program_behind_ours_that_drops_is_asked(cell, warden):
    """"Allow" is not the last word: what else is on the device counts."""
    cell.attach(warden, CELL_POLICY)
    assert_arrive(cell, allowed_ways())
    with foreign(cell, verdict.DROP, where=verdict.AFTER):
        since, (token,) = cell.net.mark(), new_tokens(1)
        cell.send(cell.udp(ALLOWED4, token))
        cell.net.fence()
        assert not cell.net.seen(token=token, since=since)


def test_a_program_that_comes_ahead_of_ours_is_told(cell, warden):
    """Only root of the host can do that; what it lets pass, passes: so it has to be said."""
    cell.attach(warden, CELL_POLICY)
    before = holes(cell)
    with foreign(cell, verdict.NEXT, where=verdict.BEFORE):
        assert holes(cell) != before and "foreign" in holes(cell), holes(cell)
        assert_silent(cell, denied_ways())
    assert holes(cell) == before


def test_programs_of_the_captives_own_change_nothing(cell, free, warden):
    """On its own end of the veth it may do what it likes."""
    cell.attach(warden, CELL_POLICY)
    index = int(cell.captive.ip("-o", "link", "show", "dev", "eth0").split(":")[0])
    for kind in (verdict.TCX_INGRESS, verdict.TCX_EGRESS):
        with verdict.Foreign(cell.captive, index, verdict.PASS, kind=kind):
            assert_stopped(free, cell, denied_ways())


@pytest.mark.skipif(not os.path.exists("/dev/net/tun"), reason="no /dev/net/tun")
def test_behind_a_tap(net, warden):
    """As a microVM is."""
    with Cell(net, kind="tap") as free, Cell(net, kind="tap") as held:
        held.attach(warden, CELL_POLICY)
        assert_stopped(free, held, denied_ways())
        assert_arrive(held, allowed_ways())


def test_a_device_that_changes_under_it(cell, free, warden):
    """Inside, its own end is taken down, renamed, given another hardware address and other addresses."""
    cell.attach(warden, CELL_POLICY)
    for words in (["link", "set", "eth0", "down"], ["link", "set", "eth0", "name", "wan0"], ["link", "set", "wan0", "up"],
                  ["link", "set", "wan0", "name", "eth0"]):
        cell.captive.ip(*words)
    cell.reopen()
    assert_stopped(free, cell, denied_ways())
    own = cell.mac
    cell.captive.ip("link", "set", "eth0", "address", "02:00:66:66:66:02")
    cell.mac = "02:00:66:66:66:02"
    since, (token,) = cell.net.mark(), new_tokens(1)
    cell.send(cell.udp(ALLOWED4, token))
    cell.captive.ip("link", "set", "eth0", "address", own)
    cell.mac = own
    cell.fence()
    assert not cell.net.seen(token=token, since=since)


def test_marks_do_not_cross(bridged, other):
    """What marks our own answers is no pass when the captive writes it on a frame."""
    import socket  # pylint: disable=import-outside-toplevel
    free, held, watcher = bridged

    def marked(dst):
        def form(cell, token):
            frame = ether(dst.mac, cell.mac, packets.IPV4, packets.udp(cell.addr4, ALLOWED4, 9000, PORT, token))

            def send():
                with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
                    sock.setsockopt(socket.SOL_SOCKET, 36, 0x50535401)
                    sock.bind(("eth0", packets.IPV4))
                    sock.send(frame)
            cell.call(send)
        return {"marked": form}
    assert_arrive(held, marked(watcher), watcher)
    for cell in (free, held):
        assert_silent(cell, marked(other), other)


# ---- DHCP ----

def dhcp4(src="0.0.0.0", dst="255.255.255.255", sport=68, port=67, mac=packets.BROADCAST):
    def form(cell, token):
        source, there = (a(cell) if callable(a) else a for a in (src, dst))
        body = bytes.fromhex("01010600") + bytes(24) + packets.mac_bytes(cell.mac) + bytes(202) + \
            bytes.fromhex("63825363 350101") + token
        return cell.frame(packets.udp(source, there, sport, port, body), dst=mac)
    return form


def dhcp6(dst="ff02::1:2", sport=546, port=547, src=None):
    from test_netdev_neighbours import linklocal  # pylint: disable=import-outside-toplevel

    def form(cell, token):
        there = dst(cell) if callable(dst) else dst
        mac = packets.group_mac(packets.raw(there)) if packets.raw(there)[0] == 255 else cell.gate_mac
        return cell.frame(packets.udp(src or linklocal(cell), there, sport, port, b"\1\0\0\1" + token), dst=mac)
    return form


DHCP = {"discover": dhcp4(), "solicit": dhcp6()}
NOT_DHCP = {
    "discover-far": dhcp4(dst=DENIED4), "own-far": dhcp4(src=lambda c: c.addr4, dst=DENIED4),
    "metadata": dhcp4(dst="169.254.169.254"),
    "port-53": dhcp4(port=53), "port-68": dhcp4(port=68), "port-69": dhcp4(port=69), "from-port-67": dhcp4(sport=67),
    "from-port-1000": dhcp4(sport=1000), "as-another": dhcp4(src=DENIED4), "as-the-gateway": dhcp4(src=lambda c: c.gate4),
    "nobody-to-allowed": dhcp4(dst=ALLOWED4, port=PORT), "nobody-tcp": lambda c, t: c.frame(
        packets.tcp("0.0.0.0", ALLOWED4, (68, 67), SYN, t)),
    "solicit-far": dhcp6(dst=DENIED6), "solicit-port-546": dhcp6(port=546), "solicit-from-547": dhcp6(sport=547),
    "solicit-site": dhcp6(dst="ff05::1:3"), "solicit-as-another": dhcp6(src="fe80::1"),
    "own-far-6": dhcp6(dst=DENIED6, src=None), "fragment": lambda c, t: c.frame(packets.ip4(
        "0.0.0.0", "255.255.255.255", UDP, packets.udp_body("0.0.0.0", "255.255.255.255", 68, 67, t), fragment=packets.MF)),
}


@pytest.fixture
def leased(net, segment, warden):
    with Cell(net, segment) as cell:
        cell.attach(warden, CELL_POLICY, dhcp=True)
        yield cell


def test_dhcp_is_a_hole_of_its_size(bridged, leased):
    """With the option: the two ports, on the link. Everything else on them is judged as it is elsewhere."""
    free, _, watcher = bridged
    assert_arrive(free, DHCP | {n: f for n, f in NOT_DHCP.items() if "far" not in n}, watcher)
    assert_arrive(leased, DHCP, watcher)
    assert_silent(leased, NOT_DHCP, watcher)


def test_without_the_option_there_is_no_dhcp(bridged):
    _, held, watcher = bridged
    assert_silent(held, DHCP | NOT_DHCP, watcher)


def test_dhcp_is_bounded(bridged, leased):
    _, _, watcher = bridged
    since, start, (token,) = watcher.ear.mark(), time.monotonic(), new_tokens(1)
    leased.send(*[dhcp4()(leased, token) for _ in range(2000)])
    took = time.monotonic() - start
    leased.fence()
    count = sum(token in f.raw for f in watcher.ear.frames(since)) / 2
    assert 0 < count <= 101 + 50 * took * 1.1, (count, took)


# ---- answers ----

FLOOD = 4000


def answers_to(cell, frames):
    """How many frames came back, and in which time."""
    since, start = cell.ear.mark(), time.monotonic()
    cell.send(*frames)
    cell.fence()
    took = time.monotonic() - start
    return [f for f in cell.ear.frames(since) if f.protocol in (1, 58, 6)], took


@pytest.mark.parametrize("kind", ["udp", "tcp", "echo", "question"])
def test_a_flood_of_denied_packets_is_answered_within_bounds(net, warden, cell, kind):
    from crafted import RESOLVER4  # pylint: disable=import-outside-toplevel
    import dnswire  # pylint: disable=import-outside-toplevel
    cell.attach(warden, {"allowOut": [ALLOWED4, "good.example.com"], "denyOut": ["0.0.0.0/0"]})
    make = {"udp": lambda n: cell.udp(DENIED4, b"x" * 20, sport=1000 + n), "echo": lambda n: cell.frame(
        packets.echo(cell.addr4, DENIED4, n, b"x" * 20)), "tcp": lambda n: cell.tcp(DENIED4, SYN, ports=(1000 + n, PORT)),
        "question": lambda n: cell.udp(RESOLVER4, dnswire.query("off.attacker.test"), 53, 1000 + n)}[kind]
    burst, rate = SIZES["answers"]
    frames = [make(n) for n in range(FLOOD)]
    since, start = cell.ear.mark(), time.monotonic()
    cell.send(*frames)
    cell.fence()
    took = time.monotonic() - start
    peer = RESOLVER4 if kind == "question" else DENIED4
    came = [f for f in cell.ear.frames(since) if str(f.src) == peer]
    assert 0 < len(came) <= burst + 2 + rate * took * 1.1, (len(came), took)
    assert all(len(f.raw) <= len(frames[0]) + 48 for f in came), max(len(f.raw) for f in came)


SILENT = {
    "spoofed": lambda c, t: c.frame(packets.udp(HOST4, DENIED4, 9000, PORT, t)),
    "spoofed-tcp": lambda c, t: c.frame(packets.tcp(ALLOWED4, DENIED4, (9000, PORT), SYN, t)),
    "fragment": lambda c, t: c.frame(packets.ip4(c.addr4, DENIED4, UDP, t, fragment=4)),
    "options": lambda c, t: c.frame(packets.ip4(c.addr4, DENIED4, UDP, packets.udp_body(c.addr4, DENIED4, 1, 2, t),
                                                options=b"\1\1\1\1")),
    "extension": lambda c, t: c.frame(packets.ip6(c.addr6, DENIED6, 60, packets.extension(UDP) + t)),
    "protocol": lambda c, t: c.frame(packets.ip4(c.addr4, DENIED4, 47, t)),
    "reset": lambda c, t: c.tcp(DENIED4, packets.RST, t),
    "error": lambda c, t: c.frame(packets.icmp4(c.addr4, DENIED4, 3, 1, t)),
    "broadcast": lambda c, t: c.frame(packets.udp(c.addr4, DENIED4, 9000, PORT, t), dst=packets.BROADCAST),
    "multicast": lambda c, t: c.frame(packets.udp(c.addr4, "239.1.2.3", 9000, PORT, t), dst="01:00:5e:01:02:03"),
    "echo-reply": lambda c, t: c.frame(packets.echo(c.addr4, DENIED4, 5, t, reply=True)),
    "other-hardware": lambda c, t: ether(c.gate_mac, "02:00:66:66:66:66", packets.IPV4,
                                         packets.udp(c.addr4, DENIED4, 9000, PORT, t)),
    "vlan": lambda c, t: ether(c.gate_mac, c.mac, 0x8100, b"\0\5\x08\0" + packets.udp(c.addr4, DENIED4, 9000, PORT, t)),
}


def test_what_is_not_understood_is_not_answered(bridged):
    """And nothing of what it sends makes somebody else hear an answer."""
    _, held, watcher = bridged
    before, beside = held.ear.mark(), watcher.ear.mark()
    assert_silent(held, SILENT)
    heard = [f for f in held.ear.frames(before) if f.protocol in (1, 58, 6) and str(f.src) in (DENIED4, DENIED6, "239.1.2.3")]
    assert not heard, [str(f) for f in heard]
    assert not [f for f in watcher.ear.frames(beside) if str(f.src) in (DENIED4, DENIED6)]


def test_denials_can_be_silent(net, warden, cell):
    cell.attach(warden, CELL_POLICY, denySilently=True)
    since = cell.ear.mark()
    assert_silent(cell, denied_ways())
    assert not [f for f in cell.ear.frames(since) if str(f.src) in (DENIED4, DENIED6)]


def test_answers_come_to_nobody_else(bridged):
    """The control of silence: what is denied in the ordinary way is answered, to whom it was that asked."""
    _, held, watcher = bridged
    since, beside = held.ear.mark(), watcher.ear.mark()
    assert_silent(held, denied_ways())
    until(lambda: {str(f.src) for f in held.ear.frames(since)} >= {DENIED4, DENIED6}, "it is answered")
    assert not [f for f in watcher.ear.frames(beside) if str(f.src) in (DENIED4, DENIED6)]
