# SPDX-License-Identifier: MIT
"""Who may do what: keys and their headers, owners, the unix socket, Host; and where no secret may ever be seen."""

import grp
import json
import os
import resource
import signal
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from daemon import DENY_ALL, OPERATOR_KEY, OTHER_KEY, TENANT_KEY, Box, Daemon, hash_of, keys
from internet import ALLOWED4, DENIED4
from postern import POSTERN, Running, execute
from reach import reaches
from wait import until

ONE = {**DENY_ALL, "allowOut": [ALLOWED4]}
E2B = [("POST", "/sandboxes"), ("POST", "/v2/sandboxes"), ("GET", "/sandboxes"), ("GET", "/v2/sandboxes"),
       ("GET", "/sandboxes/ID"), ("DELETE", "/sandboxes/ID"), ("PUT", "/sandboxes/ID/network"),
       ("POST", "/sandboxes/ID/pause"), ("POST", "/sandboxes/ID/resume"), ("POST", "/sandboxes/ID/connect"),
       ("POST", "/v2/sandboxes/ID/connect"), ("POST", "/sandboxes/ID/timeout")]
BRIMBLE = [("POST", "/sandboxes"), ("GET", "/sandboxes"), ("GET", "/sandboxes/ID"), ("GET", "/sandboxes/ID/wait"),
           ("DELETE", "/sandboxes/ID"), ("PUT", "/sandboxes/ID/egress"), ("POST", "/sandboxes/ID/pause"),
           ("POST", "/sandboxes/ID/resume")]
OPERATORS = [("POST", "/v1/sandboxes"), ("GET", "/v1/sandboxes"), ("GET", "/v1/sandboxes/ID"),
             ("DELETE", "/v1/sandboxes/ID"), ("PUT", "/v1/sandboxes/ID/policy"), ("PUT", "/v1/policies"),
             ("GET", "/v1/sandboxes/ID/leases"), ("GET", "/v1/sandboxes/ID/rules"), ("GET", "/v1/sandboxes/ID/flows"),
             ("GET", "/v1/explain?sandbox=ID&to=1.1.1.1"), ("GET", "/v1/events"), ("GET", "/v1/ca.pem"),
             ("GET", "/metrics")]
UNKNOWN = [("GET", "/"), ("GET", "/v1"), ("GET", "/v1/"), ("GET", "/v1/nothing"), ("GET", "/v1/../sandboxes"),
           ("GET", "//v1/sandboxes"), ("GET", "/V1/sandboxes"), ("GET", "/%76%31/sandboxes"),
           ("PATCH", "/v1/sandboxes"), ("GET", "/metrics/"), ("GET", "/v1/sandboxes;x"),
           ("GET", "/sandboxes/../v1/sandboxes"), ("GET", "/sandboxes/..%2fv1%2fsandboxes")]
BODIES = {"POST": "{}", "PUT": "{}", "PATCH": "{}"}


def ours(daemon, **fields):
    """A sandbox of the tenant's, with ONE in force."""
    reply = daemon.request_tcp("POST", "/sandboxes", {"templateID": "base", "network": ONE, **fields})
    assert reply.status == 201, reply
    return Box(daemon, reply.json["sandboxID"])


def assert_untouched(box):
    assert box.show()["state"] == "running"
    assert reaches(box) and not reaches(box, DENIED4)


def call(daemon, method, path, box_id="nosuch", **options):
    return daemon.request_tcp(method, path.replace("ID", box_id), BODIES.get(method), **options)


