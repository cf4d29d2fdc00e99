# SPDX-License-Identifier: MIT
"""Plays the starter of postern-relay: the real program over its socketpair, with listeners and a map of origins of the
test's own (no program of ours runs in the kernel). include/pst_relay.h says what the bytes mean."""
import array
import contextlib
import ctypes
import errno
import fcntl
import ipaddress
import os
import select
import socket
import struct
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = (ROOT / os.environ.get("B", "build") / "postern-relay").resolve()
TYPES = {"HELLO": 1, "SANDBOX": 2, "DROP": 3, "LEASED": 4, "SIGNED": 5, "READY": 16, "APPLIED": 17, "LEASE": 18,
         "SIGN": 19, "EVENT": 20, "COUNT": 21, "CA": 22}
NAMES = {number: name for name, number in TYPES.items()}
STRICT, GATED, AUDIT = 1, 2, 4
STEP_RESOLVER, STEP_NAME, STEP_CIDR, STEP_DEFAULT = 6, 9, 8, 11
LEASE, HOST_NAME, ALLOW_RULE = 38, 39, 32
HEADER = struct.Struct("=IIQQ")
NOBODY = 65534
NAME_SIZE = 256
DEADLINE_S = 30

libc = ctypes.CDLL(None, use_errno=True)
BPF_MAP_CREATE, BPF_MAP_LOOKUP_ELEM, BPF_MAP_UPDATE_ELEM = 0, 1, 2
SYS_BPF = {"x86_64": 321, "aarch64": 280}[os.uname().machine]


def mapped(address):
    address = ipaddress.ip_address(address)
    if address.version == 4:
        return b"\0" * 10 + b"\xff\xff" + address.packed
    return address.packed


def fixed(text, size=NAME_SIZE):
    return text.encode().ljust(size, b"\0")


def bpf(command, attributes):
    attributes = ctypes.create_string_buffer(attributes.ljust(128, b"\0"))
    result = libc.syscall(SYS_BPF, command, attributes, 128)
    if result < 0:
        raise OSError(ctypes.get_errno(), "bpf")
    return result


class Origins:
    """A map like a sandbox's inner map of pst_origins."""

    def __init__(self):
        self.fd = bpf(BPF_MAP_CREATE, struct.pack("=IIIII", 1, 24, 312, 1024, 0))

    def put(self, source, target, sandbox, **said):
        """source, target: (address, port). said: step, reason, rule, generation, name."""
        key = mapped(source[0]) + struct.pack("=H6x", source[1])
        name = said.get("name", "")
        back = name[::-1].encode() + b"\0" if name else b""
        now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        value = struct.pack("=QQQ16sHBBI", sandbox, said.get("generation", 1), now, mapped(target[0]), target[1],
                            said.get("step", STEP_CIDR), said.get("reason", ALLOW_RULE), said.get("rule", 1))
        value += struct.pack("=I256s4x", 8 * len(back), back)
        key, value = ctypes.create_string_buffer(key, 24), ctypes.create_string_buffer(value, 312)
        bpf(BPF_MAP_UPDATE_ELEM, struct.pack("=I4xQQQ", self.fd, ctypes.addressof(key), ctypes.addressof(value), 0))

    def has(self, source):
        key = ctypes.create_string_buffer(mapped(source[0]) + struct.pack("=H6x", source[1]), 24)
        value = ctypes.create_string_buffer(312)
        try:
            bpf(BPF_MAP_LOOKUP_ELEM, struct.pack("=I4xQQQ", self.fd, ctypes.addressof(key), ctypes.addressof(value), 0))
        except OSError:
            return False
        return True


def item(kind, data):
    return struct.pack("=II", kind, len(data)) + data + b"\0" * (-len(data) % 8)


def policy(generation=1, flags=0, resolvers=(), closed=(), opened=(), names=(), proxy=None, transforms=()):
    """names: (rule, pattern, first, last); proxy: (host, port[, user, password]); transforms: (pattern, {name: value})."""
    out = item(1, struct.pack("=QIIII", generation, flags, 0, 3600, 0))
    for resolver in resolvers:
        out += item(2, mapped(resolver))
    for kind, networks in ((3, closed), (4, opened)):
        for network in map(ipaddress.ip_network, networks):
            bits = network.prefixlen + (96 if network.version == 4 else 0)
            out += item(kind, struct.pack("=16sII", mapped(network.network_address), bits, 0))
    for rule, pattern, first, last in names:
        wildcard = pattern.startswith("*")
        out += item(5, struct.pack("=IHHBBB5x", rule, first, last, 3, wildcard, 0) +
                    fixed(pattern[2:] if wildcard else pattern))
    if proxy:
        host, port, user, password = (*proxy, "", "")[:4]
        out += item(6, fixed(host) + fixed(user) + fixed(password) + struct.pack("=H6x", port))
    for pattern, headers in transforms:
        wildcard = pattern.startswith("*")
        out += item(7, struct.pack("=B7x", wildcard) + fixed(pattern[2:] if wildcard else pattern))
        for name, value in headers.items():
            name, value = name.encode() + b"\0", value.encode() + b"\0"
            out += item(8, struct.pack("=II", len(name), len(value)) + name + value)
    return out


