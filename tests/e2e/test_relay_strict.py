# SPDX-License-Identifier: MIT
"""
hostCheck: strict. On 80 and 443 it is the name in SNI or Host that is allowed, at whatever address: nginx with two names
on one address is who tells what came through, by its own log.
"""

import json
import time

import pytest

import relayhello
from postern import POSTERN, execute
from relaybox import AT_ONCE_S
from relaypeers import DNS4, ECHO, ECHO4, NGINX4, NGINX6, ORIGIN4, STRANGE4
from wait import until

STRICT = {"allow": ["one.example.org"], "hostCheck": "strict"}
ONE, TWO = "one.example.org", "two.example.org"
# What OpenSSL calls the alerts that a client may be told.
ALERTS = {"TLSV1_UNRECOGNIZED_NAME", "SSLV3_ALERT_HANDSHAKE_FAILURE", "TLSV1_ALERT_ACCESS_DENIED"}


class Client:
    """Fetches a page from nginx at `address`, by the name that it says."""

    def __init__(self, talker, trust):
        self.talker, self.trust = talker, trust

    def https(self, name, address=NGINX4, **options):
        """The page, or how the connection or the handshake ended."""
        result = self.talker.connect(name="c", address=address, port=443)
        if result == "ok":
            result = self.talker.tls(name="c", server=name, trust=self.trust if name else None, **options)["result"]
        return result if result != "ok" else self.talker.get(name)[2].strip()

    def http(self, name, address=NGINX4):
        """(status, page)."""
        result = self.talker.connect(name="c", address=address, port=80)
        if result != "ok":
            return result, ""
        status, _, body, _ = self.talker.get(name)
        return status, body.strip()

    def say(self, data, port, size=None):
        """What comes back, so many bytes of it, and how it ends."""
        assert self.talker.connect(name="c", address=NGINX4, port=port) == "ok"
        data = data.decode("latin-1") if isinstance(data, bytes) else data
        self.talker.send(name="c", data=data)
        return self.talker.receive(name="c", size=size, timeout=AT_ONCE_S)


@pytest.fixture(name="ward")
def ward_fixture(relays, kind):
    return relays.kept(kind, **STRICT)


@pytest.fixture(name="inside")
def inside_fixture(ward, peers):
    return Client(ward.talker, str(peers.ca.certificate))


@pytest.fixture(name="outside")
def outside_fixture(relays, peers, kind):
    return Client(relays.beside(kind), str(peers.ca.certificate))


class Came:
    """What nginx has logged since, as sets of words."""

    def __init__(self, peers):
        self._peers, self._start = peers, 0
        self.restart()

    def restart(self, *controls):
        """From now on, when the controls' words have come: nginx logs behind its answer."""
        until(lambda: set(controls) <= self.names(), f"nginx has logged {controls}")
        self._start = len(self._peers.access_log())

    def names(self):
        return {word for line in self._peers.access_log()[self._start:].splitlines() for word in line.split()[:4]}


@pytest.fixture(name="came")
def came_fixture(peers):
    return Came(peers)


def test_the_other_name_of_an_address_is_denied(ward, inside, outside, came):
    assert outside.https(TWO) == "two https" and outside.http(TWO) == (200, "two http"), "the control"
    came.restart(TWO, "https", "http")
    assert inside.https(ONE) == "one https", ward.daemon.log()
    assert inside.https(ONE, NGINX6) == "one https"
    assert inside.http(ONE) == (200, "one http") and inside.http(ONE, NGINX6)[0] == 200
    for address in (NGINX4, NGINX6):
        start = time.monotonic()
        assert inside.https(TWO, address) in ALERTS
        assert inside.https(TWO, address, newest="TLSv1_2") in ALERTS
        status, page = inside.http(TWO, address)
        assert status == 403 and TWO in page and "host-check" in page and "\n" not in page, page
        assert time.monotonic() - start < AT_ONCE_S
    assert ONE in came.names() and not {TWO, "two"} & came.names()
    for port in (443, 80):
        event = ward.denied("host-check", name=TWO, port=port)
        assert event["address"] in (NGINX4, NGINX6), event


