# SPDX-License-Identifier: MIT
"""posternd in one piece: created, changed, killed, found again, removed; with real traffic at each step."""

from daemon import DENY_ALL
from internet import ALLOWED4
from reach import is_answered
from wait import until


def test_a_sandbox_lives_and_dies(daemon):
    box = daemon.create({})
    assert is_answered(box)
    assert box.network({**DENY_ALL}).status == 204
    assert not is_answered(box)
    assert box.network({**DENY_ALL, "allowOut": [ALLOWED4]}).status == 204
    assert is_answered(box)
    daemon.kill()
    assert is_answered(box)
    daemon.start()
    assert box.show()["state"] == "running"
    assert is_answered(box)
    assert box.network({**DENY_ALL}).status == 204
    assert not is_answered(box)
    daemon.kill()
    assert not is_answered(box)
    daemon.start()
    assert not is_answered(box)
    box.delete()
    assert not box.cgroup.exists()
    until(lambda: not box.pins().exists(), "its pins are gone")
