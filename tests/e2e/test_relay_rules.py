# SPDX-License-Identifier: MIT
"""
rules: headers that the relay puts into requests for a name, over HTTP and, with the host's CA, over HTTPS. A server that
keeps every request byte by byte says what arrived; a name without a rule is passed through with its own certificate.
"""

import hashlib
import json
import re

import pytest

from names import MOUNT
from postern import execute, postern_run
from relaybox import AT_ONCE_S, LONG
from relaypeers import ASIDE4, DNS4, ORIGIN4, WRONG4

API, DEEP, PLAIN, WRONG, DENIED = (
    "api.example.com", "deep.api.example.com", "plain.example.com", "wrong.example.com", "denied.example.com")
SECRET, OTHER = "Bearer pst-secret-4f1b", "pst-other-secret-77aa"


def rule(**headers):
    return [{"transform": {"headers": {name.replace("_", "-"): value for name, value in headers.items()}}}]


RULES = {API: rule(Authorization=SECRET, X_Extra="one, two"), "*.example.com": rule(X_Wild=OTHER),
         WRONG: rule(Authorization=SECRET), DENIED: rule(Authorization=SECRET)}
# The wildcard is for names below plain.example.com in most tests: plain itself has no rule.
POLICY = {"allow": [API, DEEP, PLAIN, WRONG, "one.example.org"],
          "rules": {name: made for name, made in RULES.items() if name != "*.example.com"}}
BOTH = pytest.mark.parametrize("scheme", ["http", "https"])


@pytest.fixture(name="ward")
def ward_fixture(relays, kind):
    ward = relays.kept(kind, **POLICY)
    for name in (API, DEEP, PLAIN, WRONG):
        ward.look(name)
    return ward


class Asking:
    """Somebody who asks the origin, and what it got since."""

    def __init__(self, talker, origin, trust):
        self.talker, self.origin, self.trust = talker, origin, trust
        self.start = len(origin.requests)
        self.certificate = None

    def open(self, scheme, name=API, address=ORIGIN4, **options):
        """"ok", or how it ended."""
        result = self.talker.connect(name="c", address=address, port=443 if scheme == "https" else 80)
        if result == "ok" and scheme == "https":
            self.certificate = self.talker.tls(name="c", server=name, trust=self.trust, **options)
            result = self.certificate["result"]
        return result

    def fetch(self, scheme, name=API, target="/", **options):
        """(status, body) of a request on a connection of its own."""
        result = self.open(scheme, name)
        if result != "ok":
            return result, ""
        status, _, body, _ = self.talker.get(name, target, **options)
        return status, body

    def got(self):
        """The requests since the last time that this was asked."""
        found = self.origin.requests[self.start:]
        self.start += len(found)
        return found


@pytest.fixture(name="asking")
def asking_fixture(ward, peers, trust):
    return Asking(ward.talker, peers.origin, trust)


@BOTH
def test_headers_are_put_in_and_arrive(relays, ward, peers, asking, trust, scheme):
    control = Asking(relays.beside(ward.kind), peers.origin, trust)
    assert control.fetch(scheme)[0] == 200
    assert not control.got()[0].values("authorization"), "the control: they are not the client's"
    asking.got()
    status, body = asking.fetch(scheme)
    assert status == 200, (status, body, ward.daemon.log()[-3000:])
    request, = asking.got()
    assert request.values("authorization") == [SECRET] and request.values("x-extra") == ["one, two"]
    assert request.values("host") == [API] and (request.scheme, request.target) == (scheme, "/")
    assert request.sni == (API if scheme == "https" else None)
    if scheme == "https":
        assert asking.certificate["names"] == [API] and asking.certificate["issuer"] != "Postern test CA"


@BOTH
def test_what_the_client_says_under_that_name_is_replaced(asking, scheme):
    fields = ["AUTHORIZATION: mine", "authorization: mine too", "X-Kept: yes", "x-eXtra:mine"]
    assert asking.fetch(scheme, fields=fields)[0] == 200
    request, = asking.got()
    assert request.values("authorization") == [SECRET] and request.values("x-extra") == ["one, two"]
    assert request.values("x-kept") == ["yes"] and b"mine" not in request.head


