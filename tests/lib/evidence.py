# SPDX-License-Identifier: MIT
"""
What a test really did: for which kind of sandbox and by what its programs hung there, under which modes, how many ways out
it tried, and with which reasons the kernel and the programs denied them. Those who start sandboxes and try ways out say so
here; tests/lib/record.py writes it down with the test's outcome. Nothing is taken from what a test is called.
"""

import collections
import contextlib
import json
import os
import re
from pathlib import Path

CGROUP, TCX, CLSACT, HOST = "cgroup", "tcx", "clsact", "host"
OPEN, DENY_ALL, RESTRICTED = "open", "deny_all", "restricted"
COUNTED = re.compile(r'^postern_denials_total\{reason="([a-z-]+)"\} (\d+)', re.M)
# Metrics are asked for behind each test of a whole run; a sample has no time for that.
ASKS = os.environ.get("PST_REASONS") == "1"


class Evidence:
    """Of the test that runs."""

    def __init__(self):
        self.daemons, self._seen = [], {}
        self.begin()

    def begin(self):
        self.places, self.cases, self.reasons = set(), 0, collections.Counter()
        if ASKS:
            self._ask()
            self.reasons.clear()

    def sandbox(self, kind, policy):
        """policy: a document, or the options of `postern run`."""
        self.places.add((kind, mode_of(policy)))

    def tried(self, count):
        """So many ways out, each of them looked for at the far side."""
        self.cases += count

    def told(self, text):
        """What a program said: the summary of a run has a line for each denial that begins with its count."""
        for line in text.splitlines() if ASKS else ():
            words = line.split(None, 3)
            if len(words) == 4 and words[0].isdigit():
                self.reasons.update(w for w in (words[3].split()[0].rstrip(":,;"),) if w in reasons())

    def _ask(self):
        for daemon in list(self.daemons):
            with contextlib.suppress(Exception):  # it is stopped, killed, or told to be broken by its test
                text = daemon.request("GET", "/metrics", timeout=2).body.decode()
                now = {name: int(count) for name, count in COUNTED.findall(text)}
                before = self._seen.get(daemon.name, {})
                self.reasons.update({n: c - before.get(n, 0) for n, c in now.items() if c > before.get(n, 0)})
                self._seen[daemon.name] = now

    def end(self):
        """All of it, as what JSON can say."""
        if ASKS:
            self._ask()
        return {"places": sorted(self.places), "cases": max(1, self.cases), "reasons": dict(self.reasons)}


NOW = Evidence()


def reasons():
    """The words of include/pst_reason.h."""
    if not hasattr(reasons, "words"):
        text = (Path(__file__).resolve().parents[2] / "include/pst_reason.h").read_text("utf-8")
        reasons.words = frozenset(re.findall(r'"([a-z]+(?:-[a-z]+)+|[a-z]+)"', text))
    return reasons.words


def mode_of(policy):
    if isinstance(policy, (str, bytes)):
        with contextlib.suppress(ValueError):
            policy = json.loads(policy)
    if isinstance(policy, dict):
        return _mode_of_document(policy)
    words = [str(word) for word in policy or ()]
    document = {}
    for n, word in enumerate(words):
        if word == "--policy" and words[n + 1] != "-":
            with contextlib.suppress(OSError, ValueError):
                document.update(json.loads(Path(words[n + 1]).read_text("utf-8")))
        elif word == "--deny":
            document.setdefault("denyOut", []).append(words[n + 1])
    if "--allow" in words:
        if "--policy" not in words:
            document.setdefault("denyOut", []).append("0.0.0.0/0")
        document.setdefault("allowOut", []).append("")
    return _mode_of_document(document)


def _mode_of_document(document):
    if document.get("mode"):
        return {"allow_all": OPEN}.get(document["mode"], document["mode"])
    closed = "0.0.0.0/0" in (document.get("denyOut") or ()) or document.get("allow_internet_access") is False or \
        document.get("allowInternetAccess") is False
    if not closed:
        return OPEN
    return RESTRICTED if document.get("allowOut") else DENY_ALL
