# SPDX-License-Identifier: MIT
"""The bypass set: every known way out, one file a row. Shared: a sandbox with nothing but the packet hooks."""

import pytest

from postern import PacketOnly
from rows import POLICY


@pytest.fixture
def packet_only(net):
    """Privileged, without the socket hooks: the packet hook is all that stands between it and the internet."""
    with PacketOnly(net, POLICY) as box:
        yield box


@pytest.fixture
def packet_only_open(net):
    """The same under the policy that denies nothing."""
    with PacketOnly(net, []) as box:
        yield box
