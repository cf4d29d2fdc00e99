# SPDX-License-Identifier: MIT
"""
Clients that take nothing but HTTP/2, of names that have rules: curl and node as they are, and one that says what it should
not (lib/h2raw.py), to servers that keep every byte.
"""

import hashlib
import json
import ssl

import pytest

from postern import ROOT, execute
from relaybox import KINDS, LONG
from relaypeers import CATCH4, ORIGIN4
from test_relay_smuggling import GOOD, PLAIN, POLICY as STRICT, SECRETS, Catch, disputed
from wait import until

API, BARE = "api.example.com", "plain.example.com"
SECRET = "Bearer pst-h2-secret-9d20"
POLICY = {"allow": [API, BARE], "rules": {API: [{"transform": {"headers": {"Authorization": SECRET}}}]}}
PYTHON = "/usr/bin/python3"


@pytest.fixture(name="ward")
def ward_fixture(relays, kind):
    ward = relays.kept(kind, **POLICY)
    ward.look(API)
    return ward


def run(ward, argv, **options):
    return execute(ward.daemon.net, ward.box.argv(argv), **options)


def curl(ward, trust, *words, scheme="https", name=API):
    port = 443 if scheme == "https" else 80
    return run(ward, ["curl", "-sS", "--noproxy", "*", "--max-time", "60", "--cacert", str(trust), "--resolve",
                      f"{name}:{port}:{ORIGIN4}", "-w", "\n%{http_code} %{http_version}\n", *words[:-1],
                      f"{scheme}://{name}{words[-1]}"])


def test_a_client_that_has_both_gets_http_1_1(ward, peers, trust):
    start = len(peers.origin.requests)
    assert curl(ward, trust, "--http2", "/").out.endswith("\n200 1.1\n")
    assert [request.values("authorization") for request in peers.origin.requests[start:]] == [[SECRET]]


NODE = """
const h2 = require('http2'), fs = require('fs'), crypto = require('crypto');
const [host, address, trust, what] = process.argv.slice(1);
const s = h2.connect('https://' + host, {ca: fs.readFileSync(trust),
  lookup: (_, o, done) => o.all ? done(null, [{address, family: 4}]) : done(null, address, 4)});
const results = [];
s.on('error', e => { console.log(JSON.stringify({error: String(e)})); process.exit(1); });
const rows = JSON.parse(what);
rows.forEach((row, n) => {
  const r = s.request({':path': row.path, ':method': row.method || 'GET', ...row.fields});
  const hash = crypto.createHash('sha256');
  let size = 0, text = '', status;
  r.on('response', h => status = h[':status']);
  r.on('data', d => { hash.update(d); size += d.length; if (text.length < 1000) text += d; });
  r.on('error', e => results[n] = {error: e.code});
  r.on('close', () => {
    results[n] = results[n] || {status, size, sha256: hash.digest('hex'), text, code: r.rstCode};
    if (Object.keys(results).length == rows.length) { console.log(JSON.stringify(results)); s.close(); }
  });
  if (row.upload === undefined) return r.end();
  let left = row.upload;
  const more = () => {
    while (left > 0) {
      const piece = Buffer.alloc(Math.min(left, 50000), 'x');
      left -= piece.length;
      if (!r.write(piece)) return r.once('drain', more);
    }
    r.end();
  };
  more();
});
"""


def node(ward, trust, rows, name=API):
    done = run(ward, ["node", "-e", NODE, name, ORIGIN4, str(trust), json.dumps(rows)], timeout=120)
    assert done.code == 0, done
    return json.loads(done.out)


def test_a_hundred_streams_of_one_client(ward, peers, trust):
    start = len(peers.origin.requests)
    rows = [{"path": f"/sized?{n + 1}", "method": "POST" if n % 2 else "GET", **({"upload": n} if n % 2 else {})}
            for n in range(100)]
    results = node(ward, trust, rows)
    assert [(one.get("status"), one.get("size")) for one in results] == [(200, n + 1) for n in range(100)], results
    found = peers.origin.requests[start:]
    assert len(found) == 100 and all(request.values("authorization") == [SECRET] for request in found)
    assert {len(request.body) for request in found if b"POST" in request.head} == set(range(1, 100, 2))


