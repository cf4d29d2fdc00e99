# SPDX-License-Identifier: MIT
"""Row 43: whatever the TTL, a lease lasts within the policy's bounds; its end closes new connections."""

import json
import time

import pytest

from captive import Captive
from crafted import RESOLVER4
from dnsrows import GOOD, answers, ask, assert_reached, assert_shut, learn
from dnswire import QNAME, address, cname
from internet import PORT
from wait import until

TARGET = "93.184.43.7"
LOWEST, HIGHEST = 300, 3600  # the defaults

TTLS = {0: LOWEST, 1: LOWEST, 299: LOWEST, 300: 300, 301: 301, 3599: 3599, 3600: HIGHEST, 3601: HIGHEST, 86400: HIGHEST,
        2**31 - 1: HIGHEST, 2**31: LOWEST, 2**31 + 1000: LOWEST, 2**32 - 1: LOWEST}


def boot_ns():
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def lasts(box, target, asked_ns):
    """The seconds of a lease, as whole ones."""
    end = box.lease_ends()[target]
    seconds = (end - asked_ns) / 1e9
    assert (end - boot_ns()) / 1e9 < seconds
    return seconds


def test_clamped(net, dns, named):
    for n, (ttl, expected) in enumerate(TTLS.items()):
        target, before = f"93.184.43.{n + 20}", boot_ns()
        ask(dns, named, lambda asked, t=target, s=ttl: [asked.reply([address(QNAME, t, ttl=s)])])
        assert expected <= lasts(named, target, before) < expected + 5, ttl
        assert_reached(net, named, target)


def learn_with(dns, box, records):
    ask(dns, box, lambda asked: [asked.reply(records)])
    assert TARGET in box.leases(), box.replies()


@pytest.mark.parametrize("first,last,expected", [(1000, 2000, 1000), (2000, 1000, 1000), (0, 2000, LOWEST),
                                                 (2**31, 2000, LOWEST), (2**32 - 1, 2**31 - 1, LOWEST)])
def test_the_smallest_of_a_chain(dns, named, first, last, expected):
    before = boot_ns()
    learn_with(dns, named, [cname(QNAME, "b.test", ttl=first), address("b.test", TARGET, ttl=last)])
    assert expected <= lasts(named, TARGET, before) < expected + 5


@pytest.mark.parametrize("second", [0, 300, 600])
def test_a_shorter_answer_does_not_shorten_and_none_prolongs_beyond_its_own_ttl(dns, named, second):
    """What a first answer gave, a second one does not take; nor does it count from the first one's end."""
    before = boot_ns()
    learn_with(dns, named, [address(QNAME, TARGET, ttl=1000)])
    learn_with(dns, named, [address(QNAME, TARGET, ttl=second)])
    assert 1000 <= lasts(named, TARGET, before) < 1005


@pytest.fixture
def short(net, tmp_path):
    """Leases of one second."""
    path = tmp_path / "policy.json"
    path.write_text(json.dumps({"allowOut": [f"{GOOD}:{PORT}"], "denyOut": ["0.0.0.0/0"],
                                "dns": {"minTtl": 1, "maxTtl": 2, "resolvers": [RESOLVER4]}}))
    with Captive(net, ["--policy", path]) as box:
        yield box


@pytest.mark.parametrize("ttl", [0, 1, 2, 3600, 2**32 - 1])
def test_an_expired_lease_and_a_new_connection(net, dns, free, short, ttl):
    learn(dns, short, TARGET)
    dns.answer = answers(TARGET, ttl=ttl)
    assert_reached(net, short, TARGET)
    # A flow of before: its end is not the lease's.
    assert short.open_socket(sock="old") == "ok"
    assert short.connect(sock="old", to=[TARGET, PORT]) == "ok"
    assert short.send(sock="old", data="6f6c64") == "ok"
    end = short.lease_ends()[TARGET]
    assert end <= boot_ns() + 2e9
    until(lambda: boot_ns() > end, "the lease has ended")
    assert_shut(net, short, free, TARGET)
    assert short.call(to=[TARGET, PORT]) == "EPERM"
    assert short.send(sock="old", data="6f6c64") == "ok"
    assert_shut(net, short, free, TARGET)
    # The socket of before, connected anew: a new flow if its port is another.
    assert short.connect(sock="old") == "ok"
    # And asked for again it is a new lease.
    learn(dns, short, TARGET)
    assert_reached(net, short, TARGET)


def test_what_is_sent_and_answered_does_not_renew_a_lease(net, dns, free, short):
    """Over its end one socket keeps talking, and is answered. That is its flow; another port begins a new one."""
    learn(dns, short, TARGET)
    end = short.lease_ends()[TARGET]
    short.open_socket(sock="flow", bind=["0.0.0.0", 0])
    while boot_ns() <= end:
        assert short.send(sock="flow", data="78", to=[TARGET, PORT]) == "ok"
        assert short.receive(sock="flow")
    assert short.lease_ends()[TARGET] == end
    assert short.send(sock="flow", data="78", to=[TARGET, PORT]) == "ok"
    assert_shut(net, short, free, TARGET)


def test_tcp_reconnected_by_its_own_socket(net, dns, free, short):
    """connect(AF_UNSPEC) and connect() again: a first SYN is no live flow, whatever the socket remembers."""
    assert free.call(to=[TARGET, PORT]) == "ok"
    learn(dns, short, TARGET)
    assert short.open_socket(sock="tcp", kind="tcp") == "ok"
    assert short.connect(sock="tcp", to=[TARGET, PORT]) == "ok"
    end = short.lease_ends()[TARGET]
    until(lambda: boot_ns() > end, "the lease has ended")
    assert short.send(sock="tcp", data="6f6c64") == "ok"
    assert short.connect(sock="tcp") == "ok"
    net.fence()
    since = net.mark()
    assert short.connect(sock="tcp", to=[TARGET, PORT]) == "EPERM"
    net.fence()
    assert not [f for f in net.seen(dst=TARGET, since=since, port=PORT) if f.flags & 2]
