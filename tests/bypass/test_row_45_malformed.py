# SPDX-License-Identifier: MIT
"""Row 45: replies that make no sense teach nothing, and the next honest one is learned."""

import random

from crafted import RESOLVER4
from dnsrows import GOOD, answers, ask, assert_reached, assert_shut, learn
from dnswire import (A, AAAA, CNAME, HEADER, QNAME, REPLY, TXT, address, cname, header, label, name, pointer, record)

BAD, FINE = "93.184.45.66", "93.184.45.1"
QUESTION = name(GOOD) + b"\0\1\0\1"
FIRST = HEADER + len(QUESTION)  # where the answers begin
LONG = label("a") * 120 + name("b.test")
SEED = 45


def forwards(place=FIRST):
    return pointer(place + 40)


def answer(*records, **changed):
    return lambda asked: asked.reply(records, **changed)


def cut(bytes_less):
    return lambda asked: asked.reply([address(QNAME, FINE), address(QNAME, BAD)])[:-bytes_less]


# What the message is; it holds BAD as the answer that a careless reader would find.
CORPUS = {
    "counts-one-more": answer(address(QNAME, BAD), counts=(1, 2, 0, 0)),
    "counts-65535": answer(address(QNAME, BAD), counts=(1, 65535, 0, 0)),
    "cut-in-the-address": cut(1),
    "cut-before-the-address": cut(4),
    "cut-in-the-length": cut(5),
    "cut-in-the-fields": cut(9),
    "cut-in-the-pointer": cut(15),
    "header-only": lambda asked: header(asked.txid, REPLY, (1, 1, 0, 0)),
    "question-only": answer(counts=(1, 1, 0, 0)),
    "eleven-bytes": lambda asked: header(asked.txid, REPLY, (1, 1, 0, 0))[:11],
    "a-of-3-bytes": answer(address(QNAME, BAD), record(QNAME, A, b"\1\2\3")),
    "a-of-5-bytes": answer(address(QNAME, BAD), record(QNAME, A, b"\1\2\3\4\5")),
    "a-of-0-bytes": answer(address(QNAME, BAD), record(QNAME, A, b"")),
    "a-of-16-bytes": answer(address(QNAME, BAD), record(QNAME, A, bytes(16))),
    "aaaa-of-4-bytes": answer(address(QNAME, BAD), record(QNAME, AAAA, b"\1\2\3\4")),
    "aaaa-of-15-bytes": answer(address(QNAME, BAD), record(QNAME, AAAA, bytes(15))),
    "length-beyond-the-end": answer(address(QNAME, BAD), record(QNAME, TXT, b"x", length=60000)),
    "length-one-beyond": answer(address(QNAME, BAD), record(QNAME, TXT, b"x", length=2)),
    "owner-pointer-to-itself": answer(address(pointer(FIRST), BAD)),
    "owner-pointer-forwards": answer(address(forwards(), BAD), address(QNAME, FINE)),
    "owner-pointer-beyond-the-end": answer(address(pointer(0x3fff), BAD), address(QNAME, FINE)),
    "owner-pointer-to-the-last-byte": answer(address(label("x") + pointer(FIRST + 17), BAD)),
    "two-pointers-to-each-other": answer(cname(QNAME, pointer(FIRST + 12)), address(QNAME, BAD)),
    "owner-label-of-64": answer(address(b"\x40" + b"a" * 64 + b"\0", BAD), address(QNAME, BAD)),
    "owner-label-of-128": answer(address(b"\x80" + b"a" * 128 + b"\0", BAD), address(QNAME, BAD)),
    "owner-runs-out": answer(address(QNAME, BAD), b"\x3f" + b"a" * 20, counts=(1, 2, 0, 0)),
    "cname-cut": answer(record(QNAME, CNAME, b"\1b\4tes"), address(QNAME, BAD)),
    "cname-with-more-behind": answer(record(QNAME, CNAME, name("b.test") + b"x"), address(QNAME, BAD)),
    "cname-empty": answer(record(QNAME, CNAME, b""), address(QNAME, BAD)),
    "cname-longer-than-its-length": answer(record(QNAME, CNAME, name("b.test"), length=3), address(QNAME, BAD)),
    "cname-pointer-forwards": answer(cname(QNAME, pointer(FIRST + 14)), address("b.test", BAD)),
    "cname-pointer-loop": answer(cname(QNAME, label("a") + pointer(FIRST + 12)), address(label("a") + QNAME, BAD)),
    "nine-cnames": answer(*[cname(f"x{n}.test", "y.test") for n in range(9)], address(QNAME, BAD)),
    "no-question": lambda asked: asked.reply([address(QNAME, BAD)], counts=(0, 1, 0, 0)),
    "two-questions": lambda asked: asked.reply([address(QNAME, BAD)], counts=(2, 1, 0, 0)),
    "256-questions": lambda asked: asked.reply([address(QNAME, BAD)], counts=(256, 1, 0, 0)),
    "opcode-1": lambda asked: asked.reply([address(QNAME, BAD)], flags=REPLY | 0x0800),
    "opcode-update": lambda asked: asked.reply([address(QNAME, BAD)], flags=REPLY | 0x2800),
    "a-query": lambda asked: asked.reply([address(QNAME, BAD)], flags=0x0100),
    "more-steps-than-a-reply-is-worth": lambda asked: asked.reply([
        cname(QNAME, LONG), address(LONG, BAD),
        *[address(label("a") + pointer(FIRST + 12 + len(LONG) + 2), BAD) for n in range(40)]]),
}
# Odd, and no nonsense: the address they hold is told for the name asked.
ODD = {
    "bytes-behind-everything": answer(address(QNAME, FINE), tail=b"garbage" * 20),
    "authority-garbage": answer(address(QNAME, FINE), counts=(1, 1, 9, 9), tail=b"\xff" * 40),
    "spelled-out": answer(address(GOOD, FINE)),
    "half-compressed": answer(address(label("good") + pointer(HEADER + 5), FINE)),
    "pointer-to-a-pointer": answer(record(QNAME, TXT, b"\1x"), address(pointer(FIRST), FINE)),
    "header-bits": answer(address(QNAME, FINE), flags=REPLY | 0x0470),
}


