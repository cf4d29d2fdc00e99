# SPDX-License-Identifier: MIT
"""
Rows 45, 48 and 49, on the way out: messages that are not one plain question for a name of the policy. What the gate
lets through would reach the resolver, and with it whoever serves the names asked for.
"""

import os
import struct

import pytest

import dnswire
from crafted import RESOLVER4, RESOLVER6
from dnsrows import GOOD, OFF, TO4, TO6, assert_reached, await_question, learn, questions_seen
from dnswire import (AAAA, ANY, AXFR, CHAOS, CLASS_ANY, HTTPS, IXFR, NULL, QNAME, address, header, label, name, opt,
                     pointer, query)

TARGET = "93.184.46.1"
IN_FRAGMENTS = ("3000-bytes",)  # which have no answer
ANSWERS = 50  # the least that is answered of a flood; the rest is held back
LONGEST = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 44, "wild.example.com"])  # 253 characters
FLAGS = {"qr": 0x8000, "opcode-1": 0x0800, "opcode-notify": 0x2000, "opcode-update": 0x2800, "opcode-dso": 0x3000,
         "opcode-15": 0x7800, "aa": 0x0400, "tc": 0x0200, "ra": 0x0080, "z": 0x0040, "rcode-1": 1, "rcode-15": 15}
ONE = header(0x1234, 0x0100, (1, 0, 0, 0))
WITH_OPT = header(0x1234, 0x0100, (1, 0, 0, 1))
GOOD_NAME = name(GOOD)
IN_A = b"\0\1\0\1"


def raw(question_bytes, tail=b"", counts=(1, 0, 0, 0)):
    return header(0x1234, 0x0100, counts) + question_bytes + tail


