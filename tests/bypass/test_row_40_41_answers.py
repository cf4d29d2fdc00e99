# SPDX-License-Identifier: MIT
"""Rows 40 and 41: answers for names that were not asked for, other sections, and chains of CNAMEs."""

import pytest

import dnswire
from captive import Captive
from dnsrows import ANY_NAME, GOOD, OFF, TO4, ask, assert_reached, assert_shut
from dnswire import QNAME, address, cname, pointer
from internet import HOST4
from wait import until

BAD = "93.184.40.66"
FINE = "93.184.40.1"
WILD = "a.wild.example.com"


def chain(links, last, owner="l{}.chain.test", start=QNAME):
    """CNAMEs from the question over `links` names, and an address of the last."""
    records, current = [], start
    for n in range(links):
        target = owner.format(n)
        records.append(cname(current, target))
        current = target
    return [*records, address(current, last)]


LOOP = [cname(QNAME, "b.test"), cname("b.test", "c.test"), cname("c.test", "b.test")]

# Replies that teach nothing about BAD, whatever else they teach.
NOTHING = {
    "a-name-not-asked": [address(OFF, BAD)],
    "a-name-below": [address("x." + GOOD, BAD)],
    "the-name-above": [address("example.com", BAD)],
    "the-root": [address(b"\0", BAD)],
    "a-name-that-begins-alike": [address(GOOD + ".attacker.test", BAD)],
    "another-name-that-a-rule-covers": [address(WILD, BAD)],
    "extra-answer": [address(QNAME, FINE), address(OFF, BAD)],
    "extra-answer-first": [address(OFF, BAD), address(QNAME, FINE)],
    "owner-when-there-is-a-chain": [cname(QNAME, "b.test"), address(QNAME, BAD), address("b.test", FINE)],
    "chain-of-nine": chain(9, BAD),
    "chain-of-nine-backwards": chain(9, BAD)[::-1],
    "chain-of-thirty": chain(30, BAD),
    "chain-to-itself": [cname(QNAME, QNAME), address(OFF, BAD)],
    "loop": [*LOOP, address(OFF, BAD)],
    "chain-elsewhere": [cname(OFF, "b.test"), address("b.test", BAD), address(QNAME, FINE)],
    "middle-of-a-chain": [cname(QNAME, "b.test"), cname("b.test", "c.test"), address("b.test", BAD),
                          address("c.test", FINE)],
    "second-cname-of-one-owner": [cname(QNAME, "b.test"), cname(QNAME, "c.test"), address("c.test", BAD),
                                  address("b.test", FINE)],
    "dname": [dnswire.record("example.com", dnswire.DNAME, dnswire.name("b.test")), address("good.b.test", BAD)],
    "chaos-class": [address(QNAME, BAD, rclass=dnswire.CHAOS)],
    "any-class": [address(QNAME, BAD, rclass=dnswire.CLASS_ANY)],
    "chaos-cname": [cname(QNAME, "b.test", rclass=dnswire.CHAOS), address("b.test", BAD)],
    "type-in-a-wrong-place": [dnswire.record(QNAME, dnswire.TXT, address(QNAME, BAD)[-4:])],
    "a-record-within-a-record": [dnswire.record(QNAME, dnswire.TXT, address(QNAME, BAD))],
}


def test_answers_that_teach_nothing(net, dns, free, named):
    for what, records in NOTHING.items():
        ask(dns, named, lambda asked, r=records: [asked.reply(r)])
        assert set(named.leases()) <= {FINE}, what
    assert_shut(net, named, free, BAD)


@pytest.mark.parametrize("section", ["authority", "additional"])
def test_other_sections(net, dns, free, named, section):
    ask(dns, named, lambda asked: [asked.reply([address(QNAME, FINE)], **{section: [address(QNAME, BAD)]})])
    assert set(named.leases()) == {FINE}
    assert_shut(net, named, free, BAD)


@pytest.mark.parametrize("section", ["authority", "additional"])
def test_only_other_sections(net, dns, free, named, section):
    ask(dns, named, lambda asked: [asked.reply(**{section: [address(QNAME, BAD)]})])
    assert not named.leases()
    assert_shut(net, named, free, BAD)


