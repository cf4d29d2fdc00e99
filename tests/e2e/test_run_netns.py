# SPDX-License-Identifier: MIT
"""
`postern run --netns`: the command is root in a network of its own, and its packets are judged at the host's side of its
device. What it changes on the host (forwarding, rules) is put back, also after kill -9.
"""

import contextlib
import json
import os
import re
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path

import pytest

from clients import CLIENTS
from internet import (ALLOWED4, ALLOWED4_NET, ALLOWED6, ALLOWED6_NET, DENIED4, DENIED6, HOST4, HOST6, PORT,
                      canary)
from names import place_of
from netns import Namespace, shell
from postern import (AT_ONCE_MS, Running, assert_silence, cgroup2_mount, cgroup_of, child_of, execute, flow,
                     postern_run, sandboxed)
from resolver import V4
from wait import until

PINS = Path("/sys/fs/bpf/postern-run")
ALLOW = ["--netns", "--allow", ALLOWED4_NET, "--allow", ALLOWED6_NET]
PYTHON = "/usr/bin/python3"
SO_NETNS_COOKIE = 71
FORWARDING = ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding")


def script(text, *args):
    return [PYTHON, "-c", text, *map(str, args)]


def sysctl(net, name):
    return net.host.call(lambda: Path("/proc/sys", name).read_text().strip())


def devices(net):
    return re.findall(r"^\d+: (pst-[0-9a-f]{8})@", net.host.ip("-o", "link"), re.M)


def nft(net, *words):
    return shell(*net.host.command(["nft", *words]))


def tables(net):
    return re.findall(r"^table inet (pst-[0-9a-f]{8})$", nft(net, "list", "tables"), re.M)


def note_of(net):
    """What runs here write down of what they have changed; others may run in other namespaces."""
    def cookie():
        with socket.socket(socket.AF_UNIX) as sock:
            return struct.unpack("Q", sock.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8))[0]
    return Path(f"/run/postern-netns.{net.host.call(cookie)}")


def assert_nothing_left(net):
    assert not devices(net) and not tables(net), net.host.ip("link") + nft(net, "list", "ruleset")
    assert not note_of(net).exists()
    assert "pst-" not in nft(net, "list", "ruleset")


@pytest.fixture(scope="module", autouse=True)
def _nothing_is_forwarded(net):
    """Here nobody else needs forwarding. Wires that files before this one have made turned it on, and want it back."""
    before = {name.replace("/", "__"): sysctl(net, name) for name in FORWARDING}
    net.host.sysctl(**dict.fromkeys(before, 0))
    yield
    net.host.sysctl(**before)


@pytest.fixture(autouse=True)
def _as_before(net):
    """Each test leaves the host as it was: no device, table, rule or note, and its sysctls."""
    values = [sysctl(net, name) for name in FORWARDING]
    yield
    assert [sysctl(net, name) for name in FORWARDING] == values
    assert_nothing_left(net)


@contextlib.contextmanager
def shell_inside(net, policy=None):
    """A command that waits, under `policy`; the device it is behind."""
    known = set(devices(net))
    with Running(net, postern_run(policy or ALLOW, ["sh", "-c", "echo up; cat"]), stdin=subprocess.PIPE) as run:
        run.await_line(lambda line: line == "up", "the command runs")
        run.device, = set(devices(net)) - known
        yield run
        run.process.stdin.close()
        assert run.wait() == 0, run.text()


def addresses(net, device):
    words = re.search(r"alias postern \S+ (.*)$", net.host.ip("-o", "link", "show", device), re.M)[1].split()
    return words[0], words[1]


# What passes and what does not

def test_what_is_allowed_arrives_from_the_hosts_addresses(net):
    tokens, since = [canary() for _ in range(4)], net.mark()
    net.clear_hits()
    calls = [flow(way, to, PORT, token) for (way, to), token in zip(
        [("tcp", ALLOWED4), ("tcp", ALLOWED6), ("udp", ALLOWED4), ("udp", ALLOWED6)], tokens)]
    done = sandboxed(net, ALLOW, ["sh", "-ec", "; ".join(" ".join(call) for call in calls)])
    assert done.code == 0 and len([op for op in done.ops if op == ("recv", "ok", op.ms)]) == 4, done
    for token in tokens:
        net.await_seen(token=token, since=since)
    assert [(way, source.removeprefix("::ffff:")) for way, source, *_ in net.hits] == [
        ("tcp", HOST4), ("tcp", HOST6), ("udp", HOST4), ("udp", HOST6)]
    assert not done.err, "nothing was blocked, so nothing is said: the kernel inside sends nothing by itself"


