# SPDX-License-Identifier: MIT
"""
Running commands under `postern run`, and the three things that every denial must show: the caller gets the
error at once, nothing arrives, and without Postern the same command does arrive.
"""

import json
import os
import shlex
import signal
import socket
import subprocess
import threading
import time
from collections import namedtuple
from pathlib import Path

from evidence import CLSACT, NOW
from internet import canary
from kinds import Cgroup
from netns import shell
from wait import until

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("B", ROOT / "build"))
POSTERN = os.environ.get("POSTERN", str((ROOT / BUILD / "postern").resolve()))
TOOLS = (ROOT / BUILD / "tests" / "tools").resolve()
# A kernel without TCX, for whoever is started with it (tests/lib/preload).
NO_TCX = {"LD_PRELOAD": str((ROOT / BUILD / "tests" / "preload" / "notcx.so").resolve())}
WITHOUT_TCX = os.environ.get("PST_TC") == CLSACT  # the whole run
MARK = f"PST_TEST={os.getpid()}"  # in the environment of all that is started here

# A refusal comes at once; what goes unanswered would take a second (TCP) or for ever (UDP).
AT_ONCE_MS = 900
RUN_S = 30

Op = namedtuple("Op", "name result ms")


def tool(name, *args):
    return [str(TOOLS / name), *map(str, args)]


def flow(*args):
    return tool("flow", *args)


class Result:
    """A finished command: exit code, output, and the operations that a test program reported."""

    def __init__(self, argv, code, out, err, seconds, kind=None):
        self.argv, self.code, self.out, self.err, self.seconds = argv, code, out, err, seconds
        self.raw_ops = operations(out)
        self.ops = kind.told(self.raw_ops) if kind else self.raw_ops

    def op(self, name):
        found = [op for op in self.ops if op.name == name]
        assert found, f"no operation {name!r} in {self}"
        return found[-1]

    def json(self):
        return json.loads(self.out)

    def __repr__(self):
        return f"{' '.join(self.argv)}: exit {self.code}\n--- stdout\n{self.out}--- stderr\n{self.err}"


def operations(text):
    ops = []
    for line in text.splitlines():
        words = line.split()
        if len(words) == 3 and words[2].replace(".", "", 1).isdigit():
            ops.append(Op(words[0], words[1], float(words[2])))
    return ops


def environment(extra=None):
    name, value = MARK.split("=")
    base = {k: v for k, v in os.environ.items() if not k.startswith("SUDO_")}
    return {**base, **(NO_TCX if WITHOUT_TCX else {}), name: value, **(extra or {})}


def postern_run(policy, argv):
    """The command line of `postern run`; policy is a list of its options."""
    return [POSTERN, "run", *map(str, policy), "--", *argv]


def kind_of(net):
    """The kind of sandbox that the test runs for (kinds.py)."""
    return getattr(net, "kind", None) or Cgroup(net)


def enter(net, policy):
    """Where commands run under this policy: an Inside of kinds.py."""
    return kind_of(net).enter(policy)


def execute(net, argv, *, env=None, timeout=RUN_S, stdin=None, cwd=None, kind=None):
    """Runs argv in the host namespace to its end. kind: of the sandbox that it leads into."""
    start = time.monotonic()
    done = subprocess.run(net.host.command(argv), capture_output=True, text=True, errors="replace", check=False,
                          timeout=timeout, env=environment(env), cwd=cwd, input=stdin,
                          stdin=subprocess.DEVNULL if stdin is None else None)
    NOW.told(done.stderr)
    return Result(argv, done.returncode, done.stdout, done.stderr, time.monotonic() - start, kind)


def sandboxed(net, policy, argv, wrap=list, **options):
    """wrap: what the command line that enters the sandbox is run by."""
    inside = enter(net, policy)
    try:
        return execute(net, wrap(inside.argv(argv)), kind=kind_of(net), **options)
    finally:
        inside.close()


def plain(net, argv, wrap=list, **options):
    """The control: argv without Postern, where it runs as it would inside."""
    return execute(net, wrap(kind_of(net).beside(argv)), **options)