def sealed(data, seal=True):
    fd = os.memfd_create("policy", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, data)
    if seal:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE)
    return fd


class Starter:
    """A relay and the other end of its socketpair."""

    def __init__(self, program=None, uid=NOBODY, **limits):
        self.end, child = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.seq = 0
        self.heard = []

        def become():
            os.dup2(child.fileno(), 3)
            os.set_inheritable(3, True)
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)

        self.process = subprocess.Popen([program or PROGRAM], stdin=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE, preexec_fn=become, close_fds=False, env={})
        child.close()
        self.hello(**limits)
        self.wait("READY")

    def hello(self, connections=0, head_bytes=0, head_ms=0, idle_ms=0, dial_ms=0, total=0, version=1):
        self.send("HELLO", struct.pack("=8I", version, connections, head_bytes, head_ms, idle_ms, dial_ms, total, 0))

    def send(self, kind, body=b"", sandbox=0, fds=(), seq=0):
        message = HEADER.pack(TYPES[kind], HEADER.size + len(body), sandbox, seq) + body
        self.raw(message, fds)

    def raw(self, message, fds=()):
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.end.sendmsg([message], rights)

    def read(self, timeout_s):
        """One message as (type, sandbox, seq, body), or None."""
        if not select.select([self.end], [], [], max(timeout_s, 0))[0]:
            return None
        data = self.end.recv(8192)
        if not data:
            raise EOFError("the relay is gone")
        kind, size, sandbox, seq = HEADER.unpack_from(data)
        assert size == len(data)
        self.heard.append((NAMES[kind], sandbox, seq, data[HEADER.size:]))
        return self.heard[-1]

    def wait(self, kind, check=lambda body: True, timeout_s=DEADLINE_S):
        """The body of the first message of that type that has not been taken yet and that `check` likes."""
        end = time.monotonic() + timeout_s
        while True:
            for message in self.heard:
                if message[0] == kind and check(message[3]):
                    self.heard.remove(message)
                    return message[3]
            assert self.read(end - time.monotonic()) or time.monotonic() < end, f"no {kind} within {timeout_s} s"

    def event(self, **wanted):
        return self.wait("EVENT", lambda body: wanted.items() <= event(body).items())

    def sandbox(self, number, listeners=None, **said):
        return Sandbox(self, number, listeners, **said)

    def close(self):
        """Once is enough; what it said is in .stderr then."""
        self.end.close()
        self.process.wait(DEADLINE_S)
        if self.process.stderr.closed:
            return
        self.stderr = self.process.stderr.read().decode()
        self.process.stderr.close()


def event(body):
    address, port, protocol, verdict, reason, step, rule, lost, name = struct.unpack("=16sHBBBB2xII256s", body)
    return {"address": address, "port": port, "verdict": verdict, "reason": reason, "step": step, "rule": rule,
            "lost": lost, "name": name.split(b"\0")[0].decode()}


class Refused:
    """A connection that was reset at once."""

    def __getattr__(self, name):
        raise ConnectionResetError(errno.ECONNRESET, name)


class Sandbox:
    """A sandbox of that relay's, with a listener and origins."""

    def __init__(self, starter, number, listeners=None, device=0, **said):
        self.starter, self.number, self.device = starter, number, device
        self.origins = Origins()
        self.listener = listeners or socket.create_server(("127.0.0.1", 0), backlog=512)
        self.at = self.listener.getsockname()
        self.apply(fds=[self.listener.fileno(), self.origins.fd], sockets=1 | 16, **said)

    def apply(self, fds=(), sockets=0, **said):
        """Sends a policy, and returns how many sessions ended by it."""
        body = struct.pack("=QII", said.get("generation", 1), sockets, self.device)
        fd = sealed(policy(**said))
        self.starter.send("SANDBOX", body, self.number, [fd, *fds])
        os.close(fd)
        generation = struct.pack("=Q", said.get("generation", 1))
        applied = self.starter.wait("APPLIED", lambda body: body.startswith(generation))
        _, status, count = struct.unpack("=QiI", applied)
        assert status == 0, os.strerror(-status)
        return count

    def connect(self, target, source="127.0.0.1", **origin):
        """As a process of the sandbox would: the kernel side has written down where it wanted to go."""
        sock = socket.socket()
        sock.settimeout(DEADLINE_S)
        sock.bind((source, 0))
        self.origins.put(sock.getsockname(), target, origin.pop("sandbox", self.number), **origin)
        try:
            sock.connect(self.at)
        except ConnectionResetError:  # before connect() had returned
            sock.close()
            return Refused()
        return sock


@contextlib.contextmanager
def relay(**said):
    starter = Starter(**said)
    try:
        yield starter
    finally:
        starter.close()
