#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
Mutants of what judges, made from its source by rules: each condition dropped, turned or halved, each comparison swapped,
each number one off, each verdict another, each statement left out. Each is compiled natively as the agreement tests are,
and run against them: a difference kills it. What survives must stand in tests/agree/survivors.txt, with the reason why it
judges the same or denies more; a line there that is no mutant any more is an error. mutants.sh beside this, dns/mutants.sh
and frames/mutants.sh plant mistakes by hand, with names, also in what only the kernel has.

    tests/agree/mutate.py                       all; goes on where the last run of the same sources stopped
    tests/agree/mutate.py --sample 30 --seed 7  some of them, drawn with that seed
    tests/agree/mutate.py --seconds 600         what is done by then
    tests/agree/mutate.py --list [PATTERN]      the mutants, without running any
    tests/agree/mutate.py --left                what survived so far and is not listed, as the list has it, without a reason
    tests/agree/mutate.py --again               only what was judged before, with other tests
    tests/agree/mutate.py --one ID              one of them, and what the tests say
"""

import argparse
import concurrent.futures
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter, namedtuple
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("B", ROOT / "build")).resolve()
SURVIVORS = ROOT / "tests" / "agree" / "survivors.txt"
CC = os.environ.get("CC", "gcc")
FLAGS = ["-std=gnu11", "-O0", "-w", "-Iinclude", "-Iuser", "-I.", "-D_GNU_SOURCE="]
LIMIT_S = 180  # a mutant that does not end by then is killed: it would not load, either
GOAL = 0.95

Mutant = namedtuple("Mutant", "id file function rule before after line start end text")
# One source with mistakes, the file that includes it, what both are linked with, and how the program is called: quickly, and
# then as long as the suite runs.
Target = namedtuple("Target", "file native shared calls")

TARGETS = (
    Target("decide.bpf.h", "tests/agree/native.c",
           ("user/base/*.c", "user/policy/*.c", "user/table/*.c", "user/events/words.c", "tests/agree/agree.c", "tests/agree/closed.c",
            "tests/agree/generate.c", "tests/agree/options.c", "tests/agree/rows.c", "no kernel: agree"),
           (("-N", "-s", "1", "-n", "20000"), ("-N", "-s", "1", "-n", "300000"))),
    Target("dns.bpf.h", "tests/agree/dns/native.c",
           ("user/base/*.c", "user/policy/*.c", "user/table/*.c", "user/dns/*.c", "tests/lib/dns_wire.c", "tests/agree/options.c",
            "tests/agree/dns/agree.c", "tests/agree/dns/leases.c", "tests/agree/dns/names.c", "tests/agree/dns/questions.c",
            "tests/agree/dns/replies.c", "no kernel: dns"),
           (("-N", "-s", "1", "-n", "4000"), ("-N", "-s", "1", "-n", "40000"))),
    Target("packet.bpf.h", "tests/agree/packet/native.c", ("tests/agree/packet/packets.c", "tests/agree/frames/read.c"), ((),)),
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
bool dns_kernel_left(struct dns_kernel *k, size_t p, const struct dns_leases *l) { return false; }
void dns_kernel_free(struct dns_kernel *k) { }
int dns_kernel_question(struct dns_kernel *k, size_t r, const struct dns_wire *w, int lie, struct dns_leg_question *a)
{ return -ENOTSUP; }
struct agree_dns_reply *dns_kernel_batch(struct dns_kernel *k) { return NULL; }
int dns_kernel_replies(struct dns_kernel *k) { return -ENOTSUP; }
""",
}

# ---- the mutants of a source ----

TOKEN = re.compile(r"""(?P<space>\s+|/\*.*?\*/|//[^\n]*)|(?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
                       |(?P<number>0[xX][0-9a-fA-F]+[uUlL]*|\d+[uUlL]*)|(?P<word>[A-Za-z_]\w*)
                       |(?P<sign><<=|>>=|<<|>>|<=|>=|==|!=|&&|\|\||->|\+\+|--|[-+*/%&|^]=|[-+*/%&|^~!<>=?:;,.(){}\[\]\#\\])""", re.X | re.S)
