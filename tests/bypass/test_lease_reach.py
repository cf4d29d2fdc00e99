# SPDX-License-Identifier: MIT
"""What a lease of one name does not open: other ports and protocols, other forms of the address, other sandboxes."""

import pytest

from captive import Captive
from dnsrows import (GOOD, NAMED, OTHER, RESOLVERS, answers, ask, assert_reached, assert_shut, learn)
from dnswire import AAAA, QNAME, address
from internet import ALLOWED4_NET, PORT, canary
from postern import assert_arrives, flow

TARGET, TARGET6 = "93.184.55.7", "2606:2800:220:1::55"
NAT64 = "64:ff9b::5db8:3707"  # TARGET
ODD = {"mapped": "::ffff:" + TARGET, "nat64": NAT64, "nat64-local": "64:ff9b:1::5db8:3707", "6to4": "2002:5db8:3707::1",
       "compatible": "::5db8:3707", "teredo": "2001:0:5db8:3707::1", "neighbour": "93.184.55.8", "neighbour6": "2606:2800:220:1::56"}


@pytest.fixture
def leased(net, dns, named):
    learn(dns, named, TARGET)
    learn(dns, named, TARGET6, qtype=AAAA)
    assert_reached(net, named, TARGET)
    assert_reached(net, named, TARGET6)
    return named


@pytest.mark.parametrize("target", [TARGET, TARGET6])
def test_another_port(net, free, leased, target):
    for port in (53, 123, 443, 5353, 7001):
        assert_shut(net, leased, free, target, port=port)
    for port in (22, 25, 53, 853, 5432, 8080):
        assert_arrives(net, flow("-n", "tcp", target, port, "x"), dst=target, port=port, carries=False)
        net.fence()
        since = net.mark()
        assert leased.call(to=[target, port]) == "EPERM"
        net.fence()
        assert not net.seen(dst=target, port=port, since=since)
    assert leased.call(to=[target, PORT]) == "ok"


PING = """
family, protocol, kind = ((socket.AF_INET6, 58, 128) if ":" in target else (socket.AF_INET, 1, 8))
sock = socket.socket(family, socket.SOCK_DGRAM, protocol)
out = tried(sock.sendto, bytes([kind, 0, 0, 0, 0, 1, 0, 1]) + bytes.fromhex(data), (target, 0))
"""


@pytest.mark.parametrize("target", [TARGET, TARGET6])
def test_icmp(net, free, leased, target):
    """Names and ports never cover it. (The kernel does not tell a sender of IPv6 echo what became of it.)"""
    token, since = canary(), net.mark()
    assert free.script(code=PING, target=target, data=token.encode().hex()) == "ok"
    net.await_seen(token=token, since=since)
    net.fence()
    token, since = canary(), net.mark()
    result = leased.script(code=PING, target=target, data=token.encode().hex())
    assert result == "EPERM" or ":" in target or not net.kind.has_errors
    net.fence()
    assert not [f for f in net.seen(token=token, dst=target, since=since) if f.protocol in (1, 58)]


def test_the_address_in_other_forms(net, free, leased):
    """The mapped form is the address itself. A translator's is as well, and denied or allowed with it; the rest is not."""
    assert_reached(net, leased, ODD["mapped"])
    for form in ("nat64-local", "6to4", "teredo", "neighbour", "neighbour6"):
        assert_shut(net, leased, free, ODD[form])
    token = canary()
    assert leased.knock(to=[ODD["compatible"], PORT], data=token.encode().hex()) == "EPERM"


def test_through_a_translator(net, free, leased):
    """Its port is the name's, no other; and nothing of a neighbour."""
    assert_reached(net, leased, NAT64)
    assert_shut(net, leased, free, NAT64, port=7001)
    assert_shut(net, leased, free, "64:ff9b::5db8:3708")


def test_a_translated_answer(net, dns, free):
    """An AAAA record of a translator (DNS64) opens that form; the address inside it was not told."""
    with Captive(net, NAMED) as box:
        ask(dns, box, lambda asked: [asked.reply([address(QNAME, NAT64)])], qtype=AAAA)
        assert_reached(net, box, NAT64)
        assert_shut(net, box, free, TARGET)


