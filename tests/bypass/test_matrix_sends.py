# SPDX-License-Identifier: MIT
"""
Rows 2 to 5, 9 to 12, 24, 26 to 28, 33 and 50, in each mode and by whatever holds the sandbox: every way in which a program
with all privileges sends. Where a mode denies only what no policy opens (open), that is where it sends to.
"""

import contextlib
import shlex

import pytest

from daemon import Daemon
from evidence import CGROUP, CLSACT, NOW, OPEN, TCX
from internet import ALLOWED4, ALLOWED6, DENIED4, DENIED6, PORT, canary
from matrix import ALONE, POLICIES, label, places
from netns import shell
from postern import NO_TCX, execute, fill, flow, tool
from wait import until
from wire import Wire

META4, META6 = "169.254.169.254", "fd00:ec2::254"
LASTING = {"PST_TEST": "matrix"}  # what ends with a test has another mark
KINDS = (CGROUP, ALONE, TCX, CLSACT)


def raw(*args):
    return tool("raw", *args)


def options(*args):
    return tool("options", *args)


def ways(mode):
    """row -> name -> command line. The first half goes where this mode lets nobody go, the second is refused wherever it goes."""
    d4, d6 = (META4, META6) if mode == OPEN else (DENIED4, DENIED6)
    by = {
        2: {f"{way} {to}": flow(way, to, PORT, "CANARY") for way in ("udp", "udp-connected") for to in (d4, d6)},
        3: {f"{way} mapped": flow(way, f"::ffff:{d4}", PORT, "CANARY") for way in ("tcp", "udp", "udp-connected")},
        4: {name: flow("udp", to, PORT, "CANARY") for name, to in (
            ("nat64", f"64:ff9b::{d4}"), ("nat64 of one's own", "64:ff9b:1::5db8:d822"), ("6to4", "2002:5db8:d822::1"),
            ("teredo", "2001:0:5db8:d822::1"), ("compatible", f"::{ALLOWED4}"))},
        5: {"ipip": raw("ip", ALLOWED4, 4, "CANARYCANARYCANARY"), "ipv6": raw("ip", ALLOWED4, 41, "CANARYCANARYCANARY"),
            "gre": raw("ip", ALLOWED4, 47, "CANARYCANARYCANARY"), "esp": raw("ip", ALLOWED4, 50, "CANARYCANARYCANARY"),
            "ah": raw("ip", ALLOWED4, 51, "CANARYCANARYCANARY"), "gre6": raw("ip", ALLOWED6, 47, "CANARYCANARYCANARY"),
            "connected": raw("ip-connected", ALLOWED4, 47, "CANARYCANARYCANARY"),
            "header says another": raw("hdrincl", d4, ALLOWED4, PORT, "CANARY"), "udp by hand": raw("ip", d4, 17, "CANARYCANARY")},
        9: {"ping": raw("ping", d4, "CANARY"), "ping6": raw("ping", d6, "CANARY"), "raw ping": raw("raw-ping", d4, "CANARY"),
            **{f"icmp {n}": raw("icmp", ALLOWED4, n, "CANARY") for n in (13, 15, 17, 30, 42, 253)}},
        10: {"udp-lite": flow("udplite", ALLOWED4, PORT, "CANARY"), "udp-lite denied": flow("udplite", d4, PORT, "CANARY"),
             **{f"protocol {n}": raw("ip", ALLOWED4, n, "CANARYCANARYCANARY") for n in (132, 33, 136)}},
        11: {f"{way} {to}": flow(way, to, PORT, "CANARY") for way in ("tfo", "tfo-connect") for to in (d4, d6)},
        12: {f"{how} {way}": tool("uring", how, way, d4, PORT, "CANARY") for how in ("inline", "async", "sqpoll")
             for way in ("tcp", "udp")},
        24: {"marked": flow("-n", "-m", 0x50535401, "udp", d4, PORT, "CANARY"),
             "as the relay's": flow("-n", "-m", 0x50535202, "udp", d4, PORT, "CANARY"),
             "transparent": flow("-n", "-t", "-s", ALLOWED4, "udp", d4, PORT, "CANARY")},
        26: {"fragments": raw("fragments", ALLOWED4, PORT, "CANARYCANARYCANARY"),
             "fragments denied": raw("fragments", d4, PORT, "CANARYCANARYCANARY")},
        27: {name: options(*args, PORT, "CANARY") for name, args in (
            ("record route", ("record-route", ALLOWED4)), ("padding", ("nop", ALLOWED4)),
            ("beside: record route", ("beside-record-route", ALLOWED4)),
            ("source route by a denied hop", ("beside-lsrr", d4, ALLOWED4)),
            ("source route to a denied address", ("beside-lsrr", ALLOWED4, d4)))},
        28: {name: options(*args, PORT, "CANARY") for name, args in (
            ("segments", ("segments", ALLOWED6, d6)), ("hop by hop", ("hop-by-hop", ALLOWED6)),
            ("destination", ("destination", ALLOWED6)), ("chain", ("chain", ALLOWED6)),
            ("beside: hop by hop", ("beside-hop-by-hop", ALLOWED6)), ("beside: destination", ("beside-destination", ALLOWED6)))},
        33: {f"{way} {to}": flow(way, to, PORT, "CANARY") for way in ("tcp", "udp") for to in (
            META4, META6, "169.254.170.2", "168.63.129.16", "100.100.100.200", f"::ffff:{META4}", f"64:ff9b::{META4}")},
    }
    if mode != OPEN:
        by[50] = {f"{way} {to}:{port}": flow(way, to, port, "CANARY") for way, to, port in (
            ("udp", DENIED4, 53), ("tcp", DENIED4, 53), ("tcp", DENIED4, 853), ("udp", DENIED6, 53), ("udp", DENIED4, 443))}
    return by


