# SPDX-License-Identifier: MIT
"""Rows 46 to 48: truncated, big and fragmented replies, types that are no addresses, negative answers."""

import pytest

import dnswire
from captive import Captive
from crafted import RESOLVER4, RESOLVER6
from dnsrows import ANY_NAME, GOOD, TO4, ask, assert_no_call_leaves, assert_reached, assert_shut, learn
from dnswire import AAAA, ANY, HTTPS, QNAME, REPLY, SVCB, TXT, address, opt, record, svc

BAD, FINE = "93.184.46.66", "93.184.46.1"
BAD6 = "2606:2800:220:1::4666"


def test_truncated(net, dns, free, named):
    """
    TC: what is there may be all or nothing; the program asks again by TCP. The gate refuses it, or the relay answers with
    what it has judged itself.
    """
    ask(dns, named, lambda asked: [asked.reply([address(QNAME, BAD)], flags=REPLY | 0x0200)])
    assert not named.leases() and named.replies()["truncated"] == 1
    assert_no_call_leaves(net, named, RESOLVER4)
    assert_shut(net, named, free, BAD)


def test_errors(net, dns, free, named):
    for rcode in range(1, 16):
        ask(dns, named, lambda asked, r=rcode: [asked.reply([address(QNAME, BAD)], flags=REPLY | r)])
        assert not named.leases(), rcode
    assert named.replies()["error"] == 15
    assert_shut(net, named, free, BAD)


def test_a_negative_answer_takes_nothing_away(net, dns, named):
    """A lease is a promise with an end of its own; a later NXDOMAIN, forged or not, does not break it."""
    learn(dns, named, FINE)
    ask(dns, named, lambda asked: [asked.reply(flags=REPLY | 3)])
    ask(dns, named, lambda asked: [asked.reply()])
    assert set(named.leases()) == {FINE}
    assert_reached(net, named, FINE)


TYPES = {
    "https": (HTTPS, record(QNAME, HTTPS, svc(1, b"\0", (4, bytes([93, 184, 46, 66])), (5, b"ech-config")))),
    "svcb": (SVCB, record(QNAME, SVCB, svc(1, "b.test", (4, bytes([93, 184, 46, 66]))))),
    "txt": (TXT, record(QNAME, TXT, b"\x0c93.184.46.66")),
    "mx": (dnswire.MX, record(QNAME, dnswire.MX, b"\0\x0a" + QNAME)),
    "srv": (dnswire.SRV, record(QNAME, dnswire.SRV, b"\0\1\0\1\x1b\x58" + dnswire.name("b.test"))),
    "a6": (38, record(QNAME, 38, b"\0" + bytes(16))),
    "wks": (11, record(QNAME, 11, bytes([93, 184, 46, 66, 6, 255]))),
    "apl": (42, record(QNAME, 42, b"\0\1\x20\4" + bytes([93, 184, 46, 66]))),
    "l32": (105, record(QNAME, 105, b"\0\1" + bytes([93, 184, 46, 66]))),
    "eui48": (108, record(QNAME, 108, bytes(6))),
    "type-257": (257, record(QNAME, 257, bytes([93, 184, 46, 66]))),
    "type-0": (0, record(QNAME, 0, bytes([93, 184, 46, 66]))),
    "type-512-plus-a": (0x0201, record(QNAME, 0x0201, bytes([93, 184, 46, 66]))),
}


def test_types_that_are_no_addresses(net, dns, free, named):
    """Nor the glue that comes with some of them."""
    for what, (qtype, answer) in TYPES.items():
        ask(dns, named, lambda asked, a=answer: [asked.reply([a], additional=[address("b.test", BAD), address(QNAME, BAD)])],
            qtype=qtype)
        assert not named.leases(), what
    assert named.replies()["empty"] == len(TYPES), named.replies()
    assert_shut(net, named, free, BAD)