def test_a_port_may_be_used_again_at_once(ward):
    """The relay ended the last connection from there, and waits for what may still come of it (TIME_WAIT)."""
    for n in range(4):
        assert ward.talker.connect(name="c", address=NGINX4, port=80, own_port=19999, timeout=AT_ONCE_S) == "ok", n
        assert ward.talker.get(TWO)[0] == 403, n
        assert ward.talker.receive(name="c", timeout=AT_ONCE_S)["end"] == "eof"
        ward.talker.close(name="c")


def test_what_is_told_says_what_would_allow_it(inside):
    assert inside.http(TWO)[1] == (
        f"postern: blocked {TWO}:80: no name rule covers the name in SNI or Host (host-check). "
        f'Allow it with allowOut "{TWO}".')


def test_neither_case_nor_a_trailing_dot_makes_another_name(inside, came):
    assert inside.http("ONE.Example.Org")[0] == 200
    assert inside.http("one.example.org:80")[0] == 200
    assert inside.http(ONE + ".")[0] == 200
    assert inside.http("xone.example.org")[0] == 403 and inside.http("one.example.org.evil.test")[0] == 403
    assert not {name for name in came.names() if "xone" in name or "evil" in name}


def test_every_request_of_a_connection_is_asked_for_its_name(ward, inside, came):
    talker = inside.talker
    assert talker.connect(name="c", address=NGINX4, port=80) == "ok"
    assert talker.get(ONE)[2] == "one http \n" and talker.get(ONE)[2] == "one http \n"
    assert talker.get(TWO)[0] in (403, 421)
    assert talker.connect(name="c", address=NGINX4, port=80) == "ok"
    both = "".join(f"GET / HTTP/1.1\r\nHost: {name}\r\n\r\n" for name in (ONE, TWO))
    assert talker.request(both)[2] == "one http \n"
    assert talker.response()[0] in (403, 421)
    assert not {TWO, "two"} & came.names()
    ward.denied("host-check", name=TWO)


@pytest.mark.parametrize("pieces", [2, 20, 600])
def test_a_hello_in_pieces_is_put_together(inside, came, pieces):
    assert inside.https(ONE, pieces=pieces) == "one https"
    assert inside.https(TWO, pieces=pieces) in ALERTS | {"ECONNRESET", "EPIPE"}
    assert not {TWO, "two"} & came.names()


def test_a_hello_in_several_records_is_put_together(inside, outside):
    def answered(client, hello):
        return client.say(hello, 443, 1)["data"]
    for name, expected in ((ONE, "\x16"), (TWO, "\x15")):
        hello = inside.talker.hello(server=name).encode("latin-1")
        assert answered(outside, relayhello.records(hello, 40, 130)) == "\x16", "the control"
        assert answered(inside, hello) == expected
        assert answered(inside, relayhello.records(hello, 40, 130)) == expected
        assert answered(inside, relayhello.records(hello, 1, 2, 3)) == expected
        assert answered(inside, relayhello.padded(hello, 9000)) == expected


def test_two_names_in_a_hello_are_none(inside, came):
    hello = inside.talker.hello(server=ONE).encode("latin-1")
    for first in (True, False):
        double = relayhello.extended(hello, relayhello.SERVER_NAME, relayhello.server_name(TWO), first)
        assert inside.say(double, 443, 1)["data"] != "\x16"
    assert not {TWO, "two"} & came.names()


def test_the_real_host_is_reached_whatever_address_is_asked_for(ward, inside, outside, peers):
    """/etc/hosts inside says what it likes: the relay asks the resolver and dials by itself."""
    assert outside.https(ONE, STRANGE4) != "one https", "the control: nobody is there"
    ward.daemon.net.fence()
    since, before = peers.mark(), ward.daemon.net.mark()
    for address in (STRANGE4, "93.184.217.7", ORIGIN4):
        assert inside.https(ONE, address) == "one https"
        assert inside.http(ONE, address) == (200, "one http")
        assert ward.talker.connect(name="c", address=address, port=80) == "ok"
        assert ward.talker.addresses(name="c")[1] == [address, 80], "the peer that was asked for"
    assert not peers.seen(STRANGE4, since=since) and not peers.seen(ORIGIN4, since=since)
    ward.daemon.net.fence()
    assert not ward.daemon.net.seen(dst="93.184.217.7", since=before)