Token = namedtuple("Token", "kind text start end")

SWAPS = {"==": ("!=",), "!=": ("==",), "<": ("<=", ">="), "<=": ("<", ">"), ">": (">=", "<="), ">=": (">", "<"), "&&": ("||",),
         "||": ("&&",), "+": ("-",), "<<": (">>",), ">>": ("<<",), "|=": ("&=", "="), "&=": ("|=", "="), "+=": ("-=", "=")}
VERDICTS = {"PST_VERDICT_DENY": ("PST_VERDICT_ALLOW",), "PST_VERDICT_ALLOW": ("PST_VERDICT_DENY",),
            "PST_VERDICT_RELAY": ("PST_VERDICT_ALLOW", "PST_VERDICT_DENY"), "PST_VERDICT_GATE": ("PST_VERDICT_ALLOW",),
            "PST_VERDICT_OWNER": ("PST_VERDICT_ALLOW", "PST_VERDICT_DENY"), "PST_VERDICT_WOULD_DENY": ("PST_VERDICT_ALLOW", "PST_VERDICT_DENY")}
OPENING, CLOSING = {"(": ")", "[": "]", "{": "}"}, {")", "]", "}"}


def tokens_of(text):
    found, at = [], 0
    while at < len(text):
        match = TOKEN.match(text, at)
        if not match:
            raise SystemExit(f"mutate: cannot read {text[at:at + 40]!r}")
        if match.lastgroup != "space":
            found.append(Token(match.lastgroup, match[0], at, match.end()))
        at = match.end()
    return found


def blank(text):
    """The same length, without comments, and without directives, which are no code."""
    text = re.sub(r"/\*.*?\*/", lambda m: re.sub(r"[^\n]", " ", m[0]), text, flags=re.S)
    return re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", lambda m: re.sub(r"[^\n]", " ", m[0]), text, flags=re.M)


def matching(tokens):
    """Index of each bracket's partner."""
    partner, stack = {}, []
    for i, token in enumerate(tokens):
        if token.text in OPENING:
            stack.append(i)
        elif token.text in CLOSING:
            opened = stack.pop()
            partner[opened], partner[i] = i, opened
    return partner


def functions(tokens, partner):
    """(name, first, last) of each body at the top level."""
    i, start = 0, 0
    while i < len(tokens):
        if tokens[i].text in "([":
            i = partner[i]
        elif tokens[i].text == "{":
            before = tokens[start:i]
            call = next((j for j in range(start, i - 1) if tokens[j].kind == "word" and tokens[j + 1].text == "(" and
                         tokens[j].text not in ("__attribute__", "PST_ASSERT")), None)
            if call is not None and not any(t.text in ("struct", "enum", "=") and n < 1 for n, t in enumerate(before)) or \
                    call is not None and tokens[i - 1].text == ")":
                yield tokens[call].text, i, partner[i]
            i = partner[i]
            start = i + 1
        elif tokens[i].text == ";":
            start = i + 1
        i += 1


