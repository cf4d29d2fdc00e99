# SPDX-License-Identifier: MIT
"""
Sandboxes whose traffic goes through the relay, of both kinds, and a client inside each that does what the test says; with
what the daemon tells of them.
"""

import contextlib
import http.client
import itertools
import json
import os
import subprocess
import threading
from pathlib import Path

from daemon import DENY_ALL, Daemon, UnixConnection
from postern import ROOT, Running
from relaypeers import DNS4, DNS6
from wait import until
from wire import Wire

KINDS = ("cgroup", "netdev")
PROGRAM = ["/usr/bin/python3", "-S", str(ROOT / "tests/lib/tools/talker.py")]
# What a client is told when its connection is denied at the first packet.
REFUSED = {"cgroup": "EPERM", "netdev": "ECONNREFUSED"}
LONG = os.environ.get("PST_LONG") == "1"
# An answer that would come by a time-out takes longer than this.
AT_ONCE_S = 8

# The environment of what does not end with a test.
LASTING = {"PST_TEST": "relays"}

_numbers = itertools.count()


class Talker(Running):
    """talker.connect(...) and so on: the functions of tools/talker.py."""

    def __init__(self, net, enter=list, env=None):
        self._ahead = {}  # of a connection: what was read behind a response
        super().__init__(net, enter(PROGRAM), env=env, stdin=subprocess.PIPE)
        try:
            self.await_line(lambda line: line.startswith('{"up"'), "it listens", 60)
        except BaseException:
            self.stop()
            raise

    def tell(self, function, **arguments):
        """Does not wait for the answer: it is the one that comes next."""
        start = len(self.lines)
        self.process.stdin.write(json.dumps([function, arguments]) + "\n")
        self.process.stdin.flush()
        return start

    def answer(self, start, deadline_s=120):
        self.await_line(lambda _: len(self.lines) > start, "it is done", deadline_s)
        answer = json.loads(self.lines[start])
        assert "out" in answer, answer
        return answer["out"]

    def do(self, function, **arguments):
        return self.answer(self.tell(function, **arguments))

    def __getattr__(self, function):
        if function.startswith("_"):
            raise AttributeError(function)
        return lambda **arguments: self.do(function, **arguments)

    # What tests do most

    def connect(self, name="c", **where):
        """Nothing is left of what the last one of that name read ahead."""
        self._ahead.pop(name, None)
        return self.do("connect", name=name, **where)

    def request(self, text, name="c"):
        """Sends it and reads an answer with a length, or to the end: (status, fields, body, end)."""
        sent = self.send(name=name, data=text)
        return self.response(name) if sent == "ok" else (sent, {}, "", sent)

    def response(self, name="c", method="GET"):
        """The next response of the connection; the status is an error's word when there is none."""
        text, end = self._ahead.pop(name, ""), None
        while "\r\n\r\n" not in text and not end:
            got = self.receive(name=name, until="\r\n\r\n")
            text, end = text + got["data"], got["end"]
        head, _, rest = text.partition("\r\n\r\n")
        if not head.startswith("HTTP/"):
            return (end or "?", {}, text, end)
        line, *rows = head.split("\r\n")
        fields = {row.split(":", 1)[0].lower(): row.split(":", 1)[1].strip() for row in rows if ":" in row}
        status = int(line.split()[1])
        if status // 100 == 1 or status in (204, 304) or method == "HEAD":
            body, size = "", 0
        elif fields.get("transfer-encoding") == "chunked":
            body, rest, end = self._chunks(name, rest, end)
            size = 0
        else:
            body, size = "", int(fields["content-length"]) if "content-length" in fields else None
        while not end and size is not None and len(rest) < size:
            got = self.receive(name=name, size=size - len(rest))
            rest, end = rest + got["data"], got["end"]
        if size is None and not end:
            got = self.receive(name=name)
            rest, end = rest + got["data"], got["end"]
        if size != 0:
            body, rest = (rest, "") if size is None else (rest[:size], rest[size:])
        if rest:
            self._ahead[name] = rest
        return (status, fields, body, end)

    def _chunks(self, name, text, end):
        body = ""

        def want(ready):
            nonlocal text, end
            while not ready() and not end:
                got = self.some(name=name)
                text, end = text + got["data"], got["end"]
            return ready()
        while want(lambda: "\r\n" in text):
            size, _, text = text.partition("\r\n")
            size = int(size.split(";")[0], 16)
            if not want(lambda size=size: len(text) >= size + 2):
                break
            body, text = body + text[:size], text[size + 2:]
            if not size:
                return body, text, end
        return body, "", end

    def get(self, host, target="/", *, fields=(), method="GET", name="c", body=None):
        """One request of an ordinary client."""
        rows = [f"{method} {target} HTTP/1.1", f"Host: {host}", *fields]
        rows += [f"Content-Length: {len(body)}"] if body is not None else []
        sent = self.send(name=name, data="\r\n".join([*rows, "", ""]) + (body or ""))
        return self.response(name, method) if sent == "ok" else (sent, {}, "", sent)