BAD = {
    # Names
    "off-the-list": query(OFF),
    "below-an-exact-rule": query("x." + GOOD),
    "above": query("example.com"),
    "apex-of-a-wildcard": query("wild.example.com"),
    "suffix-without-a-dot": query("evilwild.example.com"),
    "rule-as-a-prefix": query(GOOD + ".attacker.test"),
    "rule-as-one-label": raw(label(GOOD) + b"\0" + IN_A),
    "dot-in-a-label": raw(label("good.example") + label("com") + b"\0" + IN_A),
    "dot-in-the-first-label": raw(label("x.y") + name("wild.example.com") + IN_A),
    "only-a-dot-as-label": raw(label(".") + name("wild.example.com") + IN_A),
    "nul-in-a-label": raw(label("x\0y") + name("wild.example.com") + IN_A),
    "nul-at-the-end": raw(label("good") + label("example") + label("com\0") + b"\0" + IN_A),
    "nul-then-more": raw(label("good") + label("example") + label("com\0evil") + b"\0" + IN_A),
    "space": raw(label("x y") + name("wild.example.com") + IN_A),
    "newline": raw(label("x\n") + name("wild.example.com") + IN_A),
    "star": query("*.wild.example.com"),
    "slash": raw(label("x/y") + name("wild.example.com") + IN_A),
    "at-sign": raw(label("x@y") + name("wild.example.com") + IN_A),
    "colon": raw(label("x:y") + name("wild.example.com") + IN_A),
    "plus-and-equals": raw(label("aGk+aGk=") + name("wild.example.com") + IN_A),
    "utf-8": raw(label("münchen".encode()) + name("wild.example.com") + IN_A),
    "high-bytes": raw(label(b"\xff\xfe") + name("wild.example.com") + IN_A),
    "high-bit-of-the-rule": raw(label(bytes(b | 0x80 for b in b"good")) + name("example.com") + IN_A),
    "kelvin-sign": raw(label("\u212aelvin".encode()) + name("wild.example.com") + IN_A),
    "hyphen-without-its-bit-of-case": raw(label("a\rb") + name("wild.example.com") + IN_A),
    "brackets-are-no-case": raw(label("a[b]") + name("wild.example.com") + IN_A),
    "root": query(""),
    "label-of-64": raw(b"\x40" + b"a" * 64 + name("wild.example.com") + IN_A),
    "label-of-128": raw(b"\x80" + b"a" * 128 + name("wild.example.com") + IN_A),
    "label-of-191": raw(b"\xbf" + b"a" * 191 + name("wild.example.com") + IN_A),
    "name-of-256": raw((label("a" * 60) + label("b" * 60) + label("c" * 60) + label("d" * 54)) +
                       name("wild.example.com")[:-1] + b"\0" + IN_A),
    "name-of-300": raw(b"".join(label("a" * 47) for _ in range(6)) + name("wild.example.com") + IN_A),
    "140-labels": raw(label("a") * 140 + name("wild.example.com") + IN_A),
    "pointer-to-itself": raw(pointer(12) + IN_A),
    "pointer-into-the-header": raw(label("x") + pointer(0) + IN_A),
    "pointer-behind": raw(label("x") + pointer(20) + IN_A + name("wild.example.com")),
    "pointer-to-a-good-name": raw(pointer(18) + IN_A + GOOD_NAME),
    "pointer-at-the-end-of-labels": raw(label("x") + pointer(12) + IN_A),
    "name-without-end": raw(GOOD_NAME[:-1]),
    "name-cut": raw(GOOD_NAME[:-3] + IN_A),
    # Question and counts
    "no-question-counted": raw(GOOD_NAME + IN_A, counts=(0, 0, 0, 0)),
    "two-questions": raw(GOOD_NAME + IN_A, name(OFF) + IN_A, (2, 0, 0, 0)),
    "two-counted-one-there": raw(GOOD_NAME + IN_A, counts=(2, 0, 0, 0)),
    "two-good-questions": raw(GOOD_NAME + IN_A, GOOD_NAME + IN_A, (2, 0, 0, 0)),
    "257-questions": raw(GOOD_NAME + IN_A, counts=(257, 0, 0, 0)),
    "256-questions": raw(GOOD_NAME + IN_A, counts=(256, 0, 0, 0)),
    "answer-in-a-query": raw(GOOD_NAME + IN_A, address(OFF, "192.0.2.1"), (1, 1, 0, 0)),
    "answer-counted": raw(GOOD_NAME + IN_A, counts=(1, 1, 0, 0)),
    "256-answers-counted": raw(GOOD_NAME + IN_A, counts=(1, 256, 0, 0)),
    "authority": raw(GOOD_NAME + IN_A, dnswire.cname(OFF, OFF), (1, 0, 1, 0)),
    "256-authorities-counted": raw(GOOD_NAME + IN_A, counts=(1, 0, 256, 0)),
    "additional-is-no-opt": raw(GOOD_NAME + IN_A, dnswire.record(OFF, dnswire.TXT, b"\4data"), (1, 0, 0, 1)),
    "tsig": raw(GOOD_NAME + IN_A, dnswire.record(OFF, 250, bytes(40), rclass=CLASS_ANY), (1, 0, 0, 1)),
    "additional-counted": raw(GOOD_NAME + IN_A, counts=(1, 0, 0, 1)),
    "256-additional-counted": raw(GOOD_NAME + IN_A, opt(), (1, 0, 0, 256)),
    "two-opt": raw(GOOD_NAME + IN_A, opt() + opt(), (1, 0, 0, 2)),
    "two-opt-one-counted": raw(GOOD_NAME + IN_A, opt() + opt(), (1, 0, 0, 1)),
    "opt-not-counted": raw(GOOD_NAME + IN_A, opt()),
    "opt-with-an-owner": raw(GOOD_NAME + IN_A, dnswire.record(OFF, dnswire.OPT, b""), (1, 0, 0, 1)),
    "opt-with-a-pointer": raw(GOOD_NAME + IN_A, dnswire.record(QNAME, dnswire.OPT, b""), (1, 0, 0, 1)),
    "opt-cut": raw(GOOD_NAME + IN_A, opt()[:-1], (1, 0, 0, 1)),
    "opt-rdlength-short": raw(GOOD_NAME + IN_A, opt(data=b"tunnel", length=0), (1, 0, 0, 1)),
    "opt-rdlength-one-short": raw(GOOD_NAME + IN_A, opt(data=b"tunnel", length=5), (1, 0, 0, 1)),
    "opt-rdlength-long": raw(GOOD_NAME + IN_A, opt(data=b"tunnel", length=7), (1, 0, 0, 1)),
    "opt-rdlength-65535": raw(GOOD_NAME + IN_A, opt(length=65535), (1, 0, 0, 1)),
    "opt-type-high-byte": raw(GOOD_NAME + IN_A, opt()[:1] + b"\1\x29" + opt()[3:], (1, 0, 0, 1)),
    "bytes-behind-the-question": raw(GOOD_NAME + IN_A, b"tunnel"),
    "one-byte-behind": raw(GOOD_NAME + IN_A, b"\0"),
    "bytes-behind-the-opt": raw(GOOD_NAME + IN_A, opt() + b"tunnel", (1, 0, 0, 1)),
    "question-cut": raw(GOOD_NAME + IN_A[:3]),
    "no-type": raw(GOOD_NAME),
    # Types and classes
    "any": query(GOOD, qtype=ANY),
    "axfr": query(GOOD, qtype=AXFR),
    "ixfr": query(GOOD, qtype=IXFR),
    "null": query(GOOD, qtype=NULL),
    "chaos": query(GOOD, qclass=CHAOS),
    "class-any": query(GOOD, qclass=CLASS_ANY),
    "class-none": query(GOOD, qclass=254),
    "class-0": query(GOOD, qclass=0),
    "class-257": query(GOOD, qclass=257),
    "class-unicast-mdns": query(GOOD, qclass=0x8001),
    "version-bind": query("version.bind", qtype=dnswire.TXT, qclass=CHAOS),
    # Sizes
    "empty": b"",
    "one-byte": b"x",
    "11-bytes": ONE[:11],
    "header-only": ONE,
    "garbage": b"GET / HTTP/1.0\r\n\r\n" + b"exfiltrate" * 20,
    "text-behind-a-header": ONE + b"exfiltrate" * 20,
    "513-bytes": WITH_OPT + GOOD_NAME + IN_A + opt(data=bytes(513 - 12 - len(GOOD_NAME) - 4 - 11)),
    "1400-bytes": WITH_OPT + GOOD_NAME + IN_A + opt(data=os.urandom(1400 - 12 - len(GOOD_NAME) - 4 - 11)),
    "3000-bytes": WITH_OPT + GOOD_NAME + IN_A + opt(data=os.urandom(3000 - 12 - len(GOOD_NAME) - 4 - 11)),
    "tcp-framing": struct.pack("!H", len(query(GOOD))) + query(GOOD),
    **{f"flag-{what}": query(GOOD, flags=0x0100 | bit) for what, bit in FLAGS.items()},
}