DENIALS = [("tcp", DENIED4, "connect", "ECONNREFUSED"), ("tcp", DENIED6, "connect", "ECONNREFUSED"),
           ("udp-connected", DENIED4, None, None), ("udp-connected", DENIED6, None, None)]


@pytest.mark.parametrize("policy,arrives", [(["--netns"], True), (ALLOW, False)], ids=["allowed", "denied"])
def test_what_is_denied_is_refused_at_once_and_does_not_arrive(net, policy, arrives):
    """The first is the control: the same calls by the same way, under a policy that allows them."""
    tokens, since = [canary() for _ in DENIALS], net.mark()
    argv = "; ".join("timeout 1 " + " ".join(flow(way, to, PORT, token))
                     for (way, to, *_), token in zip(DENIALS, tokens))
    done = sandboxed(net, policy, ["sh", "-c", argv])
    if arrives:
        for token in tokens:
            net.await_seen(token=token, since=since)
        return
    refused = [op for op in done.ops if op.name == "connect" and op.result == "ECONNREFUSED"]
    assert len(refused) == 2 and all(op.ms < AT_ONCE_MS for op in refused), done
    assert f"{DENIED4}:{PORT}/tcp" in done.err and f"[{DENIED6}]:{PORT}/udp" in done.err, done
    for token, (_, to, *_) in zip(tokens, DENIALS):
        assert_silence(net, since, token, to)


def test_names(net, resolvers, web, tmp_path):
    place, policy = place_of(net, tmp_path), ["--netns", "--allow", "v4.example.com"]
    place.assert_arrives(CLIENTS["curl"]("v4.example.com", 80, "CANARY"), policy=policy, dst=V4)
    asked = resolvers.mark()
    done = place.run(policy, CLIENTS["curl"]("other.example.net", 80, canary()))
    assert done.code == 6 and "other.example.net" in done.err, done
    assert not resolvers.questions("other.example.net", since=asked)


FRAME = """
import fcntl, ipaddress, socket, struct, sys
to, source, token = ipaddress.ip_address(sys.argv[1]), sys.argv[2], sys.argv[3].encode()
sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
sock.bind(("eth0", 0))
own = sock.getsockname()[4]
if source == "own":
    probe = socket.socket(socket.AF_INET if to.version == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
    probe.connect((str(to), 9))
    source = probe.getsockname()[0]
udp = struct.pack("!HHHH", 4000, 7000, 8 + len(token), 0)
if to.version == 4:
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28 + len(token), 1, 0, 64, 17, 0, socket.inet_aton(source), to.packed)
    sum = sum(struct.unpack("!10H", ip))
    sum = (sum & 0xffff) + (sum >> 16)
    ip = ip[:10] + struct.pack("!H", ~(sum + (sum >> 16)) & 0xffff) + ip[12:]
    ether = b"\\x08\\0"
else:
    source = ipaddress.ip_address(source).packed
    total = sum(struct.unpack("!16H", source + to.packed)) + 17 + 2 * (8 + len(token)) + 4000 + 7000
    padded = token + b"\\0" * (len(token) % 2)
    total += sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    udp = udp[:6] + struct.pack("!H", ~total & 0xffff or 0xffff)
    ip = struct.pack("!IHBB", 6 << 28, 8 + len(token), 17, 64) + source + to.packed
    ether = b"\\x86\\xdd"
sock.send(b"\\2pst\\0\\1" + own + ether + ip + udp + token)
print("sent")
"""


def test_frames_of_root_are_judged_like_packets(net):
    """AF_PACKET inside: what the policy allows arrives; a denied destination and a foreign source do not."""
    def send(policy, *frames):
        tokens, since = [canary() for _ in frames], net.mark()
        calls = "; ".join(f'"$0" "$1" "$2" {to} {source} {token}' for (to, source), token in zip(frames, tokens))
        done = sandboxed(net, policy, ["sh", "-c", calls, *script(FRAME)])
        assert done.out == "sent\n" * len(frames), done
        return done, tokens, since
    _, tokens, since = send(["--netns"], (DENIED4, "own"), (DENIED6, "own"))
    for token in tokens:
        net.await_seen(token=token, since=since)
    done, tokens, since = send(ALLOW, (DENIED4, "own"), (DENIED6, "own"), (ALLOWED4, "10.11.12.13"))
    for token in tokens:
        assert_silence(net, since, token)
    assert done.err.count("default-deny") == 2 and done.err.count("spoofed") == 1, done


