# SPDX-License-Identifier: MIT
"""How `run` behaves as a command: exit codes, signals, streams, what CMD sees, what it needs, what it leaves."""

import json
import os
import re
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from internet import ALLOWED4_NET, DENIED4, PORT, canary
from postern import (POSTERN, Running, cgroup2_mount, cgroup_of, child_of, environment, execute, flow,
                     postern_run, sandboxed)
from wait import until

MEMORY_KB = 16 * 1024


# Exit codes

@pytest.mark.parametrize("code", [0, 1, 7, 125, 255])
def test_the_exit_code_is_the_commands(net, code):
    assert sandboxed(net, [], ["sh", "-c", f"exit {code}"]).code == code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV])
def test_a_command_that_a_signal_ended(net, number):
    # The first process of a PID namespace ignores its own default-action signals: a child sends itself one.
    argv = ["/usr/bin/python3", "-c",
            "import os,subprocess,sys\n"
            f"r=subprocess.run(['sh','-c','kill -{int(number)} $$']).returncode\nsys.exit(128-r)"]
    assert sandboxed(net, [], argv).code == 128 + number


def test_a_signal_from_outside_is_128_and_its_number(net):
    with Running(net, postern_run([], ["sh", "-c", "echo $$; exec sleep 60"])) as run:
        run.await_line(bool, "it runs")
        run.process.send_signal(signal.SIGTERM)
        assert run.wait() == 128 + signal.SIGTERM, run.text()


def test_a_command_that_is_not_there_is_127(net):
    done = sandboxed(net, [], ["/nowhere/at/all"])
    assert done.code == 127 and "/nowhere/at/all" in done.err, done
    assert sandboxed(net, [], ["no-such-command-anywhere"]).code == 127


def test_a_command_that_cannot_be_executed_is_126(net, tmp_path):
    plain = tmp_path / "plain"
    plain.write_text("no program")
    plain.chmod(0o644)
    done = sandboxed(net, [], [str(plain)])
    assert done.code == 126 and str(plain) in done.err, done


@pytest.mark.parametrize("options,code", [
    (["--no-such-option"], 2), ([], 2), (["--allow"], 2), (["--allow", "300.1.1.1", "true"], None),
    (["--policy", "/nowhere.json", "true"], 3),
])
def test_mistakes_on_the_command_line(net, options, code):
    done = execute(net, [POSTERN, "run", *options])
    assert done.code in ((2, 3) if code is None else (code,)), done
    assert done.err.strip() and "\n\n" not in done.err, done


def test_without_root_one_line_says_so(net):
    done = execute(net, ["setpriv", "--reuid=65534", "--clear-groups", POSTERN, "run", "true"])
    assert done.code == 6, done
    assert len(done.err.strip().splitlines()) == 1 and "root" in done.err, done


def test_standard_streams_pass(net):
    done = sandboxed(net, [], ["sh", "-c", "cat; echo wrong >&2"], stdin="hello\n")
    assert done.out == "hello\n" and "wrong" in done.err, done


def test_the_commands_words_are_its_own(net):
    done = sandboxed(net, [], ["printf", "%s|", "--allow", "-o", "--", "a b", ""])
    assert done.out == "--allow|-o|--|a b||", done
    done = execute(net, [POSTERN, "run", "printf", "%s|", "--deny", "-h"])
    assert done.out == "--deny|-h|", done


def test_the_directory_is_the_callers(net, tmp_path):
    assert sandboxed(net, [], ["pwd"], cwd=tmp_path).out.strip() == str(tmp_path)


# Signals

@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_signals_are_forwarded(net, number):
    script = (f"import signal,sys,time\nsignal.signal({int(number)}, lambda *a: sys.exit(42))\n"
              "print('ready', flush=True)\nwhile True: time.sleep(1)")
    with Running(net, postern_run([], ["/usr/bin/python3", "-c", script])) as run:
        run.await_line(lambda line: line == "ready", "the command runs")
        run.process.send_signal(number)
        assert run.wait() == 42, run.text()


# What CMD sees

def test_the_command_is_in_a_namespace_of_processes(net):
    done = sandboxed(net, [], ["sh", "-c", "ls /proc | grep -c '^[0-9]*$'; cat /proc/1/comm"])
    assert int(done.out.split()[0]) < 10, done


def test_the_command_has_no_network_privileges_and_no_new_ones(net):
    done = sandboxed(net, [], ["cat", "/proc/self/status"])
    fields = dict(line.split(":\t", 1) for line in done.out.splitlines() if ":\t" in line)
    dropped = {"NET_ADMIN": 12, "NET_RAW": 13, "SYS_MODULE": 16, "SYS_PTRACE": 19, "SYS_ADMIN": 21, "BPF": 39}
    for name in ("CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb"):
        for word, bit in dropped.items():
            assert not int(fields[name], 16) >> bit & 1, f"{name} has {word}"
    assert fields["NoNewPrivs"].strip() == "1", done


def test_keep_privs_keeps_them_and_says_weak(net):
    done = sandboxed(net, ["--keep-privs"], ["grep", "CapEff", "/proc/self/status"])
    assert int(done.out.split()[1], 16) >> 13 & 1, done
    assert "weak" in done.err, done


def test_the_user_is_who_called_sudo(net):
    env = {"SUDO_UID": "65534", "SUDO_GID": "65534", "SUDO_USER": "nobody"}
    done = sandboxed(net, [], ["sh", "-c", "id -u; id -g; echo $HOME; echo $USER; id -G"], env=env, cwd="/")
    uid, gid, home, user, groups = done.out.splitlines()
    assert (uid, gid, user) == ("65534", "65534", "nobody"), done
    assert home == "/nonexistent" and "0" not in groups.split(), done


