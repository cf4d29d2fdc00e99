# SPDX-License-Identifier: MIT
"""
The proxy's password and the headers of rules, while they are in use: in no log, reply, argument list, environment or file
that others can read; and what the processes that know them could do at all.
"""

import os
import stat
import subprocess
from pathlib import Path

import pytest

from daemon import OPERATOR_KEY, TENANT_KEY
from postern import POSTERN, execute
from relaypeers import AUTH4, ORIGIN4, PASSWORD, SOCKS, USER
from wait import until

API, VALUE = "api.example.com", "Bearer pst-header-value-9e31"
SECRETS = (PASSWORD, VALUE, VALUE.split()[1])
POLICY = {"allow": [API], "egressProxy": {"address": f"{AUTH4}:{SOCKS}", "username": USER, "password": PASSWORD},
          "rules": {API: [{"transform": {"headers": {"Authorization": VALUE}}}]}}
OTHERS = 65533  # a uid that is nobody's


@pytest.fixture(name="ward")
def ward_fixture(relays, peers, kind, tmp_path):
    """One whose secrets have just been used, well and in vain."""
    with relays.ward(kind, **POLICY) as ward:
        ward.look(API)
        start = len(peers.origin.requests)
        for port in (80, 443):
            assert ward.talker.connect(name="c", address=ORIGIN4, port=port) == "ok"
            if port == 443:
                told = ward.talker.tls(name="c", server=API, trust=relays.ca(tmp_path / "ca.pem"))
                assert told["result"] == "ok", f"{told}\n{ward.daemon.log()[-3000:]}"
            assert ward.talker.get(API)[0] == 200
            ward.talker.request("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        found = peers.origin.requests[start:]
        assert [request.values("authorization") for request in found[:2]] == [[VALUE], [VALUE]], "they are in use"
        yield ward


def assert_none(text, where):
    text = text if isinstance(text, bytes) else text.encode()
    found = [secret for secret in SECRETS if secret.encode() in text]
    assert not found, f"{where} has {found}: {text[:2000]!r}"


def test_no_reply_has_them(ward):
    daemon, name = ward.daemon, ward.box.id
    paths = ["/v1/sandboxes", f"/v1/sandboxes/{name}", f"/v1/sandboxes/{name}/rules", f"/v1/sandboxes/{name}/leases",
             f"/v1/sandboxes/{name}/flows", f"/v1/explain?sandbox={name}&to={API}:443", "/metrics", "/sandboxes", "/v2/sandboxes",
             f"/sandboxes/{name}", "/v1/ca.pem", "/healthz", "/readyz"]
    for path in paths:
        reply = daemon.get(path)
        assert_none(reply.body + repr(reply.headers).encode(), path)
        for key in (OPERATOR_KEY, TENANT_KEY):
            assert_none(daemon.request_tcp("GET", path, key=key).body, path)
    shown = daemon.get(f"/v1/sandboxes/{name}").json["policy"]
    assert shown["egressProxy"]["username"] == USER and "Authorization" in repr(shown["rules"]), "the rest is shown"
    for change in ({**shown}, {"egressProxy": {**POLICY["egressProxy"], "port": 1}}, {"rules": {API: [VALUE]}},
                   {"egressProxy": PASSWORD}):
        for query in ("", "?dry_run=1"):
            if query or change is not shown:
                reply = daemon.request("PUT", f"/v1/sandboxes/{name}/policy?dry_run=1", change)
                assert_none(reply.body, f"the answer to {change}")
    for line in ward.events.lines:
        assert_none(repr(line), "an event")


def test_neither_log_nor_command_line_has_them(ward):
    assert_none(ward.daemon.log(), "the daemon's log")
    for words in (["show", ward.box.id], ["-o", "json", "show", ward.box.id], ["list"], ["explain", ward.box.id, API]):
        done = execute(ward.daemon.net, [POSTERN, "--socket", str(ward.daemon.socket), *words])
        assert_none(done.out + done.err, words)


def ours(relays):
    """The daemon and all that it started."""
    found = [relays.daemon.process.pid, *relays.pids()]
    assert len(found) >= 3, f"a daemon, a relay and a signer: {relays.pids()}"
    return found


@pytest.mark.usefixtures("ward")
def test_proc_has_them_for_nobody(relays):
    for pid in ours(relays):
        for name in ("cmdline", "environ", "comm", "status"):
            assert_none(Path(f"/proc/{pid}/{name}").read_bytes(), f"{name} of {pid}")
    for pid in relays.pids():
        uid = int(Path(f"/proc/{pid}/status").read_text().split("Uid:")[1].split()[0])
        assert uid != 0
        for who in (uid, OTHERS):
            for name in ("environ", "maps", "mem", "auxv"):
                done = subprocess.run(["setpriv", f"--reuid={who}", "--regid=65533", "--clear-groups", "head", "-c", "1",
                                       f"/proc/{pid}/{name}"], capture_output=True, check=False)
                assert done.returncode != 0 and not done.stdout, f"{name} of {pid} for {who}"


def readable_files(directory):
    """The files that others than root can read, or that others can reach."""
    return [path for path in Path(directory).rglob("*") if path.is_file() and
            (path.stat().st_mode & 0o077 or path.stat().st_uid != 0)]


@pytest.mark.usefixtures("ward")
def test_what_is_kept_is_roots(relays):
    state = relays.daemon.state
    assert stat.S_IMODE(state.stat().st_mode) == 0o700 and state.stat().st_uid == 0
    kept = [path for path in state.rglob("*") if path.is_file() and PASSWORD.encode() in path.read_bytes()]
    assert kept, "it is kept there: or what does the next daemon have?"
    assert not [path for path in kept if path.stat().st_mode & 0o077], kept


def entries(directory):
    """What is in there; nothing is in one that has ceased to be."""
    try:
        return os.listdir(directory)
    except ProcessLookupError:
        return []


@pytest.mark.usefixtures("ward")
def test_those_who_know_them_cannot_do_much(relays):
    for pid in relays.pids():
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
        assert "0" not in status["Uid"].split() and "0" not in status["Gid"].split(), status
        assert status["Groups"].strip() == "" and status["NoNewPrivs"] == "1" and status["Seccomp"] == "2", status
        for kind in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
            assert int(status[kind], 16) == 0, (kind, status[kind])
        assert int(status["VmLck"].split()[0]) > 0, "its memory is locked"
        limits = {line[:26].strip(): line[26:].split() for line in Path(f"/proc/{pid}/limits").read_text().splitlines()}
        assert limits["Max core file size"][:2] == ["0", "0"]
        # No files: not even the directory that it runs in has any. The signer has the CA's.
        open_files = [os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()]
        named = {path for path in open_files if path.startswith("/") and not path.startswith(("/dev/null", "/memfd:"))}
        if "--signer" in relays.pids()[pid]:
            assert named <= {str(relays.daemon.state / "ca")}, named
        else:
            assert not named, named
        assert not entries(f"/proc/{pid}/root/") and not entries(f"/proc/{pid}/cwd/")


def test_no_core_is_left_by_one_that_crashes(relays, ward):
    pid = relays.relay_pid()
    before = set(os.listdir(f"/proc/{relays.daemon.process.pid}/cwd/"))
    os.kill(pid, 11)
    until(lambda: relays.relay_pid() != pid and not Path(f"/proc/{pid}").exists(), "another one", 60)
    assert not [name for name in set(os.listdir(f"/proc/{relays.daemon.process.pid}/cwd/")) - before if "core" in name]
    assert_none(ward.daemon.log(), "the daemon's log")


def test_a_sandbox_is_told_nothing_of_them(ward):
    """What comes back for its mistakes."""
    talker = ward.talker
    for text in ("TRACE / HTTP/1.1\r\nHost: api.example.com\r\n\r\n",
                 "GET / HTTP/9.9\r\nHost: api.example.com\r\n\r\n", "GET / HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: 1\r\n"
                 "Content-Length: 2\r\n\r\n", "GET / HTTP/1.1\r\nX: " + "y" * 70000 + "\r\n\r\n"):
        assert talker.connect(name="c", address=ORIGIN4, port=80) == "ok"
        status, fields, body, _ = talker.request(text)
        assert status in (400, 403, 405, 408, 421, 431, 501, 505) or isinstance(status, str), (text[:60], status, body)
        assert_none(repr(fields) + body, f"the answer to {text[:60]}")
