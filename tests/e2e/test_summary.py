# SPDX-License-Identifier: MIT
"""What is said at the end of a run: the summary on stderr, -o json, --report FILE."""

import json
import os
import tempfile
from pathlib import Path

import pytest

from internet import ALLOWED4, ALLOWED4_NET, DENIED4, DENIED4_NET, DENIED6, PORT
from postern import flow, sandboxed, tool

POLICY = ["--allow", ALLOWED4_NET]


def shell_of(*commands):
    return ["sh", "-c", "; ".join(" ".join(command) for command in commands)]


MIXED = shell_of(flow("tcp", DENIED4, PORT, "x"), flow("tcp", DENIED4, PORT, "x"),
                 flow("udp", DENIED6, PORT, "x"), flow("tcp", "169.254.169.254", 80, "x"),
                 flow("tcp", ALLOWED4, PORT, "x"), tool("raw", "socket", 2, 3, 6))


def test_the_summary_names_what_was_blocked(net):
    done = sandboxed(net, POLICY, MIXED)
    rows = [line.split(None, 3) for line in done.err.splitlines() if line.strip()[:1].isdigit()]
    found = {row[2]: (int(row[0]), row[1], row[3]) for row in rows if len(row) == 4}
    count, verdict, reason = found[f"{DENIED4}:{PORT}/tcp"]
    assert (count, verdict) == (2, "deny") and "default-deny" in reason, done
    assert "default-deny" in found[f"[{DENIED6}]:{PORT}/udp"][2], done
    assert "always-denied" in found["169.254.169.254:80/tcp"][2], done
    assert f"{ALLOWED4}:" not in done.err, done


def test_a_run_without_a_denial_is_silent(net):
    assert sandboxed(net, POLICY, flow("tcp", ALLOWED4, PORT, "x")).err == ""


def test_the_rule_that_denied_is_named(net):
    done = sandboxed(net, ["--deny", "1.1.1.1", "--deny", DENIED4_NET], flow("tcp", DENIED4, PORT, "x"))
    assert "deny-rule" in done.err and f"--deny {DENIED4_NET}" in done.err, done


@pytest.mark.parametrize("where", ["report", "stderr"])
def test_the_report_is_json(net, tmp_path, where):
    report = tmp_path / "report.json"
    options = ["--report", report] if where == "report" else ["-o", "json"]
    done = sandboxed(net, POLICY + options, MIXED)
    whole = json.loads(report.read_text() if where == "report" else done.err)
    assert whole["command"] == MIXED and whole["exit"] == done.code and whole["assurance"] == "strong"
    assert whole["blocked"] == sum(whole["reasons"].values()) == sum(row["count"] for row in whole["events"])
    rows = {(row["address"], row["port"], row["protocol"]): row for row in whole["events"]}
    row = rows[(DENIED4, PORT, "tcp")]
    assert (row["verdict"], row["reason"], row["step"]) == ("deny", "default-deny", 11), row
    # Who behind a device sent a frame, nobody knows.
    assert row["count"] == 2 and row["comm"] == ("flow" if net.kind.name == "cgroup" else ""), row
    assert rows[("169.254.169.254", 80, "tcp")]["reason"] == "always-denied", whole
    assert rows[(DENIED6, PORT, "udp")]["protocol"] == "udp"


def test_a_report_that_cannot_be_written_is_said(net):
    done = sandboxed(net, POLICY + ["--report", "/nowhere/report"], ["true"])
    assert "/nowhere/report" in done.err, done


@pytest.fixture
def places():
    """A directory of the user 65534 and one of root, where that user can look."""
    with tempfile.TemporaryDirectory(prefix="pst-") as top:
        Path(top).chmod(0o755)
        made = Path(top, "theirs"), Path(top, "roots")
        for directory, owner in zip(made, (65534, 0)):
            directory.mkdir()
            directory.chmod(0o755)
            os.chown(directory, owner, owner)
        yield made


def test_a_link_at_the_reports_place_leads_root_nowhere(net, places):
    """The command runs as the user and can put a link there: the report goes only where that user may write."""
    env = {"SUDO_UID": "65534", "SUDO_GID": "65534"}
    theirs, roots = places
    secret, report = roots / "secret", theirs / "report"
    secret.write_text("root's")
    done = sandboxed(net, POLICY + ["--report", report], ["ln", "-s", str(secret), str(report)], env=env, cwd="/")
    assert report.is_symlink(), f"the control: {done}"
    assert secret.read_text() == "root's" and str(report) in done.err, done
    report.unlink()
    swap = f"mv {theirs}/in {theirs}/old; ln -s {roots} {theirs}/in"
    done = sandboxed(net, POLICY + ["--report", theirs / "in" / "secret"],
                     ["sh", "-c", f"mkdir {theirs}/in; {swap}"], env=env, cwd="/")
    assert (theirs / "in").is_symlink(), f"the control: {done}"
    assert secret.read_text() == "root's" and "secret" in done.err, done
    done = sandboxed(net, POLICY + ["--report", report], ["true"], env=env, cwd="/")
    assert report.stat().st_uid == 65534 and json.loads(report.read_text())["exit"] == 0, done
    done = sandboxed(net, POLICY + ["--report", roots / "report"], ["true"], env=env, cwd="/")
    assert (roots / "report").stat().st_uid == 0, f"where only root may write, root does: {done}"


def test_a_flood_of_destinations_is_counted_whole(net):
    """More events than the ring's budget: what was lost is said, and the sum is exact."""
    script = ("import socket\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\n"
              "for n in range(3000):\n"
              f"    try: s.sendto(b'x',('{DENIED4}',{PORT}))\n    except PermissionError: pass\n")
    done = sandboxed(net, POLICY, ["/usr/bin/python3", "-c", script])
    row = next(line for line in done.err.splitlines() if f"{DENIED4}:{PORT}/udp" in line)
    others = next((line for line in done.err.splitlines() if "not itemised" in line), "0")
    assert int(row.split()[0]) + int(others.split()[0]) == 3000, done
