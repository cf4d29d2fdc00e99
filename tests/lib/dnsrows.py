# SPDX-License-Identifier: MIT
"""What the tests of rows 38 to 51 share: policies by name, how an answer is learned, and what may come of it."""

import dnswire
from crafted import RESOLVER4, RESOLVER6
from dnswire import QNAME, address
from internet import PORT, canary
from wait import until

GOOD, OTHER = "good.example.com", "other.example.com"
OFF = "exfil.attacker.test"  # no rule covers it
RESOLVERS = ["--resolver", RESOLVER4, "--resolver", RESOLVER6]
NAMED = [*RESOLVERS, "--allow", f"{GOOD}:{PORT}", "--allow", f"*.wild.example.com:{PORT}"]
ANY_NAME = [*RESOLVERS, "--allow", f"*:{PORT}"]
TO4, TO6 = [RESOLVER4, 53], [RESOLVER6, 53]


def to(resolver):
    return [resolver, 53]


def answers(*addresses, owner=QNAME, **options):
    """What a Crafted is told: to answer every question with these addresses."""
    return lambda asked: [asked.reply([address(owner, one, **options) for one in addresses])]


def ask(dns, who, reply, name=GOOD, *, resolver=RESOLVER4, qtype=dnswire.A, txid=0x4242, seconds=2.0):
    """
    Asks for a name; reply(asked) is what the resolver sends. Returns the first thing that the application got. The socket
    stays open: what comes behind it is looked at as well.
    """
    dns.answer = reply
    assert who.open_socket(sock="ask", family=6 if ":" in resolver else 4) == "ok"
    result = who.send(sock="ask", data=dnswire.query(name, txid, qtype=qtype).hex(), to=to(resolver), wait=False)
    assert result == "ok", f"a question for {name}: {result}"
    got = who.receive(sock="ask", seconds=seconds)
    assert dns.failed is None, dns.failed
    return bytes.fromhex(got[0][0]) if got else b""


def learn(dns, who, *addresses, **options):
    """The everyday case, and the control of many others: the addresses become leases."""
    assert ask(dns, who, answers(*addresses), **options), "the answer is delivered"
    missing = set(addresses) - set(who.leases())
    assert not missing, f"not learned: {missing}; {who.replies()}"


def assert_reached(net, who, target, port=PORT):
    """A datagram to target arrives."""
    token, since = canary(), net.mark()
    result = who.knock(to=[target, port], data=token.encode().hex())
    assert result == "ok", f"{target} port {port}: {result}"
    net.await_seen(token=token, since=since)


def assert_shut(net, box, free, *targets, port=PORT):
    """Beside the sandbox the targets are reached; from inside they are EPERM, and nothing arrives."""
    for target in targets:
        assert_reached(net, free, target, port)
    net.fence()
    since = net.mark()
    tokens = {}
    for target in targets:
        tokens[target] = canary()
        net.forbid(tokens[target])
        result = box.knock(to=[target, port], data=tokens[target].encode().hex())
        assert result == "EPERM", f"{target} port {port}: {result}, {box.leases()}"
    net.fence()
    for target in targets:
        found = net.seen(token=tokens[target], dst=target, since=since)
        assert not found, f"denied, but it arrived: {found[0]}"


def questions_seen(net, since, resolver=None):
    """Payloads of the datagrams to port 53 of the crafted resolvers that left the host since then."""
    return [f.payload for f in net.sniffer.frames[since:]
            if f.protocol in (17, 136) and f.dport == 53 and str(f.dst) in (resolver or (RESOLVER4, RESOLVER6))]


def await_question(net, payload, since):
    until(lambda: payload in questions_seen(net, since), f"{payload!r} arrives at the resolver")


def nothing_arrives(net, box, send):
    """send(box): not one datagram reaches a resolver. Returns what send returned."""
    net.fence()
    since = net.mark()
    result = send(box)
    net.fence()
    seen = questions_seen(net, since)
    assert not seen, f"{result}: {seen[0]}"
    return result


def assert_no_call_leaves(net, box, seen, resolver=None):
    """By TCP. Where the sandbox has a relay, it is that which answers, and nothing of the connection goes further."""
    since = net.mark()
    result = box.call(to=[resolver or seen, 53], seconds=0.3)
    assert result == "EPERM" or (net.kind.name == "netdev" and result == "ok"), result
    net.fence()
    assert not net.seen(dst=seen, port=53, protocol=6, since=since)


def control(net, free, send, *payloads):
    """Beside the sandbox each of the payloads arrives."""
    since = net.mark()
    result = send(free)
    for payload in payloads:
        await_question(net, bytes.fromhex(payload), since)
    return result
