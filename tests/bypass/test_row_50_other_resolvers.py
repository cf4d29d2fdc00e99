# SPDX-License-Identifier: MIT
"""Row 50: what else a resolver serves, other resolvers, and the trusted one by another name or protocol."""

import pytest

from captive import Captive
from crafted import RESOLVER4, RESOLVER6
from dnsrows import GOOD, NAMED, OFF, RESOLVERS, TO4, assert_no_call_leaves, assert_reached, learn, nothing_arrives
from dnswire import query
from internet import canary
from postern import assert_denied, flow, sandboxed, tool

ASKED, BAD = query(GOOD).hex(), query(OFF).hex()
TARGET = "93.184.50.1"

# The resolver says nothing unless a test tells it to.
pytestmark = pytest.mark.usefixtures("dns")


@pytest.mark.parametrize("resolver", [RESOLVER4, RESOLVER6, "::ffff:" + RESOLVER4])
def test_tcp(net, named, resolver):
    argv = ["timeout", "0.5", *flow("-n", "tcp", resolver, 53, "CANARY")]
    assert_denied(net, argv, resolver, 53, policy=NAMED, op="connect", carries=False)
    assert_no_call_leaves(net, named, resolver.removeprefix("::ffff:"), resolver)


def test_tcp_fast_open(net):
    argv = ["timeout", "0.5", *flow("-n", "tfo", RESOLVER4, 53, "CANARY")]
    assert_denied(net, argv, RESOLVER4, 53, policy=NAMED, op="sendto", carries=False)


def test_tcp_by_packets_alone(net, free, named_packets):
    since = net.mark()
    free.call(to=TO4, seconds=0.2)
    net.await_seen(dst=RESOLVER4, port=53, protocol=6, since=since)
    net.fence()
    since = net.mark()
    named_packets.call(to=TO4, seconds=0.2)
    net.fence()
    assert not net.seen(dst=RESOLVER4, since=since)


def test_udp_lite(net):
    assert_denied(net, flow("udplite", RESOLVER4, 53, "CANARY"), RESOLVER4, 53, policy=NAMED, op="socket")
    done = sandboxed(net, ["--keep-privs", *NAMED], flow("udplite", RESOLVER4, 53, "x"))
    assert not net.kind.has_errors or done.op("socket").result == "EPERM"


@pytest.mark.parametrize("how", ["ip", "hdrincl"])
def test_raw(net, how):
    argv = tool("raw", "ip", RESOLVER4, 17, "CANARYCANARY") if how == "ip" else \
        tool("raw", "hdrincl", RESOLVER4, RESOLVER4, 53, "CANARY")
    assert_denied(net, argv, RESOLVER4, policy=["--keep-privs", *NAMED], op="socket")


def test_ping(net, named):
    code = """
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
out = tried(sock.sendto, b"\\x08\\0\\0\\0\\0\\1\\0\\1" + bytes.fromhex(data), (resolver, 0))
"""
    token, since = canary(), net.mark()
    with Captive(net, None) as free:
        assert free.script(code=code, data=token.encode().hex(), resolver=RESOLVER4) == "ok"
    net.await_seen(token=token, since=since)
    token, since = canary(), net.mark()
    result = named.script(code=code, data=token.encode().hex(), resolver=RESOLVER4)
    assert result == "EPERM" or not net.kind.has_errors
    net.fence()
    assert not net.seen(token=token, dst=RESOLVER4, since=since)


@pytest.mark.parametrize("port", [54, 443, 853, 5353, 8053])
def test_other_ports_of_the_resolver(net, free, box, port):
    """Also by a socket that has asked port 53 properly: a translation could have moved the port."""
    def send(who):
        who.open_socket(sock="fresh")
        who.open_socket(sock="asked")
        who.send(sock="asked", data=ASKED, to=TO4)
        return [who.send(sock="fresh", data=b"tunnel".hex(), to=[RESOLVER4, port]),
                who.send(sock="asked", data=b"tunnel".hex(), to=[RESOLVER4, port]),
                who.send(sock="asked", data=BAD, to=[RESOLVER4, port])]
    since = net.mark()
    send(free)
    net.await_seen(token=b"tunnel", since=since)
    net.fence()
    since = net.mark()
    assert send(box) == ["EPERM"] * 3
    net.fence()
    assert not [f for f in net.seen(dst=RESOLVER4, since=since) if f.dport == port]
    assert box.call(to=[RESOLVER4, port], seconds=0.3) in ("EPERM", "ETIMEDOUT")
    net.fence()
    assert not [f for f in net.seen(dst=RESOLVER4, since=since) if f.dport == port]


@pytest.mark.parametrize("way", ["tcp", "udp"])
@pytest.mark.parametrize("address,port", [("1.1.1.1", 443), ("8.8.8.8", 853), ("9.9.9.9", 8080)])
def test_resolvers_elsewhere_over_other_protocols(net, way, address, port):
    """DoH, DoT and DoQ are addresses like any other."""
    argv = flow("-n", way, address, port, "CANARY")
    assert_denied(net, argv, address, port, policy=NAMED, op="connect" if way == "tcp" else "sendto", carries=way == "udp")


@pytest.mark.parametrize("address", ["1.1.1.1", "185.53.0.99"])
def test_an_own_resolver_elsewhere(net, free, box, address):
    """Not even a question that the gate would let pass."""
    def send(who):
        who.open_socket()
        return [who.send(data=data, to=[address, 53]) for data in (ASKED, BAD)]
    since = net.mark()
    assert send(free) == ["ok", "ok"]
    net.await_seen(dst=address, port=53, since=since)
    net.fence()
    since = net.mark()
    assert send(box) == ["EPERM", "EPERM"]
    net.fence()
    assert not net.seen(dst=address, since=since)


# ---- the resolver by another name ----

NAT64 = "64:ff9b::b935:35"  # RESOLVER4, as a translator would take it out


def assert_shut_through_a_translator(net, free, box):
    since = net.mark()
    assert free.knock(to=[NAT64, 53], data=BAD) == "ok"
    net.await_seen(dst=NAT64, port=53, since=since)
    net.fence()
    since = net.mark()
    assert box.knock(to=[NAT64, 53], data=BAD) == "EPERM"
    net.fence()
    assert not net.seen(dst=NAT64, port=53, since=since)


@pytest.mark.parametrize("rule", [[], ["--allow", RESOLVER4], ["--allow", "185.53.0.0/24"]])
def test_the_resolver_through_a_translator(net, free, rule):
    """An address rule that covers the resolver does not open the gate; nor does it in the other reading."""
    with Captive(net, [*NAMED, *rule]) as box:
        assert box.knock(to=TO4, data=BAD) == "EPERM"
        assert_shut_through_a_translator(net, free, box)


def test_a_lease_of_the_resolver_does_not_open_the_gate(net, dns, free):
    """The owner of an allowed name lets it point to the resolver; the rule covers every port."""
    policy = [*RESOLVERS, "--allow", f"{GOOD}:*"]
    with Captive(net, policy) as box:
        learn(dns, box, RESOLVER4, TARGET)
        dns.answer = lambda asked: ()
        assert_reached(net, box, TARGET, 53)
        for payload in (BAD, b"tunnel".hex()):
            assert nothing_arrives(net, box, lambda who, p=payload: who.knock(to=TO4, data=p)) == "EPERM"
        assert_no_call_leaves(net, box, RESOLVER4)
        assert_shut_through_a_translator(net, free, box)
