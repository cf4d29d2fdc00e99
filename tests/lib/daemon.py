# SPDX-License-Identifier: MIT
"""
posternd in the host namespace of the little internet, with state, pins and cgroups of its own, as a test talks to it:
requests by its unix socket or by TCP with a key, and commands that run inside a sandbox's cgroup.
"""

import contextlib
import hashlib
import http.client
import itertools
import json
import os
import shutil
import signal
import socket
import tempfile
from pathlib import Path

from evidence import CGROUP, CLSACT, NOW, TCX
from netns import shell
from postern import BUILD, ROOT, Running, cgroup2_mount, execute
from wait import until

POSTERND = os.environ.get("POSTERND", str((ROOT / BUILD / "posternd").resolve()))
OPERATOR_KEY, TENANT_KEY, OTHER_KEY = "e2b_operator_key", "e2b_tenant_key", "e2b_other_key"
DENY_ALL = {"denyOut": ["0.0.0.0/0"]}
START_S = 20

_numbers = itertools.count()


def hash_of(key):
    return "sha256:" + hashlib.sha256(key.encode()).hexdigest()


def keys():
    return [{"hash": hash_of(OPERATOR_KEY), "role": "operator"},
            {"hash": hash_of(TENANT_KEY), "role": "tenant", "owner": "acme"},
            {"hash": hash_of(OTHER_KEY), "role": "tenant", "owner": "globex"}]


def remove_cgroup(top):
    """With all that runs in it."""
    if not top.exists():
        return
    (top / "cgroup.kill").write_text("1", encoding="ascii")
    until(lambda: "populated 0" in (top / "cgroup.events").read_text("ascii"), "all are dead")
    for directory in sorted(top.rglob("*"), key=lambda p: -len(p.parts)):
        if directory.is_dir():
            directory.rmdir()
    top.rmdir()


class Reply:
    """status, headers (lower-case names), body (bytes)."""

    def __init__(self, response):
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()

    @property
    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"{self.status} {self.headers} {self.body[:2000]!r}"


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self._path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Daemon:
    """One posternd. Its namespace is net.host; TCP requests are made from there, too."""

    def __init__(self, net, *, port=None, start=True, directory=None, wrapper=(), **config):
        self.net = net
        self.number = next(_numbers)
        self.name = f"pst-{os.getpid()}-{self.number}"
        self.directory = Path(directory or tempfile.mkdtemp(prefix="pst-daemon-", dir="/dev/shm"))
        self.socket = self.directory / "sock"
        self.state = self.directory / "state"
        self.pins = Path("/sys/fs/bpf") / self.name
        self.folder = self.directory / "sandboxes.d"
        self.folder.mkdir(exist_ok=True)
        self.cgroups = Path(cgroup2_mount()) / self.name
        # Below the ports that the namespace gives to clients: one that waits (TIME_WAIT) would be in its way.
        self.port = port or 10000 + self.number % 9000
        self.wrapper = list(wrapper)
        self.config = {"socket": str(self.socket), "listen": f"127.0.0.1:{self.port}", "apiKeys": keys(),
                       "stateDir": str(self.state), "bpffsDir": str(self.pins), "sandboxDir": str(self.folder),
                       "cgroupParent": self.name, "log": "json", **config}
        self.process, self._tc = None, None
        self.logs = []
        NOW.daemons.append(self)
        if start:
            self.start()

    # ---- life ----

    def write_config(self):
        path = self.directory / "posternd.json"
        path.write_text(json.dumps({k: v for k, v in self.config.items() if v is not None}), encoding="utf-8")
        path.chmod(0o600)
        return path

    def start(self, wait=True, program=POSTERND, env=None):
        self.process = Running(self.net, [*self.wrapper, program, "-c", str(self.write_config())], env=env)
        self.logs.append(self.process.errors)
        if wait:
            self.await_ready()
        return self

    def await_ready(self, deadline_s=START_S):
        def ready():
            assert self.process.process.poll() is None, f"posternd ended with {self.process.process.poll()}:\n{self.log()[-3000:]}"
            with contextlib.suppress(OSError, http.client.HTTPException):
                return self.get("/readyz").status == 200
            return False
        until(ready, "posternd is ready", deadline_s)
        # What it said before that comes by a pipe, and may be read after its answer.
        until(lambda: any("ready: " in line for line in list(self.process.errors)), "its log is read", deadline_s)

    def kill(self):
        """As a crash: at once, and nothing is tidied up."""
        self.process.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        """As systemd does it. Sandboxes stay enforced."""
        if self.process and self.process.process.poll() is None:
            self.process.process.send_signal(signal.SIGTERM)
            assert self.process.wait() == 0, self.log()

    def restart(self):
        self.stop()
        return self.start()

    def log(self):
        return "\n".join(line for lines in self.logs for line in lines)

    def log_lines(self):
        """The JSON lines of its log so far."""
        return [json.loads(line) for lines in self.logs for line in list(lines) if line.startswith("{")]

    def tc(self, name):
        """By what its programs hang on devices, as it says of one."""
        self._tc = self._tc or self.get(f"/v1/sandboxes/{name}").json["device"]["attached"]
        assert self._tc in (TCX, CLSACT)
        return self._tc

    def close(self):
        """Ends the daemon, and removes all that it and its sandboxes left."""
        if self.process and self.process.process.poll() is None:
            self.process.stop(signal.SIGKILL)
        for top in (self.cgroups, self.cgroups.with_name(f"{self.name}-relays")):
            remove_cgroup(top)
        if self.pins.exists():
            shell("rm", "-rf", str(self.pins))
        shutil.rmtree(self.directory, ignore_errors=True)
        with contextlib.suppress(ValueError):
            NOW.daemons.remove(self)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    # ---- requests ----

    def request(self, method, path, body=None, *, headers=None, timeout=30, chunked=False):
        """By the unix socket: an operator. body: bytes, text, or what becomes JSON."""
        with contextlib.closing(UnixConnection(self.socket, timeout)) as connection:
            return self._talk(connection, method, path, body, headers, chunked)

    def request_tcp(self, method, path, body=None, *, key=TENANT_KEY, headers=None, brimble=False, timeout=30,
                    chunked=True):
        """By TCP with a key; bodies come chunked, as the SDK sends them."""
        named = {"x-brimble-key" if brimble else "X-API-Key": key} if key else {}

        def talk():
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)) as to:
                return self._talk(to, method, path, body, {**named, **(headers or {})}, chunked)
        return self.net.host.call(talk)

    @staticmethod
    def _talk(connection, method, path, body, headers, chunked):
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        data = body.encode() if isinstance(body, str) else body
        fields = {"Content-Type": "application/json", **(headers or {})}
        if data is not None and chunked:
            connection.request(method, path, iter([data]), {**fields, "Transfer-Encoding": "chunked"},
                               encode_chunked=True)
        else:
            connection.request(method, path, data, fields)
        return Reply(connection.getresponse())

    def get(self, path, **options):
        return self.request("GET", path, **options)

    # ---- sandboxes ----

    def create(self, policy=None, **fields):
        """A sandbox by E2B's route, with a cgroup of its own; returns it as a Box."""
        reply = self.request("POST", "/sandboxes", {"templateID": "base", "network": policy or {}, **fields})
        assert reply.status == 201, f"{reply}\n{self.log()}"
        NOW.sandbox(CGROUP, policy or {})
        return Box(self, reply.json["sandboxID"])

    def attach(self, name, cgroup, policy=None, **fields):
        """An existing cgroup, by the native route."""
        body = {"id": name, "cgroup": str(cgroup), "policy": policy or {}, "allowWeak": True, **fields}
        reply = self.request("POST", "/v1/sandboxes", body)
        assert reply.status == 201, f"{reply}\n{self.log()}"
        NOW.sandbox(CGROUP, policy or {})
        return Box(self, name, Path(cgroup))

    def cgroup(self, name):
        """A new cgroup below this daemon's parent, not made by the daemon."""
        path = self.cgroups / f"own-{name}"
        path.mkdir(parents=True)
        return path

    def boxes(self):
        return self.get("/v1/sandboxes").json["sandboxes"]