FINE = {
    "plain": query(GOOD),
    "aaaa": query(GOOD, qtype=AAAA),
    "https": query(GOOD, qtype=HTTPS),
    "txt": query(GOOD, qtype=dnswire.TXT),
    "mixed-case": query("gOOd.eXAMple.COM"),
    "below-a-wildcard": query("a.wild.example.com"),
    "far-below-a-wildcard": query("a.b.c.d.e.f.wild.example.com"),
    "underscore-and-hyphen": query("_dns-sd._udp.wild.example.com", qtype=dnswire.PTR),
    "longest-label": query("a" * 63 + ".wild.example.com"),
    "longest-name": query(LONGEST),
    "longest-name-and-edns": query(LONGEST, extra=opt()),
    "name-of-250": query(LONGEST[3:]),
    "most-labels": query("a." * 118 + "wild.example.com"),
    "edns": query(GOOD, extra=opt()),
    "edns-with-a-cookie": query(GOOD, extra=opt(data=b"\0\x0a\0\x08" + b"cookie88")),
    "rd-ad-cd": query(GOOD, flags=0x0130),
    "no-rd": query(GOOD, flags=0),
    "512-bytes": WITH_OPT + GOOD_NAME + IN_A + opt(data=bytes(512 - 12 - len(GOOD_NAME) - 4 - 11)),
}

# The resolver says nothing unless a test tells it to.
pytestmark = pytest.mark.usefixtures("dns")


def arrives(net, who, payload, to=TO4):
    since = net.mark()
    assert who.knock(to=to, data=payload.hex()) == "ok"
    await_question(net, payload, since)


def all_refused(net, who, bad, to):
    """Each is EPERM; none of them, and nothing else, reaches the resolver."""
    net.fence()
    since = net.mark()
    wrong = {}
    for what, payload in bad.items():
        result = who.knock(to=to, data=payload.hex())
        if result != "EPERM" and (net.kind.has_errors or what not in IN_FRAGMENTS):
            wrong[what] = result
    net.fence()
    assert not wrong, wrong
    assert not questions_seen(net, since)


