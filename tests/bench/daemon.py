#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
posternd with 1,000 and with 10,000 sandboxes: how long changes, attaches and a restart take, what is kept in memory.
As root, with cgroups, pins and state of its own. Samples to build/bench/daemon.samples, the table to daemon.txt there.

    tests/bench/daemon.py            ROUNDS=5 rounds, MANY=10000 sandboxes, DISK=/var/tmp
    tests/bench/daemon.py report     the table again, from the samples that are there
"""

import contextlib
import http.client
import json
import os
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("B", ROOT / "build")).resolve()
ROUNDS = int(os.environ.get("ROUNDS", "5"))
MANY = int(os.environ.get("MANY", "10000"))
DISK = os.environ.get("DISK", "/var/tmp")
FEW, CHANGES, SINGLES, ATTACHES = 1000, 400, 500, 200
BIG = 99999  # with the entry that denies the rest: as many as a policy may have
NAME = f"pst-bench-{os.getpid()}"
SAMPLES, RESULTS = BUILD / "bench" / "daemon.samples", BUILD / "bench" / "daemon.txt"


def mount_of(kind):
    for line in Path("/proc/self/mounts").read_text("utf-8").splitlines():
        fields = line.split()
        if fields[2] == kind:
            return Path(fields[1])
    raise SystemExit(f"bench: no {kind} is mounted")


CGROUPS = mount_of("cgroup2") / NAME
PINS = mount_of("bpf") / NAME


# ---- policies ----

class Policies:
    """Documents, none like another: /24 prefixes of the public space that do not overlap within a policy."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def prefixes(self, count):
        spread = 0x1000000 // count
        for i in range(count):
            base = 0x0b000000 + i * spread * 8 + self.random.randrange(spread * 8 // 256) * 256
            yield f"{base >> 24}.{base >> 16 & 255}.{base >> 8 & 255}.0/24"

    def document(self, rules):
        return json.dumps({"denyOut": ["0.0.0.0/0", "::/0"], "allowOut": list(self.prefixes(rules - 2))})

    def created(self, rules):
        network = {"denyOut": ["0.0.0.0/0"], "allowOut": list(self.prefixes(rules - 1))}
        return json.dumps({"templateID": "base", "network": network})

    def large(self, count):
        start = self.random.randrange(1 << 8)
        rows = [f"{16 + (i >> 16)}.{i >> 8 & 255}.{i & 255}.{start}/32" for i in range(count)]
        return json.dumps({"denyOut": ["0.0.0.0/0"], "allowOut": rows})

    def named(self, rules):
        names = [f"h{self.random.randrange(1 << 40):x}.example.com" for _ in range(rules - 1)]
        return json.dumps({"denyOut": ["0.0.0.0/0"], "allowOut": names})


# ---- the daemon ----

class Samples:
    def __init__(self, path):
        self.file = path.open("w", encoding="utf-8")

    def add(self, name, value):
        self.file.write(f"{name} {value:.4f}\n")
        self.file.flush()

    def add_list(self, name, values):
        """What one round was: its median, and what 99 of 100 stay below."""
        values = sorted(values)
        self.add(f"{name}.p50", statistics.median(values))
        self.add(f"{name}.p99", values[min(len(values) - 1, round(len(values) * 0.99))])


def remove_cgroups(top):
    if not top.exists():
        return
    (top / "cgroup.kill").write_text("1", encoding="ascii")
    deadline = time.monotonic() + 30
    while "populated 1" in (top / "cgroup.events").read_text("ascii") and time.monotonic() < deadline:
        time.sleep(0.01)
    for path, _, _ in os.walk(top, topdown=False):
        os.rmdir(path)


class Daemon:
    def __init__(self, directory, state, name, sandboxes):
        self.directory, self.state, self.sandboxes = directory, state, sandboxes
        self.socket = directory / "sock"
        self.cgroups, self.pins = CGROUPS / name, PINS / name
        self.log = directory / "log"
        self.process = None

    def start(self):
        """Milliseconds until it says READY=1, as systemd would hear it."""
        config = {"socket": str(self.socket), "stateDir": str(self.state), "bpffsDir": str(self.pins), "log": "text",
                  "cgroupParent": str(self.cgroups.relative_to(CGROUPS.parent)), "resolvers": ["192.0.2.53"],
                  "limits": {"sandboxes": self.sandboxes}, "sandboxDir": str(self.directory / "folder")}
        path = self.directory / "posternd.json"
        (self.directory / "folder").mkdir(exist_ok=True)
        self.pins.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(config), encoding="utf-8")
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        where = str(self.directory / "notify")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(where)
        notify.bind(where)
        notify.settimeout(120)
        log = self.log.open("a", encoding="utf-8")
        begin = time.monotonic()
        self.process = subprocess.Popen([os.environ.get("POSTERND", str(BUILD / "posternd")), "-c", str(path)],
                                        stderr=log, env={**os.environ, "NOTIFY_SOCKET": where})
        log.close()
        while b"READY=1" not in notify.recv(4096):
            pass
        took = (time.monotonic() - begin) * 1000
        notify.close()
        return took

    def stop(self, how=signal.SIGTERM):
        if self.process and self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait()

    def close(self):
        self.stop(signal.SIGKILL)
        remove_cgroups(self.cgroups)
        shutil.rmtree(self.pins, ignore_errors=True)

    def status(self, field):
        for line in Path(f"/proc/{self.process.pid}/status").read_text("utf-8").splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1])
        raise KeyError(field)

    def ask(self, lines):
        """Milliseconds of each request, in order; a line: method, path, body (a file or None)."""
        text = "".join(f"x {method} {path} {body or '-'}\n" for method, path, body in lines)
        done = subprocess.run([str(BUILD / "bench" / "requests"), str(self.socket)], input=text, capture_output=True,
                              text=True, check=False)
        if done.returncode:
            raise SystemExit(f"bench: {done.stderr}\n{self.log.read_text('utf-8')[-2000:]}")
        return [float(line.split()[1]) for line in done.stdout.splitlines()]

    def get(self, path):
        connection = http.client.HTTPConnection("localhost", timeout=60)
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.connect(str(self.socket))
        connection.request("GET", path)
        body = connection.getresponse().read()
        connection.close()
        return body