def test_the_hosts_own_addresses_are_denied(net):
    calls = "; ".join(" ".join(flow("tcp", address, PORT, "x")) for address in (HOST4, HOST6))
    done = sandboxed(net, ["--netns"], ["sh", "-c", calls])
    assert [op.result for op in done.ops if op.name == "connect"] == ["ECONNREFUSED"] * 2, done
    assert done.err.count("always-denied:") == 2, done


def test_the_report_says_which_kind(net, tmp_path):
    path = tmp_path / "report.json"
    done = sandboxed(net, [*ALLOW, "-o", "json", "--report", path], flow("tcp", DENIED4, PORT, "x"))
    for report in (json.loads(done.err), json.loads(path.read_text())):
        assert (report["kind"], report["assurance"], report["blocked"]) == ("netdev", "strong", 1), report
        assert report["events"][0]["address"] == DENIED4 and report["exit"] == 1, report
    assert json.loads(sandboxed(net, ["-o", "json"], ["true"]).err)["kind"] == "cgroup"


@pytest.mark.parametrize("options,code,words", [
    (["--netns", "sh", "-c", "exit 7"], 7, ""), (["--netns", "/nowhere"], 127, "/nowhere"),
    (["--netns", "sh", "-c", "kill -9 $$"], 137, ""), (["--netns-pool", "10.1.0.0/16", "true"], 2, "--netns"),
    (["--netns", "--keep-privs", "true"], 2, "choose one"), (["--netns", "--netns-pool", "x", "true"], 2, "'x'"),
    (["--netns", "--netns-pool", "127.0.0.0/8", "true"], 2, "no range"),
    (["--netns", "--netns-pool", "10.1.0.0/16", "--netns-pool", "10.2.0.0/16", "true"], 2, "given already"),
])
def test_exit_codes(net, options, code, words):
    done = execute(net, [*postern_run([], [])[:2], *options])
    assert done.code == code and words in done.err, done


# What the command has

LOOK = """
import json, os, socket, subprocess
run = lambda *words: subprocess.run(words, capture_output=True, text=True).stdout
print(json.dumps({
    "devices": sorted(os.listdir("/sys/class/net")), "links": json.loads(run("ip", "-j", "link")),
    "four": json.loads(run("ip", "-j", "route")), "six": json.loads(run("ip", "-6", "-j", "route", "show", "default")),
    "resolv": open("/etc/resolv.conf").read(), "status": open("/proc/self/status").read(),
    "localhost": sorted({info[4][0] for info in socket.getaddrinfo("localhost", 80)}),
    "cgroup": os.path.exists("/sys/fs/cgroup/cgroup.procs") or len(os.listdir("/sys/fs/cgroup")) > 0,
}))
"""


def test_the_network_inside(net):
    """NET_RAW (13), over a user namespace's network; not NET_ADMIN (12), SYS_ADMIN, SYS_PTRACE, BPF, SYS_MODULE."""
    found = json.loads(sandboxed(net, ["--netns"], script(LOOK)).out)
    held = int(re.search(r"CapEff:\s*([0-9a-f]+)", found["status"])[1], 16)
    assert held >> 13 & 1
    assert not any(held >> n & 1 for n in (12, 16, 19, 21, 38, 39)), hex(held)
    assert found["devices"] == ["eth0", "lo"] and found["cgroup"], found
    links = {link["ifname"]: link for link in found["links"]}
    assert "UP" in links["lo"]["flags"] and "LOWER_UP" in links["eth0"]["flags"], found
    assert links["eth0"]["address"] == "02:70:73:74:00:02" and "link_netnsid" in links["eth0"], found
    assert [r["dst"] for r in found["four"]] == ["default"] and len(found["six"]) == 1, found
    assert "127.0.0.1" in found["localhost"], found


def test_root_has_raw_sockets_and_no_power_over_devices(net):
    """An ifb device gives frames back that no classifier behind the veth is asked about: nobody makes one inside."""
    control = Namespace("power")  # with NET_ADMIN all of it can be done
    try:
        for words in ("link add ifb9 type ifb", "route add 10.200.0.0/16 dev lo"):
            control.ip(*words.split())
    finally:
        control.close()
    done = sandboxed(net, ["--netns"], ["sh", "-c", "ip link add ifb9 type ifb && echo made; ip route add 10.200.0.0/16 dev lo "
                                        "&& echo routed; unshare -Ur ip link add ifb9 type ifb && echo made; "
                                        "tc qdisc add dev eth0 clsact && echo classed; ip -br link; stat -c %u /etc/passwd"])
    assert not re.search("made|routed|classed|ifb9", done.out) and done.out.endswith("\n0\n"), done
    done = sandboxed(net, ["--netns"], script("import socket; socket.socket(17, 3, 0); print('raw')"))
    assert done.out == "raw\n", done