def test_a_user_without_root_is_under_the_policy(net):
    env = {"SUDO_UID": "65534", "SUDO_GID": "65534", "SUDO_USER": "nobody"}
    done = sandboxed(net, ["--allow", ALLOWED4_NET], flow("tcp", DENIED4, PORT, "x"), env=env, cwd="/")
    assert done.op("connect").result == "EPERM", done


def test_open_descriptors_do_not_come_along(net, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("x")
    argv = ["bash", "-c", 'exec 7<"$1"; shift; exec "$@"', "bash", str(secret)]
    argv += postern_run([], ["sh", "-c", "ls /proc/self/fd"])
    assert "7" not in execute(net, argv).out.split()


SEND_BY_STDIN = """
import socket, sys
socket.socket(fileno=0).sendto(sys.argv[1].encode(), (sys.argv[2], int(sys.argv[3])))
"""


def test_a_network_socket_does_not_come_along_as_a_stream(net):
    """Made outside, it has no policy: with --keep-privs, which is weak, it sends anywhere."""
    def send(policy, token):
        argv = postern_run(policy, ["/usr/bin/python3", "-c", SEND_BY_STDIN, token, DENIED4, str(PORT)])
        with net.host.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as stdin:
            return subprocess.run(net.host.command(argv), stdin=stdin, capture_output=True, text=True, check=False,
                                  timeout=30, env=environment())
    token, since = canary(), net.mark()
    assert send(["--keep-privs", "--allow", ALLOWED4_NET], token).returncode == 0
    net.await_seen(token=token, since=since)
    token, since = canary(), net.mark()
    net.forbid(token)
    done = send(["--allow", ALLOWED4_NET], token)
    assert done.returncode == 125 and "standard input is a network socket" in done.stderr, done
    net.fence()
    assert not net.seen(token=token, since=since)


def test_other_streams_come_along(net):
    """A unix socket (what many harnesses use) is no way out by itself; a directory may be one."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.send(b"hello")
        ours.shutdown(socket.SHUT_WR)
        done = subprocess.run(net.host.command(postern_run([], ["cat"])), stdin=theirs, stdout=subprocess.PIPE,
                              check=False, timeout=30, env=environment())
    assert done.stdout == b"hello", done
    done = execute(net, ["sh", "-c", " ".join(postern_run([], ["true"])) + " </"])
    assert done.code == 125 and "directory" in done.err, done


# What run needs, and leaves

def test_run_needs_little_memory(net, tmp_path):
    """VmHWM of postern while its command runs, with a policy of a usual size."""
    document = tmp_path / "policy.json"
    rules = [f"203.0.{n // 250}.{n % 250}" for n in range(1000)]
    document.write_text(json.dumps({"allowOut": rules, "denyOut": ["0.0.0.0/0"]}))
    for policy in ([], ["--policy", document]):
        with Running(net, postern_run(policy, ["sh", "-c", "echo up; exec sleep 60"])) as run:
            run.await_line(lambda line: line == "up", "the command runs")
            assert os.readlink(f"/proc/{run.pid}/exe") == os.path.realpath(POSTERN)
            status = Path(f"/proc/{run.pid}/status").read_text()
            peak = int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])
            assert 0 < peak < MEMORY_KB, f"{peak} kB"


def bpffs_names():
    path = Path("/sys/fs/bpf/postern-run")
    return {entry.name for entry in path.iterdir()} if path.exists() else set()


def test_nothing_is_left_behind(net):
    with Running(net, postern_run([], ["sh", "-c", "echo up; read x; exit 3"]), stdin=subprocess.PIPE) as run:
        run.await_line(lambda line: line == "up", "the command runs")
        child = child_of(run.pid)
        cgroup = cgroup_of(child)
        path = Path(cgroup2_mount() + cgroup)
        name = path.name
        assert path.is_dir() and "postern-run" in cgroup
        assert name in bpffs_names(), "the run's pins have the name of its cgroup"
        run.process.stdin.write("\n")
        run.process.stdin.close()
        assert run.wait() == 3, run.text()
    assert not path.exists()
    assert name not in bpffs_names()
    assert not os.path.exists(f"/proc/{child}")


def test_nothing_is_left_of_a_command_that_leaves_a_child(net, tmp_path):
    """What CMD leaves running ends with it, or is still under the policy."""
    note = tmp_path / "pid"
    argv = ["sh", "-c", f"setsid sleep 300 & cat /proc/self/cgroup; echo $! > {note}"]
    done = sandboxed(net, [], argv)
    path = Path(cgroup2_mount() + done.out.split("0::")[1].split()[0])
    until(lambda: not path.exists(), "the cgroup is removed")


def test_runs_at_the_same_time_do_not_disturb_each_other(net):
    runs = [Running(net, postern_run(["--allow", ALLOWED4_NET], flow("tcp", DENIED4, PORT, "x")))
            for _ in range(4)]
    runs += [Running(net, postern_run([], flow("tcp", DENIED4, PORT, "x"))) for _ in range(4)]
    try:
        codes = [run.wait() for run in runs]
        assert codes == [1] * 4 + [0] * 4, "\n".join(run.text() for run in runs)
    finally:
        for run in runs:
            run.stop()


def test_a_terminal_is_passed_on(net):
    """script(1) gives a terminal: CMD sees it as its own."""
    inner = " ".join(postern_run([], ["sh", "-c", "'test -t 0 && test -t 1 && echo terminal'"]))
    done = subprocess.run(net.host.command(["script", "-qec", inner, "/dev/null"]), capture_output=True, text=True,
                          check=False, env=environment(), stdin=subprocess.DEVNULL, timeout=30)
    assert "terminal" in done.stdout, done