@BOTH
def test_every_request_of_a_connection_is_given_them(asking, scheme):
    assert asking.open(scheme) == "ok"
    for n in range(6):
        status, _, body, _ = asking.talker.get(API, f"/sized?{n + 1}", method="POST", body="x" * n)
        assert (status, len(body)) == (200, n + 1)
    # Several at once.
    text = "".join(f"GET /sized?{size} HTTP/1.1\r\nHost: {API}\r\n\r\n" for size in (3, 5, 7))
    assert len(asking.talker.request(text)[2]) == 3
    found = asking.got()
    assert len(found) >= 7 and all(request.values("authorization") == [SECRET] for request in found)


@BOTH
def test_bodies_come_through_whole(asking, scheme):
    size = (64 if LONG else 2) << 20
    body = "0123456789abcdef" * 16384
    digest = hashlib.sha256(body.encode()).hexdigest()
    status, told = asking.fetch(scheme, method="POST", body=body)
    assert status == 200 and json.loads(told)["sha256"] == digest
    assert asking.open(scheme) == "ok"
    chunks = "".join(f"{len(piece):x};x=y\r\n{piece}\r\n" for piece in (body[:1], body[1:70000], body[70000:]))
    head = f"POST / HTTP/1.1\r\nHost: {API}\r\nTransfer-Encoding: chunked\r\n\r\n"
    told = asking.talker.request(head + chunks + "0\r\n\r\n")
    assert told[0] == 200 and json.loads(told[2])["sha256"] == digest, told
    for target in ("/chunked", "/sized", "/close"):
        assert asking.open(scheme) == "ok"
        status, _, body, _ = asking.talker.get(API, f"{target}?{size}")
        assert status == 200 and len(body) == size, target
        assert hashlib.sha256(body.encode("latin-1")).hexdigest() == hashlib.sha256(
            (bytes(range(256)) * (size // 256))).hexdigest()
    assert all(request.values("authorization") == [SECRET] for request in asking.got())


@BOTH
def test_answers_without_a_body_do_not_hold_up_the_next(asking, scheme):
    assert asking.open(scheme) == "ok"
    for method, target, expected in (("HEAD", "/sized?1000", 200), ("GET", "/status/204", 204), ("GET", "/status/304", 304),
                                     ("DELETE", "/status/404", 404), ("GET", "/sized?3", 200)):
        assert asking.talker.get(API, target, method=method)[0] == expected, (method, target)
    assert len(asking.got()) == 5


@BOTH
def test_100_continue(asking, scheme):
    assert asking.open(scheme) == "ok"
    head = f"POST / HTTP/1.1\r\nHost: {API}\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    assert asking.talker.request(head)[0] == 100
    status, _, body, _ = asking.talker.request("hello")
    assert status == 200 and json.loads(body)["size"] == 5
    assert asking.got()[0].values("authorization") == [SECRET]


@BOTH
def test_http_1_0(asking, scheme):
    assert asking.open(scheme) == "ok"
    status, _, body, end = asking.talker.request(f"GET /sized?4 HTTP/1.0\r\nHost: {API}\r\n\r\n")
    assert (status, len(body)) == (200, 4)
    assert end == "eof" or asking.talker.receive(name="c", timeout=AT_ONCE_S)["end"] == "eof", "it ends by itself"
    assert asking.got()[0].values("authorization") == [SECRET]


UPGRADES = [
    "CONNECT {host}:443 HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\n\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
]


@BOTH
@pytest.mark.parametrize("text", UPGRADES)
def test_what_would_stop_being_http_is_refused(ward, asking, scheme, text):
    assert asking.open(scheme) == "ok"
    status, _, _, end = asking.talker.request(text.format(host=API))
    assert status not in (101, 200), status
    assert end == "eof" or asking.talker.receive(name="c", timeout=AT_ONCE_S)["end"] not in ("timeout", None)
    assert not asking.got()
    if not text.startswith("PRI"):
        ward.denied("upgrade", name=API)


def test_a_name_without_a_rule_is_not_decrypted(asking, peers):
    assert asking.fetch("https", PLAIN)[0] == 200
    assert asking.certificate["issuer"] == "Postern test CA" and PLAIN in asking.certificate["names"]
    assert peers.origin.names[-1] == PLAIN
    request, = asking.got()
    assert not request.values("authorization")
    assert asking.fetch("http", PLAIN)[0] == 200
    assert SECRET.encode() not in asking.got()[0].head


@BOTH
def test_another_name_on_that_connection_is_never_given_them(asking, scheme):
    """Its own rules, or a refusal."""
    assert asking.open(scheme) == "ok"
    assert asking.talker.get(API)[0] == 200
    assert asking.talker.get(PLAIN)[0] in (200, 403, 421)
    for request in asking.got():
        assert (request.values("authorization") == [SECRET]) == (request.values("host") == [API]), request.head


def test_a_rule_opens_nothing(relays, ward, peers, asking, trust):
    """Not by its name, nor by a Host on a connection that is allowed."""
    control = Asking(relays.beside(ward.kind), peers.origin, trust)
    assert control.open("http", DENIED, ASIDE4) == "ok" and control.talker.get(DENIED)[0] == 200, "the control"
    reply = ward.talker.ask(server=DNS4, name=DENIED)
    assert (reply["rcode"], reply["addresses"]) == (3, []), reply
    asking.got()
    for scheme in ("http", "https"):
        assert asking.open(scheme, DENIED, ASIDE4) == ward.refused
        assert asking.fetch(scheme, PLAIN)[0] == 200
        asking.fetch(scheme, DENIED)
    assert asking.open("http") == "ok" and asking.talker.get(API)[0] == 200
    asking.talker.get(DENIED)
    assert not [request.head for request in asking.got() if request.address == ASIDE4]


def test_the_more_exact_rule_is_the_one(relays, peers, trust, kind):
    with relays.ward(kind, allow=["*.example.com"], rules={**RULES, "*.api.example.com": rule(X_Deep="deep")}) as ward:
        asking = Asking(ward.talker, peers.origin, trust)
        for name, expected in ((API, {"authorization": [SECRET], "x-wild": [], "x-deep": []}),
                               (DEEP, {"authorization": [], "x-wild": [], "x-deep": ["deep"]}),
                               (PLAIN, {"authorization": [], "x-wild": [OTHER], "x-deep": []})):
            ward.look(name)
            assert asking.fetch("https", name)[0] == 200, ward.daemon.log()[-3000:]
            request, = asking.got()
            assert {field: request.values(field) for field in expected} == expected


@pytest.mark.parametrize("host_check", ["off", "strict"])
def test_who_has_another_certificate_is_told_no_secret(relays, peers, trust, kind, host_check):
    with relays.ward(kind, hostCheck=host_check, **POLICY) as ward:
        assert ward.look(WRONG) == [WRONG4]
        asking = Asking(ward.talker, peers.wrong, trust)
        result = asking.open("https", WRONG, WRONG4)
        status = ward.talker.get(WRONG)[0] if result == "ok" else result
        assert status != 200
        ward.denied("certificate", name=WRONG)
        assert not asking.got()


def test_strict_and_rules_together(relays, peers, trust, kind):
    with relays.ward(kind, hostCheck="strict", **POLICY) as ward:
        asking = Asking(ward.talker, peers.origin, trust)
        for scheme in ("http", "https"):
            assert asking.fetch(scheme)[0] == 200, "without a question to the resolver"
            assert asking.got()[0].values("authorization") == [SECRET]
            assert asking.fetch(scheme, DENIED)[0] != 200 and not asking.got()
            # Wherever the client thinks that it is: the name leads the relay.
            assert asking.open(scheme, address="93.184.217.7") == "ok"
            assert asking.talker.get(API)[0] == 200 and asking.got()[0].values("authorization") == [SECRET]


def test_rules_and_a_proxy_together(relays, peers, trust, kind):
    """In the clear the proxy is told an address that the relay has found: it could take the name for another's."""
    peers.socks.reset()
    since = peers.mark()
    with relays.ward(kind, egressProxy={"address": "185.199.109.4:1080"}, **POLICY) as ward:
        ward.look(API)
        asking = Asking(ward.talker, peers.origin, trust)
        for scheme in ("http", "https"):
            assert asking.fetch(scheme)[0] == 200
            assert asking.got()[0].values("authorization") == [SECRET]
    assert [(kind_, host) for kind_, host, _ in peers.socks.asked] == [(1, ORIGIN4), (3, API)]
    assert not peers.seen(ORIGIN4, since=since)
    peers.socks.reset()


def test_a_change_of_a_rule_is_in_force_when_it_is_answered(relays, peers, trust, kind):
    with relays.ward(kind, **POLICY) as ward:
        ward.look(API)
        change_rules(ward, Asking(ward.talker, peers.origin, trust))


def change_rules(ward, asking):
    assert asking.open("https") == "ok" and asking.talker.get(API)[0] == 200
    asking.got()
    ward.box.put({"allowOut": POLICY["allow"], "denyOut": ["0.0.0.0/0"], "rules": {API: rule(Authorization="new")}})
    asking.talker.get(API)
    assert asking.fetch("https")[0] == 200
    found = asking.got()
    assert found and all(request.values("authorization") == ["new"] for request in found)
    ward.box.put({"allowOut": POLICY["allow"], "denyOut": ["0.0.0.0/0"]})
    assert asking.fetch("https")[0] == 200 and asking.certificate["issuer"] == "Postern test CA"
    assert not asking.got()[0].values("authorization")


NODE_H2 = """
const h2 = require('http2'), [host, address] = process.argv.slice(1);
const s = h2.connect('https://' + host, {lookup: (_, o, done) => o.all ? done(null, [{address, family: 4}]) : done(null, address, 4)});
s.on('error', e => { console.log('error ' + (e.code || e)); process.exit(1); });
let left = 3;
for (let n = 0; n < 3; n++) {
  const r = s.request({':path': '/sized?' + (n + 1), ':method': 'POST'});
  let got = 0;
  r.on('data', d => got += d.length);
  r.on('end', () => { console.log('got ' + got); if (!--left) { s.close(); } });
  r.end('body');
}
"""


def test_a_client_that_insists_on_http_2(ward, asking, trust):
    done = execute(ward.daemon.net, ward.box.argv(["env", f"NODE_EXTRA_CA_CERTS={trust}", "node", "-e", NODE_H2, API, ORIGIN4]))
    assert sorted(done.out.split("\n")[:-1]) == ["got 1", "got 2", "got 3"], done
    found = asking.got()
    assert len(found) == 3 and all(request.values("authorization") == [SECRET] for request in found)


# ---- clients as they come, in what `postern run` sets for them ----

PYTHON = """
import ssl, sys, urllib.request
print(urllib.request.urlopen(sys.argv[1], timeout=20).status)
"""
NODE = """
require('https').get(process.argv[1], r => { console.log(r.statusCode); r.resume(); })
  .on('error', e => { console.log(e.code || String(e)); process.exit(1); });
"""
CLIENTS = {
    "curl": ["curl", "-sS", "--noproxy", "*", "--max-time", "20", "-o", "/dev/null", "-w", "%{http_code}\n"],
    "python": ["/usr/bin/python3", "-c", PYTHON],
    "node": ["node", "-e", NODE],
}
# The system's trust store, and the resolver, as they are for `postern run` and CMD: theirs are the peers'.
MOUNT_TRUST = 'mount --make-rprivate / && mount --bind "$1" /etc/ssl/certs/ca-certificates.crt && shift && ' + \
    MOUNT.replace('mount --make-rprivate / && ', "")


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("options", [[], ["--netns"]], ids=["cgroup", "netns"])
def test_clients_under_run_trust_the_relay(net, peers, tmp_path, client, options):
    policy, conf = tmp_path / "policy.json", tmp_path / "resolv.conf"
    policy.write_text(json.dumps({"allowOut": [API, PLAIN], "denyOut": ["0.0.0.0/0"], "rules": POLICY["rules"]}))
    conf.write_text(f"nameserver {DNS4}\n")
    start = len(peers.origin.requests)
    for name in (API, PLAIN):
        argv = postern_run([*options, "--policy", str(policy)], [*CLIENTS[client], f"https://{name}/"])
        done = execute(net, ["unshare", "-m", "sh", "-c", MOUNT_TRUST, str(conf), str(peers.ca.certificate), *argv], timeout=60)
        assert re.search(r"^200$", done.out, re.M), done
        assert SECRET not in done.out + done.err
    found = peers.origin.requests[start:]
    assert [request.values("authorization") for request in found] == [[SECRET], []]
