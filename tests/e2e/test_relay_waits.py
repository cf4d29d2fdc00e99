# SPDX-License-Identifier: MIT
"""
DNS over TCP of sandboxes with names alone, which need a relay for nothing else: nobody runs for it until one asks, and
whoever asks first waits for that. The resolver keeps every question that it hears.
"""

import os
import shutil
import signal

import pytest

from clients import CLIENTS
from daemon import POSTERND, START_S, Daemon
from internet import canary
from names import MOUNT
from relaybox import AT_ONCE_S, LASTING, Events, Relays
from relaypeers import ANY, DNS4, DNS6, ECHO, ECHO4, RACES
from wait import until

ECHOES, OFF = "echo.example.org", "off.example.org"
NAMES = {"allow": [f"{ECHOES}:{ECHO}", f"*.race.example.org:{ANY}"]}


@pytest.fixture(name="mortal")
def mortal_fixture(net, peers):
    """One for a test that ends it, or counts its processes."""
    running = Relays(net, peers)
    yield running
    running.close()


def over_tcp(ward, name=ECHOES, server=DNS4, timeout=30):
    return ward.talker.ask(server=server, name=name, tcp=True, timeout=timeout)


def nobody_runs_until_somebody_asks(mortal, peers, ward):
    peers.dns.truncated.add(ECHOES)
    reply = ward.talker.ask(server=DNS4, name=ECHOES)
    peers.dns.truncated.clear()
    assert reply["truncated"] and not reply["addresses"], reply
    assert ward.talker.connect(name="c", address=ECHO4, port=ECHO, timeout=AT_ONCE_S) == ward.refused, "the control"
    assert not mortal.pids()
    asked = len(peers.dns.asked)
    # All of them wait in the queue of one listener.
    answers = ward.talker.at_once(server=DNS4, name=ECHOES, count=100)
    assert answers == {"ok": 100}, f"{answers}\n{ward.daemon.log()[-3000:]}"
    assert ward.talker.connect(name="c", address=ECHO4, port=ECHO) == "ok", "the lease came before the replies"
    assert {question.protocol for question in peers.dns.asked_for(ECHOES, asked)} == {"tcp"}
    assert len(mortal.pids()) == 1


def a_killed_one_is_started_again(mortal, ward):
    os.kill(mortal.relay_pid(), signal.SIGKILL)
    assert over_tcp(ward, timeout=AT_ONCE_S)["result"] != "timeout", "served again, or refused at once"
    until(lambda: over_tcp(ward)["result"] == "ok", "it is served again", 60)


def a_daemon_is_killed_and_started(mortal, peers, served, waiting):
    mortal.daemon.kill()
    until(lambda: over_tcp(served, timeout=AT_ONCE_S)["result"] != "ok", "its relay ends", 30)
    asked = len(peers.dns.asked)
    for ward in (waiting, served):
        result = over_tcp(ward, timeout=AT_ONCE_S)["result"]
        assert result not in ("ok", "timeout"), result
    assert not peers.dns.asked[asked:]
    assert waiting.talker.ask(server=DNS4, name=ECHOES)["addresses"] == [ECHO4], "UDP goes on"
    mortal.daemon.start(env=LASTING)
    for ward in (waiting, served):
        ward.events.close()
        ward.events = Events(ward.box)
        until(lambda ward=ward: over_tcp(ward)["result"] == "ok", "it is served again", START_S + 30)
        assert over_tcp(ward, OFF)["blocked"]


def test_its_life(mortal, peers, kind):
    with mortal.ward(kind, **NAMES) as served, mortal.ward(kind, **NAMES) as waiting:
        nobody_runs_until_somebody_asks(mortal, peers, served)
        a_killed_one_is_started_again(mortal, served)
        a_daemon_is_killed_and_started(mortal, peers, served, waiting)
        # Another sandbox, and another resolver: by the same relay.
        relay = mortal.relay_pid()
        with mortal.ward(kind, **NAMES) as other:
            assert over_tcp(other, server=DNS6)["addresses"] == [ECHO4]
        assert mortal.relay_pid() == relay


