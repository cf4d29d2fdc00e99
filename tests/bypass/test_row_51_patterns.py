# SPDX-License-Identifier: MIT
"""Row 51: which names a pattern covers, by more than 200 pairs, asked for at the gate."""

import pytest

import dnswire
from captive import Captive
from dnsrows import RESOLVERS, TO4, TO6, questions_seen
from internet import PORT
from postern import sandboxed

# pattern -> (names that it covers, names that it does not)
PAIRS = {
    "example.com": (
        "example.com EXAMPLE.COM eXaMpLe.CoM example.com.",
        "www.example.com a.b.example.com evil-example.com evilexample.com example.com.evil.test example.co example.comm com "
        "xample.com eexample.com example.org example-com example.net example.com.com com.example examplecom _example.com "
        "example_com 0example.com -example.com"),
    "*.example.com": (
        "www.example.com a.b.example.com WWW.Example.Com _dmarc.example.com xn--mnchen-3ya.example.com 1.example.com "
        "-.example.com a.b.c.d.e.f.g.example.com com.example.com example.com.example.com www.example.com.",
        "example.com EXAMPLE.COM evil-example.com evilexample.com notexample.com www.example.com.evil.test www-example.com "
        "example.co www.example.org www.example.comm com www.com a.xample.com www.example wwwexample.com a_example.com "
        "www.example.com-evil.test b.evil-example.com"),
    "www.example.com": (
        "www.example.com WWW.EXAMPLE.COM",
        "example.com a.www.example.com ww.example.com wwww.example.com www.example.co www-example.com www.example.com.evil.test "
        "www2.example.com xwww.example.com www.evil.example.com www..com"),
    "*.a.b.example.com": (
        "x.a.b.example.com x.y.a.b.example.com A.A.B.EXAMPLE.COM",
        "a.b.example.com b.example.com x.b.example.com xa.b.example.com a.a.example.com x.a-b.example.com x.a.bexample.com "
        "x.a.b.example.org"),
    "*": (
        "example.com com test a.b.c localhost _x.y xn--p1ai 1.2.3.4 a-b.c-d evil.attacker.test x",
        ""),
    "_dmarc.example.com": ("_dmarc.example.com _DMARC.EXAMPLE.COM", "dmarc.example.com example.com -dmarc.example.com"),
    # An IDN of a policy is its A-label; a program asks for that one. What only looks alike is another name.
    "münchen.example": (
        "xn--mnchen-3ya.example XN--MNCHEN-3YA.EXAMPLE",
        "munchen.example muenchen.example mnchen.example xn--mnchen-3yb.example xn--munchen.example www.xn--mnchen-3ya.example "
        "xn--mnchen-3ya.example.com"),
    "*.bücher.example": (
        "www.xn--bcher-kva.example a.b.xn--bcher-kva.example",
        "xn--bcher-kva.example bucher.example www.bucher.example www.buecher.example xn--bcher-kva.www.example"),
    "API.Example.COM": ("api.example.com API.EXAMPLE.COM", "xapi.example.com example.com api.example.com.x"),
    "trailing.example.com.": ("trailing.example.com", "trailing.example.com.com example.com x.trailing.example.com"),
    "1.example": ("1.example", "11.example 01.example l.example example 1.1.example"),
    "a-b.example": ("a-b.example A-B.EXAMPLE", "ab.example a--b.example a_b.example a.b.example a-b-example -b.example"),
    "x": ("x X", "xx x.x com y x.test"),
    "deep.sub.domain.example.net": (
        "deep.sub.domain.example.net DEEP.sub.DOMAIN.example.NET",
        "sub.domain.example.net domain.example.net example.net net x.deep.sub.domain.example.net deepsub.domain.example.net "
        "deep.sub.example.net deep.domain.sub.example.net deep.sub.domain.example.ne deep.sub.domain.example.net.net "
        "deep.sub-domain.example.net eep.sub.domain.example.net ddeep.sub.domain.example.net deep.sub.domain.example.nett"),
    "*.cdn.example": (
        "a.cdn.example a.b.cdn.example cdn.cdn.example cdn.example.cdn.example _.cdn.example --.cdn.example",
        "cdn.example acdn.example a-cdn.example cdn.example.test a.cdn.example.test a.cdnexample a.cdn cdn example a.bcdn.example "
        "a.cdn-example a.cdn.example2 a.cdn.exampl cdn.a.example"),
    "*.x-1.test": (
        "a.x-1.test 0.x-1.test a.b.x-1.test x-1.x-1.test",
        "x-1.test x-1.testt ax-1.test a.x-1 a.x1.test a.x--1.test a.x-1.tes a.x-1.test.x"),
    "xn--p1ai": ("xn--p1ai XN--P1AI", "xn--p1a xn--p1aii p1ai xn-p1ai x.xn--p1ai"),
}
# Two rules at once: the nearer one does not hide the wider one.
BOTH = (["*.example.com", "www.example.com", "example.org"],
        "www.example.com a.example.com a.www.example.com example.org",
        "example.com www.example.org evil-example.com example.orgg a.example.org wwwexample.com")

COUNT = sum(len(part.split()) for pair in PAIRS.values() for part in pair) + sum(len(part.split()) for part in BOTH[1:])


def ask_for(net, box, covered, others, to):
    """Each covered name leaves as it was asked for; none of the others does."""
    for name in others:
        assert box.knock(to=to, data=dnswire.query(name).hex()) == "EPERM", name
    net.fence()
    since = net.mark()
    for name in covered:
        assert box.knock(to=to, data=dnswire.query(name).hex()) == "ok", name
    net.fence()
    assert questions_seen(net, since) == [dnswire.query(name) for name in covered]


def test_there_are_two_hundred_pairs():
    assert COUNT >= 200, COUNT


@pytest.mark.parametrize("pattern", PAIRS)
def test_a_pattern(net, dns, free, pattern):
    covered, others = (part.split() for part in PAIRS[pattern])
    dns.answer = lambda asked: [asked.reply()]
    with Captive(net, [*RESOLVERS, "--allow", f"{pattern}:{PORT}"]) as box:
        for to in (TO4, TO6):
            net.fence()
            since = net.mark()
            ask_for(net, box, covered, others, to)
            assert {dnswire.Question(one).name.lower() for one in questions_seen(net, since)} == \
                {name.lower().rstrip(".") for name in covered}
    ask_for(net, free, [*covered, *others], [], TO4)


def test_several_patterns(net, dns, free):
    rules, covered, others = BOTH[0], BOTH[1].split(), BOTH[2].split()
    dns.answer = lambda asked: [asked.reply()]
    with Captive(net, [*RESOLVERS, *(word for rule in rules for word in ("--allow", f"{rule}:{PORT}"))]) as box:
        ask_for(net, box, covered, others, TO4)
    ask_for(net, free, [*covered, *others], [], TO4)


@pytest.mark.parametrize("entry", ["exa mple.com", "exam/ple.com", "a..example.com", ".example.com", "*example.com", "a.*.com",
                                   "*.*.example.com", "**", "*.", "ex*mple.com", "a" * 64 + ".com", "example.com:x",
                                   "exämple..com", "a." * 127 + "com", "\u200b.example.com", "example.com\n", "[example.com]"])
def test_what_is_no_name_is_no_rule(net, entry):
    """Refused as a whole, not taken for some name that the writer did not mean."""
    done = sandboxed(net, [*RESOLVERS, "--allow", entry], ["true"])
    assert done.code in (2, 3), done
