# SPDX-License-Identifier: MIT
"""
egressProxy: what the policy allows goes through a SOCKS5 proxy and by no other way. The oracles are the proxies' own logs
(microsocks, danted) and a sniffer before the servers, which the proxies reach without coming past it.
"""

import pytest

from relaybox import AT_ONCE_S, LONG
from relaypeers import (AUTH4, CRAFTED4, DANTE4, DNS4, ECHO, ECHO4, ECHO6, GREET, LAST, NGINX4, NOBODY4, OPEN4, PASSWORD,
                        SINK, SOCKS, USER)
from relaysocks import AUTHENTICATION, GREETING, IPV4, IPV6, NAME, REQUEST
from wait import until


def proxy(address, username=None, password=None):
    members = {"address": f"{address}:{SOCKS}", "username": username, "password": password}
    return {"egressProxy": {key: value for key, value in members.items() if value is not None}}


GUARDED = proxy(AUTH4, USER, PASSWORD)
CRAFTED = proxy(CRAFTED4)


@pytest.fixture(name="socks")
def socks_fixture(peers):
    peers.socks.reset()
    yield peers.socks
    peers.socks.reset()


def echoes(talker, address, port=ECHO, text="hello", name="c"):
    """ "ok" when it comes back; else where it ended and how."""
    result = talker.connect(name=name, address=address, port=port)
    if result == "ok":
        result = talker.send(name=name, data=text)
    if result != "ok":
        return result
    got = talker.receive(name=name, size=len(text))
    return "ok" if got["data"] == text else got["end"]


@pytest.fixture(name="control")
def control_fixture(relays, peers, kind):
    """The same without a sandbox comes past the sniffer: else its silence proves nothing."""
    since = peers.mark()
    assert echoes(relays.beside(kind), ECHO4) == "ok"
    assert peers.seen(ECHO4, ECHO, since=since)


@pytest.mark.usefixtures("control")
def test_what_is_allowed_goes_through_the_proxy_and_by_no_other_way(relays, peers, kind):
    for address, account, log in ((OPEN4, (), peers.microsocks.log), (AUTH4, (USER, PASSWORD), peers.guarded.log)):
        since, before = peers.mark(), len(log())
        with relays.ward(kind, allow=[ECHO4, ECHO6], **proxy(address, *account)) as ward:
            assert echoes(ward.talker, ECHO4) == "ok", ward.daemon.log()
            assert ward.talker.addresses(name="c")[1] == [ECHO4, ECHO], "the peer that was asked for"
            flows = ward.daemon.get(f"/v1/sandboxes/{ward.box.id}/flows").json["flows"]
            assert [(flow["remote"], flow["remotePort"], flow["relayed"]) for flow in flows] == [(ECHO4, ECHO, True)], flows
            assert echoes(ward.talker, ECHO6) == "ok"
        until(lambda log=log, before=before: f"connected to {ECHO4}:{ECHO}" in log()[before:], "the proxy's own log says so")
        assert f":{ECHO}" in log()[before:].replace(f"{ECHO4}:{ECHO}", "", 1)
        assert not peers.seen(ECHO4, since=since) and not peers.seen(ECHO6, since=since)
        assert peers.seen(address, SOCKS, since=since)


@pytest.mark.usefixtures("control")
def test_what_an_audit_lets_through_goes_by_the_proxy_and_is_told_once(relays, peers, kind):
    """By its own reason: neither as allowed, nor as lacking a name, whatever the step that would have denied it."""
    for reason, policy in (("default-deny", {"allowOut": [ECHO6], "denyOut": ["0.0.0.0/0"]}), ("deny-rule", {"denyOut": [ECHO4]})):
        since = peers.mark()
        with relays.ward(kind, policy, audit=True, **proxy(OPEN4)) as ward:
            assert echoes(ward.talker, ECHO4) == "ok", ward.daemon.log()
            assert echoes(ward.talker, ECHO6, name="other") == "ok", ward.daemon.log()
            told = ward.events.wait(verdict="would-deny", address=ECHO4)
            assert told["reason"] == reason, told
            ward.events.wait(verdict="allow", address=ECHO6)
            assert [event["reason"] for event in ward.events.all(address=ECHO4)] == [reason], ward.events.lines
        assert not peers.seen(ECHO4, since=since)


