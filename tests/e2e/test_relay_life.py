# SPDX-License-Identifier: MIT
"""
The relay dies, its starter dies, a policy changes: flows end, new ones are refused until another relay is there, and
nothing goes direct meanwhile. A sniffer before the servers counts what does.
"""

import os
import signal

import pytest

from daemon import DENY_ALL, START_S
from relaybox import AT_ONCE_S, LASTING, LONG, Events, Relays
from relaypeers import DNS4, ECHO, ECHO4, NGINX4, OPEN4, SOCKS
from wait import until

ONE, TWO = "one.example.org", "two.example.org"
PROXIED = {"allow": [ECHO4], "egressProxy": {"address": f"{OPEN4}:{SOCKS}"}}
STRICT = {"allow": [ONE, TWO], "hostCheck": "strict"}
KILLS = 30 if LONG else 2


@pytest.fixture(name="mortal")
def mortal_fixture(net, peers):
    """One for a test that ends it."""
    running = Relays(net, peers)
    yield running
    running.close()


def echoes(talker, name="c", text="hello"):
    result = talker.connect(name=name, address=ECHO4, port=ECHO)
    if result == "ok":
        result = talker.send(name=name, data=text)
    if result != "ok":
        return result
    got = talker.receive(name=name, size=len(text))
    return "ok" if got["data"] == text else got["end"]


def test_a_relay_killed_under_load_lets_nothing_go_direct(relays, peers, kind):
    beside, since = relays.beside(kind), peers.mark()
    assert echoes(beside) == "ok" and peers.seen(ECHO4, since=since), "the control"
    beside.close(name="c")
    peers.fence(since)
    with relays.ward(kind, **PROXIED) as ward:
        assert echoes(ward.talker) == "ok"
        since = peers.mark()
        ward.talker.start_load(address=ECHO4, port=ECHO, threads=8, data="x" * 1000)
        for _ in range(KILLS):
            echoed = ward.talker.read_load().get("echoed", 0)
            until(lambda: ward.talker.read_load().get("echoed", 0) > echoed + 100, "it echoes", 60)
            connected = ward.talker.read_load()["connected"]
            os.kill(relays.relay_pid(), signal.SIGKILL)
            until(lambda: ward.talker.read_load()["connected"] >= connected + 8, "it is back by itself, and serves", 90)
        results = ward.talker.stop_load()
        assert set(results) - {"connected", "echoed"}, f"flows ended: {results}"
    assert not peers.seen(ECHO4, since=since), "it went direct"


def test_without_a_relay_what_needs_it_is_refused_and_says_so(mortal, peers, kind):
    """Stopped, a daemon starts no other relay: what is enforced is what stays."""
    with mortal.ward(kind, **PROXIED) as ward:
        assert echoes(ward.talker, name="old") == "ok"
        since = peers.mark()
        os.kill(mortal.daemon.process.pid, signal.SIGSTOP)
        try:
            os.kill(mortal.relay_pid(), signal.SIGKILL)
            ended = ward.talker.receive(name="old", size=1, timeout=AT_ONCE_S)["end"]
            assert ended not in ("timeout", None), "its flow ended"
            for _ in range(3):
                assert ward.talker.connect(name="c", address=ECHO4, port=ECHO, timeout=AT_ONCE_S) == ward.refused
        finally:
            os.kill(mortal.daemon.process.pid, signal.SIGCONT)
        ward.denied("relay-down", address=ECHO4)
        until(lambda: echoes(ward.talker) == "ok", "another relay serves", 60)
    assert not peers.seen(ECHO4, since=since)


def test_a_daemon_killed_under_load_lets_nothing_go_direct(mortal, peers, kind):
    with mortal.ward(kind, **PROXIED) as ward:
        assert echoes(ward.talker) == "ok"
        since = peers.mark()
        ward.talker.start_load(address=ECHO4, port=ECHO, threads=8, data="x" * 1000)
        until(lambda: ward.talker.read_load().get("echoed", 0) > 100, "it echoes", 60)
        relay = mortal.relay_pid()
        mortal.daemon.kill()
        until(lambda: not os.path.exists(f"/proc/{relay}"), "the relay ends with its starter", 30)
        before = sum(ward.talker.read_load().values())
        until(lambda: sum(ward.talker.read_load().values()) > before + 100, "it is tried again and again", 60)
        connected = ward.talker.read_load()["connected"]
        mortal.daemon.start(env=LASTING)
        until(lambda: ward.talker.read_load()["connected"] > connected, "the next daemon's relay serves it", START_S + 30)
        ward.talker.stop_load()
        ward.events.close()
        ward.events = Events(ward.box)
        assert echoes(ward.talker) == "ok"
    assert not peers.seen(ECHO4, since=since)