class Bodies:
    """Request bodies as files, on tmpfs."""

    def __init__(self, directory):
        self.directory, self.count = directory / "bodies", 0
        self.directory.mkdir()

    def put(self, text):
        self.count += 1
        path = self.directory / str(self.count)
        path.write_text(text, encoding="utf-8")
        return path

    def clear(self):
        shutil.rmtree(self.directory)
        self.directory.mkdir()


def attach_body(cgroup, name, policy):
    return '{"id":"%s","cgroup":"%s","allowWeak":true,"policy":%s}' % (name, cgroup, policy)


def make_cgroups(daemon, count, prefix):
    paths = [daemon.cgroups / f"own-{prefix}{i}" for i in range(count)]
    for path in paths:
        path.mkdir(parents=True)
    return paths


def attach_all(daemon, bodies, paths, prefix, policy_of):
    lines = [("POST", "/v1/sandboxes", bodies.put(attach_body(path, f"{prefix}{i}", policy_of())))
             for i, path in enumerate(paths)]
    took = daemon.ask(lines)
    bodies.clear()
    return took


# ---- memory ----

def meminfo():
    rows = {}
    for line in Path("/proc/meminfo").read_text("ascii").splitlines():
        name, value = line.split(":")
        rows[name] = int(value.split()[0])
    return rows


def settle():
    """Frees what only waits for a grace period, and drops what the kernel may drop."""
    os.sync()
    for _ in range(3):
        Path("/proc/sys/vm/drop_caches").write_text("2", encoding="ascii")
        time.sleep(1)


class Kernel:
    """Kernel memory from one moment to another."""

    FIELDS = ("SReclaimable", "SUnreclaim", "Percpu", "VmallocUsed", "KernelStack", "PageTables")

    def __init__(self):
        settle()
        self.before = meminfo()

    def grown(self):
        settle()
        now = meminfo()
        rows = {field: (now[field] - self.before[field]) / 1024 for field in self.FIELDS}
        rows["available"] = (self.before["MemAvailable"] - now["MemAvailable"]) / 1024
        return rows


