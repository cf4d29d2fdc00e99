# SPDX-License-Identifier: MIT
"""
Row 1 by whatever holds the sandbox: three live flows under an open policy, then each mode that denies them. Behind the reply
not one byte of theirs arrives; what the new mode still allows goes on.
"""

import contextlib

import pytest

from daemon import Daemon
from evidence import CGROUP, CLSACT, DENY_ALL, NOW, OPEN, RESTRICTED, TCX
from internet import ALLOWED4, DENIED4, PORT, canary
from matrix import POLICIES, label, places
from postern import NO_TCX, flow
from wait import until
from wire import Wire

WAYS = ("tcp-stream", "udp-stream", "connected-stream")
PLACES = [place for place in places(CGROUP, TCX, CLSACT) if place[1] != OPEN]


@contextlib.contextmanager
def held(net, kind):
    with Daemon(net, start=False, resolvers=[]) as daemon, Wire(net) as wire:
        daemon.start(env=NO_TCX if kind == CLSACT else None)
        if kind == CGROUP:
            yield daemon.attach("changed", daemon.cgroup("changed"), POLICIES[OPEN])
        else:
            box = wire.attach(daemon, POLICIES[OPEN], "changed")
            assert daemon.tc("changed") == kind
            yield box


@pytest.mark.parametrize("kind,mode", PLACES, ids=[label(p) for p in PLACES])
def test_live_flows_end_before_the_reply(net, kind, mode):
    with held(net, kind) as box, contextlib.ExitStack() as stack:
        flows = {(way, to): canary() for way in WAYS for to in (DENIED4, ALLOWED4)}
        for (way, to), token in flows.items():
            stack.enter_context(box.start(flow(way, to, PORT, token)))
        for token in flows.values():
            net.await_seen(token=token)  # the control: each flows while the mode is open
        box.put(POLICIES[mode])
        net.fence()
        since = net.mark()
        if mode == RESTRICTED:
            for (way, to), token in flows.items():
                if to == ALLOWED4:
                    until(lambda t=token: net.seen(token=t, since=since), f"{way} to what is allowed goes on", 30)
        net.fence()
        net.fence()
        denied = [key for key in flows if mode == DENY_ALL or key[1] == DENIED4]
        NOW.tried(len(denied))
        out = [key for key in denied if net.seen(token=flows[key], since=since)]
        assert not out, f"behind the reply of {mode}, {kind}: {out}"
