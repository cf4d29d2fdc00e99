# SPDX-License-Identifier: MIT
"""
Row 39: replies that nobody asked for, from the wrong place, to the wrong place, too late, or once more. PST_LONG=1: the
slow ones behind a device, too.
"""

import time

import dnswire
from captive import Captive
from crafted import RESOLVER4, RESOLVER6, STRANGER4, Blast
from dnsrows import GOOD, NAMED, TO4, ask, assert_reached, assert_shut, learn
from dnswire import QNAME, address
from internet import HOST4
from wait import until

TRUE, FORGED = "93.184.39.1", "93.184.39.66"
LATE_S = 10.2  # a question waits for 10 s

# What is wrong with the forged packet: what Asked.reply() and Asked.packet() are told.
WRONG = {
    "txid": ({"txid": 0x4243}, {}),
    "txid-swapped": ({"txid": 0x4224}, {}),
    "source": ({}, {"src": STRANGER4}),
    "source-port": ({}, {"sport": 5353}),
    "source-port-54": ({}, {"sport": 54}),
    "case": ({"question": dnswire.question("GOOD.example.com")}, {}),
    "name": ({"question": dnswire.question("god.example.com")}, {}),
    "type": ({"question": dnswire.question(GOOD, dnswire.AAAA)}, {}),
    "class": ({"question": dnswire.question(GOOD, qclass=3)}, {}),
    "question-cut": ({"question": dnswire.question(GOOD)[:-1]}, {}),
    "name-and-more": ({"question": dnswire.question(GOOD + ".test")}, {}),
}


def test_a_forged_reply_before_the_true_one(net, dns, free, named):
    """Where the kernel finds a socket for it, it is delivered; it teaches nothing, and does not use the question up."""
    for n, (what, (reply, packet)) in enumerate(WRONG.items()):
        true = f"93.184.39.{n + 100}"

        def both(asked, reply=reply, packet=packet, true=true):
            return [(asked.packet(asked.reply([address(GOOD, FORGED)], **reply), **packet),),
                    asked.reply([address(QNAME, true)])]

        ask(dns, named, both)
        until(lambda t=true: t in named.leases(), f"{what}: the true reply is learned", 3)
        assert FORGED not in named.leases(), what
        assert_reached(net, named, true)
    assert_shut(net, named, free, FORGED)


def forge(dns, box, port, txid=0x4242, resolver=RESOLVER4, target=FORGED):
    """A reply that fits a question for GOOD from that port."""
    asked = dnswire.Question(dnswire.query(GOOD, txid))
    packet = dnswire.udp(resolver, 53, box.address(HOST4), port, asked.reply([address(QNAME, target)]))
    before = box.replies()["unasked"]
    dns.send(packet)
    return before


def test_nobody_asked(net, dns, free, named):
    named.open_socket(bind=["0.0.0.0", 0])
    before = forge(dns, named, named.port_of())
    until(lambda: named.replies()["unasked"] > before, "the forged reply is counted")
    assert not named.leases()
    assert_shut(net, named, free, FORGED)


def test_a_reply_to_another_port_of_the_same_sandbox(net, dns, free, named):
    dns.answer = lambda asked: ()
    named.open_socket(sock="one", bind=["0.0.0.0", 0])
    named.open_socket(sock="two", bind=["0.0.0.0", 0])
    assert named.send(sock="one", data=dnswire.query(GOOD, 0x4242).hex(), to=TO4) == "ok"
    before = forge(dns, named, named.port_of(sock="two"))
    until(lambda: named.replies()["unasked"] > before, "the forged reply is counted")
    assert not named.leases()
    assert_shut(net, named, free, FORGED)


def test_a_question_of_one_sandbox_is_none_of_another(net, dns, free, named):
    dns.answer = lambda asked: ()
    with Captive(net, NAMED) as other:
        other.open_socket(bind=["0.0.0.0", 0])
        named.open_socket(bind=["0.0.0.0", 0])
        assert other.send(data=dnswire.query(GOOD, 0x4242).hex(), to=TO4) == "ok"
        before = forge(dns, named, named.port_of())
        until(lambda: named.replies()["unasked"] > before, "the forged reply is counted")
        assert not named.leases() and not other.leases()
        # The same reply at the right door: what was forged above was right in all but that.
        forge(dns, other, other.port_of())
        until(lambda: FORGED in other.leases(), "the control is learned")
        assert_reached(net, other, FORGED)
        assert_shut(net, named, free, FORGED)


def test_another_trusted_resolver_answers(net, dns, free):
    second = "185.53.0.54"
    with Captive(net, [*NAMED, "--resolver", second]) as box:
        ask(dns, box, lambda asked: [(asked.packet(asked.reply([address(QNAME, FORGED)]), src=second),)])
        assert FORGED not in box.leases()
        assert_shut(net, box, free, FORGED)