def test_a_daemon_that_is_stopped_and_started_serves_on(mortal, peers, kind):
    with mortal.ward(kind, **STRICT) as ward:
        def page(name):
            result = ward.talker.connect(name="c", address=NGINX4, port=80)
            return ward.talker.get(name)[0] if result == "ok" else result
        assert page(ONE) == 200
        mortal.daemon.stop()
        since = peers.mark()
        assert page(ONE) == ward.refused
        if kind == "cgroup":
            assert ward.talker.ask(server=DNS4, name=ONE, timeout=2)["result"] != "ok", "its DNS is the relay's"
        assert not peers.seen(NGINX4, since=since)
        mortal.daemon.start(env=LASTING)
        ward.events.close()
        ward.events = Events(ward.box)
        until(lambda: page(ONE) == 200, "it is served again", 60)
        assert page("three.example.org") == 403


def test_a_tighter_policy_ends_relayed_sessions_before_its_reply(relays, peers, kind):
    """And spares what it still allows."""
    with relays.ward(kind, **STRICT) as ward:
        for name in (ONE, TWO):
            assert ward.talker.connect(name=name, address=NGINX4, port=443) == "ok"
            assert ward.talker.tls(name=name, server=name, trust=str(peers.ca.certificate))["result"] == "ok"
            assert ward.talker.get(name, name=name)[0] == 200
        before = len(peers.access_log())
        ward.box.put({"allowOut": [ONE], "denyOut": ["0.0.0.0/0"], "hostCheck": "strict"})
        # Whatever is sent from now on arrives nowhere.
        ward.talker.send(name=TWO, data=f"GET /after HTTP/1.1\r\nHost: {TWO}\r\n\r\n")
        assert ward.talker.receive(name=TWO, timeout=AT_ONCE_S)["end"] not in ("timeout", None)
        assert ward.talker.get(ONE, name=ONE)[0] == 200, "that one lives on"
        assert "/after" not in peers.access_log()[before:]
        assert ward.talker.connect(name="c", address=NGINX4, port=80) == "ok"
        assert ward.talker.get(TWO)[0] == 403


def test_a_dry_run_tells_what_another_way_ends(relays, kind):
    """A flow does not change its way: what goes to the relay or away from it ends."""
    direct, proxied = {**DENY_ALL, "allowOut": [ECHO4]}, {**DENY_ALL, "allowOut": [ECHO4], "egressProxy": PROXIED["egressProxy"]}
    for now, other in ((direct, proxied), (proxied, direct)):
        with relays.ward(kind, now) as ward:
            assert echoes(ward.talker) == "ok"
            url = f"/v1/sandboxes/{ward.box.id}/policy?dry_run=1"

            def told(policy, url=url):
                return [line for line in relays.daemon.request("PUT", url, policy).json["flows"] if line.startswith("tcp ")]
            assert not told(now), "the control: the same policy"
            assert len(told(other)) == 1 and "would end" in told(other)[0]
            assert ward.talker.send(name="c", data="x") == "ok", "nothing was changed"


def test_a_tighter_policy_ends_what_goes_through_a_proxy(relays, peers, kind):
    with relays.ward(kind, **PROXIED) as ward:
        assert echoes(ward.talker) == "ok"
        seen = peers.tcp.seen[-1]
        ward.box.put({"denyOut": ["0.0.0.0/0"], "egressProxy": PROXIED["egressProxy"]})
        before = seen["bytes"]
        ward.talker.send(name="c", data="after")
        assert ward.talker.receive(name="c", size=1, timeout=AT_ONCE_S)["end"] not in ("timeout", None)
        until(lambda: seen["ended"], "the server sees its end", 30)
        assert seen["bytes"] == before


def test_a_sandbox_that_is_removed_is_nobodys(relays, peers, kind):
    """Its sessions end, and the relay forgets it."""
    with relays.ward(kind, **PROXIED) as other:
        with relays.ward(kind, **PROXIED) as ward:
            assert echoes(ward.talker) == "ok" and echoes(other.talker) == "ok"
            seen = [entry for entry in peers.tcp.seen if not entry["ended"]]
            assert len(seen) >= 2
        until(lambda: sum(not entry["ended"] for entry in seen) == len(seen) - 1, "one of them has ended", 30)
        assert other.talker.send(name="c", data="still") == "ok"
        assert other.talker.receive(name="c", size=5)["data"] == "still"


def test_relays_of_two_owners_are_two(relays):
    """Never two tenants' bytes in one process."""
    from daemon import OTHER_KEY, TENANT_KEY  # pylint: disable=import-outside-toplevel
    made, before = [], len(relays.pids())
    for key in (TENANT_KEY, OTHER_KEY, TENANT_KEY):
        body = {"templateID": "base", "network": {"allowOut": [ONE], "denyOut": ["0.0.0.0/0"]}}
        reply = relays.daemon.request_tcp("POST", "/sandboxes", body, key=key)
        assert reply.status == 201, reply
        made.append((reply.json["sandboxID"], key))
    assert len(relays.pids()) >= before + 2, relays.pids()
    for name, key in made:
        assert relays.daemon.request_tcp("DELETE", f"/sandboxes/{name}", key=key).status == 204
