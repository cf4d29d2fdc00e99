# SPDX-License-Identifier: MIT
"""
Games with the table of flows: what was allowed once, by another policy, another peer or another packet, opens nothing else.
The attacker speaks for an address that its kernel does not know, so that nobody but the test answers for it.
"""

import os
import socket
import struct
import time

import packets
import pytest
from attack import assert_arrive, assert_silent
from cell import Cell, new_tokens
from internet import ALLOWED4, ALLOWED6, DENIED4, DENIED6, PORT
from packets import ACK, FIN, ICMP, ICMP6, PSH, RST, SYN, TCP, UDP
from rows import CELL_POLICY
from wait import until

OPEN = {"allowOut": [ALLOWED4, ALLOWED6, DENIED4, DENIED6], "denyOut": ["0.0.0.0/0"]}
TIGHT = {"allowOut": [ALLOWED4, ALLOWED6], "denyOut": ["0.0.0.0/0"]}
STILL_OPEN = {"allowOut": [DENIED4, DENIED6, ALLOWED4], "denyOut": ["0.0.0.0/0"]}
NOTHING = {"denyOut": ["0.0.0.0/0"]}


class Attacker(Cell):
    """A cell with a second address of its own in each family, of which its kernel knows nothing."""

    def __init__(self, net):
        super().__init__(net)
        self.ghost4, self.ghost6 = self.addr4[:-1] + "7", self.addr6[:-1] + "7"
        for ghost in (self.ghost4, self.ghost6):
            net.host.ip("neigh", "replace", ghost, "lladdr", self.mac, "dev", self.device, "nud", "permanent")

    def fields(self):
        return {**super().fields(), "addresses": [self.addr4, self.addr6, self.ghost4, self.ghost6]}

    def ghost(self, dst):
        return self.ghost6 if ":" in dst else self.ghost4


@pytest.fixture
def attacker(net, warden):
    with Attacker(net) as cell:
        cell.attach(warden, OPEN)
        yield cell


@pytest.fixture
def free_attacker(net):
    with Attacker(net) as cell:
        yield cell


def tcp_head(frame):
    """(seq, ack, flags) of a frame with TCP."""
    at = 14 + (40 if frame.raw[14] >> 4 == 6 else 20)
    return *struct.unpack("!II", frame.raw[at + 4:at + 12]), frame.raw[at + 13]


class Connection:
    """TCP by hand, from the ghost's address."""

    def __init__(self, cell, dst, port=PORT, sport=9200):
        self.cell, self.dst, self.ports = cell, dst, (sport, port)
        self.seq, self.ack = 1000, 0
        self.since = cell.ear.mark()

    def segment(self, flags, data=b"", **options):
        return self.cell.tcp(self.dst, flags, data, src=self.cell.ghost(self.dst), ports=self.ports, seq=self.seq,
                             ack=self.ack, **options)

    def heard(self, flags):
        """The first segment of the flow with these flags that came in."""
        return next((f for f in self.cell.ear.frames(self.since) if f.protocol == TCP and str(f.src) == self.dst and
                     f.dport == self.ports[0] and f.flags & flags == flags), None)

    def open(self):
        self.cell.send(self.segment(SYN))
        answer = until(lambda: self.heard(SYN | ACK), f"{self.dst} answers")
        self.seq, self.ack = self.seq + 1, tcp_head(answer)[0] + 1
        self.cell.send(self.segment(ACK))
        return self

    def say(self, data, flags=PSH | ACK):
        self.cell.send(self.segment(flags, data))
        self.seq += len(data)

    def talk(self, data):
        """The peer says it back, and that is acknowledged: nobody has anything to send again."""
        self.say(data)
        answer = until(lambda: next((f for f in self.cell.ear.frames(self.since) if f.payload == data and
                                     str(f.src) == self.dst and f.dport == self.ports[0]), None), "it is said back")
        self.ack = tcp_head(answer)[0] + len(data)
        self.cell.send(self.segment(ACK))


def udp_from(cell, dst, data, sport=9200, port=PORT):
    return cell.udp(dst, data, port, sport, src=cell.ghost(dst))


def echo_from(cell, dst, data, ident=77):
    return cell.frame(packets.echo(cell.ghost(dst), dst, ident, data))


def put(cell, policy):
    cell.box.put(policy)
    cell.net.fence()
    return cell.net.mark()


