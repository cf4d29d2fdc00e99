# SPDX-License-Identifier: MIT
"""What the tests of the bypass set share: the policy of a sandbox that wants to get out."""

from internet import ALLOWED4_NET, ALLOWED6_NET

POLICY = ["--allow", ALLOWED4_NET, "--allow", ALLOWED6_NET]
CELL_POLICY = {"allowOut": [ALLOWED4_NET, ALLOWED6_NET], "denyOut": ["0.0.0.0/0"]}  # the same as a document
