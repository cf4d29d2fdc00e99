# SPDX-License-Identifier: MIT
"""Row 2: UDP unconnected, connected, connected here and sent there, sendmmsg, corked, MSG_MORE."""

import pytest

from internet import ALLOWED4, ALLOWED6, DENIED4, DENIED6, PORT, canary
from postern import assert_denied, assert_told, fill, flow, plain, sandboxed
from rows import POLICY

PAIRS = [(ALLOWED4, DENIED4), (ALLOWED6, DENIED6)]


@pytest.mark.parametrize("way,op", [("udp", "sendto"), ("udp-connected", "connect")])
@pytest.mark.parametrize("denied", [DENIED4, DENIED6])
def test_one_peer(net, way, op, denied):
    assert_denied(net, flow(way, denied, PORT, "CANARY"), denied, PORT, policy=POLICY, op=op)


@pytest.mark.parametrize("way,op", [("udp", "sendto"), ("udp-connected", "send")])
@pytest.mark.parametrize("denied", [DENIED4, DENIED6])
def test_one_peer_by_packets_alone(net, packet_only, way, op, denied):
    assert_denied(net, flow(way, denied, PORT, "CANARY"), denied, PORT, box=packet_only, op=op)


@pytest.mark.parametrize("allowed,denied", PAIRS)
def test_connected_to_one_and_sent_to_another(net, allowed, denied):
    assert_denied(net, flow("udp-elsewhere", allowed, PORT, denied, PORT, "CANARY"), denied, PORT,
                  policy=POLICY, op="sendto")


@pytest.mark.parametrize("allowed,denied", PAIRS)
def test_connected_to_one_and_sent_to_another_by_packets_alone(net, packet_only, allowed, denied):
    assert_denied(net, flow("udp-elsewhere", allowed, PORT, denied, PORT, "CANARY"), denied, PORT,
                  box=packet_only, op="sendto")


def assert_second_denied(net, argv, denied, op, run):
    """The first of two messages is allowed and arrives, the second is not and does not."""
    since = net.mark()
    plain(net, fill(argv, canary()))
    net.await_seen(dst=denied, port=PORT, since=since)
    net.fence()
    token, since = canary(), net.mark()
    done = run(fill(argv, token))
    assert_told(net, argv, done, op, "EPERM")
    net.fence()
    assert net.seen(token=token, since=since), done
    assert not net.seen(dst=denied, port=PORT, since=since), done


@pytest.mark.parametrize("allowed,denied", PAIRS)
def test_sendmmsg(net, allowed, denied):
    argv = flow("sendmmsg", allowed, PORT, denied, PORT, "CANARY")
    assert_second_denied(net, argv, denied, "sendmmsg-second", lambda line: sandboxed(net, POLICY, line))


@pytest.mark.parametrize("allowed,denied", PAIRS)
def test_sendmmsg_by_packets_alone(net, packet_only, allowed, denied):
    argv = flow("sendmmsg", allowed, PORT, denied, PORT, "CANARY")
    assert_second_denied(net, argv, denied, "sendmmsg-second", lambda line: packet_only.do(*line))


@pytest.mark.parametrize("way", ["cork", "more"])
@pytest.mark.parametrize("allowed,denied", PAIRS)
def test_corked_data_begun_towards_a_denied_peer(net, way, allowed, denied):
    assert_denied(net, flow(way, denied, PORT, allowed, PORT, "CANARY"), denied, PORT, policy=POLICY,
                  op="sendto-first")


# Turning UDP_CORK off sends, but the kernel does not tell what came of it.
@pytest.mark.parametrize("way,op,errno", [("cork", "uncork", "ok"), ("more", "sendto-second", "EPERM")])
@pytest.mark.parametrize("allowed,denied", PAIRS)
def test_corked_data_begun_towards_a_denied_peer_by_packets_alone(net, packet_only, way, op, errno, allowed, denied):
    """The kernel sends it all to the first peer when it is uncorked: that packet is judged."""
    assert_denied(net, flow(way, denied, PORT, allowed, PORT, "CANARY"), denied, PORT, box=packet_only, op=op,
                  errno=errno)


@pytest.mark.parametrize("way", ["cork", "more"])
@pytest.mark.parametrize("allowed,denied", PAIRS)
def test_corked_data_never_goes_to_a_second_peer(net, way, allowed, denied):
    """Not even without Postern (the kernel's own rule): what was begun towards the first peer goes there, whole."""
    argv = flow(way, allowed, PORT, denied, PORT, "CANARY")
    for run in (lambda line: plain(net, line), lambda line: sandboxed(net, POLICY, line)):
        token, since = canary(), net.mark()
        run(fill(argv, token))
        net.await_seen(token=token, since=since)
        net.fence()
        assert not net.seen(dst=denied, port=PORT, since=since)