@pytest.mark.parametrize("dst", [DENIED4, DENIED6])
@pytest.mark.parametrize("policy", [TIGHT, STILL_OPEN], ids=["tight", "open"])
def test_an_open_connection_after_a_change(net, attacker, policy, dst):
    """Whatever comes on its tuple: data, ends, a new beginning; and its peer learns of the end, once."""
    connection = Connection(attacker, dst).open()
    connection.talk(b"first")
    since = put(attacker, policy)
    tokens = new_tokens(12)
    sent = (PSH | ACK, ACK, FIN | ACK, RST, RST | ACK, SYN, SYN | ACK, 0, FIN, SYN | FIN, PSH | ACK, ACK)
    for token, flags in zip(tokens, sent):
        attacker.send(connection.segment(flags, token))
    if policy is STILL_OPEN:
        until(lambda: net.seen(token=tokens[0], since=since), "it goes on")
        return
    attacker.fence()
    assert connection.heard(RST), "it is told"
    left = [f for f in net.sniffer.frames[since:] if f.dst is not None and str(f.dst) == dst]
    assert len(left) <= 1 and all(f.flags & RST and not f.payload for f in left), [(str(f), f.flags, f.payload) for f in left]
    assert len(left) == 1, "its peer is told"


@pytest.mark.parametrize("end", [FIN | ACK, RST])
def test_a_closed_connection_does_not_come_back(net, attacker, end):
    connection = Connection(attacker, DENIED4, sport=9201).open()
    connection.say(b"", end)
    since = put(attacker, TIGHT)
    assert_silent(attacker, {f"flags-{flags:02x}": lambda cell, token, f=flags: connection.segment(f, token)
                             for flags in (ACK, PSH | ACK, SYN, FIN | ACK, SYN | ACK)})
    assert all(not f.payload for f in net.seen(dst=DENIED4, since=since))


MADE = {"udp": udp_from, "echo": echo_from}


@pytest.mark.parametrize("kind", MADE)
@pytest.mark.parametrize("dst", [DENIED4, DENIED6])
def test_datagrams_after_a_change(attacker, kind, dst):
    form = {kind: lambda cell, token: MADE[kind](cell, dst, token)}
    assert_arrive(attacker, form)
    put(attacker, STILL_OPEN)
    assert_arrive(attacker, form)
    put(attacker, TIGHT)
    assert_silent(attacker, form)
    put(attacker, OPEN)
    assert_arrive(attacker, form)


@pytest.mark.parametrize("kind", MADE)
def test_an_answer_that_is_late_opens_nothing(net, attacker, kind):
    """What a peer sends for a flow that has ended is no call of its own: or every peer that answers would open it again."""
    form = {kind: lambda cell, token: MADE[kind](cell, DENIED4, token)}
    late = packets.udp(DENIED4, attacker.ghost4, PORT, 9200, b"late") if kind == "udp" else \
        packets.echo(DENIED4, attacker.ghost4, 77, b"late", reply=True)
    again = packets.echo(DENIED4, attacker.ghost4, 77, b"again")
    assert_arrive(attacker, form)
    put(attacker, TIGHT)
    for _ in range(3):
        since = attacker.ear.mark()
        assert_silent(attacker, form)
        from_outside(net, late)
        if kind == "echo":
            from_outside(net, again)
        assert_silent(attacker, form)
        assert not [f for f in attacker.ear.frames(since) if f.raw.endswith((b"late", b"again"))]
    put(attacker, OPEN)
    assert_arrive(attacker, form)
    since = attacker.ear.mark()
    from_outside(net, late)
    until(lambda: any(f.raw.endswith(b"late") for f in attacker.ear.frames(since)), "an answer comes in")


def test_a_flow_lends_nothing_to_its_neighbours(net, warden, attacker):
    """One that lives, to a peer that is allowed; and all that differs from it in one thing, to one that is not."""
    attacker.box.put(TIGHT)
    lives = Connection(attacker, ALLOWED4, sport=9202).open()
    assert_arrive(attacker, {"udp": lambda c, t: udp_from(c, ALLOWED4, t, 9202),
                             "echo": lambda c, t: echo_from(c, ALLOWED4, t)})
    forms = {
        "same-ports-udp": lambda c, t: udp_from(c, DENIED4, t, 9202),
        "same-ports-tcp": lambda c, t: c.tcp(DENIED4, PSH | ACK, t, src=c.ghost4, ports=(9202, PORT), seq=lives.seq,
                                             ack=lives.ack),
        "same-id": lambda c, t: echo_from(c, DENIED4, t), "same-id-6": lambda c, t: echo_from(c, DENIED6, t),
        "id-as-port": lambda c, t: udp_from(c, DENIED4, t, 77, 0),
        "port-as-id": lambda c, t: echo_from(c, DENIED4, t, 9202),
        "icmp6-in-ip4": lambda c, t: c.frame(packets.ip4(c.ghost4, ALLOWED4, ICMP6, b"\x80\0\0\0\0\x4d\0\1" + t)),
        "icmp-in-ip6": lambda c, t: c.frame(packets.ip6(c.ghost6, ALLOWED6, ICMP, b"\x08\0\0\0\0\x4d\0\1" + t)),
        "mapped": lambda c, t: c.frame(packets.udp(c.ghost6, "::ffff:" + ALLOWED4[:-2] + "99", 9202, PORT, t)),
        "other-source": lambda c, t: c.udp(ALLOWED4, t, sport=9202, src=DENIED4),
        "others-source": lambda c, t: c.udp(ALLOWED4, t, sport=9202, src=c.addr4[:-1] + "9"),
    }
    assert_silent(attacker, forms)