class Box:
    """One sandbox of a Daemon. Of the cgroup kind; wire.py has those of the netdev kind."""

    kind = "cgroup"

    def __init__(self, daemon, name, cgroup=None):
        self.daemon, self.id = daemon, name
        self.cgroup = cgroup or daemon.cgroups / name

    def argv(self, argv):
        """What runs argv inside."""
        return ["sh", "-c", 'echo 0 >"$0/cgroup.procs" && exec "$@"', str(self.cgroup), *map(str, argv)]

    def refusal(self, mode, address):  # pylint: disable=unused-argument
        """What a program inside is told when `mode` to that address is denied."""
        return "EPERM"

    def run(self, argv, **options):
        return execute(self.daemon.net, self.argv(argv), **options)

    def start(self, argv, **options):
        return Running(self.daemon.net, self.argv(argv), **options)

    def show(self):
        reply = self.daemon.get(f"/v1/sandboxes/{self.id}")
        assert reply.status == 200, reply
        return reply.json

    def put(self, policy, **options):
        """The native policy; its reply has come: it is enforced."""
        reply = self.daemon.request("PUT", f"/v1/sandboxes/{self.id}/policy", policy, **options)
        assert reply.status == 200, f"{reply}\n{self.daemon.log()}"
        self.say(policy)
        return reply

    def say(self, policy):
        """To evidence.py: it is held so from now on."""
        NOW.sandbox(CGROUP, policy)

    def network(self, policy):
        """E2B's update."""
        self.say(policy)
        return self.daemon.request("PUT", f"/sandboxes/{self.id}/network", policy, chunked=True)

    def pins(self):
        return self.daemon.pins / "sandboxes" / self.id

    def delete(self):
        reply = self.daemon.request("DELETE", f"/v1/sandboxes/{self.id}")
        assert reply.status in (200, 204), f"{reply}\n{self.daemon.log()}"