def test_without_a_good_key_nothing_is_told_but_that(daemon):
    box = ours(daemon)
    wrong = [{}, {"X-API-Key": "wrong"}, {"X-API-Key": ""}, {"x-brimble-key": "wrong"},
             # The right key in a wrong place, or not all of it.
             {"Authorization": f"Bearer {TENANT_KEY}"}, {"Api-Key": TENANT_KEY}, {"Cookie": f"X-API-Key={TENANT_KEY}"},
             {"X-API-Key": TENANT_KEY[:-1]}, {"X-API-Key": TENANT_KEY + "x"}, {"X-API-Key": TENANT_KEY.upper()},
             # What the configuration holds is no key.
             {"X-API-Key": hash_of(TENANT_KEY)}, {"X-API-Key": hash_of(TENANT_KEY)[7:]},
             # The key that is asked for first decides.
             {"X-API-Key": "wrong", "x-brimble-key": TENANT_KEY}]
    for headers in wrong:
        reply = daemon.request_tcp("GET", f"/sandboxes/{box.id}", key=None, headers=headers)
        assert reply.status == 401 and reply.json["message"] == "Invalid API key", (headers, reply)
    for method, path in [*E2B, *BRIMBLE, *OPERATORS, *UNKNOWN]:
        for options in ({"key": None}, {"key": "wrong"}, {"key": "wrong", "brimble": True}):
            reply = call(daemon, method, path, box.id, **options)
            assert reply.status == 401, (method, path, options, reply)
            assert reply.json["message"] == "Invalid API key"
            assert box.id not in reply.body.decode()
    reply = daemon.request_tcp("GET", f"/sandboxes/{box.id}?X-API-Key={TENANT_KEY}&apiKey={TENANT_KEY}", key=None)
    assert reply.status == 401
    assert len(daemon.boxes()) == 1
    assert_untouched(box)
    for path, body in (("/healthz", b"ok\n"), ("/readyz", b"ready\n")):
        reply = daemon.request_tcp("GET", path, key=None)
        assert (reply.status, reply.body) == (200, body)


def test_a_tenant_has_the_vendors_routes_alone(daemon):
    box = ours(daemon)
    for method, path in [*OPERATORS, *UNKNOWN]:
        if path.startswith("/sandboxes/"):
            continue
        for options in ({"key": TENANT_KEY}, {"key": TENANT_KEY, "brimble": True}):
            reply = call(daemon, method, path, box.id, **options)
            assert reply.status == 403, (method, path, reply)
            assert reply.json["message"] == "this needs the unix socket or an operator's key"
    for path in ("/sandboxes/../v1/sandboxes", "/sandboxes/..%2fv1%2fsandboxes"):
        reply = daemon.request_tcp("GET", path)
        assert reply.status in (400, 404) and box.id not in reply.body.decode(), reply
    assert_untouched(box)


def test_an_operators_key_has_all_by_tcp_and_an_owner_that_it_names_bounds_it(net):
    bounded = "e2b_bounded_operator"
    config = [*keys(), {"hash": hash_of(bounded), "role": "operator", "owner": "globex"}]
    with Daemon(net, apiKeys=config) as daemon:
        box = ours(daemon)
        theirs = daemon.request_tcp("POST", "/sandboxes", {"network": {}}, key=OTHER_KEY).json["sandboxID"]
        for method, path in OPERATORS:
            if method == "GET" and path not in ("/v1/events", "/v1/ca.pem"):
                assert call(daemon, method, path, box.id, key=OPERATOR_KEY).status == 200, path
        seen = daemon.request_tcp("GET", "/v1/sandboxes", key=OPERATOR_KEY).json["sandboxes"]
        assert sorted(s["owner"] for s in seen) == ["acme", "globex"]
        seen = daemon.request_tcp("GET", "/v1/sandboxes", key=bounded).json["sandboxes"]
        assert [s["id"] for s in seen] == [theirs]
        for method, path in OPERATORS:
            if "ID" in path:
                assert call(daemon, method, path, box.id, key=bounded).status == 404, path
        reply = daemon.request_tcp("PUT", "/v1/policies", {"ids": [theirs, box.id], "policy": {}}, key=bounded)
        assert reply.status == 404, reply
        reply = daemon.request_tcp("GET", f"/v1/events?sandbox={box.id}", key=bounded)
        assert reply.status == 404, reply
        reply = daemon.request_tcp("GET", "/metrics", key=bounded)
        assert reply.status == 403 and box.id.encode() not in reply.body, reply
        assert box.id.encode() in daemon.request_tcp("GET", "/metrics", key=OPERATOR_KEY).body, "the control"
        assert_untouched(box)
        assert daemon.request_tcp("PUT", f"/v1/sandboxes/{box.id}/policy", {}, key=OPERATOR_KEY).status == 200
        assert reaches(box, DENIED4)