@pytest.mark.parametrize("protocol", [TCP, UDP])
def test_flow_labels_and_headers_that_change(attacker, protocol):
    """IPv6's flow label, traffic class, hop limit; IPv4's identification and type of service: no part of a flow."""
    attacker.box.put(TIGHT)

    def packet(src, dst, token, **fields):
        body = packets.udp_body(src, dst, 9203, PORT, token) if protocol == UDP else \
            packets.tcp_body(src, dst, (9203, PORT), SYN, token)
        return packets.ip(src, dst, protocol, body, **fields)
    fields = {4: [{"ident": n, "tos": n * 8, "ttl": 200 - n} for n in range(1, 20)],
              6: [{"label": n << 8 | n << 20, "hops": 200 - n} for n in range(1, 20)]}
    for dsts, check in (((DENIED4, DENIED6), assert_silent), ((ALLOWED4, ALLOWED6), assert_arrive)):
        check(attacker, {f"{dst} {n}": lambda c, t, d=dst, f=field: c.frame(packet(c.ghost(d), d, t, **f))
                         for dst in dsts for n, field in enumerate(fields[6 if ":" in dst else 4])})


# ---- flows that are kept ----

KEEP = {"existing": "keep"}


def kept_flows(attacker):
    """One of each kind to a peer that the next policy does not allow."""
    attacker.box.put({**OPEN, **KEEP})
    connection = Connection(attacker, DENIED4, sport=9400).open()
    assert_arrive(attacker, {"udp": lambda c, t: udp_from(c, DENIED4, t, 9401),
                             "echo": lambda c, t: echo_from(c, DENIED4, t, 9402)})
    attacker.box.put({**TIGHT, **KEEP})
    return connection


def test_a_kept_flow_is_kept_and_nothing_beside_it(net, attacker):
    connection = kept_flows(attacker)
    lives = {"udp": lambda c, t: udp_from(c, DENIED4, t, 9401), "echo": lambda c, t: echo_from(c, DENIED4, t, 9402),
             "tcp": lambda c, t: connection.segment(PSH | ACK, t)}
    assert_arrive(attacker, lives)
    assert_silent(attacker, {
        "next-port": lambda c, t: udp_from(c, DENIED4, t, 9403), "port-of-tcp": lambda c, t: udp_from(c, DENIED4, t, 9400),
        "port-of-udp": lambda c, t: c.tcp(DENIED4, ACK, t, src=c.ghost4, ports=(9401, PORT)),
        "other-peer": lambda c, t: udp_from(c, DENIED4[:-1] + "8", t, 9401),
        "other-id": lambda c, t: echo_from(c, DENIED4, t, 9401),
        "to-its-other-port": lambda c, t: udp_from(c, DENIED4, t, 9401, PORT + 1),
        "spoofed": lambda c, t: c.udp(DENIED4, t, sport=9401, src=ALLOWED4),
        "fragment": lambda c, t: c.frame(packets.ip4(c.ghost4, DENIED4, UDP, packets.udp_body(c.ghost4, DENIED4, 9401, PORT, t),
                                                     fragment=packets.MF)),
        "options": lambda c, t: c.frame(packets.ip4(c.ghost4, DENIED4, UDP, packets.udp_body(c.ghost4, DENIED4, 9401, PORT, t),
                                                    options=b"\1\1\1\1")),
    })
    assert_arrive(attacker, lives)
    # A new connection on its tuple is a new one, and the end of the old.
    assert_silent(attacker, {"syn": lambda c, t: c.tcp(DENIED4, SYN, t, src=c.ghost4, ports=(9400, PORT), seq=77)})
    assert_silent(attacker, {"tcp": lives["tcp"]})


