# SPDX-License-Identifier: MIT
"""
The commands that speak to posternd, against a socket that answers as API.md says: exit codes, one line of JSON, what is
sent, the live stream on a terminal and off it. What posternd itself does is tested with posternd.
"""

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingMixIn, UnixStreamServer

import pytest

from postern import POSTERN
from wait import until

SANDBOX = {"id": "agent", "owner": "", "state": "running", "kind": "cgroup", "cgroup": "/c/agent", "netdev": "",
           "generation": 7, "policyHash": "1f00", "createdAt": "2026-11-22T05:00:00.000Z",
           "changedAt": "2026-11-22T05:00:00.000Z", "endsAt": None, "advice": "",
           "policy": {"denyOut": ["0.0.0.0/0"]}, "assurance": {"level": "strong", "holes": []}, "resolvers": [], "maps": {}}
EVENT = {"time": "2026-11-22T05:01:02.003Z", "sandbox": "agent", "verdict": "deny", "step": 11, "reason": "default-deny",
         "rule": None, "name": None, "address": "1.2.3.4", "port": 443, "protocol": "tcp", "nearest": None, "fix": None,
         "pid": 4711, "comm": "cu\x1brl", "count": 1}
LINE = "default-deny: no rule allows the destination"


class Daemon(ThreadingMixIn, UnixStreamServer):
    """Answers each request with what `replies` says of its method and path, and remembers it."""
    daemon_threads = True

    def __init__(self, path):
        self.path, self.replies, self.requests, self.events = path, {}, [], []
        self.go_away = threading.Event()
        super().__init__(path, Handler)
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def handle_error(self, request, client_address):
        # `watch` leaves when it is told to.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    def close(self):
        self.go_away.set()
        self.shutdown()
        self.thread.join()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    def address_string(self):
        return "unix"

    def log_message(self, *_):  # pylint: disable=arguments-differ
        pass

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        self.server.requests.append((self.command, self.path, body))
        if self.path.startswith("/v1/events"):
            self.stream()
            return
        status, reply = self.server.replies[(self.command, self.path)]
        data = reply if isinstance(reply, bytes) else json.dumps(reply, indent=1).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_PUT = do_POST = do_DELETE = answer

    def stream(self):
        self.send_response(200)
        self.end_headers()
        for event in self.server.events:
            self.wfile.write(json.dumps(event).encode() + b"\n")
        self.wfile.write(b"\n")  # a heartbeat
        self.server.go_away.wait(30)


@pytest.fixture
def daemon(tmp_path):
    server = Daemon(str(tmp_path / "s"))
    yield server
    server.close()


@pytest.fixture
def policy(tmp_path):
    path = tmp_path / "policy.json"
    path.write_text('{"allowOut": ["1.2.3.4"],\n "denyOut": ["0.0.0.0/0"]}\n', encoding="utf-8")
    return str(path)


def postern(daemon, *argv):
    return subprocess.run([POSTERN, *argv, "--socket", daemon.path], capture_output=True, text=True, check=False, timeout=30)


def test_json_is_what_the_daemon_said_in_one_line(daemon, policy):
    answers = {("GET", "/v1/sandboxes?assurance=1"): ({"sandboxes": [SANDBOX]}, ["list"]),
               ("GET", "/v1/sandboxes/agent"): (SANDBOX, ["show", "agent"]),
               ("PUT", "/v1/sandboxes/agent/policy"): ({"generation": 8, "warnings": ["x"]}, ["apply", "agent", policy]),
               ("PUT", "/v1/sandboxes/agent/policy?dry_run=1"): ({"rules": []}, ["apply", "-n", "agent", policy]),
               ("POST", "/v1/sandboxes"): (SANDBOX, ["attach", "agent", "--cgroup", "/c/agent", "--policy", policy])}
    for key, (reply, argv) in answers.items():
        daemon.replies[key] = (200, reply)
        done = postern(daemon, *argv, "-o", "json")
        assert done.returncode == 0 and done.stderr == "" and done.stdout.count("\n") == 1, done
        assert json.loads(done.stdout) == reply
        assert daemon.requests[-1][:2] == key
    daemon.replies[("DELETE", "/v1/sandboxes/agent")] = (204, b"")
    assert postern(daemon, "detach", "agent", "-o", "json").stdout == "{}\n"


