# SPDX-License-Identifier: MIT
"""
The resolver that a test writes the answers of. It has no socket of the kernel: it reads frames in the internet
namespace and sends frames, from whatever address, port and device.

    RESOLVER4, RESOLVER6   answered by it alone; the internet has no server and no route there
"""

import select
import socket
import subprocess
import threading

import dnswire
import frames
from postern import tool
from wait import until

RESOLVER4, RESOLVER6 = "185.53.0.53", "2a0f:53::53"
STRANGER4 = "185.53.0.99"  # as little there, and nobody's resolver
NETS = ("185.53.0.0/24", "2a0f:53::/64")
SO_RCVBUFFORCE, BUFFER_BYTES = 33, 64 * 1024 * 1024
MTU = 1500
PACKET_OUTGOING, ETH_IPV4, ETH_IPV6 = 4, b"\x08\0", b"\x86\xdd"
HOST_MAC, INTERNET_MAC = bytes.fromhex("020000000002"), bytes.fromhex("020000000001")


def frame_of(packet):
    return HOST_MAC + INTERNET_MAC + (ETH_IPV4 if packet[0] >> 4 == 4 else ETH_IPV6) + packet


class Asked(dnswire.Question):
    """A question that arrived, and where its answer must go."""

    def __init__(self, frame):
        super().__init__(frame.payload)
        self.resolver, self.client, self.port = str(frame.dst), str(frame.src), frame.sport

    def packet(self, payload, **changed):
        """The IP packet of an answer; changed: src, sport, dst, dport, and what dnswire.udp() takes."""
        where = [changed.pop(key, default) for key, default in (
            ("src", self.resolver), ("sport", 53), ("dst", self.client), ("dport", self.port))]
        return dnswire.udp(*where, payload, **changed)


class Crafted:
    """
    answer(asked) gives what is sent back, in this order: payloads, or packets as Asked.packet() makes them in a tuple of
    one. None: nothing. Every question is kept in `asked`.
    """

    def __init__(self, net):
        self.net, self.asked, self.answer = net, [], lambda asked: ()
        self.failed, self.mtu = None, MTU
        for prefix in NETS:
            family = "-6" if ":" in prefix else "-4"
            net.internet.ip(family, "route", "replace", "blackhole", prefix)
        self._socket = net.internet.call(self._open)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @staticmethod
    def _open():
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
        sock.bind(("in0", 3))
        sock.setblocking(False)
        return sock

    def _run(self):
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        while not self._stop.is_set():
            poll.poll(50)
            try:
                self._read()
            except Exception as error:  # pylint: disable=broad-except
                self.failed = error

    def _read(self):
        while True:
            try:
                raw, address = self._socket.recvfrom(65536)
            except BlockingIOError:
                return
            if address[2] == PACKET_OUTGOING:
                continue
            frame = frames.parse(raw)
            if frame.protocol == frames.UDP and frame.dport == 53 and str(frame.dst) in (RESOLVER4, RESOLVER6):
                self._serve(Asked(frame))

    def _serve(self, asked):
        for one in self.answer(asked) or ():
            self.send(one[0] if isinstance(one, tuple) else asked.packet(one))
        self.asked.append(asked)

    def send(self, packet):
        """An IP packet towards the host; IPv4 in fragments, where it must be."""
        for piece in [packet] if len(packet) <= self.mtu else dnswire.fragments(packet, (self.mtu - 20) // 8 * 8):
            self._socket.send(frame_of(piece))

    def await_asked(self, condition, what="a question arrives", deadline_s=None):
        def find():
            assert self.failed is None, self.failed
            return next((a for a in reversed(self.asked) if condition(a)), None)
        return until(find, what, deadline_s)

    def set_mtu(self, mtu):
        for namespace, device in ((self.net.host, "up0"), (self.net.internet, "in0")):
            namespace.ip("link", "set", device, "mtu", str(mtu))
        self.net.kind.set_mtu(mtu)
        self.mtu = mtu

    def close(self):
        self._stop.set()
        self._thread.join(5)
        self._socket.close()
        for prefix in NETS:
            self.net.internet.ip("-6" if ":" in prefix else "-4", "route", "del", "blackhole", prefix)


class Blast:
    """
    Sends a frame many times, each time with other 16 bits at one place, past the sniffer: what a test drowns a sandbox
    in must not drown the oracle. IPv4's header checksum is made anew; UDP's should be zero.
    """

    def __init__(self, net):
        self._process = subprocess.Popen(net.internet.command(tool("blast", "in0")), stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, text=True)

    def send(self, packet, place, count):
        """place: of the changed 16 bits, in the IP packet. They are xored with 1, 2, ... count (at most 65535)."""
        self._process.stdin.write(f"{place + 14} {count} {frame_of(packet).hex()}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line == f"sent {count}\n", f"blast: {line}"

    def close(self):
        self._process.stdin.close()
        self._process.wait(10)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