class Source:
    """Collects the mutants of one file."""

    def __init__(self, name):
        self.name = name
        self.text = (ROOT / "bpf" / name).read_text("utf-8")
        self.code = blank(self.text)
        self.tokens = tokens_of(self.code)
        self.partner = matching(self.tokens)
        self.found, self.seen = [], Counter()
        for function, first, last in functions(self.tokens, self.partner):
            self.body(function, first, last)
        self.constants()

    def add(self, function, rule, first, last, after):
        """Tokens first to last become `after`."""
        start, end = self.tokens[first].start, self.tokens[last].end
        self.add_at(function, rule, start, end, after)

    def add_at(self, function, rule, start, end, after):
        before = self.text[start:end]
        if after == before:
            return
        line = self.text.count("\n", 0, start) + 1
        text = " ".join(self.text.splitlines()[line - 1].split())
        what = (self.name, function, rule, " ".join(before.split()), after, text)
        self.seen[what] += 1
        number = hashlib.sha256("|".join((*what, str(self.seen[what]))).encode()).hexdigest()[:10]
        self.found.append(Mutant(number, self.name, function, rule, " ".join(before.split()), after, line, start, end, text))

    def body(self, function, first, last):
        i = first + 1
        while i < last:
            self.token(function, i, first)
            i += 1
        self.statements(function, first, last)

    def token(self, function, i, first):
        token, before, after = self.tokens[i], self.tokens[i - 1], self.tokens[i + 1]
        if token.text in ("if", "while") and after.text == "(":
            self.condition(function, i + 1)
        elif token.text in ("&&", "||"):
            self.operands(function, i, first)
        if token.text == "!" and not before.text == "!":
            self.add(function, "not dropped", i, i, "")
        if token.text in SWAPS and not (token.text == "+" and before.text in ("(", ",", "=", "return")):
            for swap in SWAPS[token.text]:
                self.add(function, "operator", i, i, swap)
        elif token.text == "-" and (before.kind in ("word", "number") or before.text in ")]") and before.text != "return":
            self.add(function, "operator", i, i, "+")
        elif token.text in ("&", "|") and (before.kind in ("word", "number") or before.text in ")]") and before.text != "return":
            self.add(function, "operator", i, i, "|" if token.text == "&" else "&")
        if token.text in VERDICTS:
            for verdict in VERDICTS[token.text]:
                self.add(function, "verdict", i, i, verdict)
        elif token.kind == "number":
            self.number(function, i)
        elif token.text == "sizeof" and after.text == "(":
            end = self.partner[i + 1]
            for off in ("+ 1", "- 1"):
                self.add(function, "length", i, end, f"({self.text[token.start:self.tokens[end].end]} {off})")
        elif token.text == "return":
            self.returned(function, i)

    def condition(self, function, opening):
        closing = self.partner[opening]
        inner = self.text[self.tokens[opening].end:self.tokens[closing].start]
        self.add(function, "check dropped", opening, closing, "(0)")
        self.add(function, "check always", opening, closing, "(1)")
        self.add(function, "check turned", opening, closing, f"(!({' '.join(inner.split())}))")

    def bounds(self, i, first):
        """The operands of && or || at i: [left, i) and (i, right]."""
        ends = {"&&": ("&&", "||", "?", ":", ",", ";", "=", "return"), "||": ("||", "?", ":", ",", ";", "=", "return")}[self.tokens[i].text]
        left = i - 1
        while left > first:
            if self.tokens[left].text in CLOSING:
                left = self.partner[left]
            if self.tokens[left - 1].text in OPENING or self.tokens[left - 1].text in ends:
                break
            left -= 1
        right = i + 1
        while True:
            if self.tokens[right].text in OPENING:
                right = self.partner[right]
            if self.tokens[right + 1].text in CLOSING or self.tokens[right + 1].text in ends:
                break
            right += 1
        return left, right

    def operands(self, function, i, first):
        left, right = self.bounds(i, first)
        neutral = "1" if self.tokens[i].text == "&&" else "0"
        self.add(function, "operand dropped", left, i - 1, neutral)
        self.add(function, "operand dropped", i + 1, right, neutral)

    def number(self, function, i):
        token = self.tokens[i]
        value = int(re.sub("[uUlL]+$", "", token.text), 0)
        if self.tokens[i - 1].text == "case":
            return
        for other in (value + 1, value - 1):
            if other >= 0:
                self.add(function, "one off", i, i, hex(other) if token.text.lower().startswith("0x") else str(other))

    def returned(self, function, i):
        """What is returned turned, where it is more than a number."""
        end = i + 1
        while self.tokens[end].text != ";":
            end = self.partner[end] + 1 if self.tokens[end].text in OPENING else end + 1
        if end - i > 2 or (end - i == 2 and self.tokens[i + 1].kind == "word"):
            inner = " ".join(self.text[self.tokens[i + 1].start:self.tokens[end - 1].end].split())
            if not inner.startswith("pst_answer(") and "struct" not in inner:
                self.add(function, "result turned", i + 1, end - 1, f"!({inner})")

    def statements(self, function, first, last):
        """Assignments and calls left out; declarations stay."""
        i = first + 1
        while i < last:
            if self.tokens[i - 1].text not in "{};)" and self.tokens[i - 1].text != "else" or self.tokens[i].kind != "word" and self.tokens[i].text != "*":
                i += 1
                continue
            end = i
            while end < last and self.tokens[end].text not in ";{":
                end = self.partner[end] + 1 if self.tokens[end].text in "([" else end + 1
            if end >= last or self.tokens[end].text == "{":
                i += 1
                continue
            if self.is_effect(i, end):
                self.add(function, "left out", i, end - 1, "(void)0")
            i = end + 1

    def is_effect(self, i, end):
        """An assignment, or a call: not a declaration, a jump, or a condition's head."""
        words = [t.text for t in self.tokens[i:end]]
        if words[0] in ("return", "if", "for", "while", "switch", "case", "default", "struct", "const", "static", "else", "do", "break",
                        "continue", "enum", "asm", "int", "void", "long", "unsigned") or words[0].startswith("__u") or words[0].startswith("__be"):
            return words[0] == "break"
        if self.tokens[i - 1].text == ")" and self.tokens[self.partner[i - 1] - 1].text not in ("if", "for", "while"):
            return False
        return words[1:2] == ["("] or any(w in words for w in ("=", "|=", "&=", "+=", "-=", "++", "--"))

    def constants(self):
        """The file's own numbers with names."""
        for match in re.finditer(r"^#define\s+(\w+)\s+(0[xX][0-9a-fA-F]+|\d+)U?\b", self.text, re.M):
            value = int(match[2], 0)
            for other in (value + 1, value - 1):
                if other >= 0:
                    self.add_at("#define", "one off", match.start(2), match.end(2), str(other))