def test_dante_takes_the_password_too(relays, peers, kind):
    dante = peers.start_dante()
    try:
        since = peers.mark()
        with relays.ward(kind, allow=["echo.example.org:7000"], **proxy(DANTE4, USER, PASSWORD)) as ward:
            assert ward.look("echo.example.org") == [ECHO4]
            assert echoes(ward.talker, ECHO4) == "ok", dante.log()
        until(lambda: f"{USER}@" in dante.log() and f"{ECHO4}.{ECHO}" in dante.log(), "its log has user and destination")
        assert not peers.seen(ECHO4, since=since)
    finally:
        dante.close()


def test_names_are_sent_as_names_and_addresses_as_addresses(relays, peers, socks, kind):
    allow = ["echo.example.org:7000", "one.example.org", f"{ECHO4}:{GREET}", ECHO6]
    with relays.ward(kind, allow=allow, **CRAFTED) as ward:
        assert ECHO4 in ward.look("echo.example.org")
        assert echoes(ward.talker, ECHO4) == "ok", ward.daemon.log()
        assert socks.asked == [(NAME, "echo.example.org", ECHO)]
        assert ward.talker.connect(name="c", address=ECHO4, port=GREET) == "ok"
        assert ward.talker.receive(name="c", until="\n")["data"] == "220 welcome\r\n"
        assert socks.asked[1:] == [(IPV4, ECHO4, GREET)]
        assert echoes(ward.talker, ECHO6) == "ok"
        assert socks.asked[2:] == [(IPV6, ECHO6, ECHO)]
        # On 80 and 443 the name is that of SNI and Host.
        assert NGINX4 in ward.look("one.example.org")
        assert ward.talker.connect(name="c", address=NGINX4, port=443) == "ok"
        assert ward.talker.tls(name="c", server="one.example.org", trust=str(peers.ca.certificate))["result"] == "ok"
        assert ward.talker.get("one.example.org")[2] == "one https \n"
        assert ward.talker.connect(name="c", address=NGINX4, port=80) == "ok"
        assert ward.talker.get("one.example.org")[2] == "one http \n"
        assert socks.asked[3:] == [(NAME, "one.example.org", 443), (NAME, "one.example.org", 80)]


@pytest.mark.usefixtures("control")
def test_a_wrong_password_ends_it_and_nothing_goes_direct(relays, peers, kind):
    since = peers.mark()
    with relays.ward(kind, allow=[ECHO4], **proxy(AUTH4, USER, "not the password")) as ward:
        assert echoes(ward.talker, ECHO4) != "ok"
        ward.denied("proxy")
        ward.box.put({"allowOut": [ECHO4], "denyOut": ["0.0.0.0/0"], **proxy(AUTH4)})  # none at all
        assert echoes(ward.talker, ECHO4) != "ok"
        ward.box.put({"allowOut": [ECHO4], "denyOut": ["0.0.0.0/0"], **GUARDED})
        assert echoes(ward.talker, ECHO4) == "ok", "the control"
    assert not peers.seen(ECHO4, since=since)


@pytest.mark.usefixtures("control")
def test_a_proxy_that_is_not_there_ends_it_and_nothing_goes_direct(relays, peers, kind):
    since = peers.mark()
    with relays.ward(kind, allow=[ECHO4], **proxy(NOBODY4)) as ward:
        assert echoes(ward.talker, ECHO4) != "ok"
        ward.denied("proxy")
    assert not peers.seen(ECHO4, since=since)
    assert peers.seen(NOBODY4, SOCKS, since=since)


@pytest.mark.usefixtures("socks")
def test_half_of_a_connection_may_end_before_the_other(relays, kind):
    """Not through microsocks, which ends both."""
    with relays.ward(kind, allow=[ECHO4], **CRAFTED) as ward:
        talker = ward.talker
        assert talker.connect(name="c", address=ECHO4, port=SINK) == "ok"
        assert talker.send(name="c", data="x" * 100000) == "ok" and talker.half(name="c") == "ok"
        assert talker.receive(name="c") == {"data": "100000", "end": "eof"}
        # The server's half first: what comes after it still arrives there.
        assert talker.connect(name="c", address=ECHO4, port=LAST) == "ok"
        assert talker.receive(name="c") == {"data": "220 welcome\r\n", "end": "eof"}
        seen = relays.peers.tcp.seen[-1]
        assert talker.send(name="c", data="y" * 100000) == "ok" and talker.close(name="c") == "ok"
        until(lambda: seen["ended"], "the server reads the end", 30)
        assert (seen["bytes"], seen["ended"]) == (100000, "eof")


