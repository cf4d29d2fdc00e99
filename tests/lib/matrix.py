# SPDX-License-Identifier: MIT
"""
The three modes and the places where they are held: what tests/bypass/test_matrix*.py run every way out through. All of it
is `make bypass` (PST_BYPASS=1); `make test` has a sample, of what its other tests have least of.
"""

import os

from evidence import CGROUP, CLSACT, DENY_ALL, OPEN, RESTRICTED, TCX
from internet import ALLOWED4_NET, ALLOWED6_NET

ALONE = "cgroup, packet hooks alone"  # connect, sendmsg and the rest taken away: the packet verdict is the truth
POLICIES = {
    OPEN: {},
    DENY_ALL: {"denyOut": ["0.0.0.0/0"]},
    RESTRICTED: {"denyOut": ["0.0.0.0/0"], "allowOut": [ALLOWED4_NET, ALLOWED6_NET]},
}
WHOLE = os.environ.get("PST_BYPASS") == "1"
SAMPLE = {(CGROUP, DENY_ALL), (CLSACT, RESTRICTED), (TCX, DENY_ALL)}


def places(*kinds):
    """(kind, mode), as many as this run has time for."""
    return [(kind, mode) for kind in kinds for mode in POLICIES if WHOLE or (kind, mode) in SAMPLE]


def label(place):
    return "-".join(place).replace(", ", "-").replace(" ", "-")
