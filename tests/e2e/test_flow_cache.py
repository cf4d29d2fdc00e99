# SPDX-License-Identifier: MIT
"""A judged flow is remembered; nothing but that very flow may profit: connect(A), connect(AF_UNSPEC), connect(B)."""

import pytest

from internet import ALLOWED4, ALLOWED4_NET, ALLOWED6, ALLOWED6_NET, DENIED4, DENIED6, PORT, canary
from postern import assert_allowed, assert_told, fill, flow, plain, sandboxed

POLICY = ["--allow", ALLOWED4_NET, "--allow", ALLOWED6_NET]
PAIRS = [(ALLOWED4, DENIED4), (ALLOWED6, DENIED6), ("::ffff:" + ALLOWED4, "::ffff:" + DENIED4),
         (ALLOWED6, "::ffff:" + DENIED4)]


# A TCP socket that was IPv6 cannot become IPv4.
@pytest.mark.parametrize("way,a,b", [("reconnect", *p) for p in PAIRS[:3]] + [("udp-reconnect", *p) for p in PAIRS])
def test_a_second_connect_on_the_same_socket(net, way, a, b):
    argv = flow(way, a, PORT, b, PORT, "CANARY")
    assert_denied_second(net, argv, b, "connect-second")


@pytest.mark.parametrize("a,b", PAIRS)
def test_unconnected_udp_that_changes_its_peer(net, a, b):
    assert_denied_second(net, flow("udp-switch", a, PORT, b, PORT, "CANARY"), b, "sendto-second")


def test_the_same_address_on_another_port(net):
    policy = ["--allow", f"{ALLOWED4}:{PORT}"]
    for way, op, port in (("reconnect", "connect-second", 8080), ("udp-switch", "sendto-second", 7001)):
        argv = flow(way, ALLOWED4, PORT, ALLOWED4, port, "CANARY")
        assert_denied_second(net, argv, ALLOWED4, op, policy, port)


def test_a_reconnected_socket_to_an_allowed_peer_works(net):
    for way in ("reconnect", "udp-reconnect"):
        argv = flow(way, ALLOWED4, PORT, "93.184.216.99", PORT, "CANARY")
        done = assert_allowed(net, argv, policy=POLICY, op="connect-second")
        assert done.code == 0, done


def assert_denied_second(net, argv, second, op, policy=POLICY, port=PORT):
    """As assert_denied(), but the canary does go to the first, allowed peer."""
    control, since = canary(), net.mark()
    assert plain(net, fill(argv, control)).op(op).result == "ok"
    net.await_seen(dst=second, port=port, since=since)
    net.fence()
    token, since = canary(), net.mark()
    done = sandboxed(net, policy, fill(argv, token))
    assert_told(net, argv, done, op, "EPERM")
    net.fence()
    assert net.seen(token=token, since=since), done
    assert not net.seen(dst=second, port=port, since=since), done