@pytest.mark.parametrize("counts", [(1, 1, 0, 0), (1, 1, 1, 0), (1, 1, 0, 1)])
def test_records_behind_the_answers_that_are_counted(net, dns, free, named, counts):
    records = [address(QNAME, FINE), address(QNAME, BAD)]
    ask(dns, named, lambda asked: [asked.reply(records, counts=counts)])
    assert set(named.leases()) <= {FINE}
    assert_shut(net, named, free, BAD)


# The controls: what servers send, and BAD is their honest answer.
LEARNED = {
    "one": [address(QNAME, BAD)],
    "spelled-out": [address(GOOD, BAD)],
    "other-case": [address(GOOD.upper(), BAD)],
    "chain": chain(1, BAD),
    "chain-of-eight": chain(8, BAD),
    "chain-of-eight-backwards": chain(8, BAD)[::-1],
    "chain-in-other-case": [cname(QNAME, "B.test"), address("b.TEST", BAD)],
    "with-a-signature": [dnswire.record(QNAME, 46, bytes(90)), address(QNAME, BAD)],
}


@pytest.mark.parametrize("what", LEARNED)
def test_what_servers_send(net, dns, free, named, what):
    assert_shut(net, named, free, BAD)
    ask(dns, named, lambda asked: [asked.reply(LEARNED[what])])
    assert set(named.leases()) == {BAD}, named.replies()
    assert_reached(net, named, BAD)


@pytest.mark.parametrize("target", [OFF, "169.254.169.254", "localhost", "*", "\x00.test"])
def test_the_name_asked_for_is_the_one_that_counts(net, dns, free, named, target):
    """A chain may end at a name that no rule covers: its owner says so. But it is no rule for that name."""
    ask(dns, named, lambda asked: [asked.reply([cname(QNAME, target), address(target, BAD)])])
    assert named.leases() == {BAD: {GOOD}}
    for name in (OFF, "b.test"):
        assert named.ask(data=dnswire.query(name).hex(), to=TO4)[0] == "EPERM"


def test_a_chain_towards_a_covered_name_from_one_that_is_not(net, dns, free, named):
    """The question does not leave, so there is no reply to learn from."""
    result = named.ask(data=dnswire.query(OFF).hex(), to=TO4, seconds=0.2)
    assert result == ["EPERM", ""]
    before = named.replies()
    asked = dnswire.Question(dnswire.query(OFF, 0x1234))
    named.open_socket(bind=["0.0.0.0", 0])
    dns.send(dnswire.udp(TO4[0], 53, named.address(HOST4), named.port_of(),
                         asked.reply([cname(QNAME, GOOD), address(GOOD, BAD)])))
    until(lambda: named.replies()["unasked"] > before["unasked"], "it is counted")
    assert not named.leases()
    assert_shut(net, named, free, BAD)


def test_a_rule_for_every_name(net, dns, free):
    """`*` covers every name; an answer for one name is none for another all the same."""
    with Captive(net, ANY_NAME) as box:
        ask(dns, box, lambda asked: [asked.reply([address(QNAME, FINE), address(OFF, BAD)])], name="x.y.test")
        assert set(box.leases()) == {FINE}
        assert_shut(net, box, free, BAD)


def test_more_addresses_than_count(net, dns, free, named):
    many = [f"93.184.41.{n}" for n in range(1, 71)]
    ask(dns, named, lambda asked: [asked.reply([address(QNAME, one) for one in many])])
    assert set(named.leases()) == set(many[:64])
    assert_shut(net, named, free, *many[64:])


def test_pointers_into_records(net, dns, free, named):
    """An owner that points into another record's data reads there what a server did not say."""
    txt = dnswire.record(OFF, dnswire.TXT, dnswire.name(GOOD))
    ask(dns, named, lambda asked: [asked.reply([txt, dnswire.record(
        pointer(12 + len(asked.wire) + len(dnswire.name(OFF)) + 10), dnswire.A, b"\x5d\xb8\x28\x42")])])
    # It says GOOD after all, and backwards: a strange way to write the name asked for, and no other name.
    assert set(named.leases().get(BAD, {GOOD})) == {GOOD}
