# SPDX-License-Identifier: MIT
"""Row 24: SO_BINDTODEVICE (needs no privilege), SO_MARK, IP_TRANSPARENT, TCP_REPAIR: the verdict depends on none of them."""

import pytest

from captive import Captive
from internet import ALLOWED4, DENIED4, PORT, canary
from postern import ROOT, assert_allowed, assert_denied, execute, fill, flow
from rows import POLICY

WAYS = [("tcp", "connect"), ("udp", "sendto")]
SO_MAX_PACING_RATE, SO_TXTIME, TCP_TX_DELAY = 47, 61, 37
TXTIME_BY_MONOTONIC = "\1\0\0\0\0\0\0\0"
DELAYS = {"txtime": ("udp", 1, SO_TXTIME, TXTIME_BY_MONOTONIC),
          "tcp-txtime": ("tcp", 1, SO_TXTIME, TXTIME_BY_MONOTONIC),
          "pacing": ("udp", 1, SO_MAX_PACING_RATE, 400), "tx-delay": ("tcp", 6, TCP_TX_DELAY, 1000000)}
PRIVILEGED = ["--keep-privs", *POLICY]


def test_the_second_device_really_is_another_way(net):
    token, since = canary(), net.mark()
    execute(net, fill(flow("-d", "up1", "udp", DENIED4, PORT, "CANARY"), token))
    found = net.await_seen(token=token, since=since)
    assert str(found[0].src) == "198.51.100.2", found[0]


@pytest.mark.parametrize("policy", [POLICY, PRIVILEGED], ids=["plain", "privileged"])
@pytest.mark.parametrize("way,op", WAYS)
def test_bound_to_another_device(net, way, op, policy):
    assert_denied(net, flow("-d", "up1", way, DENIED4, PORT, "CANARY"), DENIED4, PORT, policy=policy, op=op)


def test_bound_to_another_device_by_packets_alone(net, packet_only):
    assert_denied(net, flow("-d", "up1", "udp", DENIED4, PORT, "CANARY"), DENIED4, PORT, box=packet_only,
                  op="sendto")


def test_bound_and_allowed_works(net):
    assert_allowed(net, flow("-d", "up1", "udp", ALLOWED4, PORT, "CANARY"), policy=POLICY, op="sendto")


@pytest.fixture
def marked_route(net):
    """Packets with mark 7 take the second device."""
    net.host.ip("rule", "add", "fwmark", "7", "table", "77")
    net.host.ip("route", "add", "default", "via", "198.51.100.1", "dev", "up1", "table", "77")
    yield
    net.host.ip("route", "flush", "table", "77")
    net.host.ip("rule", "del", "fwmark", "7", "table", "77")


@pytest.mark.parametrize("way,op", WAYS)
def test_marked(net, marked_route, way, op):
    assert_denied(net, flow("-m", 7, way, DENIED4, PORT, "CANARY"), DENIED4, PORT, policy=PRIVILEGED, op=op)


def test_marked_by_packets_alone(net, marked_route, packet_only):
    assert_denied(net, flow("-m", 7, "udp", DENIED4, PORT, "CANARY"), DENIED4, PORT, box=packet_only, op="sendto")


@pytest.mark.parametrize("source", ["8.8.8.8", ALLOWED4])
def test_transparent_with_anothers_source(net, packet_only, source):
    argv = flow("-n", "-t", "-s", source, "udp", DENIED4, PORT, "CANARY")
    assert_denied(net, argv, DENIED4, PORT, policy=PRIVILEGED, op="sendto")
    assert_denied(net, argv, DENIED4, PORT, box=packet_only, op="sendto")


def repaired(dst):
    """An established socket without a SYN: the packet that every connection is judged by never exists."""
    return ["/usr/bin/python3", str(ROOT / "tests/lib/tools/repair.py"), dst, str(PORT), "CANARY"]


@pytest.mark.parametrize("policy", [POLICY, []], ids=["closed", "open"])
def test_repair_mode_is_refused(net, policy):
    assert_denied(net, repaired(DENIED4), DENIED4, policy=["--keep-privs", *policy], op="setsockopt")


def test_repaired_by_packets_alone(net, packet_only):
    """TCP tells nobody that its packets are dropped: that none arrives is what counts."""
    assert_denied(net, repaired(DENIED4), DENIED4, PORT, box=packet_only, op="send", errno="ok")


@pytest.mark.parametrize("kind,level,name,value", DELAYS.values(), ids=DELAYS)
def test_what_holds_packets_back_behind_the_verdict_is_refused(net, free, kind, level, name, value):
    """The fq discipline lets them go when the socket says: after a change of the policy."""
    assert free.open_socket(kind=kind, options=[[level, name, value]]) == "ok"
    with Captive(net, ["--keep-privs", *POLICY]) as box:
        assert box.open_socket(kind=kind, options=[[level, name, value]]) == "EPERM"
        assert box.open_socket(kind="tcp", options=[[1, SO_MAX_PACING_RATE, 1000000]]) == "ok"
