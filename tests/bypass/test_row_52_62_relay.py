# SPDX-License-Identifier: MIT
"""
Rows 52 to 62: around the relay, past it, or through it to somebody else. Names on a shared address, a Host that is not
SNI's, headers for the wrong server, the relay's own ports, sockets that cannot be redirected, somebody in the relay's place.
"""

import os
import signal
from pathlib import Path

import pytest

from relaybox import AT_ONCE_S
from relaypeers import CRAFTED4, ECHO, ECHO4, NGINX4, OPEN4, ORIGIN4, SOCKS, WRONG4
from wait import until

API, PLAIN, ONE, TWO = "api.example.com", "plain.example.com", "one.example.org", "two.example.org"
SECRET = "Bearer pst-bypass-secret-51d2"
RULES = {API: [{"transform": {"headers": {"Authorization": SECRET}}}]}
PROXIED = {"allow": [ECHO4], "egressProxy": {"address": f"{OPEN4}:{SOCKS}"}}


def seen_by(origin, since):
    return [request.head for request in origin.requests[since:]]


# ---- 52, 54: names ----

HOSTS = [
    "GET / HTTP/1.1\r\nHost: {two}\r\n\r\n",
    "GET http://{two}/ HTTP/1.1\r\nHost: {one}\r\n\r\n",
    "GET http://{one}/ HTTP/1.1\r\nHost: {two}\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: {one}\r\nHost: {two}\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: {two}\r\nHost: {one}\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: {one}, {two}\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: {one}@{two}\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: {two}:80@{one}\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: {one}/{two}\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: {one}\t{two}\r\n\r\n",
    "GET / HTTP/1.1\r\nHost : {two}\r\nHost: {one}\r\n\r\n",
    "GET / HTTP/1.1\r\nX: y\r\n Host: {two}\r\nHost: {one}\r\n\r\n",
    "GET / HTTP/1.1\nHost: {two}\n\nGET / HTTP/1.1\r\nHost: {one}\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: {one}\0{two}\r\n\r\n",
    "GET /\r\nHost: {one}\r\n\r\nGET / HTTP/1.1\r\nHost: {two}\r\n\r\n",
    "\r\n\r\nGET / HTTP/1.1\r\nHost: {two}\r\n\r\n",
]


@pytest.mark.parametrize("keys", [{"hostCheck": "strict"},
                                  {"hostCheck": "strict", "rules": {ONE: [{"transform": {"headers": {"X-Token": "t"}}}]}}],
                         ids=["strict", "rules"])
def test_no_spelling_of_host_gets_another_name_served(relays, peers, kind, keys):
    outside = relays.beside(kind)
    assert outside.connect(name="c", address=NGINX4, port=80) == "ok"
    assert outside.request(HOSTS[1].format(one=ONE, two=TWO))[2].startswith("two"), "the control"
    before = len(peers.access_log())
    with relays.ward(kind, allow=[ONE], **keys) as ward:
        ward.look(ONE)
        for text in HOSTS:
            assert ward.talker.connect(name="c", address=NGINX4, port=80) == "ok"
            assert "two http" not in ward.talker.request(text.format(one=ONE, two=TWO))[2], text
            assert "two http" not in ward.talker.receive(name="c", timeout=0.05)["data"], text
        assert ward.talker.connect(name="c", address=NGINX4, port=80) == "ok"
        assert ward.talker.get(ONE)[2].startswith("one http"), "the control"
    found = [line.split()[1] for line in peers.access_log()[before:].splitlines()]
    assert found and set(found) == {"one.example.org"}, found


def test_fronting_behind_a_name_with_rules_is_seen(relays, peers, kind, tmp_path):
    """Host is another than SNI: where the relay reads the requests, it is asked for as well."""
    trust, start = relays.ca(tmp_path / "ca.pem"), len(peers.origin.requests)
    with relays.ward(kind, allow=[API], rules=RULES, hostCheck="strict") as ward:
        for host in (PLAIN, TWO, "denied.example.com"):
            assert ward.talker.connect(name="c", address=ORIGIN4, port=443) == "ok"
            assert ward.talker.tls(name="c", server=API, trust=trust)["result"] == "ok"
            assert ward.talker.get(host)[0] in (403, 421)
        assert ward.talker.connect(name="c", address=ORIGIN4, port=443) == "ok"
        assert ward.talker.tls(name="c", server=API, trust=trust)["result"] == "ok"
        assert ward.talker.get(API)[0] == 200, "the control"
    assert [request.values("host") for request in peers.origin.requests[start:]] == [[API]]


