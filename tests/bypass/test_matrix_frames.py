# SPDX-License-Identifier: MIT
"""
Rows 2, 5, 7, 9, 10, 26 to 35 behind a device, in each mode, by TCX and by clsact: the tables of frames of the other
test_netdev_*.py. The bystander's port is the oracle, whatever a router would have thought of it.
"""

import contextlib

import packets
import pytest
import test_netdev_frames as frames
import test_netdev_neighbours as neighbours
import test_netdev_packets as ip
from attack import assert_arrive, launch, seen
from cell import Cell, Watcher
from crafted import RESOLVER4, RESOLVER6
from daemon import Daemon
from evidence import CLSACT, DENY_ALL, NOW, OPEN, TCX
from internet import ALLOWED4, ALLOWED6, DENIED4, DENIED6
from matrix import POLICIES, label, places
from packets import ICMP, UDP
from postern import NO_TCX

LASTING = {"PST_TEST": "matrix"}
PLACES = places(TCX, CLSACT)


def other_protocols():
    forms = {}
    for n in range(256):
        if n not in (ICMP, 6, UDP):
            forms[f"ip4-{n}"] = lambda cell, token, p=n: packets.ip4(
                cell.addr4, ALLOWED4, p, token + frames.inner4(cell, token, DENIED4))
        if n not in (6, UDP, 58):
            forms[f"ip6-{n}"] = lambda cell, token, p=n: packets.ip6(
                cell.addr6, ALLOWED6, p, token + frames.inner6(cell, token, DENIED6))
    return forms


def other_messages():
    """ICMP that is no echo; what may be an answer of the kernel's own to somebody is left out."""
    kinds = [n for n in range(45) if n not in (0, 3, 4, 5, 8, 11, 12)] + [253, 254]
    forms = {f"icmp-{n}": lambda cell, token, k=n: packets.icmp4(cell.addr4, ALLOWED4, k, 0, bytes(4) + token) for n in kinds}
    return forms | {f"icmp6-{n}": lambda cell, token, k=n: packets.icmp6(cell.addr6, ALLOWED6, k, bytes(4) + token, hops=64)
                    for n in (100, 101, 127, 138, 139, 140, 200, 255)}


def options4():
    return {f"{name}-{protocol}": frames.with_options(options, protocol) for name, options in frames.OPTIONS.items()
            for protocol in (UDP, 6)}


def hidden(*addresses):
    return {f"{name} {dst}": form for dst in addresses for name, form in ip.hidden(dst).items()}


def nowhere():
    """Where no policy lets anybody go, of every kind."""
    return {name: form for dst in ip.NEVER for name, form in ip.reach(dst).items()}


def lateral(cell):
    return {name: form for dst in (cell.addr4, cell.addr6) for name, form in ip.reach(dst).items()}


# row -> (what it is made by, forms). "packet": an IP packet; "frame": with the bystander's address; "whole": as it is.
TABLES = {
    2: ("packet", lambda mode: hidden(*((DENIED4, DENIED6) if mode != OPEN else ("169.254.169.254", "fd00:ec2::254")))),
    9: ("packet", lambda mode: other_messages()),
    10: ("packet", lambda mode: other_protocols()),
    26: ("packet", lambda mode: ip.FRAGMENTS),
    27: ("frame", lambda mode: options4()),
    28: ("packet", lambda mode: ip.HEADERS),
    29: ("frame", lambda mode: frames.TAGGED | frames.OTHER_TYPES),
    30: ("whole", lambda mode: neighbours.BAD_ARP),
    31: ("packet", lambda mode: {f"{n}-{p}": ip.from_source(s, p) for n, s in ip.SOURCES.items()
                                 for p in ("udp", "tcp", "echo", "dns")}),
    32: ("packet", lambda mode: {name: form for name, form in nowhere().items() if any(
        f" {group}" in name for group in ("224.", "239.", "255.", "ff0"))}),
    33: ("packet", lambda mode: {name: form for name, form in nowhere().items() if any(
        part in name for part in ("169.254.", "168.63", "100.100", "ec2::"))}),
    34: ("packet", lambda mode: nowhere()),
    37: ("frame", lambda mode: frames.LIES),
}


class Segment:
    """A bridge of this file's own: who is free, who listens, and who is held, for each place."""

    def __init__(self, net, bridge):
        self.net, self.bridge, self._stack = net, bridge, contextlib.ExitStack()
        self._keepers = self._stack.enter_context(contextlib.ExitStack())  # their daemons: closed last
        self.free, self.watcher = (self._stack.enter_context(c) for c in (Cell(net, bridge), Watcher(net, bridge)))
        self._held, self._daemons, self._arrived, self._numbers = {}, {}, set(), 0

    def held(self, kind, mode):
        key = kind, mode
        if key not in self._held:
            self._held[key] = self._stack.enter_context(Cell(self.net, self.bridge))
            self._held[key].attach(self.daemon(kind), POLICIES[mode])
            assert self._held[key].held[0] == kind
        self._held[key].say()
        return self._held[key]

    def daemon(self, kind):
        if kind not in self._daemons:
            made = self._keepers.enter_context(Daemon(self.net, start=False, resolvers=[RESOLVER4, RESOLVER6]))
            self._daemons[kind] = made.start(env={**LASTING, **(NO_TCX if kind == CLSACT else {})})
        return self._daemons[kind]

    def control(self, key, forms):
        """Nobody holds it back: every form arrives. Once for each table."""
        if key not in self._arrived:
            assert_arrive(self.free, forms, self.watcher)
            self._arrived.add(key)

    def silent(self, cell, forms):
        """None of them arrives, and what passes in every mode (ARP for its own address), sent behind them, does."""
        since = self.watcher.ear.mark()
        sent = launch(cell, forms)
        assert_arrive(cell, {"arp": neighbours.GOOD_ARP["announcement"]}, self.watcher)
        found = sorted(seen(self.net, self.watcher, sent, since))
        NOW.tried(len(forms))
        assert not found, f"these got out: {found}"

    def close(self):
        self._stack.close()


@pytest.fixture(scope="module", name="place")
def place_fixture(net, segment):
    made = Segment(net, segment)
    yield made
    made.close()


def made_by(how, forms, watcher):
    if how == "packet":
        return ip.to(watcher, forms)
    return frames.to(watcher, forms) if how == "frame" else forms


CASES = [(row, kind, mode) for kind, mode in PLACES for row in TABLES]


@pytest.mark.parametrize("row,kind,mode", CASES, ids=[f"row{row}-{label((kind, mode))}" for row, kind, mode in CASES])
def test_every_frame(place, row, kind, mode):
    how, table = TABLES[row]
    forms = made_by(how, table(mode), place.watcher)
    place.control((row, mode == OPEN), forms)
    place.silent(place.held(kind, mode), forms)


@pytest.mark.parametrize("kind,mode", PLACES, ids=[label(p) for p in PLACES])
def test_another_sandbox_on_the_bridge(net, segment, place, kind, mode):
    """Row 35: each mode towards one that may not be called."""
    with Cell(net, segment) as other:
        other.attach(place.daemon(kind), {**POLICIES[DENY_ALL], "inbound": "deny"})
        held = place.held(kind, mode)
        forms = ip.to(other, lateral(other))
        assert_arrive(place.free, ip.to(place.watcher, lateral(place.watcher)), place.watcher)
        since = other.ear.mark()
        sent = launch(held, forms)
        assert_arrive(held, {"arp": neighbours.GOOD_ARP["announcement"]}, place.watcher)
        found = sorted(seen(net, other, sent, since))
        NOW.tried(len(forms))
        assert not found, f"these got out: {found}"

