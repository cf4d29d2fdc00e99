# SPDX-License-Identifier: MIT
"""
Row 20: a task in a v1 hierarchy as well (net_cls), whose class the kernel kept in the place of the cgroup before Linux 5.15:
the sandbox's socket would have been nobody's.
"""

import ctypes
import os
import tempfile

import pytest

from internet import DENIED4, PORT, canary
from postern import flow, sandboxed

CLASS = ["sh", "-c", 'mkdir -p "$0/pst" && echo 0x10001 >"$0/pst/net_cls.classid" && echo $$ >"$0/pst/cgroup.procs" && exec "$@"']


@pytest.fixture(name="net_cls")
def net_cls_fixture():
    libc, place = ctypes.CDLL(None, use_errno=True), tempfile.mkdtemp(prefix="pst-v1-", dir="/dev/shm")
    if libc.mount(b"pst", place.encode(), b"cgroup", 0, b"net_cls"):
        why = os.strerror(ctypes.get_errno())
        os.rmdir(place)
        pytest.skip(f"this kernel lends no net_cls hierarchy ({why}): there is nothing to get out by")
    yield place
    try:
        os.rmdir(f"{place}/pst")
    finally:
        libc.umount2(place.encode(), 2)
        os.rmdir(place)


@pytest.mark.parametrize("options", [["--deny", "0.0.0.0/0"], ["--allow", "93.184.216.0/24"]], ids=["deny-all", "restricted"])
def test_a_class_does_not_take_a_socket_out(net, net_cls, options):
    token, since = canary(), net.mark()
    done = sandboxed(net, ["--keep-privs", *options], [*CLASS, net_cls, *flow("udp", DENIED4, PORT, token)])
    assert done.op("sendto").result == "EPERM", done
    net.fence()
    assert not net.seen(token=token, since=since)