def test_the_list_has_levels_unless_there_are_too_many_to_look_into(daemon):
    def level():
        done = postern(daemon, "list")
        assert done.returncode == 0 and done.stderr == "", done
        head, row = (line.split() for line in done.stdout.splitlines())
        return row[head.index("LEVEL")] if "LEVEL" in head else None

    bare = {key: value for key, value in SANDBOX.items() if key != "assurance"}
    daemon.replies[("GET", "/v1/sandboxes")] = (200, {"sandboxes": [bare]})
    daemon.replies[("GET", "/v1/sandboxes?assurance=1")] = (200, {"sandboxes": [SANDBOX]})
    assert level() == "strong" and len(daemon.requests) == 1
    daemon.replies[("GET", "/v1/sandboxes?assurance=1")] = (400, {"code": 400, "message": "assurance: too many"})
    assert level() is None and [path for _, path, _ in daemon.requests[1:]] == ["/v1/sandboxes?assurance=1", "/v1/sandboxes"]
    assert json.loads(postern(daemon, "list", "-o", "json").stdout) == {"sandboxes": [bare]}


@pytest.mark.parametrize("status,code", [(403, 1), (500, 1)])
def test_another_refusal_of_the_levels_is_told(daemon, status, code):
    daemon.replies[("GET", "/v1/sandboxes?assurance=1")] = (status, {"code": status, "message": "so it is"})
    done = postern(daemon, "list")
    assert done.returncode == code and done.stdout == "" and done.stderr == "postern: list: so it is\n", done
    assert len(daemon.requests) == 1


def test_attach_sends_what_it_was_told_and_the_policy_as_it_stands(daemon, policy):
    daemon.replies[("POST", "/v1/sandboxes")] = (201, SANDBOX)
    done = postern(daemon, "attach", "agent", "--pid", "4711", "-p", policy, "--allow-weak")
    assert done.returncode == 0 and done.stdout == "agent: attached to /c/agent, strong, generation 7\n", done
    assert json.loads(daemon.requests[-1][2]) == {"id": "agent", "pid": 4711, "allowWeak": True,
                                                  "policy": {"allowOut": ["1.2.3.4"], "denyOut": ["0.0.0.0/0"]}}
    assert postern(daemon, "attach", "agent", "--netdev", 've"th').returncode == 0
    assert json.loads(daemon.requests[-1][2]) == {"id": "agent", "netdev": 've"th'}


def test_a_weak_attachment_is_refused_with_its_holes(daemon):
    daemon.replies[("POST", "/v1/sandboxes")] = (409, {"code": 409, "message": "it would be weak", "hint": "x",
                                                       "holes": ["earlier-sockets: pid 7 has one", "caps: \x1b[2J"]})
    done = postern(daemon, "attach", "agent", "--cgroup", "/c/agent")
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == ("postern: attach: refused, as there are ways around the policy\n  hole: earlier-sockets: pid 7 has one\n  hole: caps: ?[2J\n"
                           "Add --allow-weak to attach with these holes open.\n")


def test_attach_tells_a_bad_place_from_a_bad_policy(daemon, policy):
    for message, code in (("no cgroup '/c/agent'", 1), ("tests[0]: 1.1.1.1: expected allow, found deny (default-deny)", 3)):
        daemon.replies[("POST", "/v1/sandboxes")] = (400, {"code": 400, "message": message})
        done = postern(daemon, "attach", "agent", "--cgroup", "/c/agent", "--policy", policy)
        assert done.returncode == code and done.stderr == f"postern: attach: {message}\n", done


@pytest.mark.parametrize("status,code", [(400, 3), (404, 4), (409, 1), (500, 1), (501, 6), (507, 1)])
def test_exit_codes_of_refusals(daemon, policy, status, code):
    daemon.replies[("PUT", "/v1/sandboxes/agent/policy")] = (status, {"code": status, "message": "so it is"})
    done = postern(daemon, "apply", "agent", policy)
    assert done.returncode == code and done.stderr.startswith("postern: apply: so it is"), done
    assert done.stderr.count("\n") == 1


