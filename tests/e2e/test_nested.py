# SPDX-License-Identifier: MIT
"""A `run` inside a `run` stays inside the outer policy."""

import pytest

from internet import ALLOWED4, ALLOWED4_NET, DENIED4, PORT
from postern import assert_denied, execute, flow, postern_run, sandboxed

OUTER = ["--keep-privs", "--allow", ALLOWED4_NET]  # the inner run needs privileges of its own


@pytest.mark.parametrize("inner", [[], ["--allow", "0.0.0.0/0"], ["--allow", DENIED4]])
def test_an_inner_run_cannot_widen(net, inner):
    argv = postern_run(inner, flow("tcp", DENIED4, PORT, "CANARY"))
    assert_denied(net, argv, DENIED4, PORT, policy=OUTER, op="connect")
    argv = postern_run(inner, flow("udp", DENIED4, PORT, "CANARY"))
    assert_denied(net, argv, DENIED4, PORT, policy=OUTER, op="sendto")


def test_an_inner_run_can_narrow(net):
    done = sandboxed(net, OUTER, postern_run(["--allow", "1.1.1.1"], flow("tcp", ALLOWED4, PORT, "x")))
    assert done.op("connect").result == "EPERM", done
    done = sandboxed(net, OUTER, postern_run(["--allow", ALLOWED4], flow("tcp", ALLOWED4, PORT, "x")))
    assert done.op("connect").result == "ok", done


def test_after_an_inner_run_the_outer_policy_stands(net):
    inner = " ".join(postern_run([], ["true"]))
    script = f"{inner}; {' '.join(flow('tcp', DENIED4, PORT, 'x'))}; {' '.join(flow('tcp', ALLOWED4, PORT, 'x'))}"
    done = sandboxed(net, OUTER, ["sh", "-c", script])
    assert [op.result for op in done.ops if op.name == "connect"] == ["EPERM", "ok"], done


def test_an_inner_run_lies_below_the_outer_one(net):
    argv = ["sh", "-c", "cat /proc/self/cgroup; " + " ".join(postern_run([], ["cat", "/proc/self/cgroup"]))]
    done = sandboxed(net, ["--keep-privs"], argv)
    outer, inner = [line[3:] for line in done.out.splitlines() if line.startswith("0::")]
    assert inner.startswith(outer + "/"), done


def test_a_run_without_privileges_inside_fails_closed(net):
    done = sandboxed(net, ["--allow", ALLOWED4_NET], postern_run([], ["echo", "started"]))
    assert done.code != 0 and "started" not in done.out, done
    assert execute(net, postern_run([], ["echo", "started"])).out.strip() == "started"