def test_other_owners_sandboxes_are_not_there(daemon):
    box = ours(daemon)
    nobody = daemon.request_tcp("GET", "/sandboxes/nosuch", key=OTHER_KEY).body
    for method, path in E2B:
        if "ID" not in path:
            continue
        reply = daemon.request_tcp(method, path.replace("ID", box.id), {"timeout": 1} if "timeout" in path else
                                   BODIES.get(method), key=OTHER_KEY)
        assert reply.status == 404, (method, path, reply)
        # The same words as of one that never was.
        assert reply.body.replace(box.id.encode(), b"nosuch") == nobody
    assert daemon.request_tcp("GET", "/v2/sandboxes", key=OTHER_KEY).json == []
    assert daemon.request_tcp("GET", "/sandboxes", key=OTHER_KEY).json == []
    assert daemon.request_tcp("GET", "/sandboxes", key=OTHER_KEY, brimble=True).json["data"] == []
    assert [s["sandboxID"] for s in daemon.request_tcp("GET", "/sandboxes").json] == [box.id]
    assert_untouched(box)


def test_what_the_operator_attached_belongs_to_no_tenant(daemon):
    box = daemon.attach("shared", daemon.cgroup("shared"), ONE)
    for method, path in E2B:
        if "ID" in path:
            reply = daemon.request_tcp(method, path.replace("ID", box.id), {"timeout": 1} if "timeout" in path else
                                       BODIES.get(method))
            assert reply.status == 404, (method, path, reply)
    assert daemon.request_tcp("GET", "/sandboxes").json == []
    assert_untouched(box)


# ---- the unix socket ----

ASK = """
import os, socket, sys
def ask(s):
    s.sendall(b"GET /v1/sandboxes HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n")
    print(s.recv(65536).split()[1].decode(), flush=True)
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
for line in sys.stdin:
    if line.strip() == "again":
        s = socket.socket(socket.AF_UNIX)
        s.connect(sys.argv[1])
    elif line.strip() == "ask":
        ask(s)
    else:
        with open(line.strip() + "/cgroup.procs", "w") as procs:
            procs.write("0")
        print("moved", flush=True)
"""


class Asker:
    """A process with a connection to the socket, which is told when to ask and where to go."""

    def __init__(self, running):
        self.running = running

    def say(self, line):
        seen = len(self.running.lines)
        self.running.process.stdin.write(line + "\n")
        self.running.process.stdin.flush()
        until(lambda: len(self.running.lines) > seen, f"an answer to {line}: {self.running.text()}", 30)
        return self.running.lines[seen]


def asker(daemon):
    return Running(daemon.net, ["/usr/bin/python3", "-S", "-c", ASK, str(daemon.socket)], stdin=subprocess.PIPE)


def test_who_is_inside_a_sandbox_may_not_speak_to_the_socket(daemon):
    box = ours(daemon)
    attached = daemon.attach("attached", daemon.cgroup("attached"))
    below = box.cgroup / "below" / "deep"
    below.mkdir(parents=True)
    for place in (box.cgroup, below, attached.cgroup):
        argv = ["sh", "-c", 'echo 0 >"$0/cgroup.procs" && exec "$@"', str(place), "curl", "-s", "-S", "--unix-socket",
                str(daemon.socket), "-X", "PUT", "-d", "{}", "-w", "\n%{http_code}",
                f"http://localhost/v1/sandboxes/{box.id}/policy"]
        done = execute(daemon.net, argv)
        assert done.out.splitlines()[-1] == "403", done
        assert json.loads(done.out.splitlines()[0]) == {"code": 403, "message": "the caller is inside a sandbox"}
    control = execute(daemon.net, ["curl", "-s", "--unix-socket", str(daemon.socket), "-o", "/dev/null", "-w",
                                   "%{http_code}", "http://localhost/v1/sandboxes"])
    assert control.out == "200", control
    assert_untouched(box)


