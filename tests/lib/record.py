# SPDX-License-Identifier: MIT
"""
Writes down what became of each test, when PST_RECORD names a file: a line "OUTCOME<tab>ID<tab>JSON". ID is the file below
tests/ and the test's name. tools/spec.py and tools/bypass.py read it.
"""

import json
import os
from pathlib import Path

import pytest

from evidence import NOW

PATH = os.environ.get("PST_RECORD")


def id_of(nodeid):
    return nodeid.split("tests/", 1)[-1]


class Recorder:
    """Lives where the reports of all workers arrive."""

    def __init__(self, path):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._out = open(path, "w", encoding="utf-8", buffering=1)  # pylint: disable=consider-using-with
        self._outcome = {}

    def pytest_runtest_logreport(self, report):
        outcome, why, seconds = self._outcome.get(report.nodeid, ("passed", "", 0.0))
        if report.failed:
            outcome = "failed"
        elif report.skipped and outcome == "passed":
            outcome = "xfailed" if hasattr(report, "wasxfail") else "skipped"
            why = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        seconds += report.duration
        self._outcome[report.nodeid] = outcome, why, seconds
        if report.when != "teardown":
            return
        facts = {"why": why, "seconds": round(seconds, 2), **dict(report.user_properties).get("evidence", {})}
        self._out.write(f"{outcome}\t{id_of(report.nodeid)}\t{json.dumps(facts)}\n")

    def pytest_sessionfinish(self):
        self._out.close()


def pytest_configure(config):
    if PATH and not hasattr(config, "workerinput") and not config.option.collectonly:
        config.pluginmanager.register(Recorder(PATH), "pst-recorder")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    NOW.begin()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(call):
    outcome = yield
    if call.when == "teardown":
        outcome.get_result().user_properties = [("evidence", NOW.end())]