def test_the_control_beside_the_sandbox_everything_arrives(net, free):
    for what, payload in {**BAD, **FINE}.items():
        if what == "3000-bytes":
            since = net.mark()
            assert free.knock(to=TO4, data=payload.hex()) == "ok"
            net.await_seen(token=payload[-20:], since=since)
        else:
            arrives(net, free, payload)


def test_questions_that_pass(net, dns, named):
    dns.answer = lambda asked: [asked.reply()]
    for payload in FINE.values():
        for to in (TO4, TO6):
            arrives(net, named, payload, to)
    assert len(dnswire.name(LONGEST)) == 255


@pytest.mark.parametrize("to", [TO4, TO6, ["::ffff:" + RESOLVER4, 53]])
def test_messages_that_do_not(net, named, to):
    all_refused(net, named, BAD, to)
    arrives(net, named, FINE["plain"], to)


@pytest.mark.parametrize("to", [TO4, TO6, ["::ffff:" + RESOLVER4, 53]])
def test_messages_that_do_not_by_packets_alone(net, named_packets, to):
    all_refused(net, named_packets, BAD, to)
    arrives(net, named_packets, FINE["plain"], to)


def assert_all_refused(net, results, count):
    """Where a refusal is an answer, not each of a flood has one."""
    if net.kind.has_errors:
        assert results == {"EPERM": count}
    else:
        assert results["EPERM"] >= ANSWERS and sum(results.values()) == count, results


def test_the_reason_is_told(net, named):
    assert named.knock(to=TO4, data=query(OFF).hex()) == "EPERM"
    named.stop()
    assert OFF in "\n".join(named.errors), named.text()


def test_every_byte_of_a_good_question_changed(net, free, named):
    """
    One byte at a time, to each of some values. What passes is still a question for GOOD in any case, of another type, or of
    a name below the wildcard; the test reads that from what arrived.
    """
    good = query(GOOD, extra=opt())
    changed = []
    for place in range(len(good)):
        for value in {0, 1, 2, 41, 63, 64, 0x2e, 0xC0, 0xFF, good[place] ^ 0x20, good[place] ^ 1, good[place] ^ 0x80}:
            if value != good[place]:
                changed.append(good[:place] + bytes([value]) + good[place + 1:])
    net.fence()
    since = net.mark()
    named.send_all(data=[one.hex() for one in changed], to=TO4)
    net.fence()
    for payload in questions_seen(net, since, (RESOLVER4,)):
        asked = dnswire.Question(payload)
        assert asked.name.lower() == GOOD and payload[12:12 + len(GOOD_NAME)].lower() == GOOD_NAME, payload
        assert payload[2:4] in (b"\1\0", b"\0\0", b"\1\x10", b"\1\x20", b"\1\x30") or not payload[2] & 0xFE, payload
        assert payload[4:12] == b"\0\1\0\0\0\0\0\1"
        assert len(payload) == len(good)
        assert asked.type not in (NULL, ANY, AXFR, IXFR)
    assert free.send_all(data=[one.hex() for one in changed], to=TO4) == {"ok": len(changed)}


def test_a_question_that_passes_is_answered_and_learned(net, dns, free, named):
    learn(dns, named, TARGET)
    assert_reached(net, named, TARGET)
    assert_reached(net, free, TARGET)


def test_a_tunnel_by_names(net, free, named):
    """Row 49: 1,000 names that carry data, as tunnels write them; the resolver sees none of them."""
    names = [os.urandom(24).hex() + f".{n}.t.attacker.test" for n in range(500)]
    names += [f"{os.urandom(20).hex()}.{GOOD}" for n in range(250)]  # below an exact rule
    names += [os.urandom(20).hex() + "-wild.example.com" for n in range(250)]
    types = (dnswire.A, AAAA, dnswire.TXT, dnswire.MX, dnswire.CNAME, NULL, dnswire.SRV)
    payloads = [query(one, n, qtype=types[n % len(types)]).hex() for n, one in enumerate(names)]
    net.fence()
    since = net.mark()
    for to in (TO4, TO6):
        assert_all_refused(net, named.send_all(data=payloads, to=to), 1000)
    net.fence()
    assert not questions_seen(net, since)
    since = net.mark()
    assert free.send_all(data=payloads, to=TO4) == {"ok": 1000}
    net.fence()
    assert len(questions_seen(net, since, (RESOLVER4,))) == 1000
    assert not questions_seen(net, since, (RESOLVER6,))