def test_a_kept_connection_that_was_closed_is_over(net, attacker):
    """Nobody opens it again under a policy that would not have let it begin; what it has left to say has a second."""
    connection = kept_flows(attacker)
    connection.say(b"", RST | ACK)
    end = time.monotonic() + 1.5
    until(lambda: time.monotonic() > end, "its second is over")
    assert_silent(attacker, {f"flags-{flags:02x}": lambda c, t, f=flags: connection.segment(f, t) for flags in (
        PSH | ACK, ACK, SYN, FIN | ACK)})


@pytest.mark.skipif(os.environ.get("PST_LONG") != "1", reason="35 s of silence: PST_LONG=1")
def test_a_kept_exchange_that_fell_silent_is_over(net, attacker):
    """DENIED4 does not answer on this port: 30 s without a word."""
    attacker.box.put({**OPEN, **KEEP})
    form = {"udp": lambda c, t: udp_from(c, DENIED4, t, 9404, 9999)}
    assert_arrive(attacker, form)
    attacker.box.put({**TIGHT, **KEEP})
    assert_arrive(attacker, form)
    end = time.monotonic() + 35
    until(lambda: time.monotonic() > end, "it was silent long enough", 40)
    assert_silent(attacker, form)


# ---- flows that a peer opened ----

def from_outside(net, packet):
    """A packet of whatever source, from the internet towards the host."""
    frame = packets.ether("02:00:00:00:00:02", "02:00:00:00:00:01", packets.IPV4, packet)

    def send():
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
            sock.bind(("in0", 0x0800))
            sock.send(frame)
    net.internet.call(send)


def call_in(cell, kind, peer=DENIED4, port=6000, local=8000):
    """A packet towards the ghost, as a peer sends it that opens a flow."""
    packet = packets.udp(peer, cell.ghost4, port, local, b"call") if kind == "udp" else \
        packets.tcp(peer, cell.ghost4, (port, local), SYN, seq=500) if kind == "tcp" else \
        packets.echo(peer, cell.ghost4, local, b"call")
    from_outside(cell.net, packet)


def reply_out(kind, token, cell, peer=DENIED4, port=6000, local=8000):
    if kind == "udp":
        return cell.udp(peer, token, port, local, src=cell.ghost4)
    if kind == "echo":
        return cell.frame(packets.echo(cell.ghost4, peer, local, token, reply=True))
    return cell.tcp(peer, SYN | ACK, token, src=cell.ghost4, ports=(local, port), seq=1, ack=501)


def admitted(cell, kind):
    since = cell.ear.mark()
    call_in(cell, kind)
    until(lambda: calls(cell, since), "the call comes in")
    if kind == "udp":
        until(lambda: is_answered(cell), "it opens a flow, which is not so at once behind an attach", 30)


def is_answered(cell):
    """A peer's datagram, and an answer: does that arrive?"""
    token, since = new_tokens(1)[0], cell.net.mark()
    call_in(cell, "udp")
    cell.send(reply_out("udp", token, cell))
    cell.net.fence()
    return bool(cell.net.seen(token=token, since=since))


def calls(cell, since):
    """What came in of a peer's, but for answers to what was denied."""
    return [f for f in cell.ear.frames(since) if str(f.src) == DENIED4 and (f.raw.endswith(b"call") or f.flags & SYN)]


@pytest.mark.parametrize("kind", ["udp", "tcp", "echo"])
def test_what_a_peer_opened_leads_back_to_it_and_nowhere_else(net, attacker, kind):
    attacker.box.put({**NOTHING, "allowOut": [ALLOWED4]})
    assert_silent(attacker, {"before": lambda c, t: reply_out(kind, t, c)})
    admitted(attacker, kind)
    assert_arrive(attacker, {"reply": lambda c, t: reply_out(kind, t, c)})
    forms = {
        "other-peer": lambda c, t: reply_out(kind, t, c, peer=DENIED4[:-1] + "8"),
        "other-local": lambda c, t: reply_out(kind, t, c, local=8001),
        "request": lambda c, t: c.frame(packets.echo(c.ghost4, DENIED4, 8000, t)),
        "new-connection": lambda c, t: c.tcp(DENIED4, SYN, t, src=c.ghost4, ports=(8000, 6000)),
        "other-protocol": lambda c, t: reply_out("tcp" if kind == "udp" else "udp", t, c),
    }
    if kind != "echo":
        forms["other-port"] = lambda c, t: reply_out(kind, t, c, port=6001)
    else:
        del forms["request"]
    assert_silent(attacker, forms)
    put(attacker, {**NOTHING, "allowOut": [ALLOWED4], "inbound": "deny"})
    assert_silent(attacker, {"after": lambda c, t: reply_out(kind, t, c)})


