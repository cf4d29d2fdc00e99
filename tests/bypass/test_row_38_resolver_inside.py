# SPDX-License-Identifier: MIT
"""Row 38: the resolver's address taken by the sandbox itself: on lo, in namespaces of its own, beside a stub, on a tun."""

import contextlib

import pytest

from captive import Captive
from crafted import RESOLVER4
from dnsrows import GOOD, NAMED, assert_reached, assert_shut
from internet import PORT
from postern import sandboxed
from wait import until

FORGED = "93.184.38.66"
STUB = "127.0.0.53"
STUB_POLICY = ["--resolver", STUB, "--allow", f"{GOOD}:{PORT}"]

# Answers each question that it gets on RESOLVER port 53 with FORGED; and asks itself. Needs nothing but the address.
SERVE = """
import socket, struct, sys
def server(address, options=()):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for option in options:
        sock.setsockopt(socket.SOL_SOCKET, option, 1)
    sock.bind((address, 53))
    sock.settimeout(3)
    return sock
def reply_to(data, answer):
    end = data.index(b"\\0", 12) + 5
    return (data[:2] + b"\\x81\\x80\\0\\1\\0\\1\\0\\0\\0\\0" + data[12:end] + b"\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\x3c\\0\\4" +
            socket.inet_aton(answer))
def question(name):
    return (b"\\x42\\x42\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0" + b"".join(bytes([len(l)]) + l.encode() for l in name.split(".")) +
            b"\\0\\0\\1\\0\\1")
"""

# Asks itself; the reply comes from the same process.
ASK_ONESELF = SERVE + """
options = [socket.SO_REUSEADDR, socket.SO_REUSEPORT] if share else []
try:
    stub = server(resolver, options)
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.settimeout(3)
    client.sendto(question(name), (resolver, 53))
    if share:  # the question may have gone to the stub: what it is, is known
        stub.sendto(reply_to(question(name), forged), (source or resolver, client.getsockname()[1]))
    else:
        data, peer = stub.recvfrom(512)
        stub.sendto(reply_to(data, forged), peer)
    got = []
    try:
        for n in range(2):
            client.settimeout(1)
            got.append(socket.inet_ntoa(client.recv(512)[-4:]))
    except OSError:
        pass
    out = got
except OSError as error:
    out = errno.errorcode[error.errno] if "errno" in globals() else str(error)
"""


def ask_oneself(who, resolver, *, share=False, source=None):
    """The addresses in the replies that the sandbox's own client got, or the error that stood in the way."""
    return who.script(code=ASK_ONESELF, resolver=resolver, name=GOOD, forged=FORGED, share=share, source=source)


@pytest.fixture
def privileged(net):
    with Captive(net, ["--keep-privs", *NAMED]) as box:
        yield box


def borrow(net, address):
    net.host.ip("addr", "add", f"{address}/32", "dev", "lo")


def give_back(net, address):
    net.host.ip("addr", "del", f"{address}/32", "dev", "lo")


@pytest.fixture
def own_address(net):
    """The resolver's address is one of lo: as a privileged sandbox can have it."""
    borrow(net, RESOLVER4)
    yield RESOLVER4
    give_back(net, RESOLVER4)


@contextlib.contextmanager
def on_lo(net, who, address):
    """The address is one of the lo that `who` has, which may be the host's."""
    if net.kind.name == "cgroup":
        borrow(net, address)
        yield
        give_back(net, address)
        return
    for what in ("add", "del"):
        assert who.run(argv=["ip", "addr", what, f"{address}/32", "dev", "lo"])[0] == 0
        if what == "add":
            yield


def test_on_lo(net, free, privileged):
    with on_lo(net, free, RESOLVER4):
        assert ask_oneself(free, RESOLVER4) == [FORGED]
    with on_lo(net, privileged, RESOLVER4):
        ask_oneself(privileged, RESOLVER4)
    assert not privileged.leases(), privileged.replies()
    assert_shut(net, privileged, free, FORGED)


def test_on_lo_without_privileges(net, own_address, free, named):
    ask_oneself(named, own_address)
    assert not named.leases(), named.replies()
    assert_shut(net, named, free, FORGED)