def test_the_gate_holds_over_tcp(relays, peers, kind):
    with relays.ward(kind, **NAMES) as ward:
        asked = len(peers.dns.asked)
        for server in (DNS4, DNS6):
            for name in (OFF, "x." + ECHOES, "secret-data-of-mine.tunnel.example.net"):
                reply = over_tcp(ward, name, server)
                assert (reply["result"], reply.get("rcode"), reply.get("addresses")) == ("ok", 3, []), (name, reply)
                assert reply["blocked"], reply
        assert over_tcp(ward)["rcode"] == 0, "the control"
        assert {question.text for question in peers.dns.asked[asked:]} == {ECHOES}
        assert ward.denied("name-gate", name=OFF, hook="relay")["port"] == 53
        outside = relays.beside(kind)
        assert outside.ask(server=DNS4, name=OFF, tcp=True)["addresses"], "the control"


def test_a_lease_is_there_before_each_reply(relays, kind):
    with relays.ward(kind, **NAMES) as ward:
        assert ward.talker.race(server=DNS4, names=list(RACES)[:30], port=ANY, tcp=True) == {}


def test_a_name_of_a_hundred_addresses_resolves(relays, peers, kind, tmp_path):
    """glibc asks over UDP, is told that it was truncated, and asks again over TCP."""
    path, token = tmp_path / "resolv.conf", canary()
    path.write_text(f"nameserver {DNS4}\n")
    peers.dns.truncated.add("many.race.example.org")
    peers.dns.zone["many.race.example.org"] = [ECHO4] + [f"203.0.113.{i}" for i in range(1, 100)]
    try:
        with relays.ward(kind, allow=[f"many.race.example.org:{ECHO}"]) as ward:
            argv = CLIENTS["python"]("many.race.example.org", ECHO, token)
            done = ward.box.run(["unshare", "-m", "sh", "-c", MOUNT, str(path), *argv])
            assert done.code == 0, f"{done}\n{ward.daemon.log()[-3000:]}"
            until(lambda: any(token.encode() in seen["data"] for seen in peers.tcp.seen), "it arrives", 30)
    finally:
        peers.dns.truncated.clear()
        del peers.dns.zone["many.race.example.org"]


def test_its_policy_changes(relays, peers, kind):
    """From names to none, to names, to what needs a relay, and back: each with its own way of DNS over TCP."""
    with relays.ward(kind, **NAMES) as ward:
        ward.box.put({"allowOut": [ECHO4], "denyOut": ["0.0.0.0/0", "::/0"]})
        asked = len(peers.dns.asked)
        assert over_tcp(ward, timeout=AT_ONCE_S)["result"] == ward.refused
        assert not peers.dns.asked[asked:]
        for _ in range(2):
            ward.box.put({"allowOut": [f"{ECHOES}:{ECHO}"], "denyOut": ["0.0.0.0/0", "::/0"]})
            assert over_tcp(ward)["result"] == "ok"
            assert over_tcp(ward, OFF)["blocked"]
            ward.box.put({"allowOut": [ECHOES], "denyOut": ["0.0.0.0/0", "::/0"], "hostCheck": "strict"})
            for options in ({"tcp": True}, {}):
                assert ward.talker.ask(server=DNS4, name=ECHOES, **options)["addresses"] == [ECHO4]
                assert ward.talker.ask(server=DNS4, name=OFF, **options)["blocked"]
        ward.box.put({"allowOut": [f"{ECHOES}:{ECHO}"], "denyOut": ["0.0.0.0/0", "::/0"]})
        assert ward.talker.ask(server=DNS4, name=ECHOES)["addresses"] == [ECHO4]
        assert over_tcp(ward)["result"] == "ok"


def test_what_is_explained_is_what_happens(relays, kind):
    with relays.ward(kind, **NAMES) as ward:
        assert ward.explain(f"{DNS4}:53/tcp")["verdict"] == "relay"
        assert ward.explain(f"{DNS4}:53/udp")["verdict"] != "relay"


def test_where_there_is_no_relay_it_is_refused_and_shown(net, tmp_path):
    """The program alone, in a directory of its own."""
    alone = tmp_path / "posternd"
    shutil.copy(POSTERND, alone)
    with Daemon(net, start=False, resolvers=[DNS4]) as daemon:
        daemon.start(program=str(alone))
        document = {"allowOut": [ECHOES], "denyOut": ["0.0.0.0/0", "::/0"]}
        box = daemon.attach("alone", daemon.cgroup("alone"), document)
        shown = daemon.get(f"/v1/sandboxes/{box.id}").json
        assert "dns-tcp" in shown["advice"], f"{shown}\n{daemon.log()}"
        answer = daemon.get(f"/v1/explain?sandbox={box.id}&to={DNS4}:53/tcp").json
        assert (answer["verdict"], answer["reason"]) == ("deny", "dns-tcp"), answer
        box.delete()