def test_a_bad_document_never_leaves(daemon, tmp_path):
    bad = tmp_path / "bad.json"
    bad.write_text('{"allowOut": ["1.1.1.1/40"]}', encoding="utf-8")
    done = postern(daemon, "apply", "agent", str(bad))
    assert done.returncode == 3 and "bad.json:1:15: allowOut[0]" in done.stderr, done
    assert not daemon.requests


def test_the_ca_is_a_certificate_or_nothing(daemon):
    pem = b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
    daemon.replies[("GET", "/v1/ca.pem")] = (200, pem)
    done = postern(daemon, "ca")
    assert done.returncode == 0 and done.stdout.encode() == pem and done.stderr == "", done
    assert json.loads(postern(daemon, "ca", "-o", "json").stdout) == {"certificate": pem.decode()}
    daemon.replies[("GET", "/v1/ca.pem")] = (404, {"code": 404, "message": "there is no CA yet: so it is"})
    done = postern(daemon, "ca")
    assert done.returncode == 4 and done.stderr == "postern: ca: there is no CA yet: so it is\n", done
    for bad in (b"<html>", pem + b"\x1b[2J", b"{}"):
        daemon.replies[("GET", "/v1/ca.pem")] = (200, bad)
        done = postern(daemon, "ca")
        assert done.returncode == 1 and done.stdout == "" and "no certificate" in done.stderr, done
    told = len(daemon.requests)
    done = postern(daemon, "ca", "--trust")
    assert done.returncode == 0 and "NODE_EXTRA_CA_CERTS" in done.stdout and len(daemon.requests) == told


def test_no_daemon_and_what_is_none(daemon, tmp_path):
    for argv in (["list"], ["ca"], ["show", "agent"], ["detach", "agent"], ["watch"], ["explain", "agent", "1.2.3.4"]):
        done = subprocess.run([POSTERN, *argv], capture_output=True, text=True, check=False, timeout=30,
                              env={**os.environ, "POSTERN_SOCKET": str(tmp_path / "nobody")})
        assert done.returncode == 5 and f"cannot reach posternd at {tmp_path}/nobody" in done.stderr, done
        assert done.stderr.count("\n") == 1
    daemon.replies[("GET", "/v1/sandboxes?assurance=1")] = (200, b"<html>")
    done = postern(daemon, "list")
    assert done.returncode == 1 and "no JSON" in done.stderr, done


@pytest.mark.parametrize("argv", [["show"], ["show", "A"], ["list", "x"], ["ca", "x"], ["detach"], ["apply", "a"], ["attach", "a"],
                                  ["attach", "a", "--pid", "0"], ["attach", "a", "--pid", "1", "--cgroup", "/"],
                                  ["watch", "a", "b"], ["watch", "--verdict", "no"], ["watch", "--to", "1.1.1.1/33"],
                                  ["explain", "a", "1.1.1.1/33"], ["list", "--no-such"]])
def test_usage(daemon, argv):
    done = postern(daemon, *argv)
    assert done.returncode == 2 and f"Try 'postern {argv[0]} --help'." in done.stderr, done
    assert not daemon.requests


@pytest.mark.parametrize("verdict,code", [("deny", 10), ("allow", 0), ("would-deny", 0), ("relay", 0), ("gate", 0)])
def test_explain_exits_by_the_verdict(daemon, verdict, code):
    daemon.replies[("GET", "/v1/explain?sandbox=agent&to=https%3A%2F%2Fa.com%2F")] = (200, {**EVENT, "verdict": verdict})
    done = postern(daemon, "explain", "agent", "https://a.com/")
    assert done.returncode == code and done.stdout.startswith(f"1.2.3.4 tcp 443: {verdict}\n"), done
    done = postern(daemon, "explain", "-o", "json", "agent", "https://a.com/")
    assert done.returncode == code and json.loads(done.stdout)["verdict"] == verdict


