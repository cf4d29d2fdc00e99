# SPDX-License-Identifier: MIT
"""
One system call of posternd fails, or is its last: which calls a phase makes (strace counts them), which of them are
tried, and the strace that makes one fail.
"""

import contextlib
import os
import random
import re
import signal
import subprocess
import tempfile
from collections import namedtuple
from pathlib import Path

from netns import shell
from wait import until

# name and number of the call as its thread counts them; shape: its arguments without numbers; what: error or signal.
Point = namedtuple("Point", "name nth what shape")

# The loader's, the thread library's own, and calls that never fail: brk says no by the old break, and libc takes an
# error for a break.
NEVER = {"execve", "exit", "exit_group", "futex", "rt_sigreturn", "restart_syscall", "rseq", "set_robust_list",
         "set_tid_address", "arch_prctl", "sched_yield", "gettid", "getpid", "geteuid", "munmap", "nanosleep",
         "clock_nanosleep", "rt_sigprocmask", "brk"}
# What waits: when it fails, the loop has nothing to go on with, and the end is in order.
WAITS = {"epoll_wait", "epoll_pwait", "poll", "ppoll"}
ERRORS = {
    "bpf": ("EPERM", "ENOMEM", "EIO"), "openat": ("EMFILE", "EIO"), "open_by_handle_at": ("ENOMEM",), "read": ("EIO",),
    "pread64": ("EIO",), "write": ("ENOSPC",), "fsync": ("EIO",), "renameat": ("ENOSPC", "EIO"), "mkdir": ("ENOSPC",),
    "mkdirat": ("ENOSPC",), "unlinkat": ("EIO",), "unlink": ("EIO",), "mmap": ("ENOMEM",),
    "mprotect": ("ENOMEM",), "getrandom": ("EAGAIN",), "socket": ("EMFILE",), "bind": ("EADDRINUSE",),
    "listen": ("EADDRINUSE",), "accept4": ("EMFILE",), "recvfrom": ("EIO",), "recvmsg": ("ENOBUFS",),
    "sendto": ("ENOBUFS",), "sendmsg": ("ENOBUFS",), "prctl": ("EINVAL",), "capset": ("EPERM",), "capget": ("EINVAL",),
    "flock": ("ENOLCK",), "clone3": ("EAGAIN",), "clone": ("EAGAIN",), "epoll_create1": ("EMFILE",),
    "epoll_ctl": ("ENOMEM",), "timerfd_create": ("EMFILE",), "signalfd4": ("EMFILE",), "inotify_init1": ("EMFILE",),
    "inotify_add_watch": ("ENOSPC",), "dup3": ("EBUSY",), "epoll_wait": ("EINTR",), "epoll_pwait": ("EINTR",),
    "poll": ("ENOMEM",), "ppoll": ("ENOMEM",), "setns": ("EPERM",), "statfs": ("EIO",), "fstatfs": ("EIO",),
}
CALL = re.compile(r"(\d+) +(\w+)\((.*)")
# Of calls that look the same, so many are tried: the first, the last, and others by the seed.
ALIKE = 3


def calls(path, begin=None):
    """(name, number, shape) of each call in strace's output, from where the file `begin` is opened."""
    counted, found, begun, before = {}, [], begin is None, {}
    for line in Path(path).read_text("utf-8", errors="replace").splitlines():
        match = CALL.match(line)
        if not match:
            continue
        thread, name, rest = match.groups()
        counted[thread, name] = counted.get((thread, name), 0) + 1
        begun = begun or (name == "openat" and begin in line)
        if not begun:
            before[name] = counted[thread, name]
        elif name not in NEVER and counted[thread, name] > before.get(name, 0):
            shape = re.sub(r"0x[0-9a-f]+|\d+|i[0-9a-f]{19}", "#", rest.split(" = ")[0])
            found.append((name, counted[thread, name], shape[:100]))
    return found


def points(found, rng, kill=False):
    """What is tried of the calls of a phase."""
    alike = {}
    for name, nth, shape in found:
        if name not in WAITS or not kill:
            alike.setdefault((name, shape), []).append(nth)
    made = set()
    for (name, shape), numbers in alike.items():
        numbers = sorted(set(numbers))
        some = numbers if len(numbers) <= ALIKE else [numbers[0], *rng.sample(numbers[1:-1], ALIKE - 2), numbers[-1]]
        for nth in some:
            what = "signal=KILL" if kill else f"error={rng.choice(ERRORS.get(name, ('EIO',)))}"
            made.add(Point(name, nth, what, shape))
    unique = {(p.name, p.nth): p for p in sorted(made)}
    return list(unique.values())


def sample(found, count, rng):
    """All of them in the long run; else `count`, of as many different calls as there are."""
    if os.environ.get("PST_LONG") or len(found) <= count:
        return found
    by_name = {}
    for point in rng.sample(found, len(found)):
        by_name.setdefault(point.name, []).append(point)
    chosen = []
    while len(chosen) < count:
        for name in rng.sample(sorted(by_name), len(by_name)):
            if by_name[name] and len(chosen) < count:
                chosen.append(by_name[name].pop())
    return chosen


def seed():
    number = int(os.environ.get("PST_SEED", random.randrange(1 << 32)))
    print(f"PST_SEED={number}")
    return random.Random(number)


class Strace:
    """strace of one phase: of all calls, or with one of them failing."""

    def __init__(self, point=None):
        self.point = point
        handle, path = tempfile.mkstemp(prefix="pst-strace-", dir="/dev/shm")
        os.close(handle)
        self.path = Path(path)
        only = f"{point.name},openat" if point else "all"
        # 64: what is needed of a string to tell the calls apart.
        self.options = ["-f", "-qq", "-s", "64", "-e", "signal=none", "-e", f"trace={only}", "-o", path]
        if point:
            self.options += ["-e", f"inject={point.name}:{point.what}:when={point.nth}"]

    def wrapper(self):
        """Before a command line: strace is its child, so that signals and the exit status are the command's own."""
        return ["strace", "-D", *self.options]

    @contextlib.contextmanager
    def attached(self, pid):
        with subprocess.Popen(["strace", *self.options, "-p", str(pid)], stderr=subprocess.PIPE,
                              text=True) as process:
            # -qq keeps its word to itself: it is there when it is every thread's tracer.
            until(lambda: process.poll() is not None or all(tracers(pid)), "strace is attached")
            assert process.poll() is None, process.stderr.read()
            try:
                yield self
            finally:
                process.send_signal(signal.SIGINT)
                # Of a tracee that was killed it may wait for a word that does not come.
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.5)
                process.kill()

    def hit(self):
        """Has the point been reached?"""
        return "(INJECTED)" in self.path.read_text("utf-8", errors="replace")

    def is_begun(self, name):
        """Has the file been opened? What fails before is the dynamic loader's."""
        return f"{name}\"" in self.path.read_text("utf-8", errors="replace")

    def close(self):
        self.path.unlink(missing_ok=True)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


def tracers(pid):
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(re.search(r"TracerPid:\t(\d+)", (task / "status").read_text())[1]) for task in tasks]
    except (FileNotFoundError, ProcessLookupError):
        return [0]


def attached_programs(cgroup):
    """What the kernel has attached to a cgroup itself, by bpftool's word."""
    return shell("bpftool", "cgroup", "show", str(cgroup)).strip()
