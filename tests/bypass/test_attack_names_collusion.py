# SPDX-License-Identifier: MIT
"""
Sandboxes of one host that help each other: one takes the address and port of the other's resolver, which is not its own,
and answers the other's question over lo.
"""

import socket

import pytest

import dnswire
from captive import Captive
from crafted import RESOLVER4, RESOLVER6
from dnsrows import GOOD, assert_reached, assert_shut, learn
from dnswire import QNAME, address
from internet import HOST6, PORT

IPPROTO_IPV6, IPV6_FREEBIND = 41, 78
FORGED = "93.184.66.1"
STUB = "127.0.0.53"
ASKER = ["--resolver", STUB, "--resolver", RESOLVER4, "--resolver", RESOLVER6, "--allow", f"{GOOD}:{PORT}"]
HELPERS = {
    "same-resolvers": ASKER,
    "another-resolver": ["--resolver", "9.9.9.9", "--allow", f"{GOOD}:{PORT}"],
    "no-names": ["--resolver", "9.9.9.9", "--allow", "93.184.216.34"],
}


@pytest.fixture
def asker(net):
    with Captive(net, ASKER) as box:
        yield box


@pytest.fixture(params=HELPERS)
def helper(net, request):
    with Captive(net, HELPERS[request.param]) as box:
        yield box


def forge(asker, helper, resolver, local):
    """The asker asks from a connected socket, helper answers it. Returns what the asker got."""
    family = 6 if ":" in resolver else 4
    options = [[IPPROTO_IPV6, IPV6_FREEBIND, 1]] if family == 6 else [[socket.SOL_SOCKET, socket.SO_REUSEADDR, 1]]
    bound = helper.open_socket(sock="forge", family=family, options=options, bind=[resolver, 53])
    assert asker.open_socket(sock="ask", family=family, bind=[local, 0]) == "ok"
    assert asker.connect(sock="ask", to=[resolver, 53]) == "ok"
    question = dnswire.query(GOOD, 0x4242)
    assert asker.send(sock="ask", data=question.hex()) == "ok"
    reply = dnswire.Question(question).reply([address(QNAME, FORGED)])
    if bound == "ok":
        helper.send(sock="forge", data=reply.hex(), to=[local, asker.port_of(sock="ask")])
    return asker.receive(sock="ask", seconds=0.3)


def stub_socket():
    stub = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    stub.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    stub.bind((STUB, 53))
    return stub


def assert_nothing_learned(net, dns, free, asker, got):
    assert not got and not asker.leases(), (got, asker.leases())
    assert_shut(net, asker, free, FORGED)
    learn(dns, asker, FORGED)
    assert_reached(net, asker, FORGED)


def test_any_address_taken(net, dns, free, asker, helper):
    dns.answer = lambda asked: ()
    assert_nothing_learned(net, dns, free, asker, forge(asker, helper, RESOLVER6, HOST6))


@pytest.mark.parametrize("beside", [True, False], ids=["beside-the-stub", "in-its-place"])
def test_the_stubs_address_taken(net, dns, free, asker, helper, beside):
    stub = net.host.call(stub_socket) if beside else None
    try:
        got = forge(asker, helper, STUB, "127.0.0.1")
    finally:
        if stub:
            stub.close()
    assert_nothing_learned(net, dns, free, asker, got)


@pytest.mark.parametrize("resolver,local", [(RESOLVER6, HOST6), (STUB, "127.0.0.1")], ids=["ipv6", "stub"])
def test_the_control(net, dns, free, asker, resolver, local):
    """The same from beside the sandboxes: what is forged is right, and is learned where the host does it."""
    dns.answer = lambda asked: ()
    assert forge(asker, free, resolver, local)
    assert FORGED in asker.leases() or ":" in resolver
