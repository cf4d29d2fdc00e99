#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
Postern beside what Debian has for the same: nftables with interval sets and a cgroup match, nftables whose set dnsmasq
fills (--nftset), ipset with iptables, and nothing. In one run, in turns, as root, with namespaces, cgroups and pins of its
own. A table on stdout; table and samples to build/bench/peers.json, which tests/bench/plot.py draws.

    tests/bench/peers.py             ROUNDS=11 of calls and packets, CHANGES=5 of changes, LARGE=100000 entries at the most
    tests/bench/peers.py report      the table again, from the samples that are there
"""

import contextlib
import json
import os
import select
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

import daemon as posternd

BUILD, NAME, CGROUPS, PINS = posternd.BUILD, posternd.NAME, posternd.CGROUPS, posternd.PINS
ROUNDS = int(os.environ.get("ROUNDS", "11"))
CHANGES = int(os.environ.get("CHANGES", "5"))
LARGE = int(os.environ.get("LARGE", "100000"))
SIZES = (50, 1000, LARGE)
PREFIXES = 1000
HERE = Path(__file__).resolve().parent
RESULTS = BUILD / "bench" / "peers.json"
CLIENT, SERVER = f"{NAME}-client", f"{NAME}-server"
PORT, DNS = 7000, "127.0.0.4"
ALLOWED, DENIED, OTHER = "20.1.2.3", "21.1.2.3", "22.0.0.0/24"
DENIALS, PATIENCE_S = 50, 3  # of what is dropped without a word three are enough
FLOWS, WATCHED_S = 20, 3  # half of them idle


def run(*argv, **options):
    return subprocess.run([str(a) for a in argv], check=True, text=True, **options)


def inside(*argv, namespace=CLIENT):
    return ["nsenter", f"--net=/run/netns/{namespace}", *map(str, argv)]


def shell_in_client(text):
    run(*inside("sh", "-ec", text))


# ---- what runs in processes of its own: peers.py --part NAME ARGUMENTS ----

def part_serve():
    """Echoes at every address, by one thread a connection."""
    def echo(client):
        with client, contextlib.suppress(OSError):
            while data := client.recv(4096):
                client.sendall(data)
    server = socket.create_server(("", PORT), backlog=512)
    print("up", flush=True)
    while True:
        threading.Thread(target=echo, args=(server.accept()[0],), daemon=True).start()


def denied_once(kind, address):
    """Microseconds until the program was told, and what; by its next call, for UDP."""
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.settimeout(PATIENCE_S)
        begin, told = time.perf_counter_ns(), "nothing"
        try:
            sock.connect((address, PORT))
            sock.send(b"x")
            if kind == socket.SOCK_DGRAM:
                sock.recv(1)
        except TimeoutError:
            pass
        except OSError as error:
            told = errno_name(error)
        return (time.perf_counter_ns() - begin) / 1000, told


def errno_name(error):
    import errno  # pylint: disable=import-outside-toplevel
    return errno.errorcode.get(error.errno, str(error))


def part_denied(address):
    for kind, name in ((socket.SOCK_STREAM, "tcp"), (socket.SOCK_DGRAM, "udp")):
        for i in range(DENIALS):
            took, told = denied_once(kind, address)
            print(name, took, told)
            if told == "nothing" and i == 2:
                break


def part_live(address):
    """
    FLOWS connections, of which every second one speaks all the time. After a line on stdin it says of each what became of it:
    told (its program got an error or an end), passes (an answer came in the last second), or silent.
    """
    flows = [socket.create_connection((address, PORT)) for _ in range(FLOWS)]
    for sock in flows:
        sock.sendall(b"x")
        assert sock.recv(1)
        sock.setblocking(False)
    ended, heard, changed = {}, {}, None
    print("up", flush=True)
    while changed is None or time.monotonic() < changed + WATCHED_S:
        ready, _, _ = select.select([s for s in flows if s not in ended] + ([sys.stdin] if changed is None else []), [], [], 0.01)
        if sys.stdin in ready:
            sys.stdin.readline()
            changed = time.monotonic()
        for i, sock in enumerate(flows):
            if sock in ended:
                continue
            try:
                if sock in ready:
                    if sock.recv(4096):
                        heard[sock] = time.monotonic()
                    else:
                        ended[sock] = time.monotonic()
                if i % 2:
                    sock.send(b"x")
            except BlockingIOError:
                pass
            except OSError:
                ended[sock] = time.monotonic()
    for i, sock in enumerate(flows):
        late = heard.get(sock, 0) > changed + WATCHED_S - 1
        print("speaks" if i % 2 else "idle", "told" if sock in ended else "passes" if late else "silent",
              max(0, ended.get(sock, changed) - changed) * 1000)


def part_answers():
    """For each line on stdin, says when dnsmasq answers."""
    question = bytes.fromhex("000101000001000000000000") + b"\2up\7example\0" + bytes.fromhex("00010001")
    for _ in sys.stdin:
        deadline = time.monotonic() + 60
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(0.002)
            sock.connect((DNS, 53))
            while time.monotonic() < deadline:
                with contextlib.suppress(OSError):
                    sock.send(question)
                    sock.recv(512)
                    break
        print("up" if time.monotonic() < deadline else "silent", flush=True)


# ---- the scene ----

def make_namespaces():
    """As those of run.sh: a client, and a server that answers at every address."""
    for name in (CLIENT, SERVER):
        run("ip", "netns", "add", name)
        run("ip", "-n", name, "link", "set", "lo", "up")
    run("ip", "-n", CLIENT, "link", "add", "uplink", "type", "veth", "peer", "name", "downlink", "netns", SERVER)
    for name, device, address in ((CLIENT, "uplink", "198.18.0.1/30"), (SERVER, "downlink", "198.18.0.2/30")):
        run("ip", "-n", name, "address", "add", address, "dev", device)
        run("ip", "-n", name, "link", "set", device, "up")
    run("ip", "-n", CLIENT, "route", "add", "default", "via", "198.18.0.2")
    run("ip", "-n", SERVER, "route", "add", "local", "default", "dev", "lo", "table", "main")


def cgroup(name):
    path = CGROUPS / name
    path.mkdir(parents=True, exist_ok=True)
    return path


def nft_path(parent, name):
    """As `nft` takes it: below /sys/fs/cgroup; as iptables does: below where cgroup2 is mounted."""
    mount = Path(posternd.mount_of("cgroup2"))
    return str((mount / parent / name).relative_to("/sys/fs/cgroup")), f"{parent}/{name}"


REFUSE = "chain refuse { meta l4proto tcp reject with tcp reset; reject with icmp type admin-prohibited\n}"


def nft_rules(parent, name, elements, *, kind="flags interval;", verdict="jump refuse", first=""):
    rows = f"elements = {{ {', '.join(elements)} }}" if elements else ""
    return f"table inet pst {{ set allowed {{ type ipv4_addr; {kind} {rows}\n}}\n{REFUSE}\n" \
           f"chain out {{ type filter hook output priority 0; policy accept; {first}\n" \
           f"socket cgroupv2 level 2 \"{nft_path(parent, name)[0]}\" ip daddr != @allowed {verdict}\n}}\n}}\n"


def ipset_rows(elements, name="allowed"):
    return f"create {name} hash:net maxelem 1048576\n" + "".join(f"add {name} {e}\n" for e in elements)


def iptables_rules(parent, name, target, *, delete=False):
    return f"iptables -{'D' if delete else 'A'} OUTPUT -m cgroup --path {nft_path(parent, name)[1]} -m set ! --match-set " \
           f"allowed dst -j {target}"


class Scene:
    def __init__(self):
        self.directory = Path(tempfile.mkdtemp(prefix=NAME, dir="/dev/shm"))
        self.policies = posternd.Policies(11)
        self.values = {}
        self.running = []

    def add(self, name, value):
        self.values.setdefault(name, []).append(value)

    def write(self, name, text):
        path = self.directory / name
        path.write_text(text, encoding="utf-8")
        return path

    def part(self, name, *arguments, where="none", namespace=CLIENT):
        argv = [sys.executable, "-S", __file__, "--part", name, *map(str, arguments)]
        if namespace == CLIENT:
            argv = ["sh", "-c", 'echo 0 >"$0/cgroup.procs" && exec "$@"', str(cgroup(where)), *argv]
        # pylint: disable=consider-using-with
        process = subprocess.Popen(inside(*argv, namespace=namespace), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.running.append(process)
        return process

    def close(self):
        for process in self.running:
            process.kill()
            process.wait()
        for name in (CLIENT, SERVER):
            subprocess.run(["ip", "netns", "del", name], check=False)
        posternd.remove_cgroups(CGROUPS)
        for path in posternd.mount_of("cgroup2").glob(f"{NAME}*"):
            posternd.remove_cgroups(path)
        for path in PINS.parent.glob(f"{NAME}*"):
            shutil.rmtree(path, ignore_errors=True)
        shutil.rmtree(self.directory, ignore_errors=True)


# ---- calls and packets ----

def rates(scene):
    """tests/bench/rates.c, which has the modes without anything, with empty programs and with Postern itself."""
    parent = f"{NAME}-rates"
    text = run(BUILD / "bench" / "cidrs", PREFIXES, capture_output=True).stdout
    rows = json.loads(text)["allowOut"]
    singles = [row.rsplit(".", 1)[0] + "." + str(int(row.rsplit(".", 1)[1].split("/")[0]) + 1) for row in rows]
    modes = []
    for name, rules in (
            ("nft", nft_rules(parent, "nft", rows, verdict="drop")),
            ("nftct", nft_rules(parent, "nftct", rows, verdict="drop", first="ct state established,related accept")),
            ("nftset", nft_rules(parent, "nftset", singles, kind="flags timeout; timeout 1h;", verdict="drop"))):
        modes += [name, f"nft -f {scene.write(name, rules)}", "nft delete table inet pst"]
    sets = scene.write("ipset", ipset_rows(rows))
    modes += ["ipset", f"ipset restore <{sets}; {iptables_rules(parent, 'ipset', 'DROP')}",
              f"{iptables_rules(parent, 'ipset', 'DROP', delete=True)}; ipset destroy allowed"]
    done = run(BUILD / "bench" / "rates", parent, CLIENT, SERVER, PREFIXES, ROUNDS, *modes, capture_output=True)
    for line in done.stdout.splitlines():
        name, value = line.split()
        scene.add(name, float(value))


# ---- changes ----

class Dnsmasq:
    """One that fills the set `allowed`; a change of its names is a new start: it reads them once."""

    def __init__(self, scene):
        self.scene, self.process, self.asking = scene, None, scene.part("answers")

    def restart(self, config):
        self.stop()
        # pylint: disable=consider-using-with
        self.process = subprocess.Popen(inside(
            "sh", "-c", 'ulimit -n 1024; exec "$@"', "-", "dnsmasq", "--keep-in-foreground", f"--conf-file={config}", "--no-resolv", "--no-hosts", "--user=root",
            "--bind-interfaces", f"--listen-address={DNS}", "--pid-file=", "--address=/up.example/192.0.2.1"))
        self.asking.stdin.write("?\n")
        self.asking.stdin.flush()
        assert self.asking.stdout.readline() == "up\n", "dnsmasq does not answer"

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None


def timed(function, *arguments):
    begin = time.monotonic()
    function(*arguments)
    return (time.monotonic() - begin) * 1000


def change_prefixes(scene, daemon, bodies, size):
    document = scene.policies.large(size - 1) if size > 10000 else scene.policies.document(size)
    rows = [row for row in json.loads(document)["allowOut"] if "." in row]
    scene.add(f"change.{size}.postern", daemon.ask([("PUT", "/v1/sandboxes/postern/policy", bodies.put(document))])[0])
    bodies.clear()
    file = scene.write("change.nft", f"flush set inet pst allowed\nadd element inet pst allowed {{ {', '.join(rows)} }}\n")
    scene.add(f"change.{size}.nft", timed(run, *inside("nft", "-f", file)))
    file = scene.write("change.ipset", ipset_rows(rows, "fresh") + "swap fresh allowed\ndestroy fresh\n")
    with file.open(encoding="utf-8") as text:
        begin = time.monotonic()
        run(*inside("ipset", "restore"), stdin=text)
        scene.add(f"change.{size}.ipset", (time.monotonic() - begin) * 1000)


def change_names(scene, daemon, bodies, dnsmasq, size):
    document = scene.policies.named(size)
    names = json.loads(document)["allowOut"]
    scene.add(f"names.{size}.postern", daemon.ask([("PUT", "/v1/sandboxes/postern/policy", bodies.put(document))])[0])
    bodies.clear()
    lines = "".join(f"server=/{n}/192.0.2.53\nnftset=/{n}/4#inet#named#allowed\n" for n in names)
    file = scene.write("dnsmasq.conf", lines)

    def change():
        run(*inside("nft", "flush set inet named allowed"))
        dnsmasq.restart(file)
    scene.add(f"names.{size}.nftset", timed(change))


def changes(scene, daemon, bodies):
    dnsmasq = Dnsmasq(scene)
    for name in ("nft", "nftset", "ipset"):
        cgroup(name)
    shell_in_client(f"nft -f {scene.write('nft', nft_rules(NAME, 'nft', []))}")
    named = nft_rules(NAME, "nftset", [], kind="flags timeout; timeout 1h;").replace("inet pst", "inet named")
    shell_in_client(f"nft -f {scene.write('named', named)}")
    shell_in_client(f"ipset restore <{scene.write('sets', ipset_rows([]))}; {iptables_rules(NAME, 'ipset', 'DROP')}")
    try:
        with posternd.member_of(cgroup("postern")):
            for size in SIZES:
                for _ in range(CHANGES if size <= 1000 else max(1, min(CHANGES, 3))):
                    change_prefixes(scene, daemon, bodies, size)
                    change_names(scene, daemon, bodies, dnsmasq, size)
    finally:
        dnsmasq.stop()
        shell_in_client("nft delete table inet pst; nft delete table inet named; iptables -F OUTPUT; ipset destroy")


# ---- what the application sees ----

def put(daemon, bodies, allowed):
    document = {"denyOut": ["0.0.0.0/0"], "allowOut": allowed}
    daemon.ask([("PUT", "/v1/sandboxes/postern/policy", bodies.put(json.dumps(document)))])
    bodies.clear()


@contextlib.contextmanager
def enforced(scene, daemon, bodies, mode):
    """One address is allowed. Gives where it is enforced, and what allows another one instead."""
    where = mode.split("-")[0]
    cgroup(where)
    if where == "postern":
        put(daemon, bodies, [ALLOWED])
        yield lambda: put(daemon, bodies, [OTHER])
    elif where == "nft":
        first = "ct state established,related accept" if "-ct-" in mode else ""
        verdict = "drop" if mode == "nft-drop" else "jump refuse"
        rules = nft_rules(NAME, where, [ALLOWED], verdict=verdict, first=first)
        shell_in_client(f"nft -f {scene.write('rules', rules)}")
        yield lambda: shell_in_client(f"nft 'flush set inet pst allowed; add element inet pst allowed {{ {OTHER} }}'")
        shell_in_client("nft delete table inet pst")
    elif where == "ipset":
        target = "DROP" if mode == "ipset-drop" else "REJECT"
        sets = scene.write("sets", ipset_rows([ALLOWED]))
        shell_in_client(f"ipset restore <{sets}; {iptables_rules(NAME, where, target)}")
        yield lambda: shell_in_client(f"ipset flush allowed; ipset add allowed {OTHER}")
        shell_in_client("iptables -F OUTPUT; ipset destroy allowed")
    else:
        yield lambda: None


def denials(scene, daemon, bodies):
    for mode in ("postern", "nft-reject", "nft-drop", "ipset-reject", "ipset-drop"):
        with enforced(scene, daemon, bodies, mode):
            process = scene.part("denied", DENIED, where=mode.split("-")[0])
            for line in process.communicate()[0].splitlines():
                protocol, took, told = line.split()
                scene.add(f"denied.{protocol}.{mode}", float(took))
                scene.values.setdefault("told", {}).setdefault(f"{protocol}.{mode}", set()).add(told)


def live(scene, daemon, bodies):
    for mode in ("none", "postern", "nft-reject", "nft-ct-reject", "ipset-reject"):
        with enforced(scene, daemon, bodies, mode) as tighten:
            process = scene.part("live", ALLOWED, where=mode.split("-")[0])
            assert process.stdout.readline() == "up\n"
            tighten()
            lines = process.communicate("changed\n")[0].splitlines()
            assert len(lines) == FLOWS, lines
            for line in lines:
                kind, fate, took = line.split()
                scene.add(f"live.{kind}.{fate}.{mode}", float(took))


def first_connections(scene):
    """Of run.sh, in namespaces of its own: client and resolver in a hurry, and every CPU busy."""
    done = run(HERE / "run.sh", "first", capture_output=True)
    for line in done.stdout.splitlines():
        name, value = line.split()
        scene.add(name, float(value))


def measure():
    scene = Scene()
    scene.add("load", os.getloadavg()[0])
    daemon = posternd.Daemon(scene.directory, scene.directory / "state", "posternd", 10)
    try:
        make_namespaces()
        serve = scene.part("serve", namespace=SERVER)
        assert serve.stdout.readline() == "up\n"
        bodies = posternd.Bodies(scene.directory)
        daemon.start()
        attach = {"id": "postern", "cgroup": str(cgroup("postern")), "allowWeak": True,
                  "policy": {"denyOut": ["0.0.0.0/0"], "allowOut": [ALLOWED]}}
        daemon.ask([("POST", "/v1/sandboxes", bodies.put(json.dumps(attach)))])
        for name, function in (("denials", lambda: denials(scene, daemon, bodies)), ("live flows", lambda: live(scene, daemon, bodies)),
                               ("changes", lambda: changes(scene, daemon, bodies)),
                               ("first connections", lambda: first_connections(scene)), ("calls and packets", lambda: rates(scene))):
            print(f"peers: {name}", file=sys.stderr, flush=True)
            if name == "calls and packets":
                serve.kill()  # of the same port
                serve.wait()
            function()
        daemon.stop(signal.SIGTERM)
    finally:
        daemon.close()
        scene.close()
    scene.add("load", os.getloadavg()[0])
    scene.values["told"] = {name: sorted(words) for name, words in scene.values["told"].items()}
    return scene.values


# ---- the table ----

LABELS = {"none": "no enforcement", "again": "no enforcement, once more", "empty": "empty BPF programs", "postern": "Postern",
          "nft": "nftables, interval set", "nftct": "nftables, conntrack first", "nftset": "nftables + dnsmasq --nftset",
          "ipset": "ipset + iptables", "nft-reject": "nftables, reject", "nft-drop": "nftables, drop",
          "nft-ct-reject": "nftables, conntrack first", "ipset-reject": "ipset + iptables, REJECT",
          "ipset-drop": "ipset + iptables, DROP", "snoop": "learned from a ring buffer", "unfed": "the control: a set nobody fills"}
CALLS = {"udp_connect": "UDP connect()", "tcp_cycle": "TCP connect, accept, close", "udp_sendto": "UDP sendto(), all in turn",
         "udp_same": "UDP sendto(), one address", "udp_send": "UDP send(), connected", "udp_rr": "UDP, request and response",
         "tcp_rr": "TCP, request and response"}


class Table:
    """Each row: what, who, the figure, and how often that of the base; a quotient is the median of the rounds' own."""

    def __init__(self, values):
        self.values, self.rows = values, []

    def row(self, part, who, figure, unit, ratio=None, note=""):
        self.rows.append({"part": part, "who": LABELS.get(who, who), "mode": who, "figure": figure, "unit": unit, "ratio": ratio,
                          "note": note})

    def calls(self):
        for op, text in CALLS.items():
            base = self.values[f"rate.{op}.none"]
            for mode in ("none", "again", "empty", "postern", "nft", "nftct", "nftset", "ipset"):
                own = self.values[f"rate.{op}.{mode}"]
                ratio = statistics.median(a / b for a, b in zip(own, base))
                self.row(f"{text}, {PREFIXES:,} prefixes, over no enforcement", mode, statistics.median(own), "ns", ratio)

    def changed(self):
        for kind, others in (("change", ("postern", "nft", "ipset")), ("names", ("postern", "nftset"))):
            for size in SIZES:
                base = self.values[f"{kind}.{size}.postern"]
                for mode in others:
                    own = self.values[f"{kind}.{size}.{mode}"]
                    ratio = statistics.median(a / b for a, b in zip(own, base))
                    what = "prefixes" if kind == "change" else "names"
                    self.row(f"a whole policy of {size:,} {what} replaced, over Postern", mode, statistics.median(own), "ms", ratio)

    def first(self):
        for mode in ("none", "postern", "nftset", "ipset", "snoop", "unfed"):
            if f"first.{mode}.all" in self.values:
                lost, of = (sum(self.values[f"first.{mode}.{x}"]) for x in ("lost", "all"))
                self.row("first connections that failed, every CPU busy", mode, lost, f"of {of:,.0f}", lost / of)

    def denied(self):
        for protocol in ("tcp", "udp"):
            base = statistics.median(self.values[f"denied.{protocol}.postern"])
            for mode in ("postern", "nft-reject", "nft-drop", "ipset-reject", "ipset-drop"):
                own = statistics.median(self.values[f"denied.{protocol}.{mode}"])
                told = ", ".join(self.values["told"][f"{protocol}.{mode}"])
                note = f"nothing in {PATIENCE_S} s" if told == "nothing" else told
                self.row(f"a denied {protocol.upper()} connection: until the program is told, over Postern", mode, own, "us", own / base, note)

    def ended(self):
        for kind in ("idle", "speaks"):
            for mode in ("none", "postern", "nft-reject", "nft-ct-reject", "ipset-reject"):
                fates = {fate: self.values.get(f"live.{kind}.{fate}.{mode}", []) for fate in ("told", "silent", "passes")}
                total = sum(map(len, fates.values()))
                # 0: before the change was acknowledged.
                when = f", {statistics.median(fates['told']):.1f} ms after the change" if fates["told"] else ""
                note = ", ".join(f"{len(v)} {k}" for k, v in fates.items() if v) + when
                self.row(f"live connections that a tighter policy ended ({'that speak' if kind == 'speaks' else 'idle'})", mode,
                         len(fates["told"]), f"of {total}", len(fates["told"]) / total, note)

    def text(self):
        load = self.values["load"]
        lines = [f"Linux {os.uname().release}, {os.cpu_count()} CPUs, load average {load[0]:.2f} to {load[-1]:.2f}; medians of "
                 f"{len(self.values['rate.udp_connect.none'])} rounds (calls), {len(self.values['change.50.postern'])} (changes)"]
        part = None
        for row in self.rows:
            if row["part"] != part:
                part = row["part"]
                lines.append(part)
            ratio = f"{row['ratio']:.3f} x" if row["ratio"] is not None else ""
            lines.append(f"  {row['who']:<34} {row['figure']:>12,.1f} {row['unit']:<9} {ratio:>12}  {row['note']}".rstrip())
        return "\n".join(lines) + "\n"


def made(values):
    table = Table(values)
    for fill in (table.calls, table.changed, table.first, table.denied, table.ended):
        fill()
    return table


if __name__ == "__main__":
    if sys.argv[1:2] == ["--part"]:
        globals()["part_" + sys.argv[2]](*sys.argv[3:])
        sys.exit()
    if sys.argv[1:] == ["report"]:
        found = json.loads(RESULTS.read_text("utf-8"))["samples"]
    else:
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        found = measure()
    result = made(found)
    RESULTS.write_text(json.dumps({"rows": result.rows, "samples": found}, indent=1), encoding="utf-8")
    print(result.text(), end="")
