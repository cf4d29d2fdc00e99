#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""
Holds docs/SPECIFICATION.md to what ran: each promise (a row "| ID | promise | tests |") names tests, and each of these is
there and passed in the records that tests/run.sh has written below build/records.

    tools/spec.py             the check; one closing line
    tools/spec.py --self-test that it fails for what it must fail for

A test is `file::name` or a whole `file`, below tests/. It holds a promise when at least one of its cases passed and none
failed; a test that was skipped holds nothing. A promise for what not every kernel has says "(where: ...)" behind its tests:
these may be skipped, and are listed. A program that names no tests of its own is one test: `agree/agree`, `fuzz/fuzz_http.c`.
"""

import collections
import os
import re
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / os.environ.get("B", "build")
ROW = re.compile(r"^\| ([A-Z0-9]+-\d+) \| (.+) \| (.*) \|$")
NAMED = re.compile(r"`([a-z0-9_]+/[A-Za-z0-9_/.]+(?:::\w+)?)`")
STAGES = ("unit", "replay", "bpf", "agree", "e2e")
LEAST = 150  # a document that lost its rows is no document


def promises(text):
    """(id, promise, tests, may be skipped) of each row."""
    return [(m[1], m[2], NAMED.findall(m[3]), "(where:" in m[3]) for m in map(ROW.match, text.splitlines()) if m]


def read_records(directory):
    """test -> outcomes, under the test's name, its file's and, without .c, its program's."""
    found, missing, programs = collections.defaultdict(collections.Counter), [], collections.Counter()
    for stage in STAGES:
        path = directory / f"{stage}.tsv"
        if not path.exists():
            missing.append(f"{stage}: it has left no record: `make {stage}`")
            continue
        for line in path.read_text("utf-8").splitlines():
            outcome, name = line.split("\t")[:2]
            test = name.split("[")[0]
            for key in {test, test.split("::")[0]}:
                found[key][outcome] += 1
            if "." not in test:
                programs[test, outcome] += 1
    # A program's source is its tests; one that names none is one itself. One that failed, failed.
    for (program, outcome), count in programs.items():
        if outcome == "failed" or not set(found.get(f"{program}.c", ())) - {"failed"}:
            found[f"{program}.c"][outcome] += count
    return found, missing


def check(text, found):
    """(what is wrong, what did not run here and need not)."""
    wrong, absent, ids = [], [], collections.Counter()
    for name, promise, tests, may_skip in promises(text):
        ids[name] += 1
        if ids[name] > 1:
            wrong.append(f"{name}: there are two of it")
        if not tests:
            wrong.append(f"{name}: no test holds it: {promise}")
        for test in tests:
            outcomes = found.get(test, {})
            if outcomes.get("failed"):
                wrong.append(f"{name}: {test} failed")
            elif outcomes.get("passed"):
                continue
            elif not outcomes:
                wrong.append(f"{name}: {test} did not run, or there is no such test")
            elif may_skip:
                absent.append(f"{name}: {test}: skipped here")
            else:
                wrong.append(f"{name}: {test} was skipped: it holds nothing")
    return wrong, absent


def run(document, records, least=LEAST):
    text = document.read_text("utf-8")
    found, wrong = read_records(records)
    more, absent = check(text, found)
    rows = promises(text)
    looks_like = len(re.findall(r"^\| [A-Z0-9]+-\d+ ", text, re.M))
    if looks_like != len(rows):
        wrong.append(f"{document.name}: {looks_like - len(rows)} rows have not three columns")
    if len(rows) < least:
        wrong.append(f"{document.name}: {len(rows)} promises, fewer than {least}")
    for line in absent:
        print(line)
    for line in wrong + more:
        print(line, file=sys.stderr)
    tests = {test for row in rows for test in row[2]}
    print(f"spec: {len(rows)} promises, {len(tests)} tests, {len(absent)} not to be had here, {len(wrong + more)} wrong")
    return 1 if wrong + more else 0


GOOD = "unit/test_x.c::holds"
SELF_TESTS = (
    # what, document's third column, records, exit code
    ("a test that passed holds", f"`{GOOD}`", f"passed\t{GOOD}", 0),
    ("so does a file", "`unit/test_x.c`", f"passed\t{GOOD}", 0),
    ("and one case of several", "`e2e/t.py::x`", "passed\te2e/t.py::x[a]\t{}\nskipped\te2e/t.py::x[b]\t{}", 0),
    ("a program is a test", "`agree/agree`", "passed\tagree/agree", 0),
    ("by its source, too", "`fuzz/fuzz_x.c`", "passed\tfuzz/fuzz_x", 0),
    ("and fails with its program", "`unit/test_x.c`", f"passed\t{GOOD}\nfailed\tunit/test_x", 1),
    ("an unknown test does not", "`unit/test_x.c::other`", f"passed\t{GOOD}", 1),
    ("nor an unknown file", "`unit/test_y.c`", f"passed\t{GOOD}", 1),
    ("nor one that was skipped", f"`{GOOD}`", f"skipped\t{GOOD}", 1),
    ("nor a program with nothing but skips", "`bpf/test_x.c`", "skipped\tbpf/test_x.c::x\npassed\tbpf/test_x", 1),
    ("nor one that failed", f"`{GOOD}`", f"failed\t{GOOD}", 1),
    ("nor one of whose cases one failed", f"`{GOOD}`", f"passed\t{GOOD}\nfailed\t{GOOD}", 1),
    ("nor one that is expected to fail", "`e2e/t.py::x`", "xfailed\te2e/t.py::x\t{}", 1),
    ("nor none", "by design", f"passed\t{GOOD}", 1),
    ("one that needs another kernel may be skipped", f"`{GOOD}` (where: LSM)", f"skipped\t{GOOD}", 0),
    ("but not be missing", "`unit/test_y.c::y` (where: LSM)", f"passed\t{GOOD}", 1),
)


def self_test():
    bad = 0
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        document, quiet = directory / "spec.md", open(os.devnull, "w", encoding="utf-8")
        streams = sys.stdout, sys.stderr
        for what, tests, records, expected in SELF_TESTS:
            for stage in STAGES:
                (directory / f"{stage}.tsv").write_text(records + "\n", "utf-8")
            document.write_text(f"| I-1 | it is so | {tests} |\n", "utf-8")
            sys.stdout = sys.stderr = quiet
            try:
                code = run(document, directory, 1)
            finally:
                sys.stdout, sys.stderr = streams
            if code != expected:
                print(f"spec: self-test: {what}: exit {code}", file=sys.stderr)
                bad += 1
        quiet.close()
        (directory / "e2e.tsv").unlink()
        bad += not read_records(directory)[1]
        bad += len(promises("| I-1 | a | `b/c` |\n| I-1 | a |")) != 1
    print(f"spec: self-test: {len(SELF_TESTS) + 2} cases, {bad} wrong")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(self_test() if sys.argv[1:] == ["--self-test"] else run(ROOT / "docs/SPECIFICATION.md", BUILD / "records"))
