# SPDX-License-Identifier: MIT
"""Row 18: cgroups below the sandbox's, threaded ones, and a cgroup namespace: the policy holds at any depth."""

import contextlib
from pathlib import Path

import pytest

from internet import ALLOWED4, DENIED4, PORT, canary
from postern import PacketOnly, Shell, cgroup2_mount, flow
from rows import POLICY
from wait import until

DEPTHS = [1, 2, 5, 8]


@contextlib.contextmanager
def moved_down(box, depth, threaded=False):
    """The box's processes in a cgroup `depth` levels below its own; the directories are removed afterwards."""
    base = Path(cgroup2_mount() + box.cgroup)
    made, path = [], base
    for level in range(depth):
        path = path / f"level{level}"
        path.mkdir()
        made.append(path)
        if threaded:
            (path / "cgroup.type").write_text("threaded")
    for pid in (base / "cgroup.procs").read_text().split():
        (path / "cgroup.procs").write_text(pid)
    try:
        yield path
    finally:
        box.stop()
        until(lambda: remove(made), "the cgroups below are removed")


def remove(made):
    for path in reversed(made):
        try:
            path.rmdir()
        except FileNotFoundError:
            pass
        except OSError:
            return False
    return True


def assert_enforced(net, box):
    token, since = canary(), net.mark()
    net.forbid(token)
    for way, op in (("tcp", "connect"), ("udp", "sendto")):
        assert box.do(*flow(way, DENIED4, PORT, token)).op(op).result == "EPERM", box.text()
    net.fence()
    assert not net.seen(dst=DENIED4, port=PORT, since=since), box.text()
    assert box.do(*flow("tcp", ALLOWED4, PORT, "x")).op("recv").result == "ok", box.text()


@pytest.mark.parametrize("depth", DEPTHS)
def test_nested(net, depth):
    with Shell(net, POLICY) as box, moved_down(box, depth):
        assert_enforced(net, box)


@pytest.mark.parametrize("depth", [1, 3])
def test_threaded(net, depth):
    with Shell(net, POLICY) as box, moved_down(box, depth, threaded=True):
        assert_enforced(net, box)


@pytest.mark.parametrize("depth", DEPTHS)
def test_nested_by_packets_alone(net, depth):
    with PacketOnly(net, POLICY) as box, moved_down(box, depth):
        token, since = canary(), net.mark()
        net.forbid(token)
        assert box.do(*flow("udp", DENIED4, PORT, token)).op("sendto").result == "EPERM", box.text()
        net.fence()
        assert not net.seen(dst=DENIED4, port=PORT, since=since), box.text()


def test_own_listeners_are_own_at_any_depth(net):
    with Shell(net, POLICY) as box, moved_down(box, 3):
        script = 'exec 3< <(exec "$0" tcp 127.0.0.1 0); read -r _ port <&3; "$1" tcp 127.0.0.1 $port x; kill %1 $!'
        done = box.do("bash", "-c", script, str(tool_path("serve")), flow()[0])
        assert done.op("connect").result == "ok", done


def tool_path(name):
    return Path(flow()[0]).parent / name


def test_a_cgroup_namespace(net):
    with Shell(net, POLICY) as box:
        token, since = canary(), net.mark()
        net.forbid(token)
        done = box.do("unshare", "-UrC", *flow("tcp", DENIED4, PORT, token))
        assert done.op("connect").result == "EPERM", done
        net.fence()
        assert not net.seen(token=token, dst=DENIED4, port=PORT, since=since)


def test_cgroups_made_inside_go_with_the_run(net):
    with Shell(net, ["--keep-privs", *POLICY]) as box:
        base = Path(cgroup2_mount() + box.cgroup)
        box.do(f"mkdir {base}/a {base}/a/b; echo $$ > {base}/a/b/cgroup.procs")
        assert_enforced(net, box)
        box.process.stdin.close()
        box.wait()
    until(lambda: not base.exists(), "the run removes its cgroups")