@pytest.fixture
def stub(net):
    """A resolver of the host on a loopback address, which shares its port; it answers nothing until it is told."""
    with Captive(net, None) as server:
        server.script(code=SERVE + """
sockets["stub"] = server(resolver, [socket.SO_REUSEADDR, socket.SO_REUSEPORT] if share else [])
""", resolver=STUB, share=True)
        yield server


ANSWER = SERVE + """
data, peer = sockets["stub"].recvfrom(512)
sockets["stub"].sendto(reply_to(data, answer), peer)
"""


def test_the_hosts_stub_teaches(net, stub):
    """The control: somebody outside answers on lo."""
    with Captive(net, STUB_POLICY) as box:
        box.open_socket(bind=["127.0.0.1", 0])
        box.script(code=SERVE + "sockets['s'].sendto(question(name), (resolver, 53))", name=GOOD, resolver=STUB)
        stub.script(code=ANSWER, answer=FORGED)
        until(lambda: FORGED in box.leases(), f"it is learned: {box.replies()}", 3)
        assert_reached(net, box, FORGED)


@pytest.mark.parametrize("options", [["--keep-privs"], []])
@pytest.mark.parametrize("how", ["both", "addr", "port"])
def test_beside_a_stub(net, stub, free, options, how):
    """
    The sandbox binds port 53 of the stub's address as well and answers itself. The stub, which is outside, is what a
    lookup of the resolver's address may find.
    """
    share = {"both": "[socket.SO_REUSEADDR, socket.SO_REUSEPORT]", "addr": "[socket.SO_REUSEADDR]",
             "port": "[socket.SO_REUSEPORT]"}[how]
    code = SERVE + f"""
try:
    forger = server(resolver, {share})
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.bind(("127.0.0.1", 0))
    client.sendto(question(name), (resolver, 53))
    out = tried(forger.sendto, reply_to(question(name), forged), client.getsockname())
    client.settimeout(0.5)
    try:
        out += " " + socket.inet_ntoa(client.recv(512)[-4:])
    except OSError:
        out += " silence"
except OSError as error:
    out = "bind " + errno.errorcode[error.errno]
"""
    arguments = {"code": code, "resolver": STUB, "name": GOOD, "forged": FORGED}
    if how == "both":  # which the stub asks for, so that the bind works
        assert free.script(**arguments) == "ok " + FORGED
    with Captive(net, [*options, *STUB_POLICY]) as box:
        box.script(**arguments)
        assert not box.leases(), box.replies()
        assert_shut(net, box, free, FORGED)


@pytest.mark.parametrize("policy", [["--resolver", STUB], ["--resolver", STUB, "--allow", "93.184.0.0/16"], STUB_POLICY])
def test_another_sandbox_beside_the_stub(net, stub, free, policy):
    """
    An accomplice in another sandbox, with or without names, forges the stub's replies to the connected socket of one with
    names. For that one it is somebody outside; but what it sends carries a resolver's address.
    """
    code = SERVE + """
try:
    forger = server(resolver, [socket.SO_REUSEADDR, socket.SO_REUSEPORT])
    out = tried(forger.sendto, reply_to(question(name), forged), ("127.0.0.1", port))
except OSError as error:
    out = "bind " + errno.errorcode[error.errno]
"""
    for accomplice_policy in (None, policy):
        with Captive(net, STUB_POLICY) as box, Captive(net, accomplice_policy) as accomplice:
            box.open_socket(bind=["127.0.0.1", 0])
            assert box.connect(to=[STUB, 53]) == "ok"
            box.script(code=SERVE + "sockets['s'].send(question(name))", name=GOOD)
            result = accomplice.script(code=code, resolver=STUB, name=GOOD, forged=FORGED, port=box.port_of())
            if accomplice_policy is None:
                # The host's own processes can be its resolver; and this one's reply is right in all.
                assert result == "ok" and FORGED in box.leases(), box.replies()
                continue
            assert result != "ok" and not box.leases(), (result, box.replies())
            assert_shut(net, box, free, FORGED)


@pytest.mark.parametrize("options", [["--keep-privs"], []])
def test_a_stub_that_is_gone(net, free, options):
    """Nobody is on the stub's port but the sandbox."""
    assert ask_oneself(free, STUB) == [FORGED]
    with Captive(net, [*options, *STUB_POLICY]) as box:
        ask_oneself(box, STUB)
        assert not box.leases(), box.replies()
        assert_shut(net, box, free, FORGED)