class Events:
    """GET /v1/events of one sandbox, read in the background."""

    def __init__(self, box):
        self._connection = UnixConnection(box.daemon.socket, 120)
        self._connection.request("GET", f"/v1/events?sandbox={box.id}")
        self._reply = self._connection.getresponse()
        assert self._reply.status == 200
        self.lines = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        with contextlib.suppress(OSError, ValueError, AttributeError, http.client.HTTPException):
            for line in self._reply:
                if line.strip():
                    self.lines.append(json.loads(line))

    def all(self, **wanted):
        return [line for line in list(self.lines) if "verdict" in line and
                all(line.get(key) == value for key, value in wanted.items())]

    def wait(self, **wanted):
        """The first event of which these are the members."""
        found = until(lambda: self.all(**wanted), f"an event {wanted} among {self.lines[-20:]}", 30)
        return found[0]

    def close(self):
        with contextlib.suppress(OSError, AttributeError):
            self._connection.sock.shutdown(2)
        self._connection.close()
        self._thread.join(5)


class Ward:
    """A sandbox with a client inside: `talker`, and `events` from when it was made."""

    def __init__(self, box, env=None):
        self.box, self.kind, self.daemon = box, box.kind, box.daemon
        self.talker, self.events, self.document = None, None, None
        try:
            self.events = Events(box)
            self.talker = Talker(box.daemon.net, box.argv, env)
        except BaseException:
            self.close()
            raise

    @property
    def refused(self):
        return REFUSED[self.kind]

    def denied(self, reason, **wanted):
        """The event that says so."""
        return self.events.wait(verdict="deny", reason=reason, **wanted)

    def explain(self, to):
        reply = self.daemon.get(f"/v1/explain?sandbox={self.box.id}&to={to}")
        assert reply.status == 200, reply
        return reply.json

    def look(self, name, **options):
        """Asks the resolver; the addresses."""
        reply = self.talker.ask(server=DNS4, name=name, **options)
        assert reply["result"] == "ok", f"{reply}\n{self.daemon.log()[-3000:]}"
        return reply["addresses"]

    def close(self):
        if self.talker:
            self.talker.stop()
        if self.events:
            self.events.close()
        self.box.delete()


class Relays:
    """
    A posternd that trusts the peers' resolver and CA, and sandboxes of it. `wire`: what a control of the netdev kind
    goes through, too.
    """

    def __init__(self, net, peers, **config):
        self.net, self.peers = net, peers
        self.config = {"resolvers": [DNS4, DNS6], "relay": {"caBundle": str(peers.ca.certificate)}, **config}
        self.daemon = Daemon(net, start=False, **self.config)
        self._wires, self._beside, self._kept, self._stack = [], {}, {}, contextlib.ExitStack()
        try:
            self.daemon.start(env=LASTING)
        except BaseException:
            self.close()
            raise

    def _wire(self):
        return self._wires.pop() if self._wires else Wire(self.net)

    @contextlib.contextmanager
    def ward(self, kind, policy=None, *, allow=None, env=None, **keys):
        """
        A Ward under `policy`; allow: a policy that denies everything but these, with `keys`. env: of its client, which a
        test ends if it has not another mark.
        """
        document = {**DENY_ALL, "allowOut": list(allow), **keys} if allow is not None else {**(policy or {}), **keys}
        name = f"ward{next(_numbers)}"
        wire = self._wire() if kind == "netdev" else None
        if wire:
            box = wire.attach(self.daemon, document, name)
        else:
            box = self.daemon.attach(name, self.daemon.cgroup(name), document)
        ward = None
        try:
            ward = Ward(box, env)
            ward.document = document
            yield ward
        finally:
            if ward:
                ward.close()
            if wire:
                self._wires.append(wire)

    def kept(self, kind, **policy):
        """The Ward of this kind and policy that stays for the tests of a file; of its events only those from now on."""
        key = (kind, json.dumps(policy))
        if key not in self._kept:
            self._kept[key] = self._stack.enter_context(self.ward(kind, env=LASTING, **policy))
        self._kept[key].events.lines.clear()
        self._kept[key].box.say(self._kept[key].document)  # of this test, too
        return self._kept[key]

    def beside(self, kind):
        """A Talker that stands where a sandbox of that kind would, and is none: the control."""
        found = self._beside.get(kind)
        if not found or found.process.poll() is not None:
            wire = self._wire() if kind == "netdev" else None
            if wire:
                self._beside_wire = wire
            found = self._beside[kind] = Talker(self.net, wire.argv if wire else list, LASTING)
        return found

    def pids(self):
        """The relays and signers of the daemon: pid -> command line."""
        return children(self.daemon.process.pid)

    def relay_pid(self):
        """Of the one relay that is no signer."""
        def find():
            found = [pid for pid, words in self.pids().items() if "--signer" not in words]
            return found[0] if len(found) == 1 else None
        return until(find, f"one relay among {self.pids()}", 30)

    def ca(self, path):
        """A file with what a sandbox trusts: the daemon's CA and the peers'."""
        reply = self.daemon.get("/v1/ca.pem")
        assert reply.status == 200, reply
        path.write_bytes(reply.body + self.peers.ca.certificate.read_bytes())
        return str(path)

    def close(self):
        self._stack.close()
        for talker in self._beside.values():
            talker.stop()
        self.daemon.close()
        for wire in [*self._wires, *([self._beside_wire] if hasattr(self, "_beside_wire") else [])]:
            wire.close()


def children(pid):
    """Every process below that one: pid -> its command line."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        born = ""
        with contextlib.suppress(OSError):  # a thread that ended meanwhile
            born = (task / "children").read_text()
        for child in born.split():
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{child}/cmdline").read_bytes().decode().split("\0")
                found[int(child)] = words
                found.update(children(int(child)))
    return {child: words for child, words in found.items() if any("postern-relay" in word for word in words)}