def test_the_other_family_is_an_answer_all_the_same(net, dns, named):
    """What a resolver says about the name asked for; the type asked for is the client's business."""
    ask(dns, named, lambda asked: [asked.reply([address(QNAME, BAD6)])])
    assert set(named.leases()) == {BAD6}
    assert_reached(net, named, BAD6)


def test_any_does_not_leave(net, dns, free, named):
    for who, expected in ((free, "ok"), (named, "EPERM")):
        assert who.knock(to=TO4, data=dnswire.query(GOOD, qtype=ANY).hex()) == expected
    assert not named.leases()


@pytest.fixture
def wide(dns):
    dns.set_mtu(9000)
    yield
    dns.set_mtu(1500)


def full(asked):
    message = asked.reply([address(QNAME, BAD)], additional=[opt(4096)])
    return message + bytes(4096 - len(message))


def test_how_big(net, dns, free, named, wide):
    """4,096 bytes in one packet are read, one more is too many."""
    assert_shut(net, named, free, BAD)
    assert len(ask(dns, named, lambda asked: [full(asked) + b"x"])) == 4097, "it is delivered"
    assert not named.leases() and named.replies()["oversize"] == 1, named.replies()
    assert_shut(net, named, free, BAD)
    assert len(ask(dns, named, lambda asked: [full(asked)])) == 4096
    assert set(named.leases()) == {BAD} and named.replies()["learned"] == 1, named.replies()
    assert_reached(net, named, BAD)


def test_too_big_for_a_packet(net, dns, free, named):
    assert len(ask(dns, named, lambda asked: [full(asked)])) == 4096, "it is delivered"
    assert not named.leases(), named.replies()
    assert_shut(net, named, free, BAD)


def test_edns_in_replies(net, dns, named):
    ask(dns, named, lambda asked: [asked.reply([address(QNAME, FINE)], additional=[opt(1232, b"\0\x0f\0\2\0\0")])])
    assert set(named.leases()) == {FINE}
    assert_reached(net, named, FINE)


def long_reply(asked, target):
    """More than the 76 bytes whose checksum the kernel looks at before any hook."""
    return asked.packet(asked.reply([record(QNAME, TXT, b"\x3f" + b"x" * 63), address(QNAME, target)]))


def fragmented(asked, target, ident=None):
    """The reply in fragments, the address in the last of them."""
    return dnswire.fragments(long_reply(asked, target), 48, ident)


def test_a_fragment_alone(net, dns, free, named):
    """The first without the rest, the rest without the first: nothing is put together, nothing learned."""
    for keep in (slice(0, 1), slice(1, None), slice(0, -1)):
        ask(dns, named, lambda asked, k=keep: [(piece,) for piece in fragmented(asked, BAD)[k]], seconds=0.3)
        assert not named.leases()
    assert_shut(net, named, free, BAD)


def test_fragments_of_one_reply(net, dns, free, named):
    """
    Off the path whoever guesses a packet's id writes its end, without txid and port (RFC 9715): what came in fragments is
    delivered, and teaches nothing.
    """
    assert ask(dns, named, lambda asked: [(piece,) for piece in fragmented(asked, BAD)]), "it is delivered"
    # A device has fragments before it, not what the kernel makes of them.
    assert not named.leases() and (net.kind.name != "cgroup" or named.replies()["malformed"] == 1), named.replies()
    assert_shut(net, named, free, BAD)
    ask(dns, named, lambda asked: [(long_reply(asked, FINE),)])
    assert set(named.leases()) == {FINE}


UNCHECKED = pytest.mark.xfail(strict=True, reason="the hook runs before the kernel checks what has more than 76 bytes")


