#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""
`make bypass`: every row of the catalogue of ways out (tests/lib/catalogue.py), tried for real, and the table of what became of
it. The table is made of the records that the tests left and of nothing else.

    tools/bypass.py PROGRAM... runs everything, and these programs below build/tests, then the table; exit code 1 when a case failed, or a row was not tried
    tools/bypass.py --table    the table of the last run
    tools/bypass.py --self-test
"""

import collections
import fnmatch
import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / os.environ.get("B", "build")
RECORDS = BUILD / "records"
sys.path.insert(0, str(ROOT / "tests/lib"))
sys.dont_write_bytecode = True

# pylint: disable=wrong-import-position
from catalogue import ROWS  # noqa: E402
from evidence import CGROUP, CLSACT, HOST, TCX  # noqa: E402

NAMES = ("bypass", "bypass-clsact", "bypass-programs")
KINDS = (CGROUP, TCX, CLSACT, HOST)
LIMIT_S = 1500
LANES = str(2 * (os.cpu_count() or 1))  # half of their time tests wait for what must not arrive

Case = collections.namedtuple("Case", "id outcome kind modes cases reasons why")


# ---- running ----

def end_to_end():
    """What of e2e/ the catalogue names: files, and the names of tests in those of which it names some."""
    files, names = set(), {}
    for row in ROWS:
        for pattern, _ in row.tests:
            if pattern.startswith("e2e/"):
                file, _, name = pattern.partition("::")
                names.setdefault(file.rstrip("*"), set()).add(name or "*")
    for file, patterns in names.items():
        found = [line.split("(")[0][4:] for line in (ROOT / "tests" / file).read_text("utf-8").splitlines()
                 if line.startswith("def test_")]
        files |= {f"tests/{file}::{test}" for test in found if any(fnmatch.fnmatchcase(test, p) for p in patterns)}
    return sorted(files)


def pytest(name, *what, **environment):
    path = RECORDS / f"{name}.tsv"
    path.unlink(missing_ok=True)
    command = ["/usr/bin/python3", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short", "-n", LANES,
               "--dist", "loadfile", *what]
    return subprocess.run(["timeout", "-k", "10", str(LIMIT_S), *command], cwd=ROOT, check=False, stdin=subprocess.DEVNULL,
                          env={**os.environ, "PST_RECORD": str(path), "PST_BYPASS": "1", "PST_REASONS": "1",
                               "PYTHONDONTWRITEBYTECODE": "1", **environment}).returncode


def run(names):
    started = time.monotonic()
    programs = [os.path.join(os.environ.get("B", "build"), "tests", name) for name in names]  # as their records are named
    codes = [subprocess.run([ROOT / "tests/run.sh", "bypass-programs", *programs], cwd=ROOT, check=False).returncode,
             pytest("bypass", "tests/bypass", *end_to_end()),
             # The same frames and calls where devices are held by clsact. The matrices have it by themselves.
             pytest("bypass-clsact", "tests/bypass", "-k", "(netdev or device) and not matrix", PST_TC=CLSACT, PST_BYPASS="0")]
    print(f"bypass: ran for {time.monotonic() - started:.0f} s")
    return table() or (1 if any(codes) else 0)


# ---- the table ----

def read(directory):
    cases = []
    for name in NAMES:
        path = directory / f"{name}.tsv"
        for line in path.read_text("utf-8").splitlines() if path.exists() else ():
            outcome, test, *rest = line.split("\t")
            facts = json.loads(rest[0]) if rest else {}
            modes = collections.defaultdict(set)
            for kind, mode in facts.get("places", ()):
                modes[kind].add(mode)
            for kind in modes or {None: ()}:
                cases.append(Case(test, outcome, kind, frozenset(modes.get(kind, ())), facts.get("cases", 1),
                                  facts.get("reasons", {}), facts.get("why", "")))
    return cases


def of_row(row, cases):
    """(kind, mode) -> cases. What no sandbox was needed for is the host's, or where the catalogue says."""
    found = collections.defaultdict(list)
    for case in cases:
        kind = next((at or case.kind or HOST for pattern, at in row.tests if fnmatch.fnmatchcase(case.id, pattern)), None)
        if kind:
            for mode in case.modes or ("any",):
                found[kind, mode].append(case)
    return found


def result(cases):
    """(what the line says, passed, failed, skipped)."""
    count = collections.Counter()
    reasons = collections.Counter()
    for case in cases:
        count[case.outcome if case.outcome in ("passed", "failed") else "skipped"] += case.cases
        reasons.update(case.reasons)
    said = []
    if count["failed"]:
        said.append(f"OPEN OR BROKEN: {count['failed']} failed")
    if count["passed"]:
        top = ", ".join(name for name, _ in reasons.most_common(4))
        said.append(f"closed ({top})" if top else "closed")
    if count["skipped"]:
        why = next((c.why for c in cases if c.outcome not in ("passed", "failed") and c.why), "")
        said.append(f"{count['skipped']} skipped{': ' + why.replace('Skipped: ', '') if why else ''}")
    return "; ".join(said), count["passed"], count["failed"], count["skipped"]