def test_the_user_who_called_sudo_has_no_privileges_there_either(net):
    env = {"SUDO_UID": "65534", "SUDO_GID": "65534", "SUDO_USER": "nobody"}
    argv = " ".join(flow("tcp", ALLOWED4, PORT, "x")) + "; " + " ".join(flow("tcp", DENIED4, PORT, "x"))
    done = sandboxed(net, ALLOW, ["sh", "-c", f"id -u; grep CapEff /proc/self/status; {argv}"], env=env, cwd="/")
    assert done.out.split()[:3] == ["65534", "CapEff:", "0000000000000000"], done
    assert [op.result for op in done.ops if op.name == "connect"] == ["ok", "ECONNREFUSED"], done


NETLINK = """
import os, socket, struct, sys
def attr(kind, value):
    return struct.pack("HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)
def ask(kind, flags, body):
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    sock.send(struct.pack("IHHII", 16 + len(body), kind, flags, 1, 0) + body)
    answer = sock.recv(65536)
    ended = struct.unpack("H", answer[4:6])[0] in (2, 3)  # NLMSG_ERROR, NLMSG_DONE: an errno follows
    return os.strerror(-struct.unpack("i", answer[16:20])[0]) if ended else "answered"
link = struct.pack("BBHiII", 0, 0, 0, 0, 0, 0)
there = attr(46, struct.pack("i", 0))  # IFLA_TARGET_NETNSID: whose other end of eth0 it is
veth = attr(18, attr(1, b"veth\\0"))  # IFLA_LINKINFO, IFLA_INFO_KIND
print("list:", ask(18, 0x301, link + there))
print("make:", ask(16, 0x605, link + there + attr(3, b"pst-evil\\0") + veth))
try:
    fd = os.open(sys.argv[1], os.O_RDONLY)
    print("by file:", ask(16, 0x605, link + attr(28, struct.pack("i", fd)) + attr(3, b"pst-evil2\\0") + veth))
except OSError as error:
    print("by file:", error.strerror)
"""


def test_the_hosts_network_is_out_of_reach(net):
    """
    A veth's other end names the host's namespace (link-netnsid), and root of the same user namespace may list and make
    devices there: without a policy on them. The control does so; inside it is refused.
    """
    control = Namespace("reach")
    try:
        net.host.ip("link", "add", "ctl0", "type", "veth", "peer", "name", "eth0", "netns", control.name)
        control.ip("-o", "link")  # the number of the other namespace is given when somebody looks
        bounded = ["capsh", "--drop=cap_sys_admin,cap_sys_ptrace,cap_bpf", "--", "-c", '"$0" "$@"']
        done = subprocess.run(control.command(bounded + script(NETLINK, net.host.path)), capture_output=True,
                              text=True, check=False)
        assert done.stdout.splitlines() == ["list: answered", "make: Success", "by file: Success"], done
        assert "pst-evil" in net.host.ip("link")
    finally:
        for name in ("pst-evil", "pst-evil2", "ctl0"):
            subprocess.run(["ip", "-n", net.host.name, "link", "del", name], capture_output=True, check=False)
        control.close()
    done = sandboxed(net, ["--netns"], ["sh", "-c", 'ip -o link >/dev/null; exec "$@"', "sh",
                                        *script(NETLINK, net.host.path)])
    lines = done.out.splitlines()
    assert len(lines) == 3 and not re.search("answered|Success", done.out), done
    assert "pst-evil" not in net.host.ip("link")


SETNS = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
for path in sys.argv[1:]:
    try:
        fd = os.open(path, os.O_RDONLY)
        print(path, "entered" if libc.setns(fd, 0) == 0 else os.strerror(ctypes.get_errno()))
    except OSError as error:
        print(path, error.strerror)
