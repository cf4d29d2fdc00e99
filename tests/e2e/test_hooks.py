# SPDX-License-Identifier: MIT
"""Invariant 1: the packet hooks alone enforce the policy, the socket hooks alone too, and the cache deceives neither."""

import contextlib

import pytest

from internet import (ALLOWED4, ALLOWED4_NET, ALLOWED6, ALLOWED6_NET, DENIED4, DENIED6, PORT, canary)
from netns import shell
from postern import PacketOnly, Shell, assert_arrives, assert_denied, fill, flow

POLICY = ["--allow", ALLOWED4_NET, "--allow", ALLOWED6_NET]
PAIRS = [(ALLOWED4, DENIED4), (ALLOWED6, DENIED6), ("::ffff:" + ALLOWED4, "::ffff:" + DENIED4)]
# A TCP caller whose SYN is dropped is told nothing for two minutes: it is ended.
BRIEFLY = "timeout 0.5 "
CACHED_AFTER = 200  # as in tests/lib/tools/flow.c


@contextlib.contextmanager
def without_packet_hooks(net):
    with Shell(net, POLICY) as box:
        for name in ("pst_egress", "pst_ingress"):
            shell("bpftool", "link", "detach", "pinned", str(box.pins / "links" / name))
        yield box


@pytest.mark.parametrize("denied", [pair[1] for pair in PAIRS])
def test_tcp_by_packets_alone(net, denied):
    argv = flow("tcp", denied, PORT, "CANARY")
    assert_arrives(net, argv, denied, PORT)
    with PacketOnly(net, POLICY) as box:
        net.fence()
        token, since = canary(), net.mark()
        net.forbid(token)
        done = box.do(BRIEFLY + " ".join(fill(argv, token)))
        assert not done.ops, f"nobody could have answered: {done}"
        net.fence()
        assert not net.seen(token=token, dst=denied, port=PORT, since=since)
        done = box.do(*flow("tcp", ALLOWED4, PORT, "x"))
        assert done.op("recv").result == "ok", done


@pytest.mark.parametrize("way,op", [("tcp", "connect"), ("udp", "sendto"), ("udp-connected", "connect")])
@pytest.mark.parametrize("denied", [pair[1] for pair in PAIRS])
def test_the_socket_hooks_alone(net, way, op, denied):
    with without_packet_hooks(net) as box:
        assert_denied(net, flow(way, denied, PORT, "CANARY"), denied, PORT, box=box, op=op)


@pytest.mark.parametrize("way", ["reconnect", "udp-reconnect", "udp-switch"])
@pytest.mark.parametrize("allowed,denied", PAIRS)
def test_a_cached_flow_does_not_carry_another_by_packets_alone(net, way, allowed, denied):
    argv = flow(way, allowed, PORT, denied, PORT, "CANARY")
    assert_arrives(net, argv, denied, PORT, carries=False)
    with PacketOnly(net, POLICY) as box:
        net.fence()
        token, since = canary(), net.mark()
        box.do(BRIEFLY + " ".join(fill(argv, token)))
        net.fence()
        assert len(net.seen(token=token, since=since)) >= CACHED_AFTER, "the first flow was not cached"
        assert not net.seen(dst=denied, port=PORT, since=since)