def test_no_lease_is_needed_and_none_is_enough(ward, inside, came):
    assert inside.https(ONE) == "one https", "nobody asked for its address"
    assert NGINX4 in ward.look(ONE)
    assert inside.https(TWO) in ALERTS, "the address is a lease, and the name is not its name"
    assert not {TWO, "two"} & came.names()


def test_a_connection_that_names_nobody_is_denied(ward, inside, outside, came):
    assert outside.https(None) == "default", "the control"
    came.restart("default", "https")
    assert inside.https(None) in ALERTS
    ward.denied("no-name", port=443)
    got = inside.say("GET / HTTP/1.0\r\n\r\n", 80)
    assert got["data"].startswith(("HTTP/1.1 403", "HTTP/1.0 403")) and "no-name" in got["data"], got
    ward.denied("no-name", port=80)
    assert not came.names(), "something came to nginx"


def test_an_encrypted_name_is_denied_where_no_rule_covers_the_outer_one(ward, inside):
    """GREASE looks the same: with an outer name that a rule covers it passes, or no browser would."""
    for name, expected in ((ONE, "\x16"), (TWO, "\x15")):
        hello = inside.talker.hello(server=name).encode("latin-1")
        hidden = relayhello.extended(hello, relayhello.ECH, bytes(200))
        assert inside.say(hidden, 443, 1)["data"] == expected
    ward.denied("ech", name=TWO)


@pytest.mark.parametrize("port,reason", [(443, "not-tls"), (80, "not-http")])
def test_what_is_neither_tls_nor_http_is_denied_at_once(ward, inside, peers, port, reason):
    since, start = peers.mark(), time.monotonic()
    for data in ("SSH-2.0-x\r\n", "\0" * 600, "\x16\x03\x01\xff\xff\x01" if port == 80 else "GET / HTTP/1.1\r\n\r\n"):
        got = inside.say(data, port)
        assert got["end"] != "timeout", (data, got)
    assert time.monotonic() - start < 3 * AT_ONCE_S
    ward.denied(reason, port=port)
    assert not peers.seen(NGINX4, port, since=since)


def test_quic_is_denied_and_says_so(ward, outside, peers):
    since = peers.mark()
    assert outside.talker.datagram(address=NGINX4, port=443, data="pst-quic") in ("ok", "ECONNREFUSED")
    assert peers.seen(NGINX4, 443, since=since, protocol=17), "the control"
    assert NGINX4 in ward.look(ONE)
    since = peers.mark()
    assert ward.talker.datagram(address=NGINX4, port=443, data="pst-quic") not in ("ok", "ECONNREFUSED")
    ward.denied("quic", port=443)
    assert not peers.seen(NGINX4, 443, since=since, protocol=17)


def test_an_address_rule_is_asked_first(relays, peers, kind):
    """What it allows stays in the kernel, whatever name is said there."""
    with relays.ward(kind, allow=[ONE, NGINX4], hostCheck="strict") as ward:
        inside = Client(ward.talker, str(peers.ca.certificate))
        assert inside.https(TWO) == "two https" and inside.http(TWO)[0] == 200
        assert inside.http(TWO, ORIGIN4)[0] == 403, "another address is the relay's"


def test_ports_other_than_80_and_443_are_those_of_a_lease(relays, peers, kind):
    with relays.ward(kind, allow=[ONE, "echo.example.org:7000"], hostCheck="strict") as ward:
        assert ward.talker.connect(name="c", address=ECHO4, port=ECHO, timeout=AT_ONCE_S) == ward.refused
        assert ward.look("echo.example.org") == [ECHO4]
        assert ward.talker.connect(name="c", address=ECHO4, port=ECHO) == "ok"
        inside = Client(ward.talker, str(peers.ca.certificate))
        assert inside.http("echo.example.org")[0] == 403, "that name is allowed on its port alone"