def test_a_connection_from_before_is_cut_off_from_the_socket_as_well(daemon):
    box = ours(daemon)
    with asker(daemon) as running:
        process = Asker(running)
        assert process.say("ask") == "200"
        assert process.say(str(box.cgroup)) == "moved"
        assert process.say("ask") == "403"
        # Once seen inside, this connection stays refused; a new one of a process that left is another caller's.
        assert process.say(str(daemon.cgroups.parent)) == "moved"
        assert process.say("ask") == "403"


def test_the_socket_is_roots_alone_without_the_group(daemon):
    daemon.directory.chmod(0o755)
    has_group = any(group.gr_name == "postern" for group in grp.getgrall())
    status = daemon.socket.stat()
    assert status.st_uid == 0 and stat.S_IMODE(status.st_mode) == (0o660 if has_group else 0o600)
    argv = ["curl", "-s", "-S", "--unix-socket", str(daemon.socket), "-o", "/dev/null", "-w", "%{http_code}",
            "http://localhost/healthz"]
    assert execute(daemon.net, argv).out == "200"
    done = execute(daemon.net, ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *argv])
    assert done.code == 7 and done.out == "000", done


def test_a_sandbox_does_not_reach_the_tcp_port(daemon):
    """Though it knows an operator's key, and whatever its policy says of loopback."""
    argv = ["curl", "-s", "-S", "--noproxy", "*", "-H", f"X-API-Key: {OPERATOR_KEY}", "-w", "\n%{http_code}",
            f"http://127.0.0.1:{daemon.port}/v1/sandboxes"]
    assert execute(daemon.net, argv).out.endswith("\n200")
    box = ours(daemon)
    assert box.run(argv).code == 7
    for loopback in ("own", "deny", "host"):
        box.put({"loopback": loopback, "allowOut": ["127.0.0.0/8"]})
        done = box.run(argv)
        assert done.code == 7, (loopback, done)


# ---- Host ----

def raw(daemon, text):
    """The status that a request written by hand gets."""
    def talk():
        with socket.create_connection(("127.0.0.1", daemon.port), 20) as sock:
            sock.sendall(text.encode())
            return sock.recv(65536)
    reply = daemon.net.host.call(talk)
    return int(reply.split()[1]), reply


def test_no_web_page_reaches_it_by_another_name(daemon):
    box = ours(daemon)
    request = f"GET /sandboxes/{box.id} HTTP/1.1\r\nX-API-Key: {TENANT_KEY}\r\nConnection: close\r\n"
    for host, status in (("127.0.0.1", 200), (f"127.0.0.1:{daemon.port}", 200), ("localhost", 200),
                         ("LOCALHOST:1", 200), ("[::1]:3000", 200), ("evil.example", 403),
                         ("127.0.0.1.evil.example", 403), ("localhost.evil.example", 403),
                         ("127.0.0.1:80.evil.example", 403), ("0.0.0.0", 403), ("192.0.2.2", 403),
                         ("localhost@evil.example", 403), ("", 403)):
        got, reply = raw(daemon, f"{request}Host: {host}\r\n\r\n")
        assert got == status, (host, reply)
        assert (box.id.encode() in reply) == (status == 200), host
    assert raw(daemon, f"{request}\r\n")[0] == 400
    assert raw(daemon, f"{request}Host: localhost\r\nHost: evil.example\r\n\r\n")[0] == 400
    absolute = request.replace("GET /", "GET http://evil.example/")
    assert raw(daemon, f"{absolute}Host: localhost\r\n\r\n")[0] in (400, 403, 404)


