# SPDX-License-Identifier: MIT
"""What `make run` shows: in a few seconds, as promised; and it notices when it is not."""

import os
import shutil
import subprocess

from daemon import POSTERND
from postern import POSTERN, ROOT, cgroup2_mount, environment
from relaystub import PROGRAM as RELAY


def demo(directory):
    return subprocess.run([str(ROOT / "tools" / "demo.sh")], capture_output=True, text=True, check=False, timeout=60,
                          env=environment({"B": os.path.relpath(directory, ROOT)}), stdin=subprocess.DEVNULL)


def put_programs(directory):
    for program in (POSTERN, POSTERND, RELAY):
        shutil.copy(program, directory)


def namespaces():
    return {name for name in os.listdir("/run/netns") if "-demo-" in name} if os.path.isdir("/run/netns") else set()


def test_the_demo_is_as_promised(tmp_path):
    put_programs(tmp_path)
    done = demo(tmp_path)
    assert done.returncode == 0 and done.stdout.endswith("All as promised.\n"), done.stdout + done.stderr
    for words in ("hello from 93.184.216.34:443", "dns files.example.com (192.0.2.1)", "hello from 93.184.216.34:80",
                  'nearest rule "example.com" does not cover subdomains', "and 0 for files.example.com",
                  "hello from 10.9.0.5:5432", "default-deny", "always-denied", "[2606:4700::1111]:80/tcp",
                  "1.1.1.1:53/udp", '"sandboxID":"i', "that was open has ended", "posternd was killed (kill -9)",
                  "  running  cgroup  "):
        assert words in done.stdout, done.stdout


def test_the_demo_fails_when_nothing_is_denied(tmp_path):
    put_programs(tmp_path)
    program = tmp_path / "postern"
    program.unlink()
    program.write_text('#!/bin/bash\n[ "$1" = run ] || exit 0\nwhile [ "$1" != -- ]; do shift; done; shift; exec "$@"\n')
    program.chmod(0o755)
    done = demo(tmp_path)
    assert done.returncode == 1 and "NOT AS PROMISED" in done.stdout, done.stdout + done.stderr


def test_the_demo_cleans_up(tmp_path):
    put_programs(tmp_path)
    process = subprocess.Popen([str(ROOT / "tools" / "demo.sh")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               env=environment({"B": os.path.relpath(tmp_path, ROOT)}), stdin=subprocess.DEVNULL)
    assert process.wait(60) == 0
    assert not [name for name in namespaces() if name.startswith(f"pst-{process.pid}-")]
    assert not os.path.exists(f"/sys/fs/bpf/pst-{process.pid}-demo")
    assert not os.path.exists(f"{cgroup2_mount()}/pst-{process.pid}-demo")
