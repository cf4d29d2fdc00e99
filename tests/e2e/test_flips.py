# SPDX-License-Identifier: MIT
"""
Two policies that share no destination, in turn, over HTTP, under traffic to both: what a mix of them would let out
never leaves, what both allow never fails. tests/bpf/test_flip.c does it 100,000 times. PST_LONG=1: 5,000 times.
"""

import itertools

import pytest

from daemon import DENY_ALL, Daemon
from far import LONG, Far, Streams, now_ns

FLIPS = 5000 if LONG else 300
SETTLED_EVERY = 25
X, Y, Z, W = "93.184.216.1", "93.184.216.2", "93.184.216.3", "93.184.216.4"
# Z: denied by a rule of one and by the default of the other; W: allowed by the default of one, by a rule of the other.
POLICY_X, POLICY_Y = {"denyOut": [Y, Z]}, {**DENY_ALL, "allowOut": [Y, W]}
KINDS = ("tcp", "udp", "connected")


@pytest.fixture(name="far")
def far_fixture():
    with Far() as far:
        yield far


def test_no_packet_is_judged_by_a_mix(far):
    with Daemon(far) as daemon:
        box, neighbour = daemon.create({}), daemon.create({})
        with Streams(box, [(kind, to) for to in (X, Y, Z, W) for kind in KINDS]) as streams:
            x, y, z, w = (streams.numbers(to) for to in (X, Y, Z, W))
            streams.await_results([*x, *y, *z, *w], ("ok",))
            box.put(POLICY_X)
            streams.await_results(z + y, ("EPERM",))
            far.fence()
            since, mark = now_ns(), streams.mark()

            def many(policy):
                reply = daemon.request("PUT", "/v1/policies", {"ids": [neighbour.id, box.id], "policy": policy})
                assert reply.status == 200, reply
            routes = itertools.cycle((box.put, box.network, many))
            for flip, route in zip(range(1, FLIPS + 1), routes):
                route(POLICY_Y if flip % 2 else POLICY_X)
                if flip % SETTLED_EVERY == 0:
                    streams.await_results(y + w if flip % 2 else x + w, ("ok",))
                    streams.await_results(x + z if flip % 2 else y + z, ("EPERM",))
            far.fence()
            changes = streams.changes(mark)
            assert not [change for change in changes if change.flow in w], "what both allow failed"
            assert not [change for change in changes if change.flow in z], "what both deny was sent"
            leaks = [flow for flow in far.dump(since) if flow.dst == Z]
            assert not leaks, leaks
            box.put({})
            streams.await_results(z, ("ok",))
            assert far.frames_to(Z), "the control: where nothing is denied, it arrives"