def maps_of(daemon, name):
    """What the kernel says that a sandbox's own tables are, in KB by name."""
    sizes = {}
    for table, number in json.loads(daemon.get(f"/v1/sandboxes/{name}"))["maps"].items():
        shown = subprocess.run(["bpftool", "-j", "map", "show", "id", str(number)], capture_output=True, text=True,
                               check=True).stdout
        sizes[table] = json.loads(shown)["bytes_memlock"] / 1024
    return sizes


# ---- what is measured ----

@contextlib.contextmanager
def member_of(cgroup):
    """A process inside, which does nothing."""
    with subprocess.Popen(["sh", "-c", f'echo 0 >"{cgroup}/cgroup.procs" && exec sleep 1000']) as process:
        deadline = time.monotonic() + 10
        while not (cgroup / "cgroup.procs").read_text("ascii").strip() and time.monotonic() < deadline:
            time.sleep(0.005)
        yield
        process.kill()


def changes(daemon, bodies, policies, ids, count):
    lines = [("PUT", f"/v1/sandboxes/{policies.random.choice(ids)}/policy", bodies.put(policies.document(50)))
             for _ in range(count)]
    took = daemon.ask(lines)
    bodies.clear()
    return took


def change_rounds(daemon, bodies, policies, samples, what, paths):
    ids = [f"s{i}" for i in range(len(paths))]
    with member_of(paths[0]):
        for _ in range(ROUNDS):
            samples.add_list(f"{what}.empty", changes(daemon, bodies, policies, ids[1:], CHANGES))
            samples.add_list(f"{what}.member", changes(daemon, bodies, policies, ids[:1], CHANGES))


def attach_rounds(daemon, bodies, policies, samples):
    for number in range(ROUNDS):
        paths = make_cgroups(daemon, ATTACHES, f"r{number}-")
        took = attach_all(daemon, bodies, paths, f"r{number}-", lambda: policies.document(50))
        samples.add_list("attach", took)
        daemon.ask([("DELETE", f"/v1/sandboxes/r{number}-{i}", None) for i in range(ATTACHES)])
        made = [("POST", "/sandboxes", bodies.put(policies.created(50))) for _ in range(ATTACHES)]
        samples.add_list("create", daemon.ask(made))
        bodies.clear()
        for row in json.loads(daemon.get("/v1/sandboxes"))["sandboxes"]:
            if row["id"].startswith("i"):
                daemon.ask([("DELETE", f"/v1/sandboxes/{row['id']}", None)])


def large_rounds(daemon, bodies, policies, samples):
    for _ in range(ROUNDS):
        body = bodies.put(policies.large(BIG))
        samples.add("large", daemon.ask([("PUT", "/v1/sandboxes/s1/policy", body)])[0])
        bodies.clear()
    changes(daemon, bodies, policies, ["s1"], 1)


def read_rounds(daemon, bodies, policies, samples, paths):
    reads = [("GET", f"/v1/sandboxes/s{i}", None) for i in range(len(paths))]
    ids = [f"s{i}" for i in range(1, len(paths))]
    for _ in range(ROUNDS):
        samples.add("metrics", daemon.ask([("GET", "/metrics", None)])[0])
        samples.add("metrics.bytes", len(daemon.get("/metrics")) / 1000)
        samples.add("list", daemon.ask([("GET", "/v1/sandboxes", None)])[0])
        samples.add_list("get.quiet", daemon.ask(reads))
        storm = threading.Thread(target=changes, args=(daemon, bodies, policies, ids, CHANGES))
        storm.start()
        took = []
        while storm.is_alive():
            took += daemon.ask(reads[:100])
        storm.join()
        samples.add_list("get.storm", took)


def restart_rounds(daemon, samples, what):
    for _ in range(ROUNDS):
        daemon.stop(signal.SIGKILL)
        samples.add(f"{what}.killed", daemon.start())


