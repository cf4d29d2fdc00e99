# SPDX-License-Identifier: MIT
"""
From inside, as root: every way that leads to one's own policy fails, and the policy still stands. The same attempt
works in a sandbox that keeps its privileges (`--keep-privs`, reported as weak): so it is the confinement that stops it.
"""

import json
import os

import pytest

from internet import ALLOWED4, ALLOWED4_NET, DENIED4, PORT, canary
from netns import shell
from postern import Shell, assert_denied, cgroup2_mount, flow, tool

POLICY = ["--allow", ALLOWED4_NET]
USERNS = ["unshare", "-Ur"]
ALL_NS = ["unshare", "-UrmC"]


def inside(*args):
    return tool("inside", *args)


def link(box):
    return box.ids("links")[0]


def cgroup_dir(box):
    return cgroup2_mount() + box.cgroup


def parent_dir(box):
    return os.path.dirname(cgroup_dir(box))


# Name -> (what is run inside, the operation that must fail, whether it works with privileges)
ATTEMPTS = {
    "link-by-id": (lambda b: inside("link", link(b)), "link-get", True),
    "map-by-id": (lambda b: inside("map", b.ids("maps")[0]), "map-get", True),
    "walk-links": (lambda b: inside("next-link"), "link-next", True),
    "load-a-program": (lambda b: inside("load"), "load", True),
    "open-a-pin": (lambda b: inside("pin", b.pins / "maps" / "pst_sandbox"), "pin-get", True),
    "query-own-cgroup": (lambda b: inside("query", cgroup_dir(b)), "query", True),
    "query-the-root-cgroup": (lambda b: inside("query", cgroup2_mount()), "query", True),
    "detach-from-own-cgroup": (lambda b: inside("detach", cgroup_dir(b)), "detach", False),
    "leave-to-the-root": (lambda b: inside("write", f"{cgroup2_mount()}/cgroup.procs", "0"), "write", True),
    "leave-to-the-parent": (lambda b: inside("write", f"{parent_dir(b)}/cgroup.procs", "0"), "write", True),
    "make-a-cgroup-beside": (lambda b: inside("mkdir", f"{parent_dir(b)}/pst-{os.getpid()}-beside"), "mkdir", True),
    "make-a-cgroup-below": (lambda b: inside("mkdir", f"{cgroup_dir(b)}/below"), "mkdir", True),
    "mount-bpffs": (lambda b: inside("mount", "bpf", "/mnt"), "mount", False),
    "mount-cgroup2": (lambda b: inside("mount", "cgroup2", "/mnt"), "mount", False),
    "mount-proc": (lambda b: inside("mount", "proc", "/mnt"), "mount", False),
    "uncover-bpffs": (lambda b: inside("umount", "/sys/fs/bpf"), "umount", False),
    "uncover-proc": (lambda b: inside("umount", "/proc"), "umount", False),
    "unmount-cgroup2": (lambda b: inside("umount", cgroup2_mount()), "umount", False),
    "remount-cgroup2": (lambda b: inside("remount", cgroup2_mount()), "remount", False),
    "remount-sysfs": (lambda b: inside("remount", "/sys"), "remount", False),
    "core-pattern": (lambda b: inside("write", "/proc/sys/kernel/core_pattern", "|/bin/true"), "write", False),
    "enter-the-first-mount-namespace": (lambda b: inside("setns", "/proc/1/ns/mnt"), "setns", False),
    "enter-the-first-network": (lambda b: inside("setns", "/proc/1/ns/net"), "setns", False),
    "bpf-in-a-user-namespace": (lambda b: USERNS + inside("link", link(b)), "link-get", False),
    "load-in-a-user-namespace": (lambda b: USERNS + inside("load"), "load", False),
    "mount-bpffs-in-a-user-namespace": (lambda b: ALL_NS + inside("mount", "bpf", "/mnt"), "mount", False),
    "uncover-bpffs-in-a-user-namespace": (lambda b: ALL_NS + inside("umount", "/sys/fs/bpf"), "umount", False),
    "remount-cgroup2-in-a-user-namespace": (lambda b: ALL_NS + inside("remount", cgroup2_mount()), "remount", False),
    "leave-in-a-user-namespace": (lambda b: ALL_NS + inside("write", f"{cgroup2_mount()}/cgroup.procs", "0"),
                                  "write", False),
    "packet-socket": (lambda b: tool("raw", "socket", 17, 3, 768), "socket", True),
    "raw-socket-in-a-user-namespace": (lambda b: USERNS + tool("raw", "socket", 17, 3, 768), "socket", False),
}


def assert_still_denied(net, box, since, token):
    for way, op in (("tcp", "connect"), ("udp", "sendto")):
        assert box.do(*flow(way, DENIED4, PORT, token)).op(op).result == "EPERM", box.text()
    assert box.do(*flow("tcp", ALLOWED4, PORT, token)).op("connect").result == "ok", box.text()
    net.fence()
    assert not net.seen(dst=DENIED4, port=PORT, since=since), box.text()


