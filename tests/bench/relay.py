#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
What the relay costs, in sandboxes of the cgroup kind: throughput of bytes that are passed on, the time to the first byte
through a SOCKS5 proxy, what the strict host check adds, requests a second with a header put in, in the clear and within
TLS, memory of a connection that is idle. Each beside what does the same without it, in turns. As root, in namespaces, pins and cgroups of its own.
Samples to build/bench/relay.samples, the table to relay.txt there.

    tests/bench/relay.py            ROUNDS=11 rounds
    tests/bench/relay.py report     the table again, from the samples that are there
"""

import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "lib"))
sys.dont_write_bytecode = True

# pylint: disable=wrong-import-position
BUILD = Path(os.environ.get("B", ROOT / "build")).resolve()
ROUNDS = int(os.environ.get("ROUNDS", "11"))
FIRSTS = BUILD / "bench" / "firsts"
SAMPLES, RESULTS = BUILD / "bench" / "relay.samples", BUILD / "bench" / "relay.txt"
BYTES = 1 << 30
COUNT = 300  # first bytes of a round
IDLE = 1000  # connections
BULK, TLS, FIRST = 7010, 443, 7020  # bytes are swallowed; a ClientHello is answered by a byte; anything is
API = "api.example.com"
HEADER = "X-Token"
PROXY_PORT, PROXY_TLS_PORT = 8080, 8443

NGINX = """
daemon off; worker_processes 1; user root; pid {dir}/proxy.pid; error_log {dir}/proxy.log;
events {{ worker_connections 1024; }}
http {{
    access_log off; client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f;
    uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s; keepalive_requests 10000000;
    upstream plain {{ server {origin}:80; keepalive 256; keepalive_requests 10000000; }}
    upstream tls {{ server {origin}:443; keepalive 256; keepalive_requests 10000000; }}
    server {{
        listen {own}:{port}; listen {own}:{tls_port} ssl;
        ssl_certificate {cert}; ssl_certificate_key {key}; ssl_protocols TLSv1.3;
        location / {{
            proxy_pass {scheme}://{upstream}; proxy_http_version 1.1; proxy_set_header Connection "";
            proxy_set_header Host $host; proxy_set_header {header} secret;
            proxy_ssl_server_name on; proxy_ssl_name {api}; proxy_ssl_verify on; proxy_ssl_trusted_certificate {ca};
            proxy_ssl_protocols TLSv1.3;
        }}
    }}
}}
"""
ORIGIN = """
daemon off; worker_processes 1; user root; pid {dir}/origin.pid; error_log {dir}/origin.log;
events {{ worker_connections 4096; }}
http {{
    access_log off; client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f;
    uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s; keepalive_requests 10000000;
    server {{
        listen {address}:80; listen {address}:443 ssl; ssl_certificate {cert}; ssl_certificate_key {key};
        ssl_protocols TLSv1.3;
        location / {{ return 200 "$http_x_token\\n"; }}
    }}
}}
"""


class Samples:
    def __init__(self, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(path, "w", encoding="utf-8")

    def add(self, name, value):
        print(f"{name} {value:.6g}", file=self._file, flush=True)

    @staticmethod
    def read(path):
        found = {}
        for line in path.read_text("utf-8").splitlines():
            name, value = line.split()
            found.setdefault(name, []).append(float(value))
        return found


# ---- what runs in processes of its own: relay.py --part NAME ARGUMENTS ----

def part_serve(address):
    """Swallows BYTES on BULK and says so; on TLS answers a first message by a byte, and then does the same."""
    def swallow(client):
        buffer, total = bytearray(1 << 20), 0
        with client:
            while got := client.recv_into(buffer):
                total += got
                if total >= BYTES:  # microsocks knows no half-close: the client does not end its half
                    client.sendall(b"%d" % total)

    def accept(server, answers):
        while True:
            client, _ = server.accept()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if answers:
                client.recv(65536)
                client.sendall(b"\x16")
            threading.Thread(target=swallow, args=(client,), daemon=True).start()
    for port, answers in ((BULK, False), (TLS, True)):
        server = socket.create_server((address, port), backlog=512)
        threading.Thread(target=accept, args=(server, answers), daemon=True).start()
    print("up", flush=True)
    threading.Event().wait()


def socks(sock, host, port):
    """Speaks SOCKS5 itself: three round trips, as a client without a password does."""
    sock.sendall(b"\5\1\0")
    assert sock.recv(2) == b"\5\0"
    sock.sendall(b"\5\1\0\1" + socket.inet_aton(host) + port.to_bytes(2, "big"))
    assert sock.recv(10)[1] == 0


def opened(address, port, proxy=None):
    sock = socket.socket()
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.connect((proxy, 1080) if proxy else (address, int(port)))
    if proxy:
        socks(sock, address, int(port))
    return sock


def part_bulk(address, port, hello, proxy):
    """Sends BYTES, with the hello before them; GB/s until the other side has told how many it got."""
    data, sent = bytes(1 << 20), 0
    with opened(address, port, proxy) as sock:
        if hello:
            sock.sendall(bytes.fromhex(hello))
            sock.recv(1)
        start = time.perf_counter()
        while sent < BYTES:
            sock.sendall(data)
            sent += len(data)
        told = int(sock.recv(100))
        took = time.perf_counter() - start
    assert told == BYTES, f"{told} of {BYTES} bytes arrived"
    print(BYTES / took / 1e9)


def part_idle(address, port, count):
    """Opens so many connections, and keeps them until its input ends."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    kept = [socket.create_connection((address, int(port)), 30) for _ in range(int(count))]
    for sock in kept:
        sock.sendall(b"x")
        assert sock.recv(1)
    print("up", flush=True)
    sys.stdin.read()


