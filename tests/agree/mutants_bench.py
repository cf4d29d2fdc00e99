# SPDX-License-Identifier: MIT
"""Where a mutant is compiled and run (mutate.py)."""

import concurrent.futures
import hashlib
import os
import re
import resource
import shutil
import signal
import subprocess
import tempfile
from collections import namedtuple
from pathlib import Path

from mutants_rules import ROOT, described

BUILD = Path(os.environ.get("B", ROOT / "build")).resolve()
CC = os.environ.get("CC", "gcc")
FLAGS = ["-std=gnu11", "-w", "-Iinclude", "-Iuser", "-I.", "-Ibpf", "-D_GNU_SOURCE="]
LIMIT_S = 20  # of processor time: a mutant that does not end by then is killed; it would not load, either
PINS = Path("/sys/fs/bpf")
OPENS = "it lets through what is to be denied"  # of a difference; the tests say so
LOADS = "the kernel loads it"

# One source with mistakes; the native leg, which is compiled with them; what that is linked with; how the program is called:
# quickly, and then as long as the suite runs (-o: until it is known whether it opens something); and the object for the
# kernel that has every function of it.
Target = namedtuple("Target", "file leg shared calls object")

TABLES = ("user/base/*.c", "user/policy/*.c", "user/table/*.c", "tests/agree/options.c")
AGREE = (*TABLES, "user/events/words.c", "tests/agree/agree.c", "tests/agree/closed.c", "tests/agree/generate.c", "tests/agree/rows.c")
DNS = (*TABLES, "user/dns/*.c", "tests/lib/dns_wire.c", "tests/agree/dns/agree.c", "tests/agree/dns/leases.c", "tests/agree/dns/names.c",
       "tests/agree/dns/questions.c", "tests/agree/dns/replies.c")


def calls(*counts):
    return tuple(("-o", "-N", "-s", "1", "-n", str(count)) for count in counts)


TARGETS = (
    Target("decide.bpf.h", "tests/agree/native.c", (*AGREE, "no kernel: agree"), calls(20000, 300000), "bpf/agree.bpf.c"),
    Target("dns.bpf.h", "tests/agree/dns/native.c", (*DNS, "no kernel: dns"), calls(4000, 40000), "tests/bpf/agree_dns.bpf.c"),
    Target("packet.bpf.h", "tests/agree/packet/native.c", ("tests/agree/packet/packets.c", "tests/agree/frames/read.c"), (("-o",),),
           "tests/bpf/packet.bpf.c"),
)

# The legs that only a kernel has, for programs that are not to ask it.
NO_KERNEL = {
    "agree": """#include <errno.h>
#include "tests/agree/agree.h"
int agree_kernel_new(struct agree_kernel **k) { return -ENOTSUP; }
void agree_kernel_free(struct agree_kernel *k) { }
int agree_kernel_hide(struct agree_kernel *k, enum agree_map map, bool hidden) { return -ENOTSUP; }
int agree_kernel(struct agree_kernel *k, const struct agree_tables *t, const struct pst_query *q, struct pst_decision *d)
{ return -ENOTSUP; }
""",
    "dns": """#include <errno.h>
#include "tests/agree/dns/dns.h"
int dns_kernel_new(const struct dns_rules *r, size_t n, const struct dns_always *a, struct dns_kernel **k) { return -ENOTSUP; }
bool dns_kernel_left(struct dns_kernel *k, size_t p, const struct dns_leases *l, bool *m) { return false; }
void dns_kernel_free(struct dns_kernel *k) { }
int dns_kernel_question(struct dns_kernel *k, size_t r, const struct dns_wire *w, int lie, struct dns_leg_question *a)
{ return -ENOTSUP; }
struct agree_dns_reply *dns_kernel_batch(struct dns_kernel *k) { return NULL; }
int dns_kernel_replies(struct dns_kernel *k) { return -ENOTSUP; }
""",
}


def run(argv):
    done = subprocess.run([str(a) for a in argv], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"mutate: {' '.join(map(str, argv))}\n{done.stderr[-3000:]}")
    return done.stdout


LIBS = run(["pkg-config", "--libs", "json-c", "libidn2", "libpsl"]).split()
CLANG = shutil.which("clang-14") or "clang"
BPFTOOL = shutil.which("bpftool") or "/usr/sbin/bpftool"
# Of the warnings that are errors, those which say that bytes are written or read behind something.
BPF_FLAGS = ["-g", "-O2", "-Wno-everything", "-Werror=fortify-source", "-Werror=array-bounds", "-target", "bpf", "-mcpu=v3", "-fno-strict-aliasing", "-Iinclude",
             "-idirafter", "/usr/include/" + run([CC, "-print-multiarch"]).strip()]


# What survives is run once more so: it may have read or written behind something.
SANITIZE = ["-fsanitize=address,bounds,shift,null,object-size", "-fno-sanitize-recover=all"]
SANITIZED = {"LD_PRELOAD": run([CC, "-print-file-name=libasan.so"]).strip(), "ASAN_OPTIONS": "detect_leaks=0:verify_asan_link_order=0"}