def test_large_bodies_of_one_client(ward, trust):
    size = (64 if LONG else 2) << 20
    digest = hashlib.sha256(bytes(range(256)) * (size // 256)).hexdigest()
    sent = hashlib.sha256(b"x" * size).hexdigest()
    rows = [{"path": f"/{way}?{size}"} for way in ("sized", "chunked", "close")]
    rows += [{"path": "/", "method": "POST", "upload": size, "fields": fields}
             for fields in ({}, {"content-length": str(size)})]
    results = node(ward, trust, rows)
    assert all(one.get("status") == 200 for one in results), results
    assert [one["sha256"] for one in results[:3]] == [digest] * 3
    assert [json.loads(one["text"])["sha256"] for one in results[3:]] == [sent] * 2


def test_another_name_on_that_connection_is_refused(ward, peers, trust):
    start = len(peers.origin.requests)
    results = node(ward, trust, [{"path": "/", "fields": {":authority": BARE}}, {"path": "/"}])
    assert [one.get("status") for one in results] == [421, 200] and "host-check" in results[0]["text"], results
    assert [request.values("host") for request in peers.origin.requests[start:]] == [[API]]


def test_what_would_stop_being_http_is_refused(ward, peers, trust):
    start = len(peers.origin.requests)
    results = node(ward, trust, [{"path": "/", "method": "TRACE"}])
    assert results[0]["status"] == 403, results
    assert len(peers.origin.requests) == start
    ward.denied("upgrade", name=API)


def test_without_tls_there_is_none(ward, peers, trust):
    """Not with prior knowledge, and not by Upgrade."""
    start = len(peers.origin.requests)
    done = curl(ward, trust, "--http2-prior-knowledge", "/", scheme="http")
    assert done.code != 0 or " 400 " in done.out, done
    assert len(peers.origin.requests) == start
    assert curl(ward, trust, "/", scheme="http").out.endswith("\n200 1.1\n"), "the control"
    assert len(peers.origin.requests) == start + 1


def test_names_without_a_rule_are_not_spoken_to(ward, peers):
    """They get what their server has, here HTTP/1.1 alone: its alert, or no protocol."""
    names = len(peers.origin.names)
    ward.look(BARE)
    done = run(ward, ["openssl", "s_client", "-connect", f"{ORIGIN4}:443", "-servername", BARE, "-alpn", "h2"], stdin="")
    assert "Postern test CA" in done.out and "ALPN protocol: h2" not in done.out, done
    assert peers.origin.names[names:] == [BARE]


# ---- what two could read differently ----

def fields(*more, method="GET", scheme="https", authority=GOOD, path="/"):
    return [[":method", method], [":scheme", scheme], [":authority", authority], [":path", path], *map(list, more)]


LENGTH = "content-length"
TWICE = "\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: good.test\r\n\r\n"
WRONG = [
    *({"fields": fields(("x-a", value))} for value in ("b\r\nX-B: c", "b\nX-B: c", "b\rX-B: c", "b" + TWICE, "b\0c", "b\x7f")),
    *({"fields": fields((name, "b"))} for name in ("X-A", "x-a: b\r\nx-b", "x a", "x-a:", "", "x-\xe9", "x-a\0")),
    *({"fields": fields(("cookie", value))} for value in ("a\r\nX-B: c", "a" + TWICE)),
    *({"fields": fields(pair)} for pair in (
        ("transfer-encoding", "chunked"), ("transfer_encoding", "chunked"), ("content_length", "5"), ("connection", "close"),
        ("connection", "authorization"), ("upgrade", "h2c"), ("keep-alive", "5"), ("proxy-connection", "close"),
        ("te", "gzip"), ("http2-settings", "AAMAAABk"), ("host", PLAIN), ("host", ""), (":authority", PLAIN),
        (":path", "/smuggled"), (":method", "POST"), (":protocol", "websocket"), (":status", "200"), (":x", "y"))),
    *({"fields": fields((LENGTH, value))} for value in ("5", "-1", "+0", "0x0", "0,0", " 0", "0 ", "1e1", "99999999999999999999")),
    {"fields": fields((LENGTH, "0"), (LENGTH, "0"))},
    {"fields": fields((LENGTH, "5"), (LENGTH, "0"), method="POST"), "data": ["hello"]},
    *({"fields": fields((LENGTH, "5"), method="POST"), "data": data}
      for data in (["hell"], ["hello" + TWICE], ["hel", "lo" + TWICE], [""])),
    {"fields": fields((LENGTH, "5"), ("transfer-encoding", "chunked"), method="POST"), "data": ["0\r\n\r\n"]},
    *({"fields": fields(authority=name)} for name in (
        "", "x@good.test", "good.test/", "good.test:80", "good.test:", "good.test\r\nX-B: c", "good.test good.test",
        "good.test,plain.test", "good.test\0", "good..test", "[good.test]")),
    *({"fields": fields(scheme=scheme)} for scheme in ("http", "", "ftp", "https://")),
    *({"fields": fields(path=path)} for path in (
        "", "smuggled", "*", "https://plain.test/", "//" + TWICE, "/ HTTP/1.1" + TWICE, "/\tx", "/\0", "/ x", "/\xff")),
    *({"fields": fields(method=method)} for method in ("", "GET ", "GET /smuggled HTTP/1.1\r\nX:", "G\0ET", "GET:")),
    *({"fields": [pair for pair in fields() if pair[0] != name]} for name in (":method", ":scheme", ":authority", ":path")),
    {"fields": [pair for pair in fields() if pair[0] != ":authority"] + [["host", GOOD]]},
    {"fields": [["x-a", "b"], *fields()]}, {"fields": [["x-a", "b"]]}, {"fields": []},
]
BODY = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: good.test\r\n\r\n"
RIGHT = [
    {"fields": fields(("x-a", "b"), ("te", "trailers"), ("host", GOOD))},
    {"fields": fields(("authorization", "mine"), ("x_api_key", "mine"))},
    {"fields": fields(method="POST"), "data": [BODY, "", BODY]},
    {"fields": fields((LENGTH, str(len(BODY))), method="POST"), "data": [BODY[:7], BODY[7:], ""]},
    {"fields": fields((LENGTH, "0"), method="POST"), "data": [""]},
    {"fields": fields(authority="good.test:443")},
    {"fields": fields(method="OPTIONS", path="*")},
]


@pytest.fixture(name="catch", scope="module")
def catch_fixture(peers):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*peers.ca.issue("h2catch", GOOD, PLAIN))
    running = Catch(peers.namespace, port=443, context=context)
    peers.dns.zone.update({GOOD: [CATCH4], PLAIN: [CATCH4]})
    yield running
    running.close()


def asked(ward, trust, rows):
    done = run(ward, [PYTHON, str(ROOT / "tests" / "lib" / "h2raw.py"), CATCH4, GOOD, str(trust)], stdin=json.dumps(rows),
               timeout=300)
    assert done.code == 0, done
    return json.loads(done.out)


@pytest.mark.parametrize("way", [kind for kind in KINDS if LONG or kind == "cgroup"])
def test_nothing_that_is_two_things_at_once_gets_through(relays, catch, trust, way):
    with relays.ward(way, **STRICT) as ward:
        results = asked(ward, trust, WRONG)
        until(lambda: not catch.busy, "the server has read all", 60)
        # Who says too much of a body is cut off within it.
        assert not catch.seen, catch.seen
        assert not [row for row, one in zip(WRONG, results)
                    if "body" in one and not one["body"].startswith("postern: blocked ")], results
        results = asked(ward, trust, RIGHT)
        until(lambda: not catch.busy, "the server has read all", 60)
        assert results == [{"body": "ok"}] * len(RIGHT), results
        judge(catch)


def judge(catch):
    assert len(catch.seen) == len(RIGHT) and not catch.violations, (catch.seen, catch.violations)
    assert not list(disputed(catch.raw, b"POST"))
    for request in catch.seen:
        assert request.values(b"host") == [b"good.test"] and b"smuggled" not in request.target
        assert all(request.values(name.lower().encode()) == [value.encode()] for name, value in SECRETS.items())
    bodies = [request.body.decode() for request in catch.seen]
    assert bodies == ["", "", BODY * 2, BODY, "", "", ""]