# ---- secrets ----

SECRET = "S3CR3T-" + "0f1e2d3c4b5a"
PROXY = {"address": "proxy.example.com:1080", "username": "u", "password": SECRET}
RULES = {"api.example.com": [{"transform": {"headers": {"Authorization": f"Bearer {SECRET}"}}}]}


def all_replies(daemon, box_id):
    """What every route that shows something shows, by every way."""
    paths = [path.replace("ID", box_id) for method, path in OPERATORS if method == "GET" and "events" not in path]
    paths += ["/v1/sandboxes?assurance=1", f"/v1/explain?sandbox={box_id}&to=proxy.example.com:1080"]
    for path in [*paths, f"/sandboxes/{box_id}", "/sandboxes", "/v2/sandboxes"]:
        yield daemon.get(path)
        yield daemon.get(path, headers={"x-brimble-key": "x"})
        yield daemon.request_tcp("GET", path, key=OPERATOR_KEY)


def everything_of(reply):
    return json.dumps(reply.headers) + reply.body.decode()


def assert_told_nowhere(daemon, words, box_id):
    for reply in all_replies(daemon, box_id):
        text = everything_of(reply)
        assert not [word for word in words if word in text], reply
    pid = daemon.process.pid
    texts = [daemon.log(), Path(f"/proc/{pid}/cmdline").read_text("utf-8"),
             Path(f"/proc/{pid}/environ").read_text("utf-8"), execute(daemon.net, ["ps", "-ef", "ww"]).out]
    for top in (daemon.state, daemon.pins, daemon.cgroups, daemon.directory):
        texts += [str(path) for path in top.rglob("*")]
    for command in (["list"], ["list", "-o", "json"], ["show", box_id], ["show", "-o", "json", box_id]):
        done = execute(daemon.net, [POSTERN, *command], env={"POSTERN_SOCKET": str(daemon.socket)})
        assert done.code == 0 and box_id in done.out, done
        texts.append(done.out + done.err)
    found = [(word, text) for text in texts for word in words if word in text]
    assert not found, found[0]


def refused(reply, statuses):
    assert reply.status in statuses, reply
    assert SECRET not in everything_of(reply), reply


def test_what_is_refused_leaves_no_secret_behind(relayless):
    daemon = relayless
    box = ours(daemon)
    for path, method, body in ((f"/sandboxes/{box.id}/network", "PUT", {}), ("/sandboxes", "POST", {"network": {}})):
        network = body.get("network", body)
        for feature, status in (({"egressProxy": PROXY}, 403), ({"rules": RULES}, 400)):
            network.clear()
            network.update(feature)
            refused(daemon.request_tcp(method, path, body), [status])
    native = f"/v1/sandboxes/{box.id}/policy"
    for document in ({"egressProxy": PROXY}, {"egressProxy": PROXY, "rules": RULES}):
        for query in ("", "?dry_run=1"):
            refused(daemon.request("PUT", native + query, document), [501])
        refused(daemon.request("PUT", "/v1/policies", {"ids": [box.id], "policy": document}), [501])
        cgroup = str(daemon.cgroup(f"c{len(document)}"))
        refused(daemon.request("POST", "/v1/sandboxes", {"id": "x", "cgroup": cgroup, "policy": document}), [501])
    assert_told_nowhere(daemon, [SECRET, TENANT_KEY, OPERATOR_KEY, OTHER_KEY, hash_of(TENANT_KEY)[7:]], box.id)
    stored = b"".join(path.read_bytes() for path in daemon.state.rglob("*") if path.is_file())
    assert SECRET.encode() not in stored and box.id.encode() in stored
    assert_untouched(box)


