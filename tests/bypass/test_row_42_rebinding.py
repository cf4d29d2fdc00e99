# SPDX-License-Identifier: MIT
"""Row 42: answers that name addresses nobody's sandbox may reach; no lease, also when the rule is `*`."""

import socket

import pytest

import dnswire
from captive import Captive
from dnsrows import ANY_NAME, RESOLVERS, ask, assert_reached, assert_shut, learn
from dnswire import AAAA, HTTPS, QNAME, SVCB, address, record, svc
from internet import ALLOWED4, ALLOWED6, GATE4, HOST4, HOST4_SECOND, HOST6, PORT, canary

NAME = "rebind.attacker.test"

# The internet answers for these: that they are not reached is the policy's doing.
REACHABLE = [
    "10.0.0.1", "10.255.255.254", "100.64.0.1", "100.100.100.200", "168.63.129.16", "169.254.0.1", "169.254.169.254",
    "169.254.170.2", "172.16.0.1", "172.31.255.254", "192.168.0.1", "192.168.255.254", "192.0.0.1", "198.18.0.1",
    "198.19.255.254", "fd00::1", "fd00:ec2::254", "2002:5db8:d822::1", "2001:0:5db8::1",
    "64:ff9b::a00:1", "64:ff9b::a9fe:a9fe", "64:ff9b::c0a8:1", "64:ff9b::6440:1", "64:ff9b:1::5db8:d822",
]
# These are this host's, or nobody's.
ELSEWHERE = [
    "0.0.0.0", "0.1.2.3", "127.0.0.1", "127.255.255.254", "224.0.0.251", "239.255.255.250", "240.0.0.1", "255.255.255.255",
    HOST4, HOST4_SECOND, HOST6, "::", "::1", "fc00::1", "fdff::1", "fe80::1", "febf::1", "ff02::fb", "ff0e::1", "::5db8:d822",
    "64:ff9b::7f00:1", "64:ff9b::", "64:ff9b::e000:1", "64:ff9b::c000:202",
]
MAPPED = ["::ffff:10.0.0.1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:192.0.2.2", "::ffff:0.0.0.0"]
# At the edges, right outside.
OUTSIDE = ["9.9.9.250", "93.184.216.34", "203.0.113.9", "2606:2800:220:1::34", "64:ff9b::5db8:d822"]


@pytest.fixture
def any_name(net):
    """`*`, and the address rules that a careless tenant adds; they lift nothing."""
    rules = [option for cidr in ("10.0.0.0/8", "169.254.169.254", "[fd00::/8]") for option in ("--allow", f"{cidr}:1")]
    with Captive(net, [*ANY_NAME, *rules]) as box:
        yield box


def qtype_of(target):
    return AAAA if ":" in target else dnswire.A


def test_special_addresses_that_would_answer(net, dns, free, any_name):
    for target in REACHABLE:
        ask(dns, any_name, lambda asked, t=target: [asked.reply([address(QNAME, t)])], name=NAME, qtype=qtype_of(target))
        assert not any_name.leases(), target
    assert any_name.replies()["empty"] == len(REACHABLE), any_name.replies()
    assert_shut(net, any_name, free, *REACHABLE)


def test_all_of_them_in_one_reply_beside_an_honest_one(net, dns, free, any_name):
    targets = [*REACHABLE, *ELSEWHERE, *MAPPED][:60]
    records = [record(QNAME, AAAA, dnswire.ipaddress.ip_address(t).packed) if ":" in t else address(QNAME, t)
               for t in targets]
    ask(dns, any_name, lambda asked: [asked.reply([*records[:30], address(QNAME, ALLOWED4), *records[30:]])], name=NAME)
    assert set(any_name.leases()) == {ALLOWED4}
    assert_reached(net, any_name, ALLOWED4)
    assert_shut(net, any_name, free, *REACHABLE[:4])


def test_special_addresses_that_are_not_out_there(net, dns, any_name):
    net.fence()
    since, tokens = net.mark(), []
    for target in [*ELSEWHERE, *MAPPED]:
        ask(dns, any_name, lambda asked, t=target: [asked.reply([address(QNAME, t)])], name=NAME, qtype=qtype_of(target))
        assert not any_name.leases(), target
        tokens.append(canary())
        any_name.knock(to=[target, PORT], data=tokens[-1].encode().hex())
    net.fence()
    for token in tokens:
        assert not net.seen(token=token, since=since)


@pytest.mark.parametrize("target", OUTSIDE)
def test_their_neighbours_are_learned(net, dns, free, any_name, target):
    assert_shut(net, any_name, free, target)
    learn(dns, any_name, target, name=NAME, qtype=qtype_of(target))
    assert_reached(net, any_name, target)


@pytest.mark.parametrize("qtype", [HTTPS, SVCB])
def test_hints_are_no_answers(net, dns, free, any_name, qtype):
    """Neither special nor honest ones: who wants the address asks for it."""
    hints = [(4, bytes([10, 0, 0, 1]) + dnswire.ipaddress.ip_address(ALLOWED4).packed),
             (6, dnswire.ipaddress.ip_address("fd00::1").packed + dnswire.ipaddress.ip_address(ALLOWED6).packed)]
    ask(dns, any_name, lambda asked: [asked.reply([record(QNAME, qtype, svc(1, b"\0", (1, b"\2h2"), *hints))])],
        name=NAME, qtype=qtype)
    assert not any_name.leases()
    assert_shut(net, any_name, free, ALLOWED4, ALLOWED6, "10.0.0.1", "fd00::1")


def test_what_the_operator_lifts_is_learned(net, dns, free):
    """The control: the same address, the same reply."""
    with Captive(net, [*ANY_NAME, "--allow-private", "10.9.0.0/24"]) as box:
        assert_shut(net, box, free, "10.9.0.5", "10.9.1.5")
        ask(dns, box, lambda asked: [asked.reply([address(QNAME, "10.9.0.5"), address(QNAME, "10.9.1.5")])], name=NAME)
        assert set(box.leases()) == {"10.9.0.5"}
        assert_reached(net, box, "10.9.0.5")
        assert_shut(net, box, free, "10.9.1.5")


def test_an_address_that_becomes_special_later(net, dns, free, any_name):
    """It was learned; then the host takes it for itself. What is always denied stands above leases."""
    target = "203.0.113.77"
    learn(dns, any_name, target, name=NAME)
    assert_reached(net, any_name, target)
    net.host.ip("addr", "add", f"{target}/32", "dev", "lo")
    try:
        with net.host.call(socket.socket, socket.AF_INET, socket.SOCK_DGRAM) as service:
            service.bind((target, PORT))
            service.settimeout(2)
            assert free.knock(to=[target, PORT], data=b"x".hex()) == "ok"
            assert service.recv(64) == b"x"
            any_name.knock(to=[target, PORT], data=b"y".hex())
            service.settimeout(0.3)
            with pytest.raises(TimeoutError):
                service.recv(64)
    finally:
        net.host.ip("addr", "del", f"{target}/32", "dev", "lo")


def test_the_gateway_is_an_ordinary_address(net, dns, free):
    """Not always denied: what a rule says about the name holds, and nothing about its neighbours."""
    with Captive(net, [*RESOLVERS, "--allow", f"{NAME}:{PORT}"]) as box:
        learn(dns, box, GATE4, name=NAME)
        assert_reached(net, box, GATE4)
        assert_shut(net, box, free, "203.0.113.9")