"""


def test_no_way_into_the_hosts_namespaces(net):
    """The control: with the privileges of root outside, the first of them is entered."""
    targets = [net.host.path, "/proc/1/ns/net", "/proc/1/ns/user", "/proc/1/ns/mnt"]
    assert "entered" in execute(net, script(SETNS, *targets)).out.splitlines()[0]
    done = sandboxed(net, ["--netns"], script(SETNS, *targets))
    assert len(done.out.splitlines()) == len(targets) and "entered" not in done.out, done


def test_a_command_whose_device_is_removed_is_cut_off(net):
    """... and the run ends as it would otherwise. The command cannot remove it itself."""
    argv = " ".join(flow("tcp", ALLOWED4, PORT, "x"))
    since = net.mark()
    with Running(net, postern_run(ALLOW, ["sh", "-c", f"ip link del eth0 || echo stays; cat; {argv}"]),
                 stdin=subprocess.PIPE) as run:
        run.await_line(lambda line: line == "stays", "it has tried")
        net.host.ip("link", "del", *devices(net))
        run.process.stdin.close()
        run.wait()
        assert "ENETUNREACH" in run.text(), run.text()
    net.fence()
    assert not net.seen(dst=ALLOWED4, port=PORT, since=since)


def test_a_run_whose_device_is_gone_leaves_the_next_one_of_its_name_alone(net):
    pool = ["--netns", "--netns-pool", "10.77.0.9/32"]
    with Running(net, postern_run(pool, ["sh", "-c", "echo up; cat"]), stdin=subprocess.PIPE) as first:
        first.await_line(lambda line: line == "up", "the first runs")
        device, = devices(net)
        net.host.ip("link", "del", device)
        with shell_inside(net, pool) as second:
            assert second.device == device, "the pool has one address"
            first.process.stdin.close()
            first.wait()
            assert tables(net) == [device] == devices(net), "the rules of the second stand"
    assert not tables(net)


# Addresses

def test_two_runs_have_two_addresses_and_the_last_one_puts_back(net):
    argv = " ".join(flow("tcp", ALLOWED6, PORT, "x"))
    with shell_inside(net) as one:
        with Running(net, postern_run(ALLOW, ["sh", "-c", f"cat; {argv}"]), stdin=subprocess.PIPE) as two:
            until(lambda: len(tables(net)) == 2, "two run")
            device, = set(devices(net)) - {one.device}
            assert len(set(addresses(net, one.device) + addresses(net, device))) == 4
            two.process.stdin.close()
            assert two.wait() == 0, two.text()
        assert [sysctl(net, name) for name in FORWARDING] == ["1", "1"]
        assert devices(net) == tables(net) == [one.device]
    assert [sysctl(net, name) for name in FORWARDING] == ["0", "0"]


def test_a_pool_gives_each_address_once(net):
    pool = ["--netns", "--netns-pool", "10.77.0.0/31", "--netns-pool", "fd77::/64"]
    with shell_inside(net, pool) as one, shell_inside(net, pool) as two:
        taken = [addresses(net, run.device) for run in (one, two)]
        assert {four for four, _ in taken} == {"10.77.0.0", "10.77.0.1"}
        assert all(six.startswith("fd77::") for _, six in taken), taken
        done = sandboxed(net, pool, ["true"])
        assert done.code == 6 and "no address is free in 10.77.0.0/31" in done.err, done


@pytest.mark.parametrize("pool", ["192.0.2.0/28", "2001:db8:1::/120"])
def test_a_pool_that_the_host_uses_is_refused(net, pool):
    done = sandboxed(net, ["--netns", "--netns-pool", pool], ["true"])
    assert done.code == 6 and f"no address is free in {pool}: this host has " in done.err and "up0" in done.err, done
    assert "--netns-pool" in done.err, "it says what to do"


def test_a_default_pool_that_the_host_uses_is_passed_over(net):
    net.host.ip("route", "add", "blackhole", "198.18.0.0/15")
    try:
        with shell_inside(net) as run:
            assert addresses(net, run.device)[0].startswith("10.198.")
    finally:
        net.host.ip("route", "del", "blackhole", "198.18.0.0/15")


def test_a_host_without_one_family(net):
    net.host.ip("-6", "route", "del", "default")
    try:
        done = sandboxed(net, ALLOW, ["sh", "-c", " ".join(flow("tcp", ALLOWED4, PORT, "x")) + "; " +
                                      " ".join(flow("tcp", ALLOWED6, PORT, "x"))])
        assert [op.result for op in done.ops if op.name == "connect"] == ["ok", "ENETUNREACH"], done
    finally:
        net.host.ip("-6", "route", "add", "default", "via", "2001:db8:1::1", "dev", "up0")


# The host's firewall, forwarding and router advertisements

DROPS = {
    "docker": """table ip filter { chain FORWARD { type filter hook forward priority filter; policy drop; counter; }; }
        table ip6 filter { chain FORWARD { type filter hook forward priority filter; policy drop; counter; }; }""",
    "operator": "table inet pstfw { chain through { type filter hook forward priority 10; policy drop; }; }",
    "firewalld": """table inet firewalld { chain filter_FORWARD { type filter hook forward priority 10; policy accept;
        reject with icmpx admin-prohibited; }; }""",
}


@pytest.mark.parametrize("kind", DROPS)
def test_it_works_beside_a_firewall_that_drops(net, kind):
    subprocess.run(net.host.command(["nft", "-f", "-"]), input=DROPS[kind], text=True, check=True)
    try:
        before = re.sub(r"packets \d+ bytes \d+", "", nft(net, "list", "ruleset"))
        calls = " && ".join(" ".join(flow("tcp", to, PORT, "x")) for to in (ALLOWED4, ALLOWED6))
        assert sandboxed(net, ALLOW, ["sh", "-c", calls]).code == 0
        assert re.sub(r"packets \d+ bytes \d+", "", nft(net, "list", "ruleset")) == before
    finally:
        nft(net, "flush", "ruleset")


@pytest.mark.parametrize("program", ["iptables-legacy", "iptables-nft"])
def test_it_works_beside_iptables(net, program):
    """... which can still read its tables meanwhile."""
    def iptables(*words):
        return shell(*net.host.command([program, "-w", *words]))
    iptables("-P", "FORWARD", "DROP")
    try:
        argv = " ".join(flow("tcp", ALLOWED4, PORT, "x"))
        with Running(net, postern_run(ALLOW, ["sh", "-c", f"{argv}; cat"]), stdin=subprocess.PIPE) as run:
            run.await_line(lambda line: line.startswith("recv ok"), "what is allowed is answered")
            device, = devices(net)
            rules = iptables("-S", "FORWARD")
            assert re.search(f"-i {device} .*-j ACCEPT", rules) and f"-o {device} " in rules, rules
            run.process.stdin.close()
            assert run.wait() == 0, run.text()
        assert iptables("-S", "FORWARD").strip() == "-P FORWARD DROP"
    finally:
        iptables("-P", "FORWARD", "ACCEPT")
        subprocess.run(net.host.command(["nft", "flush", "ruleset"]), capture_output=True, check=False)


def test_nobody_beyond_the_host_opens_connections_to_it(net):
    """The control: the same without the run's own rule arrives."""
    with shell_inside(net, ["--netns"]) as run:
        address, _ = addresses(net, run.device)
        net.internet.ip("route", "add", f"{address}/32", "via", HOST4)

        def knock():
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
                sock.settimeout(0.3)
                try:
                    sock.connect((address, 9))
                except ConnectionRefusedError:
                    return "refused"
                except OSError:
                    return "silence"
                return "open"
        try:
            assert net.internet.call(knock) == "silence"
            nft(net, "flush", "chain", "inet", run.device, "forward")
            assert net.internet.call(knock) == "refused"
        finally:
            net.internet.ip("route", "del", f"{address}/32")