class Running:
    """A command in the host namespace, or inside a sandbox, that goes on; its standard output by lines."""

    def __init__(self, net, argv, env=None, stdin=None, inside=None):
        self.inside, self._kind = inside, kind_of(net) if inside else None
        self._net, self._alone = net, False
        argv = inside.argv(argv) if inside else argv
        self.argv = argv
        self.lines, self.errors = [], []
        self.process = subprocess.Popen(net.host.command(argv), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        stdin=stdin or subprocess.DEVNULL, text=True, errors="replace",
                                        env=environment(env), start_new_session=True)
        self._readers = [threading.Thread(target=self._read, args=pair, daemon=True)
                         for pair in ((self.process.stdout, self.lines), (self.process.stderr, self.errors))]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _read(stream, lines):
        for line in stream:
            lines.append(line.rstrip("\n"))

    @property
    def pid(self):
        return self.process.pid

    def address(self, of_host):
        """What who runs here has in place of HOST4 or HOST6."""
        if not self.inside:
            return of_host
        return self.inside.addr6 if ":" in of_host else self.inside.addr4

    def text(self):
        return "\n".join([" ".join(self.argv), *self.lines, "--- stderr", *self.errors])

    def ops(self):
        ops = operations("\n".join(self.lines))
        return self._kind.told(ops) if self._kind else ops

    def await_line(self, condition, what, deadline_s=None):
        """The first line for which condition(line) is true. A command that ended is not waited for."""
        def find():
            ended = self.process.poll() is not None
            if ended:
                self._readers[0].join(5)
            for line in list(self.lines):
                if condition(line):
                    return line
            assert not ended, f"ended before {what}:\n{self.text()}"
            return None
        try:
            return until(find, what, deadline_s)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.text()}") from None

    def await_op(self, name, result, count=1):
        """Until it has reported `count` operations with that result."""
        def done():
            return len([op for op in self.ops() if op.name == name and op.result == result]) >= count
        until(done, f"it reports {name} {result}: {self.text()}")

    def wait(self, timeout=RUN_S):
        code = self.process.wait(timeout)
        for reader in self._readers:
            reader.join(5)
        return code

    def stop(self, number=signal.SIGTERM):
        """Ends it, however stubborn."""
        for sig in (number, signal.SIGKILL):
            if self.process.poll() is None:
                self.process.send_signal(sig)
                try:
                    self.process.wait(5)
                except subprocess.TimeoutExpired:
                    continue
        if self.inside:
            self.inside.end(self.pid)
        elif self._alone:
            kind_of(self._net).end(self.pid)
        code = self.wait(5)
        NOW.told("\n".join(self.errors))
        if self.inside:
            self.inside.close()
        return code

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()


def started(net, policy, argv, **options):
    """A Running inside a sandbox; with None the control."""
    if policy is None:
        return Running(net, kind_of(net).beside(argv), **options)
    return Running(net, argv, inside=enter(net, policy), **options)