@pytest.mark.usefixtures("socks")
def test_bytes_come_through_whole_both_ways_at_once(relays, kind):
    """Not through microsocks, which does one at a time, and waits for ever."""
    size = (256 if LONG else 16) << 20
    with relays.ward(kind, allow=[ECHO4], **CRAFTED) as ward:
        assert ward.talker.connect(name="c", address=ECHO4, port=ECHO) == "ok"
        assert ward.talker.upload(name="c", size=size, seed=7) == {"size": size, "wrong": []}


def test_who_speaks_first_may_be_the_server(relays, socks, kind):
    """Also where its first words come in one segment with the proxy's answer."""
    with relays.ward(kind, allow=[ECHO4], **CRAFTED) as ward:
        assert ward.talker.connect(name="c", address=ECHO4, port=GREET) == "ok"
        assert ward.talker.receive(name="c", until="\n")["data"] == "220 welcome\r\n"
        for bound in (b"\1\0\0\0\0\0\0", b"\3\5proxy\0\0", b"\3\xff" + b"p" * 255 + b"\0\0", b"\4" + bytes(18)):
            socks.manners[REQUEST] = b"\5\0\0" + bound + b"220 at once\r\n"
            assert ward.talker.connect(name="c", address=ECHO4, port=GREET) == "ok"
            assert ward.talker.receive(name="c", until="\n")["data"] == "220 at once\r\n", bound
            assert ward.talker.send(name="c", data="heard") == "ok"
            until(lambda: b"heard" in b"".join(socks.extra), "what is said to it arrives", 30)
            socks.extra.clear()
            socks.drop()


LIES = [
    (GREETING, b"\5\xff"), (GREETING, b"\4\0"), (GREETING, b"\5\1"), (GREETING, b"\5\2"), (GREETING, b"HTTP/1.1 200 OK\r\n\r\n"),
    (GREETING, "close"), (REQUEST, "close"), (REQUEST, b"\4\0\0\1\0\0\0\0\0\0"), (REQUEST, b"\5\0\0\x09\0\0\0\0\0\0"),
    *((REQUEST, bytes([5, code, 0, 1]) + bytes(6)) for code in (1, 2, 3, 4, 5, 6, 7, 8, 255)),
]


@pytest.mark.usefixtures("control")
def test_a_proxy_that_lies_is_not_believed(relays, peers, socks, kind):
    """It ends; what the sandbox sends next reaches nobody; and nothing goes direct."""
    since = peers.mark()
    with relays.ward(kind, allow=[ECHO4], **CRAFTED) as ward:
        for step, answer in LIES:
            socks.manners[step] = answer
            assert echoes(ward.talker, ECHO4, text="pst-after-a-lie") != "ok", (step, answer)
            socks.reset()
        ward.denied("proxy")
        assert echoes(ward.talker, ECHO4) == "ok", "the control"
    assert not peers.seen(ECHO4, since=since)
    assert not peers.seen(CRAFTED4, since=since, token=b"pst-after-a-lie"), "it was believed"


def test_a_proxy_that_lies_about_the_password_is_not_believed(relays, socks, kind):
    socks.users[USER] = PASSWORD
    with relays.ward(kind, allow=[ECHO4], **proxy(CRAFTED4, USER, PASSWORD)) as ward:
        assert echoes(ward.talker, ECHO4) == "ok", "the control"
        assert socks.credentials == [(USER, PASSWORD)]
        for answer in (b"\1\1", b"\1\xff", b"\5\0", b"\0\0", "close"):
            socks.manners[AUTHENTICATION] = answer
            asked = len(socks.asked)
            assert echoes(ward.talker, ECHO4) != "ok", answer
            assert len(socks.asked) == asked, "it went on after that answer"
            socks.drop()
        # One that does not ask for the password is not told it.
        socks.reset()
        assert echoes(ward.talker, ECHO4) == "ok"
        assert not socks.credentials


@pytest.mark.usefixtures("control")
def test_a_proxy_killed_under_load_lets_nothing_go_direct(relays, peers, kind):
    address = "185.199.109.9"
    killed = peers.start_microsocks(address)
    since = peers.mark()
    try:
        with relays.ward(kind, allow=[ECHO4], **proxy(address)) as ward:
            ward.talker.start_load(address=ECHO4, port=ECHO, threads=8, data="x" * 1000)
            until(lambda: ward.talker.read_load().get("echoed", 0) > 200, "it echoes", 60)
            killed.kill()
            before = sum(ward.talker.read_load().values())
            until(lambda: sum(ward.talker.read_load().values()) > before + 100, "it is tried again and again", 60)
            assert ward.talker.stop_load()["echoed"] > 200
            killed = peers.start_microsocks(address)
            until(lambda: echoes(ward.talker, ECHO4) == "ok", "another one serves", 30)
    finally:
        killed.close()
    assert not peers.seen(ECHO4, since=since)


