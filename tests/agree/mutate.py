#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
Mutants of what judges, made from its source by rules: each condition dropped, turned or halved, each comparison swapped,
each number one off, each verdict another, each statement left out. Each is compiled natively as the agreement tests are,
and run against them: a difference kills it. Of those that are killed it is counted how many were seen to let through what
is to be denied: a verdict that is nearer to allow than the oracle's, a question that passes, an address that is learned or
for longer, a packet that is understood or taken for another one. What survives must stand in tests/agree/survivors.txt,
with the reason why it opens nothing; a line there that is no mutant any more, or that is killed, is an error. Where the
reason is that the kernel does not load it, it is loaded, and must be refused (`verifier`; as root, without --sample).
mutants.sh beside this, dns/mutants.sh and frames/mutants.sh plant mistakes by hand, with names, also in what only the
kernel has.

    tests/agree/mutate.py                       all; goes on where the last run of the same sources stopped
    tests/agree/mutate.py --sample 30 --seed 7  some of them, drawn with that seed
    tests/agree/mutate.py --seconds 600         what is done by then
    tests/agree/mutate.py --list [PATTERN]      the mutants, without running any
    tests/agree/mutate.py --left                what survived so far and is not listed, as the list has it, without a reason
    tests/agree/mutate.py --fresh               all, whatever was judged before
    tests/agree/mutate.py --one ID...           some of them, and what the tests say
    tests/agree/mutate.py --file dns.bpf.h      those of one file
"""

import argparse
import concurrent.futures
import hashlib
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.dont_write_bytecode = True  # what is beside this is no package to keep

from mutants_bench import BUILD, LOADS, TARGETS, Bench
from mutants_rules import ROOT, Source, blank, described, listed

SURVIVORS = ROOT / "tests" / "agree" / "survivors.txt"
KINDS = ("same", "stricter", "verifier")
GOAL = 0.95


def read_survivors():
    """id -> (kind, reason). Kinds: same, stricter, verifier."""
    found = {}
    if SURVIVORS.exists():
        for line in SURVIVORS.read_text("utf-8").splitlines():
            if line and not line.startswith("#"):
                number, _, kind, reason = line.split("\t")
                if kind not in KINDS or not reason:
                    raise SystemExit(f"mutate: {SURVIVORS.name}: {line}")
                found[number] = kind
    return found


def digest_of(paths):
    """Of the code, whatever is said of it."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update("".join(blank(path.read_text("utf-8"), directives=False).split()).encode())
    return digest.hexdigest()[:12]


def tests_of(name):
    """What those of this file are run against."""
    target = next(target for target in TARGETS if target.file == name)
    paths = [path for pattern in (target.leg, *target.shared) for path in ROOT.glob(pattern)]
    return digest_of([*paths, *(header for folder in {path.parent for path in paths} for header in folder.glob("*.h"))])


class Results:
    """
    One line a mutant, below build/: a run that was stopped goes on. Another version of the file, or of what it includes,
    begins anew; with other tests, what survived is judged again.
    """

    def __init__(self, sources, fresh):
        self.directory = BUILD / "mutants"
        self.directory.mkdir(parents=True, exist_ok=True)
        self.known, self.before, self.paths, self.tests = {}, set(), {}, {}
        for source in sources:
            self.tests[source.name] = tests_of(source.name)
            self.read(source, fresh)

    def read(self, source, fresh):
        digest = digest_of([ROOT / "bpf" / source.name, *ROOT.glob("include/*.h")])
        path = self.paths[source.name] = self.directory / f"{source.name.split('.')[0]}-{digest}.txt"
        if fresh:
            path.unlink(missing_ok=True)
        known = {mutant.id for mutant in source.found}
        for line in path.read_text("utf-8").splitlines() if path.exists() else ():
            number, fate, tests, said = line.split("\t", 3)
            self.before.add(number)
            if number in known and (fate != "survived" or tests == self.tests[source.name]):
                self.known[number] = (fate, said)
            else:
                self.known.pop(number, None)

    def add(self, mutant, fate, said):
        self.known[mutant.id] = (fate, said)
        with self.paths[mutant.file].open("a", encoding="utf-8") as file:
            file.write(f"{mutant.id}\t{fate}\t{self.tests[mutant.file]}\t{' '.join(said.split())}\n")

    def fate(self, mutant):
        return self.known.get(mutant.id, ("not run", ""))[0]

    def said(self, mutant):
        return self.known.get(mutant.id, ("", ""))[1]


def work(jobs, results, deadline, judge):
    """As many at a time as there are processors."""
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        def one(job):
            if time.monotonic() < deadline:
                results.add(job[2], *judge(*job))
        list(pool.map(one, jobs))


def control(bench, targets, sources):
    for target in targets:
        fate, said = bench.judge(target, sources[target.file], None)
        if fate != "survived":
            raise SystemExit(f"mutate: {target.file} without a mutant: {fate}: {said}")


def verify(bench, jobs, results, allowed, deadline):
    """Those that survive natively, and are listed as refused by the kernel."""
    jobs = [job for job in jobs if results.fate(job[2]) == "survived" and allowed.get(job[2].id) == "verifier"]
    for target in {job[0].file: job[0] for job in jobs}.values():
        loads, said = bench.load(target, next(job[1] for job in jobs if job[0] is target), None)
        if not loads:
            raise SystemExit(f"mutate: {target.object} without a mutant does not load:\n{said[-2000:]}")
    work(jobs, results, deadline, bench.verify)