def missing(row, found):
    """(kind, mode) that must have a case that passed, and has none."""
    def has(kind, mode):
        return any(case.outcome == "passed" for (k, m), cases in found.items() if k == kind and mode in (None, m)
                   for case in cases)
    if row.skips and any(found.values()):
        return []
    return [(kind, mode) for kind, modes in row.places.items() for mode in modes or (None,) if not has(kind, mode)]


def print_row(row, found, out):
    order = sorted(found, key=lambda place: (KINDS.index(place[0]), place[1]))
    head = f"{row.number:>3}  {row.way}"
    print(head, file=out)
    for kind, mode in order:
        said, *counts = result(found[kind, mode])
        print(f"     {kind:<7} {mode:<10} {sum(counts):>5}  {said}", file=out)
    for kind, why in row.open.items():
        print(f"     {kind:<7} {'':<10} {'-':>5}  not closable: {why}", file=out)
    if TCX in row.places and CLSACT not in {*row.places, *row.open, *(kind for kind, _ in found)}:
        print(f"     {CLSACT:<7} {'':<10} {'-':>5}  not tried: what reads these bytes is the same program as by TCX", file=out)
    holes = missing(row, found)
    for kind, mode in holes:
        print(f"     {kind:<7} {mode or 'any':<10} {0:>5}  NOT TRIED", file=out)
    return len(holes)


def table(directory=None, rows=tuple(ROWS), out=sys.stdout):
    cases = read(directory or RECORDS)
    print("\nrow  way out\n     kind    mode       cases  result (reasons by which packets were denied meanwhile)", file=out)
    untried, used = 0, set()
    for row in rows:
        found = of_row(row, cases)
        untried += print_row(row, found, out)
        used |= {case for where in found.values() for case in where_key(where)}
    others = [case for case in dict.fromkeys(where_key(cases)) if case not in used and case[0].startswith("bypass/")]
    count = collections.Counter()
    for _, outcome, number in {*used, *others}:
        count[outcome if outcome in ("passed", "failed") else "skipped"] += number
    print(f"\n{len(rows)} rows, {untried} places not tried; {count['skipped']} cases skipped, {len(others)} tests of no row "
          "(controls, and what is in order)", file=out)
    print(f"{count['passed']} passed, {count['failed'] + untried} failed", file=out)
    return 1 if count["failed"] or untried else 0


def where_key(cases):
    """Each test once, however many places it was at."""
    return [(f"{case.id} {case.kind == CLSACT}", case.outcome, case.cases) for case in cases]


# ---- that it can fail ----

def self_test():
    import io  # pylint: disable=import-outside-toplevel
    import tempfile  # pylint: disable=import-outside-toplevel
    from catalogue import row  # pylint: disable=import-outside-toplevel
    place = '{"places": [["cgroup", "open"]], "cases": 3, "reasons": {"always-denied": 3}}'
    one = row(1, "a way", "bypass/test_a.py*", {CGROUP: ("open",)})
    tests = (
        ("what was tried and is closed", f"passed\tbypass/test_a.py::x\t{place}", one, 0, "3 passed, 0 failed"),
        ("what failed", f"failed\tbypass/test_a.py::x\t{place}", one, 1, "0 passed, 4 failed"),
        ("what was skipped", f"skipped\tbypass/test_a.py::x\t{place}", one, 1, "0 passed, 1 failed"),
        ("a row without a case", f"passed\tbypass/test_b.py::x\t{place}", one, 1, "3 passed, 1 failed"),
        ("a mode without one", f"passed\tbypass/test_a.py::x\t{place}", one._replace(places={CGROUP: ("deny_all",)}), 1,
         "3 passed, 1 failed"),
        ("a kind without one", f"passed\tbypass/test_a.py::x\t{place}", one._replace(places={TCX: ()}), 1, "3 passed, 1 failed"),
        ("what nothing can be had of", f"skipped\tbypass/test_a.py::x\t{place}", one._replace(skips=True), 0, "0 passed, 0 failed"),
        ("a failure of no row", f"passed\tbypass/test_a.py::x\t{place}\nfailed\tbypass/test_b.py::x\t{place}", one, 1,
         "3 passed, 3 failed"),
    )
    bad = 0
    for what, records, made, code, last in tests:
        with tempfile.TemporaryDirectory() as name:
            (Path(name) / "bypass.tsv").write_text(records + "\n", "utf-8")
            out = io.StringIO()
            got = table(Path(name), (made,), out)
            if (got, out.getvalue().splitlines()[-1]) != (code, last):
                print(f"bypass: self-test: {what}: exit {got}, {out.getvalue()}", file=sys.stderr)
                bad += 1
    print(f"bypass: self-test: {len(tests)} cases, {bad} wrong")
    return 1 if bad else 0


if __name__ == "__main__":
    ARGS = sys.argv[1:]
    sys.exit(table() if ARGS == ["--table"] else self_test() if ARGS == ["--self-test"] else run(ARGS))
