# SPDX-License-Identifier: MIT
"""
From inside, as root: every way that leads to one's own policy fails, and the policy still stands. The same attempt
works in a sandbox that keeps its privileges (`--keep-privs`, reported as weak): so it is the confinement that stops it.
"""

import json
import os
import socket

import pytest

from internet import ALLOWED4, ALLOWED4_NET, DENIED4, PORT, canary
from netns import shell
from postern import (Running, Server, Shell, assert_denied, cgroup2_mount, execute, flow, postern_run, sandboxed,
                     tool)
from wait import until

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
    "a-new-proc-in-a-user-namespace": (lambda b: ["unshare", "-Urmpf"] + inside("mount", "proc", "/mnt"), "mount", False),
    "a-new-sysfs-in-a-user-namespace": (lambda b: ["unshare", "-Urmn"] + inside("mount", "sysfs", "/mnt"), "mount", False),
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


def test_the_memory_of_the_runner_is_not_shown(net):
    """Process 1 is a copy of the runner that was never executed: the policy is in its memory."""
    with Shell(net, POLICY) as box:
        assert box.do("cat /proc/self/maps >/dev/null").code == 0, "the control"
        assert box.do("cat /proc/$$/maps >/dev/null").code == 0, "the control"
        assert box.do("cat /proc/1/maps").code != 0, box.text()
        assert box.do("head -c 1 /proc/1/mem").code != 0 and "Permission" in box.text(), box.text()


def test_the_runner_cannot_be_killed_from_inside(net):
    with Shell(net, POLICY) as box:
        box.do("kill -9 -1; kill -9 $PPID; true")
        assert box.process.poll() is None, box.text()
        assert_still_denied(net, box, net.mark(), canary())


NOBODY = {"SUDO_UID": "65534", "SUDO_GID": "65534"}
SERVICE = """
import socket, sys
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
service = socket.socket(socket.AF_UNIX)
service.bind("\\0" + sys.argv[1])
service.listen()
print("listening", udp.fileno(), flush=True)
while True:
    service.accept()[0].recv(1)
"""


def test_sockets_of_a_users_services_cannot_be_taken(net):
    """SO_PEERPIDFD and pidfd_getfd() reach processes outside the PID namespace; what they hold has no policy."""
    if not net.host.call(peer_pidfds):
        pytest.skip("the kernel has no SO_PEERPIDFD (Linux 6.5)")
    name = f"pst-{os.getpid()}-service"
    as_nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    with Server(net, argv=[*as_nobody, "/usr/bin/python3", "-c", SERVICE, name]) as service:
        def steal(token):
            return inside("steal", name, service.port, DENIED4, PORT, token)
        token, since = canary(), net.mark()
        done = execute(net, as_nobody + steal(token))
        assert done.op("steal").result == "ok", f"the control: {done}"
        net.await_seen(token=token, since=since)
        token, since = canary(), net.mark()
        net.forbid(token)
        done = sandboxed(net, POLICY, steal(token), env=NOBODY, cwd="/")
        assert done.op("peer").result == "ok" and done.op("steal").result == "EPERM", done
        net.fence()
        assert not net.seen(token=token, since=since)


def peer_pidfds():
    ours, _ = socket.socketpair()
    try:
        os.close(ours.getsockopt(socket.SOL_SOCKET, 77))
    except OSError:
        return False
    return True


def test_the_hosts_key_helper_cannot_be_started(net):
    argv = inside("request-key", f"pst-{os.getpid()}")
    done = execute(net, argv)  # ENOENT: this host has no helper to start
    assert done.op("request-key").result in ("ENOKEY", "ENOENT"), f"the control: {done}"
    for env in (None, NOBODY):
        assert sandboxed(net, POLICY, argv, env=env, cwd="/").op("request-key").result == "EPERM"


KILLER = """
import os, subprocess, sys
if not os.fork():
    os.kill(0, 9)
os.setsid()
os.wait()
for address in sys.argv[2:]:
    subprocess.run(sys.argv[1].replace("ADDRESS", address).split())
"""


def test_a_runner_killed_with_its_process_group_leaves_the_policy(net):
    """The command shares the caller's process group and, as root, may kill it with the runner in it."""
    since, words = net.mark(), " ".join(flow("udp", "ADDRESS", PORT, canary()))
    argv = ["/usr/bin/python3", "-c", KILLER, words, DENIED4, ALLOWED4]
    with Running(net, postern_run(POLICY, argv)) as run:
        assert run.wait() == -9, run.text()
        until(lambda: len([op for op in run.ops() if op.name == "sendto"]) == 2, "both were tried")
        assert [op.result for op in run.ops() if op.name == "sendto"] == ["EPERM", "ok"], run.text()
    net.await_seen(dst=ALLOWED4, port=PORT, since=since)
    net.fence()
    assert not net.seen(dst=DENIED4, port=PORT, since=since), run.text()


def test_links_stay_attached_after_every_attempt(net):
    """Seen from outside: after a storm of attempts every link is still on the sandbox's cgroup."""
    with Shell(net, POLICY) as box:
        for make, _, _ in ATTEMPTS.values():
            box.do(*make(box))
        for path in (box.pins / "links").iterdir():
            info = json.loads(shell("bpftool", "-j", "link", "show", "pinned", str(path)))
            assert info.get("cgroup_id"), info
        assert_still_denied(net, box, net.mark(), canary())