# ---- building and running ----

class Bench:
    """What all mutants of a target share, compiled once; and one mutant at a time, in a directory of its own."""

    def __init__(self, directory):
        self.directory = directory
        self.objects = {}

    def prepare(self, targets):
        """Of the objects, those that `make` has not made."""
        jobs = {}
        for target in targets:
            self.objects[target.file] = []
            for pattern in target.shared:
                for source in self.sources(pattern):
                    made = BUILD / "obj" / source.relative_to(ROOT if ROOT in source.parents else "/").with_suffix(".o")
                    if not made.exists():
                        made = jobs[source] = self.directory / (source.stem + hashlib.sha256(str(source).encode()).hexdigest()[:8] + ".o")
                    self.objects[target.file].append(made)
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(lambda job: run([CC, *FLAGS, "-c", job[0], "-o", job[1]]), jobs.items()))
        for target in targets:
            self.link(target)

    def link(self, target):
        """The program without what is mutated: that is a library of its own, quickly compiled, and put in its place."""
        library, program = self.library(target.file, self.directory), self.directory / f"{target.file}.program"
        self.compile(target, ROOT / "bpf", library)
        run([CC, "-rdynamic", *self.objects[target.file], library, *LIBS, "-o", program])

    @staticmethod
    def library(file, directory):
        return directory / f"libmutant_{file.split('.')[0]}.so"

    def compile(self, target, directory, library):
        argv = [CC, *FLAGS, "-shared", "-fPIC", f"-Wl,-soname,{library.name}", f"-I{directory}", "-Ibpf", target.native, "-o", library]
        return subprocess.run(argv, cwd=ROOT, capture_output=True, check=False).returncode == 0

    def sources(self, pattern):
        if not pattern.startswith("no kernel: "):
            return sorted(ROOT.glob(pattern))
        path = self.directory / f"no_kernel_{pattern.split()[-1]}.c"
        path.write_text(NO_KERNEL[pattern.split()[-1]], encoding="utf-8")
        return [path]

    def build(self, target, source, mutant, directory):
        """False: the compiler has refused it."""
        text = source.text
        if mutant:
            text = text[:mutant.start] + mutant.after + text[mutant.end:]
        (directory / target.file).write_text(text, encoding="utf-8")
        return self.compile(target, directory, self.library(target.file, directory))

    def judge(self, target, source, mutant):
        """(killed, survived or refused; what was said)"""
        with tempfile.TemporaryDirectory(dir=self.directory) as name:
            if not self.build(target, source, mutant, Path(name)):
                return "refused", "does not compile"
            program, environment = self.directory / f"{target.file}.program", {**os.environ, "LD_LIBRARY_PATH": name}
            for call in target.calls:
                try:
                    done = subprocess.run([program, *call], capture_output=True, env=environment, timeout=LIMIT_S, check=False, preexec_fn=no_core)
                except subprocess.TimeoutExpired:
                    return "killed", "does not end"
                said = done.stdout.decode(errors="replace")
                if done.returncode:
                    return "killed", opens(said) or (said.strip().splitlines() or [f"signal {-done.returncode}"])[0][:100]
        return "survived", said.strip().splitlines()[-1]