class Report:
    """What became of these mutants."""

    def __init__(self, mutants, results, allowed, whole):
        self.mutants, self.results, self.allowed = mutants, results, allowed
        self.fates = Counter(results.fate(m) for m in mutants)
        self.left = [m for m in mutants if results.fate(m) == "survived" and m.id not in allowed]
        self.not_so = [m for m in mutants if m.id in allowed and not self.is_so(m)]
        self.stale = sorted(set(allowed) - {m.id for m in mutants}) if whole else []

    def is_so(self, mutant):
        """What the list says of it."""
        fate = self.results.fate(mutant)
        if fate == "survived":
            return self.allowed[mutant.id] != "verifier" or self.results.said(mutant) != LOADS
        return fate == "not run" or fate == "verifier" == self.allowed[mutant.id]

    def failures(self):
        for mutant in self.left:
            yield f"{mutant.id} survives: {described(mutant)}"
        for mutant in self.not_so:
            yield f"{mutant.id} stands in {SURVIVORS.name}, and was {self.results.fate(mutant)}: {described(mutant)}"
        for number in self.stale:
            yield f"{number} stands in {SURVIVORS.name}, and there is no such mutant"
        if self.share() < GOAL:
            yield f"{100 * self.share():.1f} of 100 are killed"

    def killed(self):
        return self.fates["killed"] + self.fates["verifier"]

    def share(self):
        """Of those that do not judge as the source does."""
        return self.killed() / (self.killed() + len(self.left)) if self.killed() else 1

    def tell(self):
        failures = list(self.failures())
        opened = sum(self.results.said(m).startswith("OPENS") for m in self.mutants)
        crashed = sum(self.results.said(m).startswith(("CRASH", "does not end")) for m in self.mutants)
        kinds = Counter(self.allowed[m.id] for m in self.mutants if self.results.fate(m) == "survived" and m.id in self.allowed)
        judged = self.killed() + self.fates["survived"]
        for failure in failures:
            print("FAIL", failure)
        print(f"mutants: {len(self.mutants)} made; {self.fates['refused']} do not compile, {self.fates['not run']} were not run; {judged} judged")
        print(f"mutants: {self.killed()} killed: {self.fates['killed']} by a difference ({opened} were seen to let through what is to be denied, "
              f"{crashed} crash or do not end), {self.fates['verifier']} are refused by the kernel")
        print(f"mutants: {sum(kinds.values())} survive with a reason in {SURVIVORS.name}: {kinds['same']} judge the same, {kinds['stricter']} deny more, "
              f"{kinds['verifier']} are for the kernel to refuse and were not loaded; {len(self.left)} survive without a reason")
        print(f"mutants: killed are {100 * self.killed() / judged if judged else 100:.1f} of 100 of all, {100 * self.share():.1f} of 100 of those "
              "that do not judge as the source does")
        print(f"mutants: {self.killed()} passed, {len(failures)} failed")
        return 1 if failures else 0


def parsed():
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--sample", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=7200)
    parser.add_argument("--list", nargs="?", const="")
    parser.add_argument("--one", nargs="+")
    parser.add_argument("--file")
    parser.add_argument("--left", action="store_true")
    parser.add_argument("--fresh", action="store_true")
    return parser.parse_args()


def chosen(options, jobs):
    if options.sample:
        # By a hash of each: a change of the source changes the sample by no more than what it changes.
        jobs = sorted(jobs, key=lambda job: hashlib.sha256(f"{options.seed}:{job[2].id}".encode()).digest())[:options.sample]
    if options.one:
        jobs = [job for job in jobs if job[2].id in options.one]
    return jobs


def judge_one(bench, jobs):
    for target, source, mutant in jobs:
        fate, said = bench.judge(target, source, mutant)
        print(mutant.id, described(mutant), f"{fate}: {said}", sep="\n")
        if fate == "survived" and os.geteuid() == 0:
            print("kernel:", *bench.verify(target, source, mutant))


def main():
    options = parsed()
    deadline = time.monotonic() + options.seconds
    targets = [t for t in TARGETS if not options.file or t.file == options.file]
    sources = {target.file: Source(target.file) for target in targets}
    jobs = chosen(options, [(target, sources[target.file], mutant) for target in targets for mutant in sources[target.file].found])
    allowed = read_survivors()
    if options.list is not None:
        print(*(f"{mutant.id} {described(mutant)}" for _, _, mutant in jobs if options.list in described(mutant)), sep="\n")
        return 0
    results = Results(sources.values(), options.fresh)
    if options.left:
        print(*(f"{m.id}\t{listed(m)}\t\t" for _, _, m in jobs if results.fate(m) == "survived" and m.id not in allowed), sep="\n")
        return 0
    with tempfile.TemporaryDirectory(prefix="pst-mutants-") as name:
        bench = Bench(Path(name))
        bench.prepare(targets)
        if options.one:
            judge_one(bench, jobs)
            return 0
        control(bench, targets, sources)
        # What is likelier to open something first, where there is not time for all.
        todo = [job for job in jobs if job[2].id not in results.known]
        todo.sort(key=lambda job: (job[2].id in results.before, job[2].rule in ("one off", "left out", "length", "result turned"), job[2].id))
        work(todo, results, deadline, bench.judge)
        if os.geteuid() == 0 and not options.sample:
            verify(bench, jobs, results, allowed, deadline)
    whole = not (options.sample or options.file)
    return Report([job[2] for job in jobs], results, allowed, whole).tell()


if __name__ == "__main__":
    sys.exit(main())