@pytest.mark.parametrize("kind", ["udp", "tcp", "echo"])
def test_a_call_that_is_not_admitted_opens_nothing(net, attacker, free_attacker, kind):
    admitted(free_attacker, kind)
    attacker.box.put({**NOTHING, "allowOut": [ALLOWED4], "inbound": "deny"})
    since = attacker.ear.mark()
    call_in(attacker, kind)
    assert_silent(attacker, {"reply": lambda c, t: reply_out(kind, t, c)})
    assert not calls(attacker, since)


def test_what_it_sends_itself_opens_no_flow_of_a_peer(net, attacker):
    """Frames with the peer's address, by way of the host and back, would look like the peer's call."""
    attacker.box.put({**NOTHING, "allowOut": [ALLOWED4]})
    since = attacker.ear.mark()
    for mac in (attacker.gate_mac, attacker.mac, packets.BROADCAST):
        for dst in (attacker.ghost4, attacker.addr4, attacker.gate4):
            attacker.send(attacker.frame(packets.udp(DENIED4, dst, 6000, 8000, b"call"), dst=mac),
                          attacker.frame(packets.tcp(DENIED4, dst, (6000, 8000), SYN, seq=500), dst=mac))
    assert_silent(attacker, {kind: lambda c, t, k=kind: reply_out(k, t, c) for kind in ("udp", "tcp")})
    assert not calls(attacker, since)


def test_its_own_address_as_a_peer(net, attacker):
    """From one of its addresses to another by way of the host: nothing comes back that it could ride on."""
    since = attacker.ear.mark()
    attacker.send(attacker.frame(packets.udp(attacker.addr4, attacker.ghost4, 6000, 8000, b"self")),
                  attacker.frame(packets.tcp(attacker.ghost4, attacker.addr4, (6000, 8000), SYN)))
    attacker.fence()
    assert not [f for f in attacker.ear.frames(since) if b"self" in f.raw or f.sport == 6000]


# ---- a full table ----

FEW = 64


@pytest.fixture
def small(net, warden):
    with Attacker(net) as cell:
        cell.attach(warden, CELL_POLICY, flows=FEW)
        yield cell


def test_a_full_table_denies_and_hurts_nobody_else(net, warden, small, routed):
    _, held = routed
    since = net.mark()
    small.send(*[udp_from(small, ALLOWED4, b"fill", port) for port in range(10000, 10000 + FEW * 4)])

    def filled():
        return {f.sport for f in net.seen(token=b"fill", since=since) if str(f.src) == small.ghost4}
    until(lambda: len(filled()) >= FEW // 2, "some arrive")
    net.fence()
    through = filled()
    assert len(through) <= FEW, len(through)
    # TCP that the policy allows passes without state; what needs state does not, and is told why.
    assert_arrive(small, {"tcp": lambda c, t: c.tcp(ALLOWED4, SYN, t, src=c.ghost4, ports=(9300, PORT))})
    since = net.mark()
    token, = new_tokens(1)
    small.send(udp_from(small, ALLOWED4, token, 20000), echo_from(small, ALLOWED4, token, 4711))
    assert_arrive(held, {"udp": lambda c, t: c.udp(ALLOWED4, t, sport=9301)})
    net.fence()
    assert not net.seen(token=token, since=since)
    metrics = warden.get("/metrics").body.decode()
    assert "flows-full" in metrics or "flows_refused" in metrics, metrics[:3000]
    # A flow that is in the table goes on; and in time there is room again.
    port = min(through)
    assert_arrive(small, {"old": lambda c, t: udp_from(c, ALLOWED4, t, port)})
    token, = new_tokens(1)
    until(lambda: small.send(udp_from(small, ALLOWED4, token, 20001)) or net.seen(token=token, since=since),
          "there is room again", 20)


def test_a_flood_of_calls_fills_its_own_table_alone(net, warden, small, routed):
    """From outside, and by somebody else's doing: who is admitted can fill the table of whom it calls."""
    _, held = routed
    for port in range(10000, 10000 + FEW * 2):
        call_in(small, "udp", port=port)
    assert_arrive(held, {"udp": lambda c, t: c.udp(ALLOWED4, t, sport=9302)})
    assert_arrive(small, {"tcp": lambda c, t: c.tcp(ALLOWED4, SYN, t, src=c.ghost4, ports=(9303, PORT))})
    assert_silent(held, {"denied": lambda c, t: c.udp(DENIED4, t, sport=9302)})