# ---- the scene ----

class Scene:
    """The peers and a posternd; boxes by what they are for."""

    def __init__(self):
        # pylint: disable=import-outside-toplevel
        import relaypeers
        from internet import Internet
        from relaybox import Relays
        self.peers_of = relaypeers
        self.net = Internet()
        self.directory = Path(tempfile.mkdtemp(prefix="pst-bench-", dir="/dev/shm"))
        self.running = []
        self.peers = relaypeers.Peers(self.net, sniff=False)
        bundle = {"caBundle": str(self.peers.ca.certificate), "limits": {"connections": 4096}}
        self.relays = Relays(self.net, self.peers, relay=bundle)
        self.boxes = {}
        self._serve()

    def _serve(self):
        peers, address = self.peers, "185.199.108.60"
        self.bulk, self.origin, self.first = address, "185.199.108.61", "185.199.108.62"
        peers.dns.zone["bulk.example.org"] = [self.bulk]
        peers.dns.zone["first.example.org"] = [self.first]
        peers.dns.zone[API] = [self.origin]
        peers.dns.ttl = 3600
        self.start(peers.namespace, [sys.executable, __file__, "--part", "serve", self.bulk])
        for port in (TLS, FIRST):
            self.start(peers.namespace, [str(FIRSTS), "serve", self.first, str(port)])
        cert, key = peers.ca.issue("bench", API)
        for name, namespace, text in (
                ("origin", peers.namespace, ORIGIN.format(dir=self.directory, address=self.origin, cert=cert, key=key)),
                *((f"proxy-{scheme}", self.net.host, NGINX.format(
                    dir=self.directory, origin=self.origin, own="198.51.103.2", cert=cert, key=key, api=API, scheme=scheme,
                    upstream=upstream, ca=peers.ca.certificate, header=HEADER, port=port, tls_port=port + 1))
                  for scheme, upstream, port in (("http", "plain", PROXY_PORT), ("https", "tls", PROXY_TLS_PORT)))):
            path = self.directory / f"{name}.conf"
            path.write_text(text, encoding="utf-8")
            self.running.append(subprocess.Popen(namespace.command(["nginx", "-p", str(self.directory), "-c", str(path), "-e",
                                                                    str(self.directory / "early.log")])))

    def start(self, namespace, argv):
        process = subprocess.Popen(namespace.command(argv), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.running.append(process)
        assert process.stdout.readline() == "up\n", argv
        return process

    def box(self, name, policy):
        cgroup = self.relays.daemon.cgroup(name)
        self.boxes[name] = self.relays.daemon.attach(name, cgroup, {"denyOut": ["0.0.0.0/0"], **policy})
        return self.boxes[name]

    def part(self, box, name, *arguments):
        """What a part prints, run in that box; None: in none."""
        argv = [sys.executable, "-S", __file__, "--part", name, *map(str, arguments)]
        argv = self.boxes[box].argv(argv) if box else argv
        done = subprocess.run(self.net.host.command(argv), capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"bench: {box} {name}: {done.stderr}\n{self.relays.daemon.log()[-3000:]}")
        return float(done.stdout)

    def program(self, box, name, *arguments):
        """The same of a program."""
        argv = [str(BUILD / "bench" / name), *map(str, arguments)]
        argv = self.boxes[box].argv(argv) if box else argv
        done = subprocess.run(self.net.host.command(argv), capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"bench: {box} {name}: {done.stdout}{done.stderr}\n{self.relays.daemon.log()[-3000:]}")
        return float(done.stdout)

    def load(self, box, address, port, *tls, connections=32):
        return self.program(box, "webload", address, port, API, connections, 1000, *tls)

    def ask(self, box, port, said, *proxy):
        return self.program(box, "firsts", "ask", self.first, port, said, COUNT, *proxy)

    def close(self):
        for process in self.running:
            process.terminate()
            process.wait()
        self.relays.close()
        self.peers.close()
        self.net.close()
        subprocess.run(["rm", "-rf", str(self.directory)], check=False)


def memory(pid):
    """The private memory of a process, in KiB."""
    rows = dict(line.split(":") for line in Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines()[1:])
    return sum(int(rows[name].split()[0]) for name in ("Private_Clean", "Private_Dirty"))


def hello(name):
    import relaybox  # pylint: disable=import-outside-toplevel,unused-import
    sys.path.insert(0, str(ROOT / "tests" / "lib" / "tools"))
    import talker  # pylint: disable=import-outside-toplevel
    return talker.hello(name).encode("latin-1").hex()


def measure():
    fresh = SAMPLES.with_suffix(".new")
    samples = Samples(fresh)
    samples.add("load", os.getloadavg()[0])
    scene = Scene()
    try:
        rounds(scene, samples)
        idle(scene, samples)
    finally:
        scene.close()
    samples.add("load", os.getloadavg()[0])
    os.rename(fresh, SAMPLES)


def rounds(scene, samples):
    peers, said, bulk = scene.peers_of, hello("bulk.example.org"), scene.bulk
    named = hello("first.example.org")
    proxy = {"egressProxy": {"address": f"{peers.OPEN4}:{peers.SOCKS}"}}
    scene.box("direct", {"allowOut": [bulk, peers.OPEN4, scene.origin, scene.first]})
    scene.box("strict", {"allowOut": ["bulk.example.org", "first.example.org"], "hostCheck": "strict"})
    scene.box("socks", {"allowOut": [bulk, scene.first, peers.ECHO4], **proxy})
    rules = {"rules": {API: [{"transform": {"headers": {HEADER: "secret"}}}]}}
    scene.box("rules", {"allowOut": [API], "hostCheck": "strict", **rules})
    parts = {
        "bulk.direct": lambda: scene.part("direct", "bulk", bulk, TLS, said, ""),
        "bulk.relayed": lambda: scene.part("strict", "bulk", bulk, TLS, said, ""),
        "bulk.self": lambda: scene.part("direct", "bulk", bulk, BULK, "", peers.OPEN4),
        "bulk.socks": lambda: scene.part("socks", "bulk", bulk, BULK, "", ""),
        # The client speaks first: microsocks has Nagle's algorithm hold back what a server says behind its own reply.
        "first.self": lambda: scene.ask("direct", FIRST, "78", peers.OPEN4),
        "first.socks": lambda: scene.ask("socks", FIRST, "78"),
        "strict.direct": lambda: scene.ask("direct", TLS, named),
        "strict.relayed": lambda: scene.ask("strict", TLS, named),
        "http.direct": lambda: scene.load("direct", scene.origin, 80),
        "http.nginx": lambda: scene.load(None, "198.51.103.2", PROXY_PORT),
        "http.relayed": lambda: scene.load("rules", scene.origin, 80),
        "https.direct": lambda: scene.load("direct", scene.origin, TLS, "tls"),
        "https.nginx": lambda: scene.load(None, "198.51.103.2", PROXY_TLS_PORT + 1, "tls"),
        "https.relayed": lambda: scene.load("rules", scene.origin, TLS, "tls"),
    }
    for name, part in parts.items():
        part()  # warm
    for _ in range(ROUNDS):
        for name, part in parts.items():
            samples.add(name, part())


def idle(scene, samples):
    """Twice more after a first crowd has come and gone: what stays of that is used again."""
    peers = scene.peers_of
    pid = scene.relays.relay_pid()
    for n in range(3):
        before = memory(pid)
        argv = [sys.executable, "-S", __file__, "--part", "idle", peers.ECHO4, str(peers.ECHO), str(IDLE)]
        holder = scene.start(scene.net.host, scene.boxes["socks"].argv(argv))
        samples.add("idle.first" if not n else "idle", (memory(pid) - before) / IDLE)
        holder.stdin.close()
        holder.wait()


class Table:
    """Medians, and whether the aim was met."""

    def __init__(self, path):
        self.samples = {name: statistics.median(values) for name, values in Samples.read(path).items()}
        self.lines = []

    def row(self, text, value, unit, aim=None, met=True):
        told = f"  aim {aim}: {'met' if met else 'MISSED'}" if aim else ""
        self.lines.append(f"{text:<86}{value:>10.4g} {unit:<8}{told}")

    def made(self):
        m = self.samples
        self.lines.append("relay, cgroup kind, far side over a veth; medians of interleaved rounds")
        for name in ("direct", "relayed", "self", "socks"):
            self.row({"direct": "  bytes, straight from the kernel", "relayed": "  bytes, passed on by the relay",
                      "self": "  bytes, a client that speaks SOCKS5 itself", "socks": "  bytes, by the relay and the same proxy"}[name],
                     m[f"bulk.{name}"], "GB/s")
        ratio = m["bulk.relayed"] / m["bulk.direct"]
        self.row("  passed on, over direct", ratio, "x", ">= 0.45", ratio >= 0.45)
        self.row("  by the relay and a proxy, over a client of the proxy", m["bulk.socks"] / m["bulk.self"], "x")
        later = m["first.socks"] - m["first.self"]
        self.row("  connect() to first byte, a client that speaks SOCKS5 itself", m["first.self"], "us")
        self.row("  the same through the relay, later by", later, "us", "<= 60", later <= 60)
        later = m["strict.relayed"] - m["strict.direct"]
        self.row("  ClientHello answered, direct", m["strict.direct"], "us")
        self.row("  the same with hostCheck strict, later by", later, "us", "<= 80", later <= 80)
        for scheme, word in (("http", "HTTP requests"), ("https", "the same within TLS 1.3, requests")):
            for name, text in (("direct", "nobody between"), ("nginx", "nginx proxy_pass with that header"),
                               ("relayed", "the relay with that header")):
                self.row(f"  {word} a second, 32 connections kept, {text}", m[f"{scheme}.{name}"], "/s")
            ratio = m[f"{scheme}.relayed"] / m[f"{scheme}.nginx"]
            self.row("  the relay over nginx", ratio, "x", ">= 1", ratio >= 1)
        most = max(m["idle.first"], m["idle"])
        self.row(f"  private memory of the relay for each of {IDLE:,} idle connections", most, "KiB", "<= 64", most <= 64)
        self.row("  load before and after", m["load"], "")
        return "\n".join(self.lines) + "\n"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--part"]:
        globals()["part_" + sys.argv[2]](*sys.argv[3:])
        sys.exit()
    if sys.argv[1:] != ["report"]:
        measure()
    RESULTS.write_text(Table(SAMPLES).made(), encoding="utf-8")
    print(RESULTS.read_text("utf-8"), end="")
