# SPDX-License-Identifier: MIT
"""
Port 53 of a sandbox that needs the relay: over TCP for both kinds, and of the cgroup kind over UDP too, it is the relay's
service that asks. The resolver keeps every question that it hears: what no rule allows is never among them.
"""

import pytest

import dnswire
from clients import CLIENTS
from internet import canary
from names import MOUNT
from relaybox import LONG
from relaypeers import ANY, DNS4, DNS6, ECHO, ECHO4, ECHO6, RACES
from wait import until

ECHOES, OFF = "echo.example.org", "off.example.org"
POLICY = {"allow": ["one.example.org", "mute.example.org", "private.example.org", f"{ECHOES}:{ECHO}", f"*.race.example.org:{ANY}"],
          "hostCheck": "strict"}
WAYS = {"udp": {}, "connected": {"connected": True}, "tcp": {"tcp": True}}
BY = pytest.mark.parametrize("way", WAYS)


def heard(resolver, asked):
    """The names that it was asked for since; not the one that it does not answer, which is asked for again."""
    return {question.text for question in resolver.asked[asked:]} - {"mute.example.org"}


@pytest.fixture(name="ward")
def ward_fixture(relays, kind):
    return relays.kept(kind, **POLICY)


@pytest.fixture(name="resolver")
def resolver_fixture(peers):
    yield peers.dns
    peers.dns.truncated.clear()
    peers.dns.silent.clear()


def test_what_a_rule_allows_is_answered_whatever_the_way(relays, ward, resolver):
    outside = relays.beside(ward.kind)
    for way, options in WAYS.items():
        for server in (DNS4, DNS6):
            asked = len(resolver.asked)
            assert outside.ask(server=server, name=OFF, **options)["addresses"] == [ECHO4], "the control"
            assert resolver.asked_for(OFF, asked)
            for edns in (True, False):
                reply = ward.talker.ask(server=server, name=ECHOES, edns=edns, **options)
                assert (reply["result"], reply.get("addresses")) == ("ok", [ECHO4]), f"{way} {reply}\n{ward.daemon.log()}"
                assert reply["edns"] == edns
                assert reply["source"] in (None, [server, 53]), "it comes from whom was asked"
            reply = ward.talker.ask(server=server, name="ECHO.Example.ORG", kind=28, **options)
            assert reply["addresses"] == [ECHO6]


def test_what_no_rule_allows_does_not_exist_and_the_resolver_is_not_asked(ward, resolver):
    asked = len(resolver.asked)
    for way, options in WAYS.items():
        for name in (OFF, "x." + ECHOES, "secret-data-of-mine.tunnel.example.net", "race.example.org"):
            reply = ward.talker.ask(server=DNS4, name=name, **options)
            assert (reply["result"], reply.get("rcode"), reply.get("addresses")) == ("ok", 3, []), (way, name, reply)
            assert reply["blocked"], (way, reply)
            assert ward.talker.ask(server=DNS6, name=name, edns=False, **options)["rcode"] == 3
    assert ward.talker.ask(server=DNS4, name=ECHOES, tcp=True)["rcode"] == 0, "the control"
    assert heard(resolver, asked) == {ECHOES}
    assert ward.denied("name-gate", name=OFF)["port"] == 53


def test_questions_that_hide_something_do_not_get_through(ward, resolver):
    asked = len(resolver.asked)
    name = dnswire.name(ECHOES)
    hiding = [
        dnswire.query(ECHOES, qtype=dnswire.ANY), dnswire.query(ECHOES, qtype=dnswire.AXFR), dnswire.query(ECHOES, qtype=dnswire.NULL),
        dnswire.query(ECHOES, qclass=dnswire.CHAOS), dnswire.query(ECHOES, flags=0x2900),
        dnswire.query(ECHOES, extra=b"secret", counts=(1, 0, 0, 0)),
        dnswire.header(1, 0x0100, (2, 0, 0, 0)) + 2 * dnswire.question(ECHOES),
        dnswire.header(1, 0x0100, (1, 0, 0, 0)) + name[:-1] + b"\xc0\x0c" + b"\0\1\0\1",
        dnswire.query(ECHOES, extra=dnswire.record("secret.example.net", dnswire.TXT, b"x")),
        dnswire.header(1, 0x8100, (1, 0, 0, 0)) + dnswire.question(ECHOES), b"", b"x", bytes(12), b"\xff" * 600,
    ]
    for message in hiding:
        reply = ward.talker.raw_question(server=DNS4, data=message.decode("latin-1"), timeout=0.2)
        assert ECHO4.split(".")[0] not in reply.get("data", "") or reply["data"][7] == "\0", (message, reply)
    assert not heard(resolver, asked)
    assert ward.look(ECHOES) == [ECHO4], "the control"