def no_core():
    import resource  # pylint: disable=import-outside-toplevel
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def opens(said):
    """The first difference in which it lets through what is to be denied."""
    for line in said.splitlines():
        if re.search(r"\b(native|kernel)\b.*\ballow\b.*\b(oracle|expected)\b.*\bdeny\b", line) or \
                re.search(r"\b(oracle|expected)\b.*\bdeny\b.*\b(native|kernel)\b.*\ballow\b", line):
            return "OPENS " + line[:100]
    return None


def run(argv):
    done = subprocess.run([str(a) for a in argv], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"mutate: {' '.join(map(str, argv))}\n{done.stderr[-3000:]}")
    return done.stdout


LIBS = run(["pkg-config", "--libs", "json-c", "libidn2", "libpsl"]).split()


# ---- results ----

def read_survivors():
    """id -> reason."""
    found = {}
    if SURVIVORS.exists():
        for line in SURVIVORS.read_text("utf-8").splitlines():
            if line and not line.startswith("#"):
                number, _, reason = line.split("\t")
                found[number] = reason
    return found


def digest_of(paths):
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


class Results:
    """
    One line a mutant, below build/: a run that was stopped goes on. Another version of bpf/ begins anew; with other tests,
    what survived is judged again.
    """

    def __init__(self, sources):
        self.path = BUILD / "mutants" / f"{digest_of(ROOT.glob('bpf/*.h'))}.txt"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.tests = digest_of([*ROOT.glob("tests/agree/**/*.[ch]"), *ROOT.glob("user/table/*.c")])
        known = {mutant.id for source in sources for mutant in source.found}
        self.known, self.before = {}, set()
        if self.path.exists():
            for line in self.path.read_text("utf-8").splitlines():
                number, fate, tests, said = line.split("\t", 3)
                if number in known and (fate != "survived" or tests == self.tests):
                    self.known[number] = (fate, said)
                self.before.add(number)

    def add(self, mutant, fate, said):
        self.known[mutant.id] = (fate, said)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{mutant.id}\t{fate}\t{self.tests}\t{' '.join(said.split())}\n")


def described(mutant):
    return f"{mutant.file}:{mutant.line} {mutant.function}: {mutant.rule}: {mutant.before} -> {mutant.after or '(nothing)'}  [{mutant.text}]"


def work(bench, jobs, results, deadline):
    """As many at a time as there are processors."""
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        def one(job):
            if time.monotonic() > deadline:
                return
            target, source, mutant = job
            results.add(mutant, *bench.judge(target, source, mutant))
        list(pool.map(one, jobs))


