#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
Thousands of sandbox lives, of both kinds, with traffic, names, changes and the relay; between batches, when none is left
but one that stays, what posternd, its relays and the kernel still hold is counted. In the end it must be what it was.

    tests/lib/soak.py [LIVES [SECONDS]]      as root; ends by whichever comes first
"""

import contextlib
import ctypes
import json
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

WORKERS = 3
BATCHES = 40
SETTLE_S = 60
WIRE_LIVES = 40  # a namespace and a device serve so many lives
RSS_ROOM_KB, RSS_SHARE = 1536, 0.03  # what an allocator may keep more, between the first quarter and the end
HELD = ("fds", "threads", "relays", "relay fds", "pins", "inner maps", "cgroups", "dying cgroups", "namespaces")
# Of tables some are made ahead, in the background, and not always as many. One a life would be hundreds.
ROOM = {"inner maps": 8}
CLONE_NEWNET = 0x40000000


# ---- the client, a process that is moved from sandbox to sandbox: soak.py --client ----

def question(name, number):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return number.to_bytes(2, "big") + bytes.fromhex("01000001000000000000") + labels + bytes.fromhex("0000010001")


def do_ask(server, name, number):
    """The first address, or None."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(30)
        sock.connect((server, 53))
        sock.send(question(name, number))
        reply = sock.recv(1500)
    return socket.inet_ntoa(reply[-4:]) if reply[3] & 15 == 0 and reply[7] else None