def test_a_name_that_leads_to_what_is_always_denied_leads_nowhere(relays, peers, kind):
    names = ["private.example.org", "loop.example.org", "none.example.org", "nowhere.example.org", "mixed.example.com"]
    with relays.ward(kind, allow=names, hostCheck="strict") as ward:
        inside = Client(ward.talker, str(peers.ca.certificate))
        since = ward.daemon.net.mark()
        for name in names[:4]:
            assert inside.http(name)[0] in (403, 502, 503, 504), name
            assert inside.https(name) not in ("", "one https", "two https"), name
        assert inside.http("mixed.example.com")[0] == 200, "its other address is public"
        ward.daemon.net.fence()
        assert not ward.daemon.net.seen(dst="10.9.0.5", since=since)


def test_a_wildcard_covers_what_is_below_it(relays, peers, kind):
    with relays.ward(kind, allow=["*.example.org"], hostCheck="strict") as ward:
        inside = Client(ward.talker, str(peers.ca.certificate))
        assert inside.https(ONE) == "one https" and inside.https(TWO) == "two https"
        assert inside.http("example.org")[0] == 403 and inside.http("plain.example.com")[0] == 403


def test_explain_says_what_the_relay_will_ask(ward):
    allowed, denied = ward.explain(f"{ONE}:443"), ward.explain(f"{TWO}:443")
    assert allowed["verdict"] in ("allow", "relay") and allowed["rule"].endswith(ONE), allowed
    assert denied["verdict"] == "deny" and denied["reason"] in ("host-check", "name-gate"), denied
    for to, code in ((f"https://{ONE}/", 0), (f"https://{TWO}/", 10)):
        done = execute(ward.daemon.net, [POSTERN, "--socket", str(ward.daemon.socket), "explain", ward.box.id, to])
        assert done.code in (code, 2), done


def test_audit_lets_pass_and_says_what_it_would_deny(relays, peers, kind):
    with relays.ward(kind, allow=[ONE], hostCheck="strict", audit=True) as ward:
        inside = Client(ward.talker, str(peers.ca.certificate))
        assert inside.http(TWO) == (200, "two http") and inside.https(TWO) == "two https"
        ward.events.wait(verdict="would-deny", reason="host-check", name=TWO)


def test_curl_says_why(ward, peers):
    """The alert and the 403 as a person sees them."""
    trust = ["--cacert", str(peers.ca.certificate), "--noproxy", "*", "-sS", "--max-time", "20"]

    def curl(scheme, name):
        port = 443 if scheme == "https" else 80
        return ward.box.run(["curl", *trust, "--resolve", f"{name}:{port}:{NGINX4}", f"{scheme}://{name}/"])
    assert curl("https", ONE).out == "one https \n" and curl("http", ONE).out == "one http \n"
    assert curl("http", TWO).out.startswith("postern: blocked two.example.org:80")
    done = curl("https", TWO)
    assert done.code == 35 and "alert" in done.err.lower() or "unrecognized" in done.err, done


def test_the_e2b_route_is_strict_from_the_start(relays, peers):
    box = relays.daemon.create({"allowOut": [ONE], "denyOut": ["0.0.0.0/0"]})
    try:
        def page(name):
            return box.run(["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "20", "--resolve",
                            f"{name}:80:{NGINX4}", f"http://{name}/"]).out
        assert page(ONE) == "200" and page(TWO) == "403"
        shown = box.show()
        assert "shared-address" not in [hole["name"] for hole in shown["assurance"]["holes"]], json.dumps(shown)
    finally:
        relays.daemon.request("DELETE", f"/sandboxes/{box.id}")


def test_the_resolver_hears_of_nobody_who_is_denied(ward, inside, peers):
    asked = len(peers.dns.asked)
    assert inside.http(TWO)[0] == 403 and inside.https(TWO) in ALERTS
    reply = ward.talker.ask(server=DNS4, name=TWO)
    assert (reply["rcode"], reply["blocked"], reply["addresses"]) == (3, True, []), reply
    assert NGINX4 in ward.look(ONE), "the control"
    assert not peers.dns.asked_for(TWO, asked)
