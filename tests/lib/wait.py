# SPDX-License-Identifier: MIT
"""Waiting for a condition with a deadline: nothing here sleeps for a time that it was told."""

import time

DEADLINE_S = 10.0


def until(condition, what, deadline_s=None):
    """Returns the first true value of condition(), or fails with `what`."""
    if deadline_s is None:
        deadline_s = DEADLINE_S
    end = time.monotonic() + deadline_s
    pause = 0.001
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= end:
            raise AssertionError(f"not within {deadline_s} s: {what}")
        time.sleep(pause)
        pause = min(pause * 2, 0.05)
