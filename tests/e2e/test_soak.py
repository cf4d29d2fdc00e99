# SPDX-License-Identifier: MIT
"""Sandbox lives one after another, of both kinds, with names, changes and the relay, leave nothing (lib/soak.py)."""

import os
import time

from relaybox import LONG
from soak import Soak

LIVES = int(os.environ.get("SOAK_LIVES", "2000" if LONG else "100"))
SECONDS = float(os.environ.get("SOAK_SECONDS", "1800" if LONG else "12"))
FIRST = 20  # until tables and heap have their size


def test_lives_leave_nothing(net, peers):
    soak = Soak(net, peers)
    try:
        soak.batch(FIRST)
        soak.sample()
        deadline = time.monotonic() + SECONDS
        # Whatever the load: twice as many at the least.
        soak.batch(FIRST)
        soak.batch(LIVES - 2 * FIRST, deadline)
        last = soak.sample()
        print(Soak.head(), *map(Soak.row, soak.samples), sep="\n")
        assert last["lives"] >= 2 * FIRST
        assert not soak.faults(), soak.faults()
    finally:
        soak.close()


def test_what_is_left_behind_is_found(net, peers):
    """The control: a sandbox that nobody deletes, a descriptor of the relay's and a namespace are told."""
    soak = Soak(net, peers)
    try:
        soak.sample()
        daemon = soak.relays.daemon
        daemon.attach("left", daemon.cgroup("left"), {"denyOut": ["0.0.0.0/0"], "allowOut": ["one.example.org"]})
        wire = soak.wire()
        try:
            soak.sample(settle_s=1)
        finally:
            wire.close()
        told = " ".join(fault.split(":")[0] for fault in soak.faults())
        assert all(word in told for word in ("pins", "cgroups", "namespaces")), told
    finally:
        soak.close()