def at_once(commands):
    """All of them beside each other: where the packet hooks are alone, TCP waits in vain."""
    return ["sh", "-c", " & ".join(shlex.join(["timeout", "2", *command]) for command in commands) + " & wait"]


class Stage:
    """Daemons, the sandboxes of all places, and who stands beside them."""

    def __init__(self, net):
        self.net, self._boxes, self._arrived, self._stack = net, {}, set(), contextlib.ExitStack()
        self._daemons, self._beside = {}, None

    def daemon(self, kind):
        old = kind == CLSACT
        if old not in self._daemons:
            made = self._stack.enter_context(Daemon(self.net, start=False, resolvers=[]))
            self._daemons[old] = made.start(env={**LASTING, **(NO_TCX if old else {})})
        return self._daemons[old]

    def _wire(self):
        wire = self._stack.enter_context(Wire(self.net))
        wire.captive.sysctl(net__ipv4__tcp_fastopen=5)
        self.net.host.sysctl(net__ipv4__conf__all__accept_source_route=1)
        self.net.host.sysctl(**{f"net__ipv4__conf__{wire.device}__accept_source_route": 1})
        return wire

    def box(self, kind, mode):
        if (kind, mode) not in self._boxes:
            if kind == ALONE:
                self._alone()
            else:
                self._boxes[kind, mode] = self._enter(kind, mode)
        found = self._boxes[kind, mode]
        found.say(POLICIES[mode])
        return found

    def _enter(self, kind, mode):
        daemon, name = self.daemon(kind), f"m{len(self._boxes)}"
        if kind in (TCX, CLSACT):
            box = self._wire().attach(daemon, POLICIES[mode], name)
            assert daemon.tc(name) == kind
            return box
        box = daemon.attach(name, daemon.cgroup(name), POLICIES[mode])
        return box

    def _alone(self):
        """A daemon that is gone, or it would attach again what is taken away: without it the packet hooks stay."""
        daemon = self._stack.enter_context(Daemon(self.net, start=False, resolvers=[])).start(env=LASTING)
        for mode, policy in POLICIES.items():
            name = mode.replace("_", "-")
            self._boxes[ALONE, mode] = box = daemon.attach(name, daemon.cgroup(name), policy)
            hooks = [pin for pin in box.pins().iterdir() if pin.name not in ("pst_egress", "pst_ingress")]
            assert {"pst_connect4", "pst_sendmsg6", "pst_sock_create"} <= {pin.name for pin in hooks}
        daemon.stop()
        for mode in POLICIES:
            for pin in self._boxes[ALONE, mode].pins().iterdir():
                if pin.name not in ("pst_egress", "pst_ingress"):
                    shell("bpftool", "link", "detach", "pinned", str(pin))

    def control(self, kind, argv):
        """Where nobody enforces, the same arrives; once for each command line."""
        is_wired = kind in (TCX, CLSACT)
        key = is_wired, tuple(argv)
        if key in self._arrived:
            return
        token, since = canary(), self.net.mark()
        if is_wired:
            self._beside = self._beside or self._wire()
        filled = fill(argv, token)
        done = execute(self.net, self._beside.argv(filled) if is_wired else filled)
        try:
            self.net.await_seen(token=token, since=since)
        except AssertionError as error:
            raise AssertionError(f"{error}\nthe control must arrive, or its denial proves nothing\n{done}") from None
        self._arrived.add(key)

    def close(self):
        self._stack.close()


@pytest.fixture(scope="module")
def stage(net):
    made = Stage(net)
    yield made
    made.close()


PLACES = places(*KINDS)
CASES = [(row, kind, mode) for kind, mode in PLACES for row in ways(mode)]


@pytest.mark.parametrize("row,kind,mode", CASES, ids=[f"row{row}-{label((kind, mode))}" for row, kind, mode in CASES])
def test_every_way_of_sending(net, stage, row, kind, mode):
    forms = ways(mode)[row]
    for argv in forms.values():
        stage.control(kind, argv)
    box, since = stage.box(kind, mode), net.mark()
    tokens = {name: canary() for name in forms}
    for token in tokens.values():
        net.forbid(token)
    box.run(at_once([fill(argv, tokens[name]) for name, argv in forms.items()]))
    # One flight behind all of them that must arrive: silence is the verdict's, and not a wire's that is down.
    through = canary()
    if mode != "deny_all":
        box.run(flow("-n", "udp", ALLOWED4, PORT, through))
        until(lambda: net.seen(token=through, since=since), "what is allowed arrives", 30)
    net.fence()
    out = [name for name, token in tokens.items() if net.seen(token=token, since=since)]
    NOW.tried(len(forms))
    assert not out, f"row {row}, {kind}, {mode}: these got out: {out}"


@pytest.mark.parametrize("kind", sorted({kind for kind, _ in PLACES}))
def test_the_three_modes_differ(net, stage, kind):
    """What the matrix rests on: open is open, restricted allows what it says, and deny_all nothing."""
    for mode in [m for k, m in PLACES if k == kind]:
        for to, passes in ((ALLOWED4, mode != "deny_all"), (DENIED4, mode == OPEN)):
            token, since = canary(), net.mark()
            stage.box(kind, mode).run(flow("-n", "udp", to, PORT, token))
            if passes:
                until(lambda t=token, s=since: net.seen(token=t, since=s), f"{mode} to {to}", 30)
            else:
                net.fence()
                assert not net.seen(token=token, since=since), (mode, to)