@contextlib.contextmanager
def connected(address, port):
    """A connection. What its kernel knows of it is told where nothing comes of it: that should never be, and is hard to meet again."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.settimeout(30)
        try:
            sock.connect((address, port))
            yield sock
        except TimeoutError as error:
            raise OSError(f"timed out: {sockets()}") from error


def sockets(prefix=()):
    return subprocess.run([*prefix, "ss", "-Htanoi"], capture_output=True, text=True, check=False).stdout


def do_echo(address, port):
    with connected(address, port) as sock:
        sock.sendall(b"soak")
        return sock.recv(100).decode()


def do_get(address, host):
    with connected(address, 80) as sock:
        sock.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        text = b""
        while data := sock.recv(65536):
            text += data
    return text.decode().replace("\r\n", "\n")


class Client:
    """What of a life stays open for its next step: `keep` and `kept`."""

    def __init__(self):
        self.open = []

    def keep(self, address, port):
        self.open.append(socket.create_connection((address, port), 30))
        self.open[-1].sendall(b"kept")
        return self.open[-1].recv(100).decode()

    def kept(self):
        """What became of it: within the time that a change has to end it."""
        with self.open.pop() as sock:
            sock.settimeout(30)
            sock.sendall(b"more")
            return sock.recv(100).decode()

    def rest(self):
        for sock in self.open:
            sock.close()
        self.open.clear()

    def enter(self, path):
        with open(path, "rb") as file:
            if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")

    def serve(self):
        steps = {"ask": do_ask, "echo": do_echo, "get": do_get, "keep": self.keep, "kept": self.kept, "rest": self.rest,
                 "enter": self.enter}
        print("up", flush=True)
        for line in sys.stdin:
            name, arguments = json.loads(line)
            try:
                answer = steps[name](*arguments)
            except OSError as error:
                answer = f"error {error.errno or error}"
            print(json.dumps(answer), flush=True)


# ---- what lives do ----

class Worker:
    """One client process, and the wire of its sandboxes that are behind a device."""

    def __init__(self, soak, number):
        self.soak, self.number, self.lives, self.asked = soak, number, 0, 0
        self.home = soak.relays.daemon.cgroups.parent / f"{soak.relays.daemon.name}-soak{number}"
        self.home.mkdir()
        # pylint: disable=consider-using-with
        self.process = subprocess.Popen(soak.net.host.command([sys.executable, "-S", __file__, "--client"]),
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "up\n"
        self.wire = None

    def tell(self, name, *arguments):
        self.process.stdin.write(json.dumps([name, arguments]) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def want(self, wanted, name, *arguments):
        """wanted: the answer, its beginning, or None for any error."""
        got = self.tell(name, *arguments)
        is_error = isinstance(got, str) and got.startswith("error ")
        right = is_error or got in (None, "") if wanted is None else not is_error and str(got).startswith(wanted)
        assert right, f"{name} {arguments}: {got!r}, expected {wanted!r}"
        return got

    def resolve(self, name):
        self.asked += 1
        return self.want("1", "ask", self.soak.peers_of.DNS4, name, self.asked & 0xFFFF)

    def refused_name(self, name):
        self.asked += 1
        self.want(None, "ask", self.soak.peers_of.DNS4, name, self.asked & 0xFFFF)

    def move(self, cgroup):
        (cgroup / "cgroup.procs").write_text(str(self.process.pid), encoding="ascii")

    def live(self, number):
        """One sandbox, from its attach to its end, of a kind and with a policy that its number tells."""
        recipe = RECIPES[number // 2 % len(RECIPES)]
        name, daemon = f"soak{number}", self.soak.relays.daemon
        policy = recipe(self, None)
        if number % 2:
            self._renew_wire()
            box = self.wire.attach(daemon, policy, name)
            self.tell("enter", self.wire.captive.path)
        else:
            box = daemon.attach(name, daemon.cgroup(name), policy)
            self.tell("enter", self.soak.net.host.path)
            self.move(box.cgroup)
        try:
            recipe(self, box)
        finally:
            self.tell("rest")
            self.move(self.home)
        self._end(box, number)

    def _end(self, box, number):
        """Most are deleted; of some the cgroup goes first."""
        if box.cgroup and number % 6 == 0:
            box.cgroup.rmdir()
            box.daemon.request("DELETE", f"/v1/sandboxes/{box.id}")
            return
        box.delete()
        if box.cgroup:
            box.cgroup.rmdir()

    def _renew_wire(self):
        self.lives += 1
        if self.wire and self.lives % WIRE_LIVES == 0:
            self.tell("enter", self.soak.net.host.path)
            self.wire.close()
            self.wire = None
        if not self.wire:
            self.wire = self.soak.wire()

    def close(self):
        self.process.kill()
        self.process.wait()
        if self.wire:
            self.wire.close()
        with contextlib.suppress(OSError):
            self.home.rmdir()


def only(*allowed, **more):
    return {"denyOut": ["0.0.0.0/0"], "allowOut": list(allowed), **more}


def life_addresses(worker, box):
    """An address, a connection that a change ends, another address."""
    peers = worker.soak.peers_of
    if not box:
        return only(peers.ECHO4)
    worker.want("soak", "echo", peers.ECHO4, peers.ECHO)
    worker.want(None, "echo", peers.STRANGE4, peers.ECHO)
    worker.want("kept", "keep", peers.ECHO4, peers.ECHO)
    box.put(only(peers.STRANGE4))
    worker.want(None, "kept")
    worker.want("soak", "echo", peers.STRANGE4, peers.ECHO)
    return None


def life_names(worker, box):
    """A name, and after a change another one."""
    peers = worker.soak.peers_of
    if not box:
        return only("one.example.org")
    worker.want("HTTP/1.1 200", "get", worker.resolve("one.example.org"), "one.example.org")
    worker.refused_name("echo.example.org")
    worker.want(None, "echo", peers.ECHO4, peers.ECHO)
    box.put(only("echo.example.org:7000"))
    worker.want("soak", "echo", worker.resolve("echo.example.org"), peers.ECHO)
    worker.want(None, "get", peers.NGINX4, "one.example.org")
    return None


def life_strict(worker, box):
    """Names are those of Host, which the relay reads."""
    if not box:
        return only("one.example.org", hostCheck="strict")
    address = worker.resolve("one.example.org")
    worker.want("HTTP/1.1 200", "get", address, "one.example.org")
    worker.want("HTTP/1.1 403", "get", address, "two.example.org")
    box.put(only("two.example.org", hostCheck="strict"))
    worker.want("HTTP/1.1 403", "get", address, "one.example.org")
    return None


def life_proxied(worker, box):
    """Through a SOCKS5 proxy, and after a change without one."""
    peers = worker.soak.peers_of
    if not box:
        return only(peers.ECHO4, egressProxy={"address": f"{peers.OPEN4}:{peers.SOCKS}"})
    worker.want("soak", "echo", peers.ECHO4, peers.ECHO)
    worker.want(None, "echo", peers.STRANGE4, peers.ECHO)
    worker.want("kept", "keep", peers.ECHO4, peers.ECHO)
    box.put(only(peers.ECHO4))
    worker.want("soak", "echo", peers.ECHO4, peers.ECHO)
    return None


def life_rules(worker, box):
    """With a header of the operator's, and after a change with another one."""
    def policy(secret):
        return only("one.example.org", rules={"one.example.org": [{"transform": {"headers": {"X-Token": secret}}}]})
    if not box:
        return policy("first")
    address = worker.resolve("one.example.org")
    got = worker.want("HTTP/1.1 200", "get", address, "one.example.org")
    assert "one http first" in got, got
    box.put(policy("second"))
    got = worker.want("HTTP/1.1 200", "get", address, "one.example.org")
    assert "one http second" in got, got
    return None


