# SPDX-License-Identifier: MIT
"""Programs of others on a device: two instructions that return a verdict, linked by TCX before or behind what is there."""

import ctypes
import os
import struct

SYS_BPF = {"x86_64": 321, "aarch64": 280}[os.uname().machine]
PROG_LOAD, LINK_CREATE = 5, 28
SCHED_CLS, TCX_INGRESS, TCX_EGRESS = 3, 46, 47
BEFORE, AFTER = 1 << 3, 1 << 4
NEXT, PASS, DROP = -1, 0, 2

_libc = ctypes.CDLL(None, use_errno=True)


def _bpf(command, attributes):
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    fd = _libc.syscall(SYS_BPF, command, buffer, len(attributes))
    if fd < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return fd


def load(verdict, name=b"foreign"):
    """A program that returns verdict; its fd."""
    code = struct.pack("<BBhi", 0xB7, 0, 0, verdict) + struct.pack("<BBhi", 0x95, 0, 0, 0)
    instructions, licence = ctypes.create_string_buffer(code, len(code)), ctypes.create_string_buffer(b"MIT")
    return _bpf(PROG_LOAD, struct.pack("<IIQQIIQII16s", SCHED_CLS, 2, ctypes.addressof(instructions),
                                       ctypes.addressof(licence), 0, 0, 0, 0, 0, name))


class Foreign:
    """Links it for the time of a `with`. In the namespace of the device."""

    def __init__(self, namespace, ifindex, verdict, *, where=0, kind=TCX_INGRESS):
        self.prog = load(verdict)
        self.link = namespace.call(_bpf, LINK_CREATE, struct.pack("<IIII", self.prog, ifindex, kind, where) + bytes(16))

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        os.close(self.link)
        os.close(self.prog)