def test_a_slow_proxy_is_waited_for_and_a_silent_one_is_nobodys_way_out(relays, peers, socks, kind):
    since = peers.mark()
    with relays.ward(kind, allow=[ECHO4], **CRAFTED) as ward:
        socks.manners[GREETING] = None
        assert ward.talker.connect(name="silent", address=ECHO4, port=ECHO) == "ok"
        assert ward.talker.send(name="silent", data="x") == "ok"
        until(lambda: socks.greetings, "it was greeted", 30)
        socks.manners.clear()
        assert echoes(ward.talker, ECHO4) == "ok", "others are served meanwhile"
        assert ward.talker.receive(name="silent", size=1, timeout=0.2)["end"] == "timeout"
        if LONG:
            assert ward.talker.receive(name="silent", size=1, timeout=90)["end"] not in ("timeout", None)
            ward.denied("proxy")
    assert not peers.seen(ECHO4, since=since)


def test_what_is_denied_is_denied_at_once_and_no_proxy_hears_of_it(relays, socks, kind):
    with relays.ward(kind, allow=["1.1.1.1"], **CRAFTED) as ward:
        assert ward.talker.connect(name="c", address=ECHO4, port=ECHO, timeout=AT_ONCE_S) == ward.refused
        ward.denied("default-deny")
        assert not socks.asked


def test_a_proxy_is_found_by_its_name(relays, peers, socks, kind):
    """The relay asks for it; what is always denied is no proxy."""
    name = {"egressProxy": {"address": "socks.example.net:1080", "username": USER, "password": PASSWORD}}
    relays.net.fence()
    since, before, asked = peers.mark(), relays.net.mark(), len(peers.dns.asked)
    with relays.ward(kind, allow=[ECHO4], **name) as ward:
        assert echoes(ward.talker, ECHO4) == "ok", ward.daemon.log()
        assert peers.dns.asked_for("socks.example.net", asked)
        reply = ward.daemon.request("PUT", f"/v1/sandboxes/{ward.box.id}/policy",
                                    {"allowOut": [ECHO4], "egressProxy": {"address": "inner.example.net:1080"}})
        if reply.status == 200:
            assert echoes(ward.talker, ECHO4) != "ok"
            ward.denied("proxy")
        relays.net.fence()
        assert not relays.net.seen(dst="10.9.0.5", since=before)
    assert not socks.asked and not peers.seen(ECHO4, since=since)


def test_a_change_of_the_proxy_ends_what_went_through_the_old_one(relays, peers, socks, kind):
    document = {"allowOut": [ECHO4], "denyOut": ["0.0.0.0/0"]}
    with relays.ward(kind, {**document, **CRAFTED}) as ward:
        assert echoes(ward.talker, ECHO4, name="old") == "ok"
        ward.box.put({**document, **proxy(OPEN4)})
        ended = ward.talker.receive(name="old", size=1, timeout=AT_ONCE_S)["end"]
        assert ended not in ("timeout", None), "it was ended before the reply"
        asked, since = len(socks.asked), peers.mark()
        assert echoes(ward.talker, ECHO4) == "ok"
        assert len(socks.asked) == asked and not peers.seen(ECHO4, since=since)
        ward.box.put(document)
        assert echoes(ward.talker, ECHO4) == "ok"
        assert peers.seen(ECHO4, since=since), "without a proxy it goes direct again"


def test_udp_is_judged_and_goes_direct(relays, peers, kind):
    since = peers.mark()
    with relays.ward(kind, allow=["185.199.108.10"], **proxy(OPEN4)) as ward:
        assert ward.talker.datagram(address="185.199.108.10", port=9999, data="pst-direct-udp") in ("ok", "ECONNREFUSED")
        assert peers.seen("185.199.108.10", 9999, since=since, protocol=17)
        assert ward.talker.datagram(address=ECHO4, port=9999, data="x") not in ("ok", "ECONNREFUSED")
    assert not peers.seen(ECHO4, 9999, since=since, protocol=17)


def test_the_resolver_is_asked_directly(relays, peers, socks, kind):
    """DNS does not go through the proxy."""
    with relays.ward(kind, allow=["echo.example.org:7000"], **CRAFTED) as ward:
        asked = len(peers.dns.asked)
        assert ward.look("echo.example.org") == [ECHO4]
        assert ward.talker.ask(server=DNS4, name="echo.example.org", tcp=True)["addresses"] == [ECHO4]
        assert peers.dns.asked_for("echo.example.org", asked) and not socks.asked