RECIPES = (life_addresses, life_names, life_strict, life_addresses, life_proxied, life_names, life_rules)


# ---- what is held ----

def status_kb(pid, field="VmRSS"):
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text("ascii").splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1])
    return 0


def count(path):
    with contextlib.suppress(OSError):
        return len(os.listdir(path))
    return 0


def inner_maps(pins):
    """How many tables hang in the daemon's tables of tables: none of them has a pin or a descriptor."""
    found = set()
    for path in (pins / "maps").iterdir():
        shown = json.loads(subprocess.run(["bpftool", "-j", "map", "show", "pinned", str(path)], capture_output=True,
                                          check=True).stdout)
        if shown["type"] not in ("array_of_maps", "hash_of_maps"):
            continue
        rows = json.loads(subprocess.run(["bpftool", "-j", "map", "dump", "pinned", str(path)], capture_output=True,
                                         check=True).stdout)
        for row in rows:
            value = row.get("inner_map_id", row.get("value"))
            if isinstance(value, list):
                value = int.from_bytes(bytes(int(b, 16) for b in value), "little")
            if isinstance(value, int) and value:
                found.add(value)
    return len(found)


class Soak:
    """lives(n), then sample(): a dict of what is held when only the one sandbox is left that stays."""

    def __init__(self, net, peers):
        # pylint: disable=import-outside-toplevel
        import relaybox
        import relaypeers
        from wire import Wire
        self.net, self.peers_of, self._wire, self._making = net, relaypeers, Wire, threading.Lock()
        self.relays = relaybox.Relays(net, peers)
        self.samples, self.workers, self.done, self.errors = [], [], 0, []
        try:
            daemon = self.relays.daemon
            self.anchor = daemon.attach("anchor", daemon.cgroup("anchor"), only("one.example.org", hostCheck="strict"))
            self.workers = [Worker(self, n) for n in range(WORKERS)]
        except BaseException:
            self.close()
            raise
        self.began = time.monotonic()

    def wire(self):
        with self._making:
            return self._wire(self.net)

    def batch(self, size, deadline=None):
        """So many lives, by all workers at a time; fewer when the deadline is over."""
        todo = queue.SimpleQueue()
        for number in range(self.done, self.done + size):
            todo.put(number)
        before = self.done

        def work(worker):
            while not self.errors and not (deadline and time.monotonic() > deadline):
                try:
                    number = todo.get_nowait()
                except queue.Empty:
                    return
                try:
                    worker.live(number)
                except BaseException as error:  # pylint: disable=broad-exception-caught
                    self.errors.append(f"life {number}: {type(error).__name__} {error}\n{self._scene(f'soak{number}', worker)}")
        threads = [threading.Thread(target=work, args=(worker,)) for worker in self.workers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not self.errors, self.errors[0]
        self.done = before + size - todo.qsize()

    def _scene(self, name, worker):
        """What is there to be seen of a life that went wrong: the host's side, its sandbox being still there."""
        daemon, address = self.relays.daemon, worker.wire and worker.wire.addr4
        flows = [row for row in daemon.get(f"/v1/sandboxes/{name}/flows").json.get("flows", ())]
        frames = [str(f) for f in self.net.sniffer.frames if address and address in (str(f.src), str(f.dst))]
        lines = [line for line in daemon.log().splitlines() if f'"{name}"' in line or '"level":"info"' not in line]
        return "\n".join(["flows", *map(str, flows[-40:]), "frames on the far side", *frames[-40:], "sockets of the host",
                          sockets(self.net.host.command([]))[-6000:], "log", *lines[-40:]])

    def held(self):
        daemon = self.relays.daemon
        pid, relays = daemon.process.pid, sorted(self.relays.pids())
        stat = dict(line.split() for line in (daemon.cgroups / "cgroup.stat").read_text("ascii").splitlines())
        mine = f"pst-{os.getpid()}-"
        return {
            "rss": status_kb(pid), "relay rss": sum(map(status_kb, relays)), "fds": count(f"/proc/{pid}/fd"),
            "threads": count(f"/proc/{pid}/task"), "relays": len(relays),
            "relay fds": sum(count(f"/proc/{relay}/fd") for relay in relays),
            "pins": sum(len(files) for _, _, files in os.walk(daemon.pins)), "inner maps": inner_maps(daemon.pins),
            "cgroups": int(stat["nr_descendants"]), "dying cgroups": int(stat["nr_dying_descendants"]),
            # A device serves many lives: how many there are now is this program's doing.
            "namespaces": sum(name.startswith(mine) for name in os.listdir("/run/netns")) - sum(
                1 for worker in self.workers if worker.wire),
        }

    def sample(self, settle_s=SETTLE_S):
        """When it has come to rest: what ends by and by has time, up to what the first sample had."""
        base, deadline = self.samples[0] if self.samples else None, time.monotonic() + settle_s
        now, steady = self.held(), 0
        while time.monotonic() < deadline and steady < 3:
            time.sleep(0.1)
            last, now = now, self.held()
            same = all(now[key] == last[key] for key in HELD)
            below = not base or all(now[key] <= base[key] + ROOM.get(key, 0) for key in HELD)
            steady = steady + 1 if same and below else 0
        self.samples.append({"lives": self.done, "s": time.monotonic() - self.began, **now})
        return self.samples[-1]

    def faults(self):
        """What is held that was not held after the first batch, and memory that grows: sentences."""
        first, last = self.samples[0], self.samples[-1]
        found = [f"{key}: {first[key]} after {first['lives']} lives, {last[key]} after {last['lives']}" for key in HELD
                 if last[key] > first[key] + ROOM.get(key, 0)]
        early = next((s for s in self.samples if s["lives"] * 4 >= last["lives"]), first)
        for key in ("rss", "relay rss"):
            if last[key] > early[key] * (1 + RSS_SHARE) + RSS_ROOM_KB:
                found.append(f"{key}: {early[key]} KiB after {early['lives']} lives, {last[key]} after {last['lives']}")
        return found

    @staticmethod
    def row(sample):
        return f"{sample['lives']:>7} {sample['s']:>7.0f} " + " ".join(
            f"{sample[key]:>{max(len(key), 6)}}" for key in ("rss", "relay rss", *HELD))

    @staticmethod
    def head():
        return f"{'lives':>7} {'s':>7} " + " ".join(f"{key:>6}" for key in ("rss", "relay rss", *HELD)) + "   (rss: KiB)"

    def close(self):
        for worker in self.workers:
            worker.close()
        self.relays.close()


def main(lives, seconds):
    from internet import Internet  # pylint: disable=import-outside-toplevel
    from relaypeers import Peers  # pylint: disable=import-outside-toplevel
    deadline = time.monotonic() + seconds
    with contextlib.ExitStack() as stack:
        net = Internet()
        stack.callback(net.close)
        peers = Peers(net, sniff=False)
        stack.callback(peers.close)
        soak = Soak(net, peers)
        stack.callback(soak.close)
        print(Soak.head(), flush=True)
        batch = max(20, lives // BATCHES)
        while soak.done < lives and time.monotonic() < deadline:
            soak.batch(min(batch, lives - soak.done), deadline)
            print(Soak.row(soak.sample()), flush=True)
            net.sniffer.frames.clear()
            net.hits.clear()
        faults = soak.faults()
    for fault in faults:
        print(f"FAIL {fault}")
    print(f"soak: {soak.done} lives in {soak.samples[-1]['s']:.0f} s, {len(HELD) + 2 - len(faults)} passed, {len(faults)} failed")
    return 1 if faults else 0


if __name__ == "__main__":
    if sys.argv[1:] == ["--client"]:
        Client().serve()
        sys.exit()
    sys.dont_write_bytecode = True
    sys.exit(main(int(sys.argv[1]) if sys.argv[1:] else 10000, float(sys.argv[2]) if sys.argv[2:] else 3600))