def control(bench, targets, sources):
    for target in targets:
        fate, said = bench.judge(target, sources[target.file], None)
        if fate != "survived":
            raise SystemExit(f"mutate: {target.file} without a mutant: {fate}: {said}")


def report(mutants, results, allowed, whole):
    fates = Counter(results.known[m.id][0] if m.id in results.known else "not run" for m in mutants)
    opened = sum(m.id in results.known and results.known[m.id][1].startswith("OPENS") for m in mutants)
    left = [m for m in mutants if results.known.get(m.id, ("",))[0] == "survived" and m.id not in allowed]
    stale = sorted(set(allowed) - {m.id for m in mutants}) if whole else []
    killed_though = [m for m in mutants if m.id in allowed and results.known.get(m.id, ("",))[0] == "killed"]
    for mutant in left:
        print(f"FAIL {mutant.id} survives: {described(mutant)}")
    for mutant in killed_though:
        print(f"FAIL {mutant.id} stands in {SURVIVORS.name}, and was killed: {described(mutant)}")
    for number in stale:
        print(f"FAIL {number} stands in {SURVIVORS.name}, and there is no such mutant")
    listed = fates["survived"] - len(left)
    judged = fates["killed"] + len(left)
    share = fates["killed"] / judged if judged else 1
    print(f"mutants: {len(mutants)}; {fates['refused']} do not compile, {fates['not run']} not run; {fates['killed']} killed "
          f"({opened} by an allow for a deny), {listed} equivalent, {len(left)} survived: {100 * share:.1f} of 100 killed")
    failed = len(left) + len(killed_though) + len(stale) + (share < GOAL)
    print(f"mutants: {fates['killed']} passed, {failed} failed")
    return 1 if failed else 0


def main():
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--sample", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=7200)
    parser.add_argument("--list", nargs="?", const="")
    parser.add_argument("--one")
    parser.add_argument("--file")
    parser.add_argument("--left", action="store_true")
    parser.add_argument("--again", action="store_true")
    options = parser.parse_args()
    targets = [t for t in TARGETS if not options.file or t.file == options.file]
    sources = {target.file: Source(target.file) for target in targets}
    jobs = [(target, sources[target.file], mutant) for target in targets for mutant in sources[target.file].found]
    if options.list is not None:
        for _, _, mutant in jobs:
            if options.list in described(mutant):
                print(mutant.id, described(mutant))
        return 0
    deadline = time.monotonic() + options.seconds
    if options.sample:
        # By a hash of each: a change of the source changes the sample by no more than what it changes.
        jobs.sort(key=lambda job: hashlib.sha256(f"{options.seed}:{job[2].id}".encode()).digest())
        jobs = jobs[:options.sample]
    if options.one:
        jobs = [job for job in jobs if job[2].id == options.one]
    results = Results(sources.values())
    if options.left:
        allowed = read_survivors()
        for _, _, mutant in jobs:
            if results.known.get(mutant.id, ("",))[0] == "survived" and mutant.id not in allowed:
                print(mutant.id, described(mutant), "", sep="\t")
        return 0
    if options.again:
        jobs = [job for job in jobs if job[2].id in results.before]
    with tempfile.TemporaryDirectory(prefix="pst-mutants-") as name:
        bench = Bench(Path(name))
        bench.prepare(targets)
        if options.one:
            for target, source, mutant in jobs:
                print(described(mutant), *bench.judge(target, source, mutant), sep="\n")
            return 0
        control(bench, targets, sources)
        # What is likelier to open something first, where there is not time for all.
        todo = [job for job in jobs if job[2].id not in results.known]
        todo.sort(key=lambda job: (job[2].id in results.before, job[2].rule in ("one off", "left out", "length", "result turned"), job[2].id))
        work(bench, todo, results, deadline)
    return report([job[2] for job in jobs], results, read_survivors(), not (options.sample or options.file or options.again))


if __name__ == "__main__":
    sys.exit(main())