def test_what_forwarding_changes_along_is_put_back(net):
    """Turning it off resets every device's own, and what redirects are taken."""
    names = {"net/ipv4/conf/all/accept_redirects": "0", "net/ipv4/conf/up1/forwarding": "1",
             "net/ipv6/conf/up1/forwarding": "1"}
    before = {name: sysctl(net, name) for name in names}
    try:
        net.host.sysctl(**{name.replace("/", "__"): value for name, value in names.items()})
        with shell_inside(net):
            assert [sysctl(net, name) for name in FORWARDING] == ["1", "1"]
        assert {name: sysctl(net, name) for name in names} == names
    finally:
        net.host.sysctl(**{name.replace("/", "__"): value for name, value in before.items()})


def test_forwarding_that_was_on_stays_on(net):
    net.host.sysctl(net__ipv4__ip_forward=1)
    try:
        sandboxed(net, ALLOW, ["true"])
        assert [sysctl(net, name) for name in FORWARDING] == ["1", "0"]
    finally:
        net.host.sysctl(net__ipv4__ip_forward=0)


def test_forwarding_that_others_need_by_now_stays_on(net):
    """Docker turns it on when it starts, and does nothing when it is on already; then it adds its NAT."""
    with shell_inside(net):
        nft(net, "add table ip pstnat; add chain ip pstnat post { type nat hook postrouting priority 100; }")
    try:
        assert [sysctl(net, name) for name in FORWARDING] == ["1", "1"]
    finally:
        nft(net, "delete", "table", "ip", "pstnat")
        net.host.sysctl(net__ipv4__ip_forward=0, net__ipv6__conf__all__forwarding=0)