def bench_few(directory, bodies, policies, samples):
    """1,000 sandboxes of 100 prefixes, each its own."""
    tmpfs, disk = directory / "state", Path(tempfile.mkdtemp(prefix=NAME, dir=DISK))
    daemon = Daemon(directory, tmpfs, "few", 2 * FEW)
    try:
        samples.add("start.none", daemon.start())
        paths = make_cgroups(daemon, FEW, "s")
        kernel = Kernel()
        samples.add("rss.none", daemon.status("VmRSS") / 1024)
        attach_all(daemon, bodies, paths, "s", lambda: policies.document(100))
        report_memory(daemon, kernel, samples, "few", FEW)
        change_rounds(daemon, bodies, policies, samples, "change", paths)
        attach_rounds(daemon, bodies, policies, samples)
        large_rounds(daemon, bodies, policies, samples)
        read_rounds(daemon, bodies, policies, samples, paths)
        restart_rounds(daemon, samples, "restart.few")
        daemon.stop()
        shutil.copytree(tmpfs, disk / "state")
        daemon.state = disk / "state"
        daemon.start()
        change_rounds(daemon, bodies, policies, samples, "change.disk", paths)
    finally:
        daemon.close()
        shutil.rmtree(disk, ignore_errors=True)
        shutil.rmtree(tmpfs, ignore_errors=True)


def report_memory(daemon, kernel, samples, what, count):
    grown = kernel.grown()
    samples.add(f"{what}.rss", daemon.status("VmRSS") / 1024)
    samples.add(f"{what}.rss.peak", daemon.status("VmHWM") / 1024)
    samples.add(f"{what}.kernel", sum(grown[f] for f in ("SReclaimable", "SUnreclaim", "Percpu", "VmallocUsed")))
    for name, value in grown.items():
        samples.add(f"{what}.kernel.{name}", value)
        samples.add(f"{what}.kernel.{name}.each", value * 1024 / count)
    for name, size in maps_of(daemon, "s5").items():
        samples.add(f"{what}.map.{name}", size)


def many_body(bodies, policies, ids):
    return bodies.put('{"ids":%s,"policy":%s}' % (json.dumps(ids), policies.document(50)))


def bench_many(directory, bodies, policies, samples):
    """10,000 sandboxes with one policy of 50 rules."""
    tmpfs = directory / "state"
    daemon = Daemon(directory, tmpfs, "many", MANY)
    try:
        daemon.start()
        paths = make_cgroups(daemon, MANY, "s")
        kernel = Kernel()
        shared = policies.document(50)
        attach_all(daemon, bodies, paths, "s", lambda: shared)
        report_memory(daemon, kernel, samples, "many", MANY)
        ids = [f"s{i}" for i in range(MANY)]
        for _ in range(ROUNDS):
            samples.add("singles", sum(changes(daemon, bodies, policies, ids, SINGLES)) * MANY / SINGLES)
            samples.add("many", daemon.ask([("PUT", "/v1/policies", many_body(bodies, policies, ids))])[0])
            bodies.clear()
        samples.add("many.rss.after", daemon.status("VmRSS") / 1024)
        restart_rounds(daemon, samples, "restart.many")
    finally:
        daemon.close()
        shutil.rmtree(tmpfs, ignore_errors=True)


def bench_named(directory, bodies, policies, samples):
    """1,000 sandboxes whose policies have names: each has tables of what it learned."""
    tmpfs = directory / "state"
    daemon = Daemon(directory, tmpfs, "named", FEW)
    try:
        daemon.start()
        paths = make_cgroups(daemon, FEW, "s")
        kernel = Kernel()
        attach_all(daemon, bodies, paths, "s", lambda: policies.named(50))
        report_memory(daemon, kernel, samples, "named", FEW)
    finally:
        daemon.close()
        shutil.rmtree(tmpfs, ignore_errors=True)


