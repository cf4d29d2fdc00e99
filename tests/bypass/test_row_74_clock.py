# SPDX-License-Identifier: MIT
"""
Row 74: clocks that jump. No program reads one that can be set, and what ends leases and questions goes on while the host
sleeps: a host that was suspended or restored finds them ended, and `date -s` changes nothing. Flows idle by the other clock.
"""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CLOCKS = re.compile(r"bpf_ktime_get_\w+|bpf_jiffies64")
OF_NAMES = {"lease.bpf.h", "learn.bpf.h", "question.bpf.h", "origin.bpf.h"}


def test_no_program_reads_another_clock():
    used = {}
    for path in sorted((ROOT / "bpf").glob("*.[ch]")):
        for name in CLOCKS.findall(path.read_text("utf-8")):
            used.setdefault(name, set()).add(path.name)
    assert set(used) == {"bpf_ktime_get_boot_ns", "bpf_ktime_get_coarse_ns"}, used
    assert {"lease.bpf.h", "learn.bpf.h"} <= used["bpf_ktime_get_boot_ns"]
    assert not OF_NAMES & used["bpf_ktime_get_coarse_ns"], used