def advertise(device):
    """A router advertisement: a default router for half an hour."""
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as sock:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        index = socket.if_nametoindex(device)
        sock.sendto(struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0), ("ff02::1", 0, 0, index))


def test_the_route_of_router_advertisements_is_kept(net):
    """The control: forwarding that is turned on as everybody does loses it."""
    def learned():
        return "proto ra" in net.host.ip("-6", "route", "show", "default", "dev", "up1")

    def learn():
        until(lambda: "fe80:" in net.internet.ip("-6", "address", "show", "in1", "-tentative"), "a router")
        net.internet.call(advertise, "in1")
        until(learned, "the host has the route")
    net.host.sysctl(net__ipv6__conf__up1__accept_ra=1)
    try:
        learn()
        net.host.sysctl(net__ipv6__conf__all__forwarding=1)
        until(lambda: not learned(), "the control loses it")
        net.host.sysctl(net__ipv6__conf__all__forwarding=0)
        learn()
        with shell_inside(net):
            assert sysctl(net, "net/ipv6/conf/all/forwarding") == "1" and learned()
            assert sysctl(net, "net/ipv6/conf/up1/accept_ra") == "2"
        assert sysctl(net, "net/ipv6/conf/up1/accept_ra") == "1" and learned()
    finally:
        net.host.sysctl(net__ipv6__conf__all__forwarding=0, net__ipv6__conf__up1__accept_ra=0)
        subprocess.run(["ip", "-n", net.host.name, "-6", "route", "del", "default", "dev", "up1"], check=False,
                       capture_output=True)


# Resolvers

STUB = ('mount --make-rprivate / && mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/resolve && '
        'printf "%s" "$0" >/run/systemd/resolve/resolv.conf && '
        'printf "nameserver 127.0.0.53\\noptions edns0\\nsearch corp.example\\n" >/run/systemd/resolve/stub-resolv.conf '
        '&& mount --bind /run/systemd/resolve/stub-resolv.conf /etc/resolv.conf && exec "$@"')


def behind_stub(upstream):
    return lambda argv: ["unshare", "-m", "sh", "-c", STUB, upstream, *argv]


def test_a_stub_is_replaced_by_what_it_asks(net):
    upstream = "# of this host\nnameserver 127.0.0.1\nnameserver 8.8.8.8\nnameserver fe80::1%up0\nnameserver 8.8.4.4\n"
    done = sandboxed(net, ["--netns", "--resolver", "9.9.9.9"], ["cat", "/etc/resolv.conf"],
                     wrap=behind_stub(upstream))
    assert done.out == ("nameserver 9.9.9.9\nnameserver 8.8.8.8\nnameserver 8.8.4.4\noptions edns0\n"
                        "search corp.example\n"), done


def test_the_resolvers_inside_are_the_trusted_ones(net):
    """A name needs a trusted resolver, and the question is asked of the one behind the stub."""
    since = net.mark()
    done = sandboxed(net, ["--netns", "--allow", "example.com"], ["getent", "ahostsv4", "example.com"],
                     wrap=behind_stub("nameserver 8.8.8.8\n"))
    assert ALLOWED4 in done.out, done
    assert net.seen(dst="8.8.8.8", port=53, since=since)


def test_no_resolver_that_can_be_reached_is_an_error(net):
    done = sandboxed(net, ["--netns"], ["true"], wrap=behind_stub(""))
    assert done.code == 125 and "--resolver" in done.err, done
    done = sandboxed(net, ["--netns", "--resolver", "9.9.9.9"], ["cat", "/etc/resolv.conf"], wrap=behind_stub(""))
    assert done.code == 0 and done.out.startswith("nameserver 9.9.9.9\n"), done


# Order, failure, and the end

def test_the_device_is_up_only_when_the_policy_is_in_force(net, tmp_path):
    """Links, the record, the device up, the command; told by the system calls."""
    trace = tmp_path / "trace"
    execute(net, ["strace", "-f", "-o", str(trace), "-e", "trace=bpf,sendto,clone3,execve", *postern_run(ALLOW, ["true"])])
    lines = trace.read_text().splitlines()

    def at(pattern, nth=0):
        return [n for n, line in enumerate(lines) if re.search(pattern, line)][nth]
    flip = at("BPF_MAP_UPDATE_ELEM.*key=.*value=", -1)
    up = at(r"RTM_NEWLINK.*IFF_UP\|IFF_NOARP", -1)
    assert at("BPF_LINK_CREATE|BPF_PROG_ATTACH|RTM_NEWTFILTER", -1) < up, "attached before"
    assert flip < up < at("NFT_MSG_NEWTABLE") < at('execve\\("[^"]*/true"'), "in force before, the command last"