def test_many_questions_on_one_connection(ward, resolver):
    names = [ECHOES, OFF, "one.example.org", OFF, ECHOES]
    asked = len(resolver.asked)
    for pieces in (0, 1, 7):
        answers = ward.talker.stream(server=DNS4, names=names, pieces=pieces)
        assert [answer["result"] for answer in answers] == ["ok"] * 5, answers
        assert sorted(answer["rcode"] for answer in answers) == [0, 0, 0, 3, 3]
    assert OFF not in heard(resolver, asked)


@BY
def test_a_lease_is_there_before_the_reply(ward, way):
    names = list(RACES)[:None if LONG else 60]
    if way == "tcp":
        names = names[::-1][:30]
    assert ward.talker.race(server=DNS4, names=names, port=ANY, tcp=way == "tcp") == {}


def test_a_reply_that_does_not_fit_is_asked_for_again_by_tcp(relays, resolver, kind):
    resolver.truncated.add(ECHOES)
    with relays.ward(kind, **POLICY) as ward:
        reply = ward.talker.ask(server=DNS4, name=ECHOES)
        assert reply["truncated"] and not reply["addresses"], reply
        assert ward.talker.connect(name="c", address=ECHO4, port=ECHO, timeout=8) == ward.refused, "nothing was learned of it"
        reply = ward.talker.ask(server=DNS4, name=ECHOES, tcp=True)
        assert not reply["truncated"] and reply["addresses"] == [ECHO4]
        assert ward.talker.connect(name="c", address=ECHO4, port=ECHO) == "ok"


def resolving(ward, client, name, tmp_path, conf):
    """That client inside resolves the name, connects to ECHO and says a token; its result, and the token."""
    path, token = tmp_path / "resolv.conf", canary()
    path.write_text(f"nameserver {DNS4}\n{conf}\n")
    argv = ["unshare", "-m", "sh", "-c", MOUNT, str(path), *CLIENTS[client](name, ECHO, token)]
    return ward.box.run(argv), token


@pytest.mark.parametrize("client", ["python", "musl"])
def test_a_search_list_is_walked_to_its_end(ward, peers, resolver, tmp_path, client):
    """As Kubernetes has it: ndots:5, and the name itself is the last that is asked for."""
    asked = len(resolver.asked)
    done, token = resolving(ward, client, ECHOES, tmp_path, "search a.svc.example.net svc.example.net example.net\noptions ndots:5")
    assert done.code == 0, f"{done}\n{ward.daemon.log()[-2000:]}"
    until(lambda: any(token.encode() in seen["data"] for seen in peers.tcp.seen), "it arrives", 30)
    assert heard(resolver, asked) == {ECHOES}


def test_a_client_comes_back_by_tcp_by_itself(ward, peers, resolver, tmp_path):
    resolver.truncated.add(ECHOES)
    asked = len(resolver.asked)
    done, token = resolving(ward, "python", ECHOES, tmp_path, "")
    assert done.code == 0, done
    until(lambda: any(token.encode() in seen["data"] for seen in peers.tcp.seen), "it arrives", 30)
    assert {question.protocol for question in resolver.asked_for(ECHOES, asked)} == {"udp", "tcp"}


def test_an_address_that_is_always_denied_is_no_lease(ward):
    assert ward.look("private.example.org", tcp=True) == ["10.9.0.5"]
    assert ward.talker.connect(name="c", address="10.9.0.5", port=ECHO, timeout=8) == ward.refused
    ward.denied("always-denied", address="10.9.0.5")


def test_a_resolver_that_is_silent_holds_up_nobody_else(ward, resolver):
    resolver.silent.add("mute.example.org")
    for options in WAYS.values():
        reply = ward.talker.ask(server=DNS4, name="mute.example.org", timeout=0.3, **options)
        assert reply["result"] == "timeout" or reply.get("rcode") == 2, reply
        assert ward.look(ECHOES, **options) == [ECHO4]


def test_other_resolvers_are_nobodys(ward):
    for options in ({}, {"tcp": True}):
        since = ward.daemon.net.mark()
        assert ward.talker.ask(server="8.8.8.8", name=ECHOES, timeout=1, **options)["result"] != "ok"
        ward.daemon.net.fence()
        assert not ward.daemon.net.seen(dst="8.8.8.8", since=since)
    ward.denied("untrusted-resolver")


def test_a_proxy_and_rules_are_served_by_it_too(relays, peers, kind):
    for keys in ({"egressProxy": {"address": "185.199.109.1:1080"}},
                 {"rules": {"api.example.com": [{"transform": {"headers": {"X": "y"}}}]}}):
        with relays.ward(kind, allow=[f"{ECHOES}:{ECHO}"], **keys) as ward:
            asked = len(peers.dns.asked)
            for options in WAYS.values():
                assert ward.look(ECHOES, **options) == [ECHO4], keys
                assert ward.talker.ask(server=DNS4, name=OFF, **options)["rcode"] == 3
            assert heard(peers.dns, asked) == {ECHOES}
            assert ward.talker.connect(name="c", address=ECHO4, port=ECHO) == "ok"