@pytest.mark.parametrize("name", ATTEMPTS)
def test_an_attempt_from_inside_fails(net, name):
    make, op, works = ATTEMPTS[name]
    if works:
        with Shell(net, POLICY + ["--keep-privs"]) as box:
            done = box.do(*make(box))
            assert done.op(op).result == "ok", f"the control: {done}\n{box.text()}"
        beside = f"{cgroup2_mount()}/postern-run/pst-{os.getpid()}-beside"
        if os.path.isdir(beside):
            os.rmdir(beside)
    with Shell(net, POLICY) as box:
        since, token = net.mark(), canary()
        done = box.do(*make(box))
        assert done.op(op).result != "ok", f"{done}\n{box.text()}"
        assert_still_denied(net, box, since, token)


def test_a_child_cannot_be_born_in_another_cgroup(net):
    """clone3(CLONE_INTO_CGROUP) opens no file for writing: a read-only mount alone does not stop it."""
    for target in (lambda box: cgroup2_mount(), parent_dir):
        def argv(box, token, target=target):
            return inside("clone", target(box), *flow("tcp", DENIED4, PORT, token))
        with Shell(net, POLICY + ["--keep-privs"]) as box:
            done = box.do(*argv(box, "x"))
            assert done.op("clone").result == "ok", f"the control: {done}"
        net.fence()
        with Shell(net, POLICY) as box:
            since, token = net.mark(), canary()
            net.forbid(token)
            done = box.do(*argv(box, token))
            assert not [op for op in done.ops if op.name == "connect" and op.result == "ok"], f"{done}\n{box.text()}"
            assert_still_denied(net, box, since, canary())


def test_a_new_cgroup_mount_shows_the_own_subtree_only(net):
    """A user namespace with a cgroup namespace may mount cgroup2: it leads no higher than the sandbox."""
    script = "mount -t cgroup2 none /mnt && echo $$ > /mnt/cgroup.procs; "
    script += " ".join(flow("tcp", DENIED4, PORT, "CANARY"))
    assert_denied(net, ["unshare", "-UrmC", "sh", "-c", script], DENIED4, PORT, policy=POLICY, op="connect")
    with Shell(net, POLICY) as box:
        done = box.do("unshare -UrmC sh -c 'mount -t cgroup2 none /mnt && ls /mnt'")
        assert "postern-run" not in done.out.split(), done


def test_a_network_namespace_of_ones_own_leads_nowhere(net):
    script = f"ip link set lo up; {' '.join(flow('udp', DENIED4, PORT, 'CANARY'))}"
    with Shell(net, POLICY) as box:
        since, token = net.mark(), canary()
        done = box.do("unshare -Urn sh -c " + f"'{script.replace('CANARY', token)}'")
        assert done.op("sendto").result in ("EPERM", "ENETUNREACH"), done
        net.fence()
        assert not net.seen(token=token, dst=DENIED4, since=since)


def test_nothing_of_bpf_is_open_in_any_process_inside(net):
    with Shell(net, POLICY) as box:
        done = box.do("for p in /proc/[0-9]*; do readlink $p/fd/* $p/exe; done")
        assert "pipe:" in done.out and "bpf" not in done.out, done
        for path in ("/sys/fs/bpf", "/proc/1/root/sys/fs/bpf", "/proc/self/root/sys/fs/bpf"):
            assert box.do(f"ls -A {path}").out == "", box.text()


def test_processes_outside_cannot_be_reached(net):
    """No other process than the sandbox's own is visible, so none can be traced, signalled or looked through."""
    with Shell(net, POLICY) as box:
        done = box.do("ls -d /proc/[0-9]*; cat /proc/[0-9]*/comm")
        assert "systemd" not in done.out and len(done.out.split()) < 16, done
        assert box.do(f"kill -0 {box.pid}").code != 0
        assert box.do("cat /proc/1/cgroup").out.split("0::")[1].split()[0] == box.cgroup


def test_the_runner_cannot_be_killed_from_inside(net):
    with Shell(net, POLICY) as box:
        box.do("kill -9 -1; kill -9 $PPID; true")
        assert box.process.poll() is None, box.text()
        assert_still_denied(net, box, net.mark(), canary())


def test_links_stay_attached_after_every_attempt(net):
    """Seen from outside: after a storm of attempts every link is still on the sandbox's cgroup."""
    with Shell(net, POLICY) as box:
        for make, _, _ in ATTEMPTS.values():
            box.do(*make(box))
        for path in (box.pins / "links").iterdir():
            info = json.loads(shell("bpftool", "-j", "link", "show", "pinned", str(path)))
            assert info.get("cgroup_id"), info
        assert_still_denied(net, box, net.mark(), canary())