def test_it_says_why_it_does_not_work_here(net):
    """Where no user namespace may be made: doctor and run."""
    refuse = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=unshare", "-e", "inject=unshare:error=ENOSPC"]
    done = execute(net, [*refuse, *postern_run(["--netns"], ["true"])])
    assert done.code == 6 and "user.max_user_namespaces" in done.err, done
    doctor = [postern_run([], [])[0], "doctor"]
    line, = [text for text in execute(net, doctor).out.splitlines() if " run --netns " in text]
    assert line.startswith("ok ") and "IPv4 and IPv6" in line
    done = execute(net, [*refuse, *doctor])
    assert re.search("^warning +run --netns +.*user.max_user_namespaces", done.out, re.M), done


def test_killed_at_any_moment_it_leaves_nothing_to_the_next(net):
    """The first as soon as it has changed something on the host; the others before that, and after."""
    pids, took_s = [], None
    for part in (None, .4, .6, .8, 1, 1.2):
        start = time.monotonic()
        run = subprocess.Popen(net.host.command(postern_run(ALLOW, ["sleep", "0.1"])), stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
        if part is None:
            until(lambda: note_of(net).exists(), "it changes something")
            took_s = time.monotonic() - start
        else:
            with contextlib.suppress(subprocess.TimeoutExpired):
                run.wait(took_s * part)
        run.kill()
        run.wait()
        pids.append(run.pid)
    until(lambda: not devices(net), "devices go with their namespaces")
    sandboxed(net, ["--netns"], ["true"])
    assert_nothing_left(net)
    assert not [name for pid in pids for name in PINS.glob(f"run-{pid}-*")]


def listen_slowly():
    server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    server.bind((ALLOWED4, 0))
    server.listen()
    server.settimeout(20)
    return server


def test_what_is_left_to_send_is_sent(net):
    """CMD ends at once after close(): the kernel still has its data, and the other side begins to read only then."""
    token = canary().encode()
    text = ("import socket, sys\ns = socket.socket()\ns.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 18)\n"
            "s.connect((sys.argv[1], int(sys.argv[2])))\ns.sendall(b'.' * 100000 + sys.argv[3].encode())")
    with net.internet.call(listen_slowly) as server:
        argv = script(text, ALLOWED4, server.getsockname()[1], token.decode())
        with Running(net, postern_run(ALLOW, argv)) as run:
            with server.accept()[0] as client:
                children = Path(f"/proc/{run.pid}/task/{run.pid}/children")
                until(lambda: not children.read_text().strip(), "the command has ended")
                data = b""
                while chunk := client.recv(65536):
                    data += chunk
            assert len(data) == 100000 + len(token) and data.endswith(token)
            assert run.wait() == 0, run.text()


def test_a_killed_run_is_judged_until_it_is_swept(net):
    argv = f"echo up $$; while read line; do {' '.join(flow('tcp', DENIED4, PORT, 'x'))}; " \
           f"{' '.join(flow('tcp', ALLOWED4, PORT, 'x'))}; echo asked; done"
    with Running(net, postern_run(ALLOW, ["sh", "-c", argv]), stdin=subprocess.PIPE) as run:
        run.await_line(lambda line: line.startswith("up"), "the command runs")
        cgroup = cgroup_of(child_of(run.pid))
        name, since = cgroup.rsplit("/", 1)[1], net.mark()
        run.process.send_signal(signal.SIGKILL)
        run.process.wait()
        sandboxed(net, [], ["true"])  # a sweep, and nothing of it is swept
        assert devices(net) and tables(net) and (PINS / name).exists()
        run.process.stdin.write("\n")
        run.process.stdin.flush()
        run.await_line(lambda line: line == "asked", "it goes on", 5) if run.process.poll() is None else \
            until(lambda: "asked" in run.lines, "it goes on")
        assert [op.result for op in run.ops() if op.name == "connect"] == ["ECONNREFUSED", "ok"], run.text()
        assert_silence(net, since, "no such token", DENIED4)
        run.process.stdin.close()
    until(lambda: not devices(net), "its device goes with the command")
    sandboxed(net, [], ["true"])
    assert not (PINS / name).exists() and not Path(cgroup2_mount() + cgroup).exists()
    assert [sysctl(net, key) for key in FORWARDING] == ["0", "0"]
    assert_nothing_left(net)