class Bench:
    """What all mutants of a target share, compiled once; and one mutant at a time, in a directory of its own."""

    def __init__(self, directory):
        self.directory = directory
        self.objects = {}
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # many crash

    def prepare(self, targets):
        """Of the objects, those that `make` has not made."""
        jobs = {}
        for target in targets:
            sources = [source for pattern in target.shared for source in self.sources(pattern)]
            self.objects[target.file] = [self.made(source, jobs) for source in sources]
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(lambda job: run([CC, *FLAGS, "-O1", "-c", job[0], "-o", job[1]]), jobs.items()))
        for target in targets:
            self.link(target)

    def made(self, source, jobs):
        made = BUILD / "obj" / source.relative_to(ROOT if ROOT in source.parents else "/").with_suffix(".o")
        if made.exists() and made.stat().st_mtime >= source.stat().st_mtime:
            return made
        jobs[source] = self.directory / (source.stem + hashlib.sha256(str(source).encode()).hexdigest()[:8] + ".o")
        return jobs[source]

    def link(self, target):
        """The program without what is mutated: that is a library of its own, quickly compiled, and put in its place."""
        library = self.library(target, self.directory)
        self.compile(target, ROOT / "bpf", library)
        run([CC, "-rdynamic", *self.objects[target.file], library, *LIBS, "-o", self.program(target)])

    def program(self, target):
        return self.directory / f"{target.file}.program"

    @staticmethod
    def library(target, directory):
        return directory / f"libmutant_{target.file.split('.')[0]}.so"

    def compile(self, target, directory, library, *more):
        # What is mutated comes first, before bpf/. -O1 where there is more to run than to compile.
        argv = [CC, f"-I{directory}", *FLAGS, "-O1" if target.file == "packet.bpf.h" else "-O0", *more, "-shared", "-fPIC",
                f"-Wl,-soname,{library.name}", target.leg, "-o", library]
        return subprocess.run(argv, cwd=ROOT, capture_output=True, check=False).returncode == 0

    def sources(self, pattern):
        if not pattern.startswith("no kernel: "):
            return sorted(ROOT.glob(pattern))
        path = self.directory / f"no_kernel_{pattern.split()[-1]}.c"
        path.write_text(NO_KERNEL[pattern.split()[-1]], encoding="utf-8")
        return [path]

    @staticmethod
    def write(target, source, mutant, directory):
        text = source.text
        if mutant:
            text = text[:mutant.start] + mutant.after + text[mutant.end:]
        (directory / target.file).write_text(text, encoding="utf-8")

    def judge(self, target, source, mutant):
        """(killed, survived or refused; what was said). Without a mutant: whether there is anything to run it against."""
        with tempfile.TemporaryDirectory(dir=self.directory) as name:
            self.write(target, source, mutant, Path(name))
            if not self.compile(target, Path(name), self.library(target, Path(name))):
                return "refused", "does not compile"
            environment = {**os.environ, "LD_LIBRARY_PATH": name}
            fate, said = judged(self.program(target), target.calls if mutant else target.calls[:1], environment)
            if mutant and fate == "survived" and self.compile(target, Path(name), self.library(target, Path(name)), *SANITIZE):
                fate, said = judged(self.program(target), target.calls[:1], {**environment, **SANITIZED})
        return fate, said

    # ---- the kernel ----

    def compile_bpf(self, target, source, mutant, directory):
        """The object; None: the compiler has refused it."""
        for header in ROOT.glob("bpf/*.h"):
            shutil.copy(header, directory)
        self.write(target, source, mutant, directory)
        # Beside the headers: what it includes is looked for there first.
        shutil.copy(ROOT / target.object, directory)
        made = directory / Path(target.object).name.replace(".c", ".o")
        argv = [CLANG, *BPF_FLAGS, f"-I{(ROOT / target.object).parent}", "-c", made.with_suffix(".c"), "-o", made]
        return made if subprocess.run(argv, cwd=ROOT, capture_output=True, check=False).returncode == 0 else None

    def load(self, target, source, mutant):
        """Whether the kernel loads it, and what it says."""
        pins = PINS / f"pst-mutant-{os.getpid()}-{mutant.id if mutant else 'none'}"
        with tempfile.TemporaryDirectory(dir=self.directory) as name:
            made = self.compile_bpf(target, source, mutant, Path(name))
            if not made:
                return False, "the compiler refuses it\nprocessed 0 insns"
            done = subprocess.run([BPFTOOL, "prog", "loadall", made, pins], capture_output=True, text=True, check=False)
            shutil.rmtree(pins, ignore_errors=True)
        return done.returncode == 0, done.stderr

    def verify(self, target, source, mutant):
        """What natively survives, and the kernel is said to refuse."""
        loads, said = self.load(target, source, mutant)
        if loads:
            return "survived", LOADS
        if not refused(said):
            raise SystemExit(f"mutate: {described(mutant)}\n{said[-2000:]}")
        return "verifier", refused(said)


def judged(program, some_calls, environment):
    said = ""
    for call in some_calls:
        done = subprocess.run(["prlimit", f"--cpu={LIMIT_S}", program, *call], capture_output=True, env=environment, check=False)
        said = done.stdout.decode(errors="replace")
        if done.returncode:
            return "killed", told(said, done.returncode)
    return "survived", said.strip().splitlines()[-1]


def refused(said):
    """What the kernel's verifier said last before its figures; None: it said nothing."""
    found = re.search(r"([^\n]*)\n(?:libbpf: )?processed \d+ insns", said)
    return found and " ".join(found[1].split())[:120]


def told(said, code):
    """One line of what the tests said: that it opens something, else the first difference, else how it ended."""
    lines = said.strip().splitlines()
    for line in lines:
        if OPENS in line:
            return "OPENS " + line[:120]
    if code == -signal.SIGXCPU:
        return "does not end"
    if code < 0:
        return f"CRASH signal {-code}"
    return next((line for line in lines if "difference" in line or ", expected " in line), lines[-1] if lines else "")[:120]