@pytest.mark.parametrize("features", [True, False])
def test_no_error_quotes_a_secret_however_broken_the_document(features, request):
    """Cut off at each byte, and with each byte replaced: a message may tell where, and never what."""
    daemon = request.getfixturevalue("daemon" if features else "relayless")
    allowed = (200, 204, 400) if features else (400, 403, 501)
    box = ours(daemon)
    text = json.dumps({"egressProxy": {"address": "p.example.com:1", "username": "u", "password": SECRET},
                       "rules": {"a.example.com": [{"transform": {"headers": {"X-Key": SECRET}}}]}})
    broken = [text[:n] for n in range(0, len(text), 3)]
    broken += [text[:n] + c + text[n + 1:] for n in range(0, len(text), 7) for c in "\"x,\n"]
    broken += [text.replace(f'"{SECRET}"', value) for value in
               (f'["{SECRET}"]', f'{{"{SECRET[:3]}": "{SECRET}"}}', f'"{SECRET}\\n"', f'"{SECRET}\\u0000"',
                f'"{SECRET}{"x" * 3000}"', f'"{SECRET}\\ud800"', f"{SECRET}", f'"{SECRET}')]
    answered = 0
    tail = SECRET[2:-2]
    for document in broken:
        for method, path in (("PUT", f"/v1/sandboxes/{box.id}/policy"), ("PUT", f"/sandboxes/{box.id}/network")):
            reply = daemon.request(method, path, document)
            assert reply.status in allowed and tail not in everything_of(reply), (document, reply)
            answered += 1
    assert answered > 200 and tail not in daemon.log()
    # Some are documents still.
    if not features:
        assert_untouched(box)


def test_what_is_kept_as_given_is_not_shown(daemon):
    """Environment variables are no business of the firewall; they lie in its state, for nobody else to read."""
    box = ours(daemon, envVars={"TOKEN": SECRET}, mcp={"key": SECRET})
    assert_told_nowhere(daemon, [SECRET, TENANT_KEY], box.id)
    daemon.restart()
    assert_told_nowhere(daemon, [SECRET, TENANT_KEY], box.id)


def test_state_is_roots_alone(daemon):
    box = ours(daemon)
    daemon.attach("native", daemon.cgroup("native"), ONE)
    assert box.network(DENY_ALL).status == 204
    paths = [daemon.state, *daemon.state.rglob("*")]
    assert any(path.is_file() for path in paths)
    for path in paths:
        status = path.lstat()
        # The signer's own: it has no rights but these.
        is_cas = daemon.state / "ca" in (path, path.parent)
        assert (status.st_uid == 0) != is_cas and not path.is_symlink(), path
        assert stat.S_IMODE(status.st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert stat.S_IMODE(daemon.pins.stat().st_mode) & 0o077 == 0
    assert not Path(f"/proc/{daemon.process.pid}/environ").read_bytes().count(b"e2b_")


def aborted(process):
    """Ends it by SIGABRT; whether it dumped core."""
    os.kill(process.pid, signal.SIGABRT)
    _, status = os.waitpid(process.pid, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGABRT
    process.returncode = -signal.SIGABRT
    return os.WCOREDUMP(status)


def test_a_crash_leaves_no_core_with_keys_in_it(net, tmp_path):
    with_core = ["sh", "-c", 'ulimit -c unlimited && cd "$0" && exec "$@"', str(tmp_path)]
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    with subprocess.Popen([*with_core, "sleep", "1000"]) as control:
        until(lambda: b"sleep" in Path(f"/proc/{control.pid}/cmdline").read_bytes().split(b"\0")[0], "the control runs")
        if not aborted(control):
            pattern = Path("/proc/sys/kernel/core_pattern").read_text("ascii").strip()
            pytest.skip(f"no process dumps core here (hard limit {hard}, core_pattern {pattern})")
    with Daemon(net, wrapper=with_core) as daemon:
        ours(daemon)
        assert not aborted(daemon.process.process), list(tmp_path.iterdir())