@pytest.mark.parametrize("policy", [{"allowOut": [API, WRONG4], "denyOut": ["0.0.0.0/0"]}, {}], ids=["address", "default"])
def test_a_secret_is_for_its_own_server(relays, peers, kind, policy):
    """Who is allowed to a server of his own by its address says the name there that has the rule."""
    start, real = len(peers.wrong.requests), len(peers.origin.requests)
    with relays.ward(kind, {**policy, "rules": RULES}) as ward:
        assert ward.talker.connect(name="c", address=WRONG4, port=80) == "ok"
        ward.talker.get(API)
        assert ward.talker.connect(name="c", address=WRONG4, port=443) == "ok"
        if ward.talker.tls(name="c", server=API)["result"] == "ok":
            ward.talker.get(API)
        # A port in Host is no other way there.
        assert ward.talker.connect(name="c", address=WRONG4, port=80) == "ok"
        ward.talker.get(f"{API}:8080")
        assert ward.talker.connect(name="c", address=WRONG4, port=80) == "ok"
        assert ward.talker.get(PLAIN)[0] in (200, 403)
    assert not [head for head in seen_by(peers.wrong, start) if SECRET.encode() in head]
    for request in peers.origin.requests[real:]:
        assert SECRET.encode() not in request.head or request.values("host")[0].startswith(API)


def test_answers_lead_nowhere(relays, peers, kind):
    """A redirect is the client's to follow; TRACE, which would show what was put in, is refused."""
    start = len(peers.origin.requests)
    with relays.ward(kind, allow=[API], rules=RULES) as ward:
        ward.look(API)
        assert ward.talker.connect(name="c", address=ORIGIN4, port=80) == "ok"
        assert ward.talker.get(API, "/status/302")[0] == 302
        for method in ("TRACE", "TRACK"):
            assert ward.talker.connect(name="c", address=ORIGIN4, port=80) == "ok"
            status, _, body, _ = ward.talker.get(API, method=method)
            assert status != 200 and SECRET not in body
    assert len(peers.origin.requests) == start + 1


def test_names_that_go_to_a_proxy_are_not_resolved_here(relays, peers, kind):
    peers.socks.reset()
    keys = {"hostCheck": "strict", "egressProxy": {"address": f"{CRAFTED4}:{SOCKS}"}}
    with relays.ward(kind, allow=[ONE], **keys) as ward:
        asked = len(peers.dns.asked)
        assert ward.talker.connect(name="c", address="93.184.217.7", port=80) == "ok"
        assert ward.talker.get(ONE)[2].startswith("one http")
        assert peers.socks.asked == [(3, ONE, 80)]
        assert not peers.dns.asked_for(ONE, asked)
    peers.socks.reset()


# ---- 59: the relay's own ports ----

def listeners(namespace, since=()):
    """The TCP ports that somebody listens on at a loopback address there."""
    rows = namespace.call(lambda: Path("/proc/thread-self/net/tcp").read_text("ascii")).splitlines()[1:]
    found = [row.split()[1].split(":") for row in rows if row.split()[3] == "0A"]
    return {int(port, 16) for address, port in found if address == "0100007F"} - set(since)


