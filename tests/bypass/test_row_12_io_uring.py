# SPDX-License-Identifier: MIT
"""Row 12: io_uring, from the caller, from a worker thread, and from the kernel's polling thread."""

import pytest

from internet import ALLOWED4, DENIED4, DENIED6, PORT
from postern import assert_allowed, assert_denied, tool
from rows import POLICY

HOW = ["inline", "async", "sqpoll"]
WAYS = [("tcp", "connect"), ("udp", "sendmsg")]


@pytest.mark.parametrize("address", [DENIED4, DENIED6, "::ffff:" + DENIED4])
@pytest.mark.parametrize("way,op", WAYS)
@pytest.mark.parametrize("how", HOW)
def test_denied(net, how, way, op, address):
    assert_denied(net, tool("uring", how, way, address, PORT, "CANARY"), address, PORT, policy=POLICY, op=op)


@pytest.mark.parametrize("how", HOW)
def test_by_packets_alone(net, packet_only, how):
    assert_denied(net, tool("uring", how, "udp", DENIED4, PORT, "CANARY"), DENIED4, PORT, box=packet_only,
                  op="sendmsg")


@pytest.mark.parametrize("way,op", WAYS)
@pytest.mark.parametrize("how", HOW)
def test_allowed(net, how, way, op):
    assert_allowed(net, tool("uring", how, way, ALLOWED4, PORT, "CANARY"), policy=POLICY, op=op)