def bench_nft(policies, samples):
    """The same rules in 1,000 chains of a namespace of its own; one chain's are replaced, and all in one file."""
    def rules(chain, document):
        rows = ", ".join(json.loads(document)["allowOut"])
        return f"flush chain inet pst c{chain}\nadd rule inet pst c{chain} ip daddr {{ {rows} }} accept\n" \
               f"add rule inet pst c{chain} drop\n"

    def load(text):
        begin = time.monotonic()
        subprocess.run(["ip", "netns", "exec", NAME, "nft", "-f", "-"], input=text, text=True, check=True)
        return (time.monotonic() - begin) * 1000

    def base():
        begin = time.monotonic()
        subprocess.run(["ip", "netns", "exec", NAME, "true"], check=True)
        return (time.monotonic() - begin) * 1000

    subprocess.run(["ip", "netns", "add", NAME], check=True)
    try:
        load("table inet pst {\n" + "".join(f"chain c{i} {{ }}\n" for i in range(FEW)) + "}\n" +
             "".join(rules(i, policies.document(50)) for i in range(FEW)))
        for _ in range(ROUNDS):
            samples.add_list("nft.true", [base() for _ in range(20)])
            samples.add_list("nft.one", [load(rules(i, policies.document(50))) for i in range(100)])
            samples.add("nft.all", load("".join(rules(i, policies.document(50)) for i in range(FEW))))
    finally:
        subprocess.run(["ip", "netns", "del", NAME], check=False)


# ---- the table ----