def marked_processes(mark=MARK):
    """The pids of what these tests started and that still lives."""
    pids = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            environ = Path(f"/proc/{entry}/environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if mark.encode() in environ:
            pids.append(int(entry))
    return pids


def kill_marked(mark=MARK):
    def gone():
        left = marked_processes(mark)
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        return not left
    until(gone, f"processes with {mark} are gone")


def fill(argv, token):
    return [arg.replace("CANARY", token) for arg in argv]


def assert_arrives(net, argv, dst=None, port=None, policy=None, carries=True):
    """argv, with CANARY filled in, arrives; under `policy`, or with None without Postern."""
    token, since = canary(), net.mark()
    argv = fill(argv, token)
    done = plain(net, argv) if policy is None else sandboxed(net, policy, argv)
    try:
        net.await_seen(token=token if carries else None, dst=None if carries else dst,
                       port=None if carries else port, since=since)
    except AssertionError as error:
        raise AssertionError(f"{error}\nthe control must arrive, or its denial proves nothing\n{done}") from None
    return done


def assert_silence(net, since, token, dst=None, port=None):
    """No frame since then carries the token or goes to dst and port."""
    net.fence()
    found = net.seen(token=token, dst=dst, port=port, since=since)
    assert not found, f"denied, but {len(found)} frames arrived, the first: {found[0]}"


def assert_denied(net, argv, dst, port=None, *, op, policy=(), box=None, errno="EPERM", carries=True,
                  control=None):
    """
    argv sends CANARY to dst and port. Without Postern (or under the policy `control`) it arrives. Under `policy`, or in
    the Shell `box`, the operation `op` fails with errno at once (another kind of sandbox: as kinds.py says), and nothing
    arrives: no frame with the canary, none to dst and port. With port None: none to dst at all. carries=False: the frames that arrive hold no canary.
    """
    assert_arrives(net, argv, dst, port, policy=control, carries=carries)
    net.fence()
    token, since = canary(), net.mark()
    net.forbid(token)
    done = box.do(*fill(argv, token)) if box else sandboxed(net, policy, fill(argv, token))
    assert_told(net, argv, done, op, errno)
    assert_silence(net, since, token, dst, port)
    return done


def assert_told(net, argv, done, op, errno):
    """The operation failed with errno, at once; where its kind has no answer to such a denial, nothing is told."""
    if not kind_of(net).tells(argv, done.raw_ops):
        return
    found = done.op(op)
    assert found.result == errno, f"{op}: {found.result}, not {errno}\n{done}"
    assert found.ms < AT_ONCE_MS, f"{op} took {found.ms} ms\n{done}"


def assert_allowed(net, argv, *, policy, op):
    """argv sends CANARY: under `policy` the operation `op` is ok and it arrives."""
    done = assert_arrives(net, argv, policy=policy)
    found = done.op(op)
    assert found.result == "ok", f"{op}: {found.result}\n{done}"
    return done


class Server(Running):
    """A `serve` program, inside a sandbox with `policy` or, with None, beside it in the host namespace."""

    def __init__(self, net, *args, policy=None, argv=None):
        argv = argv or tool("serve", *args)
        super().__init__(net, argv, inside=None if policy is None else enter(net, policy))
        try:
            line = self.await_line(lambda text: text.startswith("listening "), "the server listens")
        except BaseException:
            self.stop()
            raise
        self.port = int(line.split()[1])


def _say_until_answered(sock, data, deadline_s):
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        sock.settimeout(min(0.4, deadline_s))
        sock.send(data)
        try:
            return sock.recv(2048)
        except TimeoutError:
            continue
    return None


def exchange(namespace, address, port, data, *, kind="tcp", source=None, deadline_s=3.0):
    """
    Sends data from a namespace and returns what comes back; None for silence or a refusal. By UDP as clients do, again and
    again: where somebody was attached only now, a first datagram opens nothing yet.
    """
    def talk():
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as sock:
            sock.settimeout(deadline_s)
            if source:
                sock.setsockopt(socket.IPPROTO_IP, 15, 1)  # IP_FREEBIND
                sock.bind(source)
            try:
                sock.connect((address, port))
                if kind == "tcp":
                    sock.send(data)
                    return sock.recv(2048)
                return _say_until_answered(sock, data, deadline_s)
            except OSError:
                return None
    return namespace.call(talk)


class Shell(Running):
    """A shell in a sandbox that is told what to do, line by line, and facts about its sandbox."""

    LOOP = 'echo "up $BASHPID"; while read -r line; do eval "$line"; echo "done $?"; done'

    def __init__(self, net, policy):
        argv, place = ["bash", "-c", self.LOOP], kind_of(net)
        self._place = place
        inside = None if policy is None else enter(net, policy)
        super().__init__(net, argv if inside else place.beside(argv), stdin=subprocess.PIPE, inside=inside)
        self._alone = inside is None
        try:
            self.await_line(lambda line: line.startswith("up "), "the shell runs")
            if place.name == "cgroup":
                self._look()
        except BaseException:
            self.stop()
            raise

    def address(self, of_host):
        return super().address(of_host) if self.inside else self._place.beside_address(of_host)

    def _look(self):
        self.cgroup = cgroup_of(child_of(self.pid))
        self.name = self.cgroup.rsplit("/", 1)[1]
        self.pins = Path("/sys/fs/bpf/postern-run") / self.name

    def do(self, *argv):
        """Runs a command line (words are quoted, one alone is taken as it is); returns code and operations."""
        line = argv[0] if len(argv) == 1 else " ".join(shlex.quote(str(word)) for word in argv)
        start = len(self.lines)
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        end = until(lambda: next((n for n, text in enumerate(list(self.lines)) if n >= start and
                                  text.startswith("done ")), None), f"{line} ends")
        text = "\n".join(self.lines[start:end])
        return Result([line], int(self.lines[end].split()[1]), text, "\n".join(self.errors), 0.0, self._kind)

    def ids(self, kind):
        """The kernel's ids of this run's pinned links or maps."""
        return [json.loads(shell("bpftool", "-j", kind[:-1], "show", "pinned", str(path)))["id"]
                for path in sorted((self.pins / kind).iterdir())]


class PacketOnly(Shell):
    """
    A sandbox with privileges whose socket hooks are gone: what is denied here, the packet hook denied (invariant 1). The
    netdev kind has no others. keep=(): nothing is enforced.
    """

    def __init__(self, net, policy, keep=("pst_egress", "pst_ingress")):
        is_cgroup = kind_of(net).name == "cgroup"
        super().__init__(net, ["--keep-privs", *policy] if is_cgroup or keep else None)
        if not is_cgroup:
            return
        for link in (self.pins / "links").iterdir():
            if link.name not in keep:
                shell("bpftool", "link", "detach", "pinned", str(link))


def child_of(pid):
    return int(until(lambda: Path(f"/proc/{pid}/task/{pid}/children").read_text().split(), "it has a child")[0])


def cgroup_of(pid):
    """The cgroup2 path of a process."""
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    return [line[3:] for line in lines if line.startswith("0::")][0]


def cgroup2_mount():
    for line in Path("/proc/self/mounts").read_text().splitlines():
        words = line.split()
        if words[2] == "cgroup2":
            return words[1]
    raise AssertionError("no cgroup2 is mounted")