@pytest.mark.parametrize("options", [["--keep-privs"], []])
def test_the_forger_has_closed_before_the_reply_is_read(net, free, options):
    """The reply waits in a closed socket's wake: nothing listens on the resolver's port when it arrives."""
    code = SERVE + """
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.bind(("127.0.0.1", 0))
client.sendto(question(name), (resolver, 53))
forger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
forger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
out = tried(forger.bind, (resolver, 53))
forger.setsockopt(17, 1, 1)  # UDP_CORK: the datagram leaves as the socket closes
forger.sendto(reply_to(question(name), forged), client.getsockname())
forger.close()
"""
    arguments = {"code": code, "resolver": STUB, "name": GOOD, "forged": FORGED}
    with Captive(net, [*options, *STUB_POLICY]) as box:
        try:
            box.script(**arguments)
        except AssertionError:
            pass  # refused on the way is as good
        assert not box.leases(), box.replies()
        assert_shut(net, box, free, FORGED)


@pytest.mark.parametrize("options", [["--keep-privs"], []])
def test_a_source_written_with_a_control_message(net, stub, free, options):
    """IP_PKTINFO chooses the source address; the port is the forger's own: 53 of another address."""
    code = SERVE + """
try:
    forger = server("127.0.0.77")
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.bind(("127.0.0.1", 0))
    client.sendto(question(name), (resolver, 53))
    info = b"\\0" * 4 + socket.inet_aton(resolver) + b"\\0" * 4
    out = tried(forger.sendmsg, [reply_to(question(name), forged)], [(0, 8, info)], 0, client.getsockname())
    client.settimeout(0.5)
    try:
        data, peer = client.recvfrom(512)
        out += f" {peer[0]} {peer[1]}"
    except OSError:
        out += " silence"
except OSError as error:
    out = errno.errorcode[error.errno]
"""
    arguments = {"code": code, "resolver": STUB, "name": GOOD, "forged": FORGED}
    assert free.script(**arguments) == f"ok {STUB} 53"
    with Captive(net, [*options, *STUB_POLICY]) as box:
        box.script(**arguments)
        assert not box.leases(), box.replies()
        assert_shut(net, box, free, FORGED)


NAMESPACE = "exec(sys.argv[1])"
IN_NAMESPACES = SERVE + """
import os, subprocess, time
def sh(*argv): subprocess.run(argv, check=True)
sh("ip", "link", "set", "lo", "up")
if way == "lo":
    sh("ip", "addr", "add", resolver + "/32", "dev", "lo")
else:
    r, w = os.pipe()
    child = os.fork()
    if not child:
        os.unshare(os.CLONE_NEWNET) if hasattr(os, "unshare") else __import__("ctypes").CDLL(None).unshare(0x40000000)
        os.write(w, b"x")
        for n in range(200):
            if subprocess.run(["ip", "link", "show", "far"], capture_output=True).returncode == 0:
                break
            time.sleep(0.01)
        sh("ip", "addr", "add", resolver + "/32", "dev", "far")
        sh("ip", "link", "set", "far", "up")
        sh("ip", "route", "add", "192.0.2.2/32", "dev", "far")
        stub = server(resolver)
        data, peer = stub.recvfrom(512)
        stub.sendto(reply_to(data, forged), peer)
        os._exit(0)
    os.read(r, 1)
    sh("ip", "link", "add", "near", "type", "veth", "peer", "name", "far", "netns", str(child))
    sh("ip", "addr", "add", "192.0.2.2/32", "dev", "near")
    sh("ip", "link", "set", "near", "up")
    sh("ip", "route", "add", resolver + "/32", "dev", "near")
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.settimeout(0.2)
if way == "lo":
    stub = server(resolver)
answer = None
for n in range(20):
    try:
        client.sendto(question(name), (resolver, 53))
        if way == "lo":
            data, peer = stub.recvfrom(512)
            stub.sendto(reply_to(data, forged), peer)
        answer = client.recv(512)
        break
    except OSError as error:
        answer = None
        time.sleep(0.02)
print("answered" if answer and answer[-4:] == socket.inet_aton(forged) else "silence")
"""