class Table:
    """Medians of what the rounds measured; a quotient's or difference's is of each round's own."""

    def __init__(self, path):
        self.samples = {}
        for line in path.read_text("utf-8").splitlines():
            name, value = line.split()
            self.samples.setdefault(name, []).append(float(value))
        self.lines = []

    def head(self):
        load = self.samples["load"]
        self.lines.append(f"Linux {os.uname().release}, {os.cpu_count()} CPUs, "
                          f"load average {load[0]:.2f} to {load[-1]:.2f}")
        title = f"median of {len(self.samples.get('change.empty.p50', [0]))} rounds"
        self.lines.append(f"{title:<60} {'figure':>10} {'base':>10} {'result':>10}      {'goal':>8}")

    def title(self, text):
        self.lines.append(text)

    def row(self, what, name, goal=None, unit="ms", over=None, less=None):
        values = self.samples.get(name)
        if not values:
            return
        base = self.samples[over or less] if over or less else []
        results = values
        if over:
            results = [a / b for a, b in zip(values, base)]
        elif less:
            results = [a - statistics.median(base) for a in values]
        result = statistics.median(results)
        beside = f"{statistics.median(base):.2f}" if base else ""
        text = f"{what:<60} {statistics.median(values):>10.2f} {beside:>10} " \
               f"{result:>10.{4 if over else 2}f} {'x' if over else unit:<4}"
        if goal is not None:
            text += f" {f'<= {goal}':>8}  {'met' if result <= goal else 'missed'}"
        self.lines.append(text.rstrip())

    def changes(self, name, p50=None, p99=None):
        for member, who in (("empty", "nobody inside"), ("member", "a process inside")):
            self.row(f"  {who}, median", f"{name}.{member}.p50", p50)
            self.row(f"  {who}, 99 of 100", f"{name}.{member}.p99", p99)

    def memory(self, what, maps):
        for name, field in (("slab, tables and links most of all", "SUnreclaim"),
                            ("slab, inodes of pins most of all", "SReclaimable"),
                            ("for each CPU", "Percpu"), ("vmalloc", "VmallocUsed")):
            self.row(f"    {name}", f"{what}.kernel.{field}", unit="MiB")
        for name in maps:
            self.row(f"    of that, as the kernel says, {name} of one sandbox", f"{what}.map.{name}", unit="KB")

    def made(self):
        self.head()
        self.title(f"a change of a 50-rule policy, request to reply, {FEW} sandboxes present, stateDir on tmpfs")
        self.changes("change", 2, 10)
        self.title("the same with stateDir on this machine's disk (an fsync of the file and of its directory)")
        self.changes("change.disk")
        self.title("other changes")
        self.row(f"  one policy for {MANY:,} sandboxes, over as many single ones", "many", 0.02, over="singles")
        self.row("  100,000 CIDRs", "large", 500)
        self.title("attaching, 50 rules")
        self.row("  POST /v1/sandboxes of a cgroup that exists, median", "attach.p50")
        self.row("  POST /v1/sandboxes of a cgroup that exists, 99 of 100", "attach.p99", 20)
        self.row("  POST /sandboxes (E2B), cgroup made, median", "create.p50")
        self.row("  POST /sandboxes (E2B), cgroup made, 99 of 100", "create.p99", 20)
        self.title("start, until READY=1")
        self.row("  nothing there", "start.none")
        self.row(f"  killed, {FEW} sandboxes found again", "restart.few.killed", 500)
        self.row(f"  killed, {MANY:,} sandboxes found again", "restart.many.killed")
        self.title(f"reads, {FEW} sandboxes")
        self.row("  GET /metrics", "metrics")
        self.row("  GET /metrics, KB", "metrics.bytes", unit="KB")
        self.row("  GET /v1/sandboxes", "list")
        self.row("  GET /v1/sandboxes/ID, median", "get.quiet.p50")
        self.row("  GET /v1/sandboxes/ID, 99 of 100", "get.quiet.p99")
        self.row("  the same beside changes without a pause, median", "get.storm.p50")
        self.row("  the same beside changes without a pause, 99 of 100", "get.storm.p99")
        self.title("memory, MiB")
        self.row("  RSS, nothing there", "rss.none", unit="MiB")
        self.row(f"  RSS, {FEW} sandboxes, each its own 100 CIDRs", "few.rss", 64, unit="MiB")
        self.row("  kernel, the same", "few.kernel", unit="MiB")
        self.row(f"  RSS, {MANY:,} sandboxes, one 50-rule policy", "many.rss", 128, unit="MiB")
        self.row("  RSS, after all of the above", "many.rss.after", 128, unit="MiB")
        self.row("  kernel, the same, without the cgroups", "many.kernel", 384, unit="MiB")
        self.memory("many", ("pst_flows", "pst_rules"))
        self.row(f"  kernel, {FEW} sandboxes, each its own 49 names", "named.kernel", unit="MiB")
        self.memory("named", ("pst_flows", "pst_questions", "pst_leases", "pst_learned"))
        self.row("  RSS, the same", "named.rss", unit="MiB")
        self.title(f"nft -f, 50 rules of one of {FEW} chains replaced, over starting a process there")
        self.row("  one chain, median", "nft.one.p50", less="nft.true.p50")
        self.row("  one chain, 99 of 100", "nft.one.p99", less="nft.true.p99")
        self.row(f"  all {FEW} chains in one file", "nft.all", less="nft.true.p50")
        self.row("  Postern over it: a process inside, median", "change.member.p50", over="nft.one.p50")
        return "\n".join(self.lines) + "\n"


def measure(what):
    SAMPLES.parent.mkdir(parents=True, exist_ok=True)
    fresh = SAMPLES.with_suffix(".new")
    samples, policies = Samples(fresh), Policies(4)
    directory = Path(tempfile.mkdtemp(prefix=NAME, dir="/dev/shm"))
    samples.add("load", os.getloadavg()[0])
    try:
        bodies = Bodies(directory)
        if "few" in what:
            bench_few(directory, bodies, policies, samples)
        if "many" in what:
            bench_many(directory, bodies, policies, samples)
        if "named" in what:
            bench_named(directory, bodies, policies, samples)
        if "nft" in what:
            bench_nft(policies, samples)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        remove_cgroups(CGROUPS)
        shutil.rmtree(PINS, ignore_errors=True)
    samples.add("load", os.getloadavg()[0])
    os.rename(fresh, SAMPLES)


if __name__ == "__main__":
    if sys.argv[1:] != ["report"]:
        measure(sys.argv[1:] or ["nft", "few", "many", "named"])
    RESULTS.write_text(Table(SAMPLES).made(), encoding="utf-8")
    print(RESULTS.read_text("utf-8"), end="")