def test_nonsense(net, dns, free, named):
    for what, message in CORPUS.items():
        for qtype in (A, AAAA):
            ask(dns, named, lambda asked, m=message: [m(asked)], qtype=qtype)
            assert not named.leases(), (what, named.replies())
    assert_shut(net, named, free, BAD)
    learn(dns, named, FINE)
    assert_reached(net, named, FINE)


def test_what_is_only_odd(net, dns, named):
    for what, message in ODD.items():
        ask(dns, named, lambda asked, m=message: [m(asked)])
        assert named.replies()["malformed"] == 0, what
        assert named.replies()["learned"] >= 1, what
    assert set(named.leases()) == {FINE}
    assert_reached(net, named, FINE)


def broken(random_, good):
    """A reply with some of its bytes changed, cut or repeated, behind txid and question."""
    data = bytearray(good)
    for _ in range(random_.randint(1, 4)):
        place = random_.randrange(2, len(data))
        what = random_.randrange(5)
        if what == 0:
            data[place] = random_.choice([0, 1, 5, 12, 28, 0x3f, 0x40, 0xC0, 0xFF, random_.randrange(256)])
        elif what == 1:
            del data[place:place + random_.randint(1, 5)]
        elif what == 2:
            data[place:place] = random_.randbytes(random_.randint(1, 5))
        elif what == 3:
            data[place:place] = pointer(random_.randrange(0x4000))
        else:
            data = data[:place]
        if len(data) < 12:
            break
    return bytes(data)


def test_broken_at_random(net, dns, free, named):
    """
    3,000 replies for a name of the policy, each of which says that OTHER's address is BAD, broken at random. (That a
    broken one says so for GOOD by chance is not excluded: then that is what its resolver said.)
    """
    random_ = random.Random(SEED)

    def reply(asked):
        good = asked.reply([cname(QNAME, "b.test"), record("b.test", TXT, b"\4text"), address("c.attacker.test", BAD)])
        return [broken(random_, good), asked.reply([address(QNAME, FINE)])]

    dns.answer = reply
    queries = [header(n, 0x0100, (1, 0, 0, 0)) + QUESTION for n in range(3000)]
    assert named.ask_all(data=[q.hex() for q in queries], to=[RESOLVER4, 53]) == 3000
    assert BAD not in named.leases(), SEED
    assert_shut(net, named, free, BAD)
    dns.answer = answers(FINE)
    learn(dns, named, FINE)
    assert named.replies()["malformed"] > 500, named.replies()
