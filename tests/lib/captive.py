# SPDX-License-Identifier: MIT
"""
Somebody inside who does what the test says, call by call, for as long as the test wants; and what the kernel keeps about
that sandbox, as bpftool tells it. With policy None it is the same outside: the control.
"""

import ipaddress
import json
import subprocess

from netns import shell
from postern import ROOT, Running, enter, kind_of

PROGRAM = ["/usr/bin/python3", "-S", str(ROOT / "tests/lib/tools/captive.py")]
REPLIES = ("unasked", "learned", "empty", "truncated", "malformed", "oversize", "error", "untrusted")


def bpftool(*argv):
    return json.loads(shell("bpftool", "-j", *map(str, argv)))


class Captive(Running):
    """captive.ask(...), captive.send(...) and so on: the functions of tools/captive.py."""

    def __init__(self, net, policy, prefix=()):
        self._place = kind_of(net)
        argv, inside = [*prefix, *PROGRAM], None if policy is None else enter(net, policy)
        super().__init__(net, argv if inside else kind_of(net).beside(argv), stdin=subprocess.PIPE, inside=inside)
        try:
            self.await_line(lambda line: line.startswith('{"up"'), "it listens")
            if inside:
                self.maps = inside.maps(self.pid)
        except BaseException:
            self.stop()
            raise

    def do(self, function, deadline_s=60, **arguments):
        start = len(self.lines)
        self.process.stdin.write(json.dumps([function, arguments]) + "\n")
        self.process.stdin.flush()
        line = self.await_line(lambda text: len(self.lines) > start, f"{function} is done", deadline_s)
        line = self.lines[start]
        answer = json.loads(line)
        assert "out" in answer, f"{function}: {answer}"
        return self._told(answer["out"])

    def address(self, of_host):
        return super().address(of_host) if self.inside else self._place.beside_address(of_host)

    def _told(self, out):
        """Results in the tests' word for a denial, whatever the kind has for it."""
        if self.inside and isinstance(out, str):
            return self._kind.word(out)
        if self.inside and isinstance(out, list):
            return [self._told(one) for one in out]
        if self.inside and isinstance(out, dict):
            return {self._told(key): value for key, value in out.items()}
        return out

    def __getattr__(self, function):
        if function.startswith("_"):
            raise AttributeError(function)
        return lambda **arguments: self.do(function, **arguments)

    # What the kernel keeps

    def _map(self, name):
        return self.maps / name

    def record(self):
        return self.inside.record(self.maps)

    def _state(self, name):
        """The entries of the inner map of this sandbox."""
        slot = self.record()["names_slot"]
        found = bpftool("map", "lookup", "pinned", self._map(name), "key", *_bytes4(slot))
        inner = found.get("inner_map_id") or int.from_bytes(bytes(int(b, 16) for b in found["value"]), "little")
        entries = bpftool("map", "dump", "id", inner)
        return [entry["formatted"] for entry in entries]

    def quota(self):
        slot = self.record()["state_slot"]
        return bpftool("map", "lookup", "pinned", self._map("pst_quotas"), "key", *_bytes4(slot))["formatted"]["value"]

    def replies(self):
        """What became of replies so far: kind -> count."""
        return dict(zip(REPLIES, self.quota()["replies"]))

    def leases(self):
        """Address -> the names it was the answer for."""
        names = {entry["key"]["name"]: _name(entry["value"]["key"]) for entry in self._state("pst_learned")}
        found = {}
        for entry in self._state("pst_leases"):
            address = ipaddress.IPv6Address(_raw(entry["key"]["addr"]))
            found[str(address.ipv4_mapped or address)] = {
                names.get(by["name"], "?") for by in entry["value"]["by"] if by["derived"]}
        return found

    def lease_ends(self):
        """Address -> when the last of its names ends, CLOCK_BOOTTIME in ns."""
        return {str((a := ipaddress.IPv6Address(_raw(entry["key"]["addr"]))).ipv4_mapped or a):
                max(by["expires_ns"] for by in entry["value"]["by"]) for entry in self._state("pst_leases")}


class PacketCaptive(Captive):
    """With privileges, and nothing but the packet hooks between it and the internet."""

    def __init__(self, net, policy, keep=("pst_egress", "pst_ingress")):
        super().__init__(net, ["--keep-privs", *policy])
        if kind_of(net).name != "cgroup":
            return
        for link in (self.maps.parent / "links").iterdir():
            if link.name not in keep:
                shell("bpftool", "link", "detach", "pinned", str(link))


def _bytes4(number):
    return [str(byte) for byte in number.to_bytes(4, "little")]


def _raw(addr):
    return bytes(int(byte, 0) if isinstance(byte, str) else byte for byte in addr)


def _name(key):
    text = key["name"]
    if isinstance(text, list):
        text = "".join(chr(int(c, 0)) if isinstance(c, str) and c.startswith("0x") else str(c) for c in text)
    return text.split("\0")[0][::-1][:253]