@pytest.mark.parametrize("way", ["lo", "veth"])
@pytest.mark.parametrize("options", [["--keep-privs"], []])
def test_in_namespaces_of_its_own(net, free, options, way):
    """There the sandbox may have every address and device; the packets never were in the recorded namespace."""
    code = f"resolver, name, forged, way = {RESOLVER4!r}, {GOOD!r}, {FORGED!r}, {way!r}\n" + IN_NAMESPACES
    argv = ["unshare", "-Urn", "/usr/bin/python3", "-c", code]
    done = free.run(argv=argv)
    assert done[1].strip() == "answered", done
    with Captive(net, [*options, *NAMED]) as box:
        box.run(argv=argv)
        assert not box.leases(), box.replies()
        assert_shut(net, box, free, FORGED)


TUN = SERVE + """
import fcntl, os, struct, subprocess
try:
    tun = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tun, 0x400454CA, struct.pack("16sH22x", b"forge0", 0x1001))
    own = [("addr", "add", source + "/32", "dev", "forge0")] if source else []
    for argv in (*own, ("link", "set", "forge0", "up"), ("route", "add", resolver + "/32", "dev", "forge0")):
        subprocess.run(["ip", *argv], check=True)
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.sendto(question(name), (resolver, 53))
    while True:
        packet = os.read(tun, 2048)
        if packet[0] == 0x45 and packet[9] == 17:
            break
    body = reply_to(packet[28:], forged)
    head = bytearray(packet[:20])
    head[12:16], head[16:20] = packet[16:20], packet[12:16]
    head[2:4] = struct.pack("!H", 28 + len(body))
    head[10:12] = b"\\0\\0"
    total = sum(struct.unpack("!10H", bytes(head)))
    total = (total & 0xffff) + (total >> 16)
    head[10:12] = struct.pack("!H", ~((total & 0xffff) + (total >> 16)) & 0xffff)
    os.write(tun, bytes(head) + packet[22:24] + packet[20:22] + struct.pack("!HH", 8 + len(body), 0) + body)
    client.settimeout(2)
    out = socket.inet_ntoa(client.recv(512)[-4:])
    os.close(tun)
except OSError as error:
    out = errno.errorcode[error.errno]
"""


def test_a_tun_device_needs_a_privilege_that_is_gone(net, free, named):
    arguments = {"code": TUN, "resolver": RESOLVER4, "name": GOOD, "forged": FORGED, "source": None}
    assert free.script(**arguments) == FORGED
    assert named.script(**arguments) in ("EPERM", "ENOENT", "EACCES")
    assert not named.leases()
    assert_shut(net, named, free, FORGED)


@pytest.mark.parametrize("options", [["--keep-privs"], []])
def test_a_tun_device_in_namespaces_of_its_own(net, free, options):
    """There it may make one; what comes in by it was sent through no hook, but never was in the recorded namespace."""
    code = (f"import errno\nresolver, name, forged, source = {RESOLVER4!r}, {GOOD!r}, {FORGED!r}, '192.0.2.2'\n" + TUN +
            "\nprint(out)")
    argv = ["unshare", "-Urn", "/usr/bin/python3", "-c", code]
    done = free.run(argv=argv)
    assert done[1].strip() == FORGED, done
    with Captive(net, [*options, *NAMED]) as box:
        done = box.run(argv=argv)
        assert done[1].strip() in (FORGED, "EPERM", "EACCES", "ENOENT"), done
        assert not box.leases(), box.replies()
        assert_shut(net, box, free, FORGED)


WEAK = pytest.mark.xfail(strict=True, reason="CAP_NET_ADMIN in the uplink's namespace: --keep-privs says that it is weak")


def test_a_tun_device_with_that_privilege(request, net, privileged):
    """
    Its packets come in by a real device of the recorded namespace: in the cgroup kind nothing tells them from a resolver's.
    By the sandbox's own device they never come.
    """
    if net.kind.name == "cgroup":
        request.applymarker(WEAK)
    privileged.script(code=TUN, resolver=RESOLVER4, name=GOOD, forged=FORGED, source=None)
    assert not privileged.leases(), privileged.replies()


def test_keep_privs_says_so(net):
    done = sandboxed(net, ["--keep-privs", *NAMED], ["true"])
    assert "weak" in done.err, done