def test_a_mapped_answer(net, dns, free, named):
    """::ffff:a.b.c.d in an AAAA record is the IPv4 address, with all that is said about that."""
    ask(dns, named, lambda asked: [asked.reply([address(QNAME, "::ffff:" + TARGET), address(QNAME, "::ffff:10.9.0.5")])],
        qtype=AAAA)
    assert set(named.leases()) == {TARGET}
    assert_shut(net, named, free, "10.9.0.5")


def test_another_sandbox(net, free, leased):
    """The same policy, the same resolver, the same name: what one was told is nothing to another."""
    with Captive(net, NAMED) as other:
        assert_shut(net, other, free, TARGET, TARGET6)
        assert_reached(net, leased, TARGET)
        assert not other.leases()


def test_another_names_ports(net, dns, free):
    """Two names on one address: each brings its own ports, neither the other's."""
    policy = [*RESOLVERS, "--allow", f"{GOOD}:{PORT}", "--allow", f"{OTHER}:7001"]
    with Captive(net, policy) as box:
        learn(dns, box, TARGET)
        assert_reached(net, box, TARGET, PORT)
        assert_shut(net, box, free, TARGET, port=7001)
        learn(dns, box, TARGET, name=OTHER)
        assert_reached(net, box, TARGET, PORT)
        assert_reached(net, box, TARGET, 7001)
        assert_shut(net, box, free, TARGET, port=123)
        learn(dns, box, "93.184.55.9", name=OTHER)
        assert_shut(net, box, free, "93.184.55.9", port=PORT)


@pytest.mark.parametrize("suffix,protocol", [("/tcp", "tcp"), ("/udp", "udp")])
def test_another_protocol(net, dns, free, suffix, protocol):
    with Captive(net, [*RESOLVERS, "--allow", f"{GOOD}:{PORT}{suffix}"]) as box:
        learn(dns, box, TARGET)
        if protocol == "tcp":
            assert box.call(to=[TARGET, PORT]) == "ok"
            assert_shut(net, box, free, TARGET)
        else:
            assert_reached(net, box, TARGET)
            net.fence()
            since = net.mark()
            assert box.call(to=[TARGET, PORT]) == "EPERM"
            net.fence()
            assert not [f for f in net.seen(dst=TARGET, port=PORT, since=since) if f.protocol == 6]
            assert free.call(to=[TARGET, PORT]) == "ok"


def test_without_a_port_a_name_is_the_web(net, dns, free):
    """TCP 80 and 443; not UDP 443, which would be QUIC past whoever looks at names."""
    with Captive(net, [*RESOLVERS, "--allow", GOOD]) as box:
        learn(dns, box, TARGET)
        assert_shut(net, box, free, TARGET, port=443)
        for port in (22, 25, 8080, PORT):
            assert box.call(to=[TARGET, port]) == "EPERM"
        net.fence()
        since = net.mark()
        result = box.call(to=[TARGET, 443], seconds=1)
        assert result != "EPERM" or not net.kind.has_errors, "nobody is there, but it was let out"
        net.await_seen(dst=TARGET, port=443, protocol=6, since=since)


def test_a_name_beats_a_deny_and_nothing_else_of_it(net, dns, free):
    """Allow beats deny, for the addresses of the name alone."""
    with Captive(net, [*NAMED, "--deny", ALLOWED4_NET, "--deny", "93.184.55.0/24"]) as box:
        assert_shut(net, box, free, TARGET)
        learn(dns, box, TARGET)
        assert_reached(net, box, TARGET)
        assert_shut(net, box, free, "93.184.55.8")


def test_a_socket_goes_on_to_another_address(net, dns, free, leased):
    """What its flow remembers is one peer: the socket connected anew, or sending elsewhere, begins from nothing."""
    dns.answer = answers(TARGET)

    def send(who):
        who.open_socket()
        assert who.connect(to=[TARGET, PORT]) == "ok"
        for _ in range(300):
            assert who.send(data="78") == "ok"
        results = [who.send(data=token, to=["93.184.55.8", PORT]), who.send(data=token, to=[TARGET, 7001])]
        who.connect()
        return [*results, who.connect(to=["93.184.55.8", PORT]), who.connect(to=[TARGET, 7001])]

    token = canary().encode().hex()
    since = net.mark()
    assert send(free) == ["ok"] * 4
    net.await_seen(token=bytes.fromhex(token), since=since)
    token = canary().encode().hex()
    net.fence()
    since = net.mark()
    assert send(leased) == ["EPERM"] * 4 or not net.kind.has_errors
    net.fence()
    assert not net.seen(token=bytes.fromhex(token), since=since)