def test_a_foreign_fragment_among_the_true_ones(net, dns, named):
    """
    The last piece of a reply that comes in fragments, from somebody else. The kernel puts it together, shows it to the
    hook, and only then drops it for its checksum.
    """
    def reply(asked):
        ident = 0x1234 + len(dns.asked)
        true, forged = fragmented(asked, FINE, ident), fragmented(asked, BAD, ident)
        return [(piece,) for piece in (forged[-1], *true)]
    assert not ask(dns, named, reply, seconds=0.5), "the kernel drops it"
    assert not named.leases(), named.replies()


def test_overlapping_fragments(net, dns, free, named):
    """The kernel drops a train of fragments that overlap otherwise than whole; neither reading is learned."""
    def reply(asked):
        true = fragmented(asked, FINE, 0x4321)
        forged = dnswire.fragments(long_reply(asked, BAD), 56, 0x4321)
        return [(piece,) for piece in (forged[1], *true)]
    ask(dns, named, reply, seconds=0.5)
    assert not named.leases()
    assert_shut(net, named, free, BAD)


def wrong_checksum(packet):
    return packet[:26] + bytes([packet[26] ^ 0x5A]) + packet[27:]


def both(asked, packet):
    return [(wrong_checksum(packet),), asked.reply([address(QNAME, FINE)])]


def test_a_reply_whose_checksum_is_wrong(net, dns, free, named):
    """The kernel throws it away, and the application does not see it: it is not learned, nor does it use the question up."""
    got = ask(dns, named, lambda asked: both(asked, asked.packet(asked.reply([address(QNAME, BAD)]))))
    assert got and got[-1] == 1
    assert set(named.leases()) == {FINE}, named.replies()
    assert_shut(net, named, free, BAD)


@UNCHECKED
def test_a_longer_reply_whose_checksum_is_wrong(dns, named):
    got = ask(dns, named, lambda asked: both(asked, long_reply(asked, BAD)))
    assert got and got[-1] == 1
    assert set(named.leases()) == {FINE}, named.replies()


def test_a_udp_length_that_lies(net, dns, free, named):
    for length in (0, 7, 8, 20, 60000):
        ask(dns, named, lambda asked, n=length: [(asked.packet(asked.reply([address(QNAME, BAD)]), length=n,
                                                              zero_checksum=True),)], seconds=0.2)
        assert not named.leases(), (length, named.replies())
    assert_shut(net, named, free, BAD)


def test_bytes_behind_the_udp_length(net, dns, free, named):
    """The IP packet goes on where UDP ends: what is there was never part of the message."""
    def reply(asked):
        whole = asked.reply([address(QNAME, FINE), address(QNAME, BAD)])
        return [(asked.packet(whole, length=8 + len(whole) - 16, zero_checksum=True),)]
    ask(dns, named, reply, seconds=0.5)
    assert not named.leases(), named.replies()
    assert_shut(net, named, free, BAD)


def test_ip_options_and_extension_headers(net, dns, free):
    """Replies that no resolver sends this way."""
    with Captive(net, ANY_NAME) as box:
        def options(asked):
            packet = asked.packet(asked.reply([address(QNAME, BAD)]))
            head = bytearray(packet[:20]) + b"\1\1\1\0"
            head[0], head[2:4] = 0x46, (len(packet) + 4).to_bytes(2, "big")
            head[10:12] = b"\0\0"
            head[10:12] = dnswire.checksum(bytes(head)).to_bytes(2, "big")
            return [(bytes(head) + packet[20:],)]
        ask(dns, box, options, seconds=0.5)
        assert not box.leases(), box.replies()

        def destination_options(asked):
            packet = asked.packet(asked.reply([address(QNAME, BAD6)]))
            size = int.from_bytes(packet[4:6], "big") + 8
            return [(packet[:4] + size.to_bytes(2, "big") + b"\x3c" + packet[7:40] + b"\x11\0\1\4\0\0\0\0" + packet[40:],)]
        ask(dns, box, destination_options, resolver=RESOLVER6, qtype=AAAA, seconds=0.5)
        assert not box.leases(), box.replies()
        assert_shut(net, box, free, BAD, BAD6)
