# SPDX-License-Identifier: MIT
"""
Threads that use one socket against each other: nothing that one of them may do lends itself to another's datagram.
PST_LONG=1: behind a device, too.
"""

import pytest

from captive import Captive
from crafted import RESOLVER4
from dnsrows import NAMED, learn
from internet import HOST4, PORT, canary
from postern import tool

TARGET, SHUT = "93.184.70.1", "93.184.70.2"
SINK_MAC = "02:00:00:00:00:09"


@pytest.fixture
def sink(net):
    """What may leave goes where the sniffer is not: the flood must not drown the oracle."""
    net.host.ip("link", "add", "sink0", "type", "veth", "peer", "name", "sink1")
    try:
        net.host.ip("link", "set", "sink0", "up")
        net.host.ip("link", "set", "sink1", "up")
        for one in (TARGET, RESOLVER4):
            net.host.ip("route", "add", f"{one}/32", "dev", "sink0", "src", HOST4)
            net.host.ip("neigh", "add", one, "lladdr", SINK_MAC, "dev", "sink0")
        yield
    finally:
        net.host.ip("link", "del", "sink0")


@pytest.mark.parametrize("cork", [0, 1], ids=["plain", "corked"])
def test_one_socket_in_many_hands(net, dns, free, cork, request):
    with Captive(net, NAMED) as box:
        learn(dns, box, TARGET)
        request.getfixturevalue("sink")
        dns.answer = lambda asked: ()

        def hammer(who, milliseconds, pause_us):
            token, since = canary(), net.mark()
            argv = tool("hammer", TARGET, PORT, SHUT, RESOLVER4, token, milliseconds, pause_us, cork)
            code, out, errors = who.run(argv=argv)
            assert code == 0, errors
            net.fence()
            return out, net.seen(token=token, dst=SHUT, since=since)

        out, seen = hammer(free, 300, 500)
        assert seen, f"the control arrives: {out}"
        out, seen = hammer(box, 3000, 0)
        assert not seen, (out, seen[0])