def test_a_reply_of_the_other_family(net, dns, free, named):
    """A dual-stack socket asks by IPv6 and is answered by IPv4."""
    dns.answer = lambda asked: ()
    named.open_socket(family=6, bind=["::", 0])
    assert named.send(data=dnswire.query(GOOD, 0x4242).hex(), to=[RESOLVER6, 53]) == "ok"
    before = forge(dns, named, named.port_of())
    until(lambda: named.replies()["unasked"] > before, "the forged reply is counted")
    assert not named.leases()
    assert_shut(net, named, free, FORGED)


def test_a_second_reply_to_one_question(net, dns, free, named):
    ask(dns, named, lambda asked: [asked.reply([address(QNAME, TRUE)]), asked.reply([address(QNAME, FORGED)])])
    until(lambda: named.replies()["unasked"] >= 1, "the second is counted")
    assert set(named.leases()) == {TRUE}
    assert_reached(net, named, TRUE)
    assert_shut(net, named, free, FORGED)


FIRST = ({"flags": 0x8183}, {"flags": 0x8380}, {"flags": 0x8185}, {"flags": dnswire.QUERY}, {"counts": (1, 0, 0, 0)},
         {"counts": (1, 9, 0, 0)}, {"counts": (0, 0, 0, 0)}, {"counts": (2, 0, 0, 0)})


def test_a_second_reply_to_one_that_taught_nothing(net, dns, free, named):
    """NXDOMAIN, TC, an error, an empty answer and nonsense use a question up as well."""
    for n, first in enumerate(FIRST):
        ask(dns, named, lambda asked, f=first: [asked.reply(**f), asked.reply([address(QNAME, FORGED)])])
        until(lambda c=n: named.replies()["unasked"] > c, f"{first}: the second is counted")
        assert not named.leases(), first
    assert_shut(net, named, free, FORGED)


def test_a_late_reply(net, dns, free, named):
    """One second before its end a question is answered, just behind it it is not."""
    dns.answer = lambda asked: ()
    ends = {}
    for sock, wait_s in (("in time", LATE_S - 1.2), ("late", LATE_S)):
        named.open_socket(sock=sock, bind=["0.0.0.0", 0])
        assert named.send(sock=sock, data=dnswire.query(GOOD, 0x4242).hex(), to=TO4, wait=False) == "ok"
        ends[sock] = time.monotonic() + wait_s
    for sock, target, learned in (("in time", TRUE, True), ("late", FORGED, False)):
        until(lambda e=ends[sock]: time.monotonic() >= e, "the question is old", 15)
        counted = sum(named.replies().values())
        forge(dns, named, named.port_of(sock=sock), target=target)
        until(lambda c=counted: sum(named.replies().values()) > c, "the reply is counted")
        assert (target in named.leases()) == learned, named.replies()
    assert_shut(net, named, free, FORGED)


def test_a_million_forged_replies_beside_a_thousand_true_ones(net, dns, named):
    """Each question waits while a thousand guesses of its txid come from its resolver to its port; then its answer."""
    rounds, guesses = 1000, 1000
    true = [f"93.184.{160 + n // 250}.{n % 250 + 1}" for n in range(rounds)]
    dns.answer = lambda asked: ()
    named.open_socket(bind=["0.0.0.0", 0])
    port = named.port_of()
    with Blast(net) as blast:
        for n in range(rounds):
            txid = n * 61 % 65536
            since = len(dns.asked)
            assert named.send(data=dnswire.query(GOOD, txid).hex(), to=TO4, wait=False) == "ok"
            asked = dns.await_asked(lambda a, t=txid: a.txid == t and a.port == port)
            assert len(dns.asked) == since + 1
            blast.send(asked.packet(asked.reply([address(QNAME, FORGED)]), zero_checksum=True), 28, guesses)
            dns.send(asked.packet(asked.reply([address(QNAME, true[n])])))
    until(lambda: named.replies()["learned"] >= rounds, f"{rounds} replies are learned: {named.replies()}")
    leases = named.leases()
    assert FORGED not in leases
    assert set(leases) == set(true)
    replies = named.replies()
    assert replies["learned"] == rounds and replies["unasked"] == rounds * guesses, replies


def test_the_everyday_reply_is_learned(net, dns, free, named, named_packets):
    """The control of this file: the same reply with nothing wrong."""
    for box in (named, named_packets):
        assert_shut(net, box, free, TRUE)
        learn(dns, box, TRUE)
        assert_reached(net, box, TRUE)
        assert_reached(net, free, TRUE)