class Watch:
    """`postern watch`, on a terminal or with its output in a pipe."""

    def __init__(self, daemon, *argv, size=None):
        command = [POSTERN, "watch", *argv, "--socket", daemon.path]
        self.output = b""
        if size:
            # The shell is there so that the terminal outlives the command, and tells how it was left.
            script = 'trap : INT; "$@"; code=$?; stty -a; exit $code'
            self.fd, stdout = pty.openpty()
            fcntl.ioctl(stdout, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
            self.process = subprocess.Popen(["sh", "-c", script, "sh", *command], stdin=stdout, stdout=stdout, stderr=stdout,
                                            start_new_session=True, env={**os.environ, "TERM": "xterm"},
                                            preexec_fn=lambda: fcntl.ioctl(1, termios.TIOCSCTTY, 0))
            os.close(stdout)
        else:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            self.fd = self.process.stdout.fileno()

    def has(self, text):
        if select.select([self.fd], [], [], 0)[0]:
            try:
                self.output += os.read(self.fd, 65536)
            except OSError:  # the other side of the terminal is gone
                pass
        return text in self.output

    def wait_for(self, text):
        until(lambda: self.has(text), f"{text} in {self.output}")

    def end(self):
        code = self.process.wait(10)
        while select.select([self.fd], [], [], 0)[0]:
            try:
                data = os.read(self.fd, 65536)
            except OSError:
                break
            if not data:
                break
            self.output += data
        if self.process.stdout:
            self.process.stdout.close()
        else:
            os.close(self.fd)
        return code


def test_watch_prints_a_line_for_each_event_and_ends_with_ctrl_c(daemon):
    daemon.events = [EVENT, EVENT, {"lost": 12}, {**EVENT, "name": "a.com", "rule": "denyOut[0] 1.2.3.4", "reason": "rule"}]
    watch = Watch(daemon, "agent", "--verdict", "deny")
    watch.wait_for(b"denyOut[0]")
    watch.process.send_signal(signal.SIGINT)
    assert watch.end() == 0
    lines = watch.output.decode().splitlines()
    assert len(lines) == 4 and lines[0] == lines[1] and lines[0].endswith(LINE), lines
    assert lines[0].split()[:6] == ["05:01:02", "1", "deny", "agent", "cu?rl[4711]", "1.2.3.4:443/tcp"]
    assert lines[2].split()[1:3] == ["12", "lost"]
    assert lines[3].endswith("a.com:443/tcp (1.2.3.4)   rule: denyOut[0] 1.2.3.4")
    assert daemon.requests[-1][1] == "/v1/events?sandbox=agent&verdict=deny"


def test_watch_passes_json_on_and_filters_by_destination(daemon):
    other = {**EVENT, "address": "1.2.3.5"}
    daemon.events = [other, EVENT, other, {"lost": 3}]
    watch = Watch(daemon, "-o", "json", "--to", "1.2.3.4:443")
    watch.wait_for(b"lost")
    watch.process.send_signal(signal.SIGINT)
    assert watch.end() == 0
    assert [json.loads(line) for line in watch.output.splitlines()] == [EVENT, {"lost": 3}]


def test_watch_says_when_the_daemon_goes_away(daemon):
    daemon.events = [EVENT]
    watch = Watch(daemon)
    watch.wait_for(LINE.encode())
    daemon.go_away.set()
    assert watch.end() == 5
    assert b"posternd ended the stream" in watch.output


def test_watch_counts_in_place_on_a_terminal_and_gives_its_echo_back(daemon):
    daemon.events = [EVENT, {**EVENT, "address": "1.2.3.5"}, EVENT, {**EVENT, "pid": 5}, {"lost": 1}]
    watch = Watch(daemon, size=(24, 80))
    watch.wait_for(b"lost")
    assert not termios.tcgetattr(watch.fd)[3] & termios.ECHO
    os.write(watch.fd, b"\x03")
    assert watch.end() == 0
    shown, mode = watch.output.decode().split("speed ", 1)
    assert " echo " in mode and " -echo " not in mode, mode
    assert "\x1b[2A05:01:02      3  deny   agent  cu?rl[5]  1.2.3.4:443/tcp" in shown, shown
    assert shown.count("\r\n") == 3 and shown.endswith("\r\n"), shown


def test_watch_says_of_a_sandbox_that_is_not_there(daemon):
    class Refusing(Handler):
        def stream(self):
            self.send_response(404)
            self.end_headers()
            self.wfile.write(b'{"code":404,"message":"there is no sandbox \'nobody\'"}')

    daemon.RequestHandlerClass = Refusing
    watch = Watch(daemon, "nobody")
    assert watch.end() == 4
    assert watch.output == b"postern: watch: there is no sandbox 'nobody'; 'postern list' shows which there are\n"
