# SPDX-License-Identifier: MIT
"""Network namespaces: a name in /run/netns, and a thread of this process that lives in it."""

import concurrent.futures
import ctypes
import os
import subprocess
import threading

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def shell(*argv, **options):
    """Runs a command that must succeed; returns its output."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr.strip()}"
    return done.stdout


def sweep(prefix="pst-"):
    """Removes the namespaces of test runs whose process is gone."""
    if not os.path.isdir("/run/netns"):
        return
    for name in os.listdir("/run/netns"):
        pid = name[len(prefix):].split("-")[0]
        if name.startswith(prefix) and pid.isdigit() and not os.path.exists(f"/proc/{pid}"):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


class Namespace:
    """One namespace. call() runs a function in it: sockets made there stay there."""

    _count = 0
    _lock = threading.Lock()

    def __init__(self, role):
        with Namespace._lock:
            Namespace._count += 1
            self.name = f"pst-{os.getpid()}-{Namespace._count}-{role}"
        self.path = f"/run/netns/{self.name}"
        shell("ip", "netns", "add", self.name)
        self._thread = concurrent.futures.ThreadPoolExecutor(1, initializer=self._enter)
        self.ip("link", "set", "lo", "up")

    def _enter(self):
        fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if _libc.setns(fd, CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
        finally:
            os.close(fd)

    def call(self, function, *args):
        return self._thread.submit(function, *args).result()

    def ip(self, *args):
        return shell("ip", "-n", self.name, *args)

    def sysctl(self, **values):
        """sysctl(net__ipv4__ip_forward=1): two underscores are a dot."""
        for key, value in values.items():
            path = "/proc/sys/" + key.replace("__", "/")
            self.call(_write, path, str(value))

    def command(self, argv):
        """argv as it must be to run in here. The mounts stay those of the caller."""
        return ["nsenter", f"--net={self.path}", "--", *argv]

    def close(self):
        self._thread.shutdown()
        subprocess.run(["ip", "netns", "del", self.name], capture_output=True, check=False)


def _write(path, text):
    # /proc/sys/net belongs to the thread that opens it, not to the process.
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