def test_the_relays_port_is_nobodys_to_call(relays, net):
    """Neither one's own nor another's, whatever `loopback` says; and who is in no sandbox is not served there."""
    before = listeners(net.host)
    with relays.ward("cgroup", **PROXIED) as ward:
        own = listeners(net.host, before)
        assert own, "it listens"
        with relays.ward("cgroup", **PROXIED, loopback="host") as other, relays.ward("cgroup", {}, loopback="host") as open_one:
            assert listeners(net.host, before) > own
            for port in listeners(net.host, before):
                for one in (ward, other, open_one):
                    for address in ("127.0.0.1", "127.0.0.2", "::1"):
                        assert one.talker.connect(name="c", address=address, port=port, timeout=AT_ONCE_S) in (
                            "EPERM", "ECONNREFUSED"), (one.box.id, address, port)
                outside = relays.beside("cgroup")
                if outside.connect(name="c", address="127.0.0.1", port=port, timeout=AT_ONCE_S) == "ok":
                    outside.send(name="c", data="GET / HTTP/1.1\r\nHost: one.example.org\r\n\r\n")
                    assert outside.receive(name="c", timeout=AT_ONCE_S)["data"] == ""
            assert [event for event in ward.events.all(verdict="deny") if event["reason"] in ("no-origin", "loopback")]
        assert ward.talker.connect(name="c", address=ECHO4, port=ECHO) == "ok", "the control"


def test_no_address_of_the_host_leads_a_device_to_the_relay(relays, net):
    before = listeners(net.host)
    with relays.ward("netdev", **PROXIED) as ward:
        wire = ward.box.wire
        for port in listeners(net.host, before):
            for address in (wire.gate4, "127.0.0.1", "192.0.2.2", "198.51.103.2"):
                assert ward.talker.connect(name="c", address=address, port=port, timeout=1) != "ok", (address, port)
        assert ward.talker.connect(name="c", address=ECHO4, port=ECHO) == "ok", "the control"


def test_nobody_takes_the_place_of_a_relay_that_died(relays, net):
    """A sandbox in the same network listens where the other's relay did, and is asked nothing."""
    before = listeners(net.host)
    with relays.ward("cgroup", **PROXIED) as ward, relays.ward("cgroup", {}) as rival:
        ports = listeners(net.host, before)
        daemon = relays.daemon.process.pid
        os.kill(daemon, signal.SIGSTOP)
        try:
            os.kill(relays.relay_pid(), signal.SIGKILL)
            until(lambda: not listeners(net.host, before) & ports, "the ports are free", 30)
            for port in ports:
                assert rival.talker.listen(name=f"l{port}", address="127.0.0.1", port=port) == "ok"
            assert ward.talker.connect(name="c", address=ECHO4, port=ECHO, timeout=AT_ONCE_S) == "EPERM"
            assert all(rival.talker.accepted(name=f"l{port}") == 0 for port in ports)
        finally:
            os.kill(daemon, signal.SIGCONT)
        ward.denied("relay-down", address=ECHO4)


# ---- sockets that cannot be redirected ----

def test_a_socket_that_cannot_be_redirected_goes_nowhere(relays, peers):
    since = peers.mark()
    with relays.ward("cgroup", **PROXIED) as ward:
        assert ward.talker.connect(name="c", address=ECHO4, port=ECHO, device="up3", timeout=AT_ONCE_S) == "EPERM"
        ward.denied("relay-socket")
        assert ward.talker.connect(name="c", address=ECHO4, port=ECHO, mptcp=True, timeout=AT_ONCE_S) != "ok"
        # Bound to an address it is redirected like others.
        assert ward.talker.connect(name="c", address=ECHO4, port=ECHO, bound="198.51.103.2") == "ok"
        assert ward.talker.addresses(name="c")[1] == [ECHO4, ECHO]
    assert not peers.seen(ECHO4, since=since)


def test_connections_from_before_go_nowhere_once_the_policy_has_a_proxy(relays, peers, kind):
    """What was let out directly would have to go through the proxy now."""
    with relays.ward(kind, allow=[ECHO4]) as ward:
        assert ward.talker.connect(name="c", address=ECHO4, port=ECHO) == "ok"
        assert ward.talker.send(name="c", data="before") == "ok"
        assert ward.talker.receive(name="c", size=6)["data"] == "before"
        ward.box.put({"allowOut": [ECHO4], "denyOut": ["0.0.0.0/0"], "egressProxy": PROXIED["egressProxy"]})
        ward.talker.send(name="c", data="pst-after-the-proxy")
        assert ward.talker.receive(name="c", size=1, timeout=AT_ONCE_S)["data"] == ""
        assert not peers.seen(ECHO4, token=b"pst-after-the-proxy")
        assert ward.talker.connect(name="c", address=ECHO4, port=ECHO) == "ok"
