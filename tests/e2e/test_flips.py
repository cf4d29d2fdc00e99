# SPDX-License-Identifier: MIT
"""
Two policies that share no destination, in turn, over HTTP, under traffic to both, from a sandbox of each kind: what a mix
of them would let out never leaves, what both allow never fails. tests/bpf/test_flip.c does it 100,000 times. PST_LONG=1: 5,000 times.
"""

import itertools

import pytest

from daemon import DENY_ALL, Daemon
from far import LONG, Far, Streams, now_ns
from wire import Wire

FLIPS = 5000 if LONG else 300
SETTLED_EVERY = 25
X, Y, Z, W = "93.184.216.1", "93.184.216.2", "93.184.216.3", "93.184.216.4"
# Z: denied by a rule of one and by the default of the other; W: allowed by the default of one, by a rule of the other.
POLICY_X, POLICY_Y = {"denyOut": [Y, Z]}, {**DENY_ALL, "allowOut": [Y, W]}
KINDS = ("tcp", "udp", "connected")
TICKS_US = {"cgroup": 1000, "netdev": 25000}


@pytest.fixture(name="far")
def far_fixture():
    with Far() as far:
        yield far


class Flipped:
    """A sandbox with flows to all four."""

    def __init__(self, box):
        self.box = box
        self.streams = Streams(box, [(kind, to) for to in (X, Y, Z, W) for kind in KINDS], TICKS_US[box.kind])
        self.x, self.y, self.z, self.w = (self.streams.numbers(to) for to in (X, Y, Z, W))
        self.streams.await_results([*self.x, *self.y, *self.z, *self.w], ("ok",))
        self.since = 0

    def begin(self):
        """Under POLICY_X."""
        self.streams.await_denied(self.z + self.y)
        self.since = self.streams.mark()

    def settle(self, flip):
        """What the flip's policy says is what is told."""
        allowed, denied = (self.y, self.x) if flip % 2 else (self.x, self.y)
        self.streams.await_results(allowed + self.w, ("ok",))
        self.streams.await_denied(denied + self.z)

    def check(self):
        changes = self.streams.changes(self.since)
        assert not [change for change in changes if change.flow in self.w], "what both allow failed"
        assert not [change for change in changes if change.flow in self.z and change.result == "ok"], \
            "what both deny was sent"

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.streams.stop()


def test_no_packet_is_judged_by_a_mix(far):
    with Daemon(far) as daemon, Wire(far) as wire, Flipped(daemon.create({})) as inside, \
            Flipped(wire.attach(daemon)) as behind:
        both = (inside, behind)

        def many(policy):
            reply = daemon.request("PUT", "/v1/policies", {"ids": [it.box.id for it in both], "policy": policy})
            assert reply.status == 200, reply

        def each(way):
            return lambda policy: [getattr(it.box, way)(policy) for it in both]
        each("put")(POLICY_X)
        for it in both:
            it.begin()
        far.fence()
        since = now_ns()
        for flip, route in zip(range(1, FLIPS + 1), itertools.cycle((each("put"), each("network"), many))):
            route(POLICY_Y if flip % 2 else POLICY_X)
            if flip % SETTLED_EVERY == 0:
                for it in both:
                    it.settle(flip)
        far.fence()
        for it in both:
            it.check()
        leaks = [flow for flow in far.dump(since) if flow.dst == Z]
        assert not leaks, leaks
        each("put")({})
        for it in both:
            it.streams.await_results(it.z, ("ok",))
        assert far.frames_to(Z), "the control: where nothing is denied, it arrives"
