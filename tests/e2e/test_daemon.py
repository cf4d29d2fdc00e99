# SPDX-License-Identifier: MIT
"""posternd in one piece: created, changed, killed, found again, removed; with real traffic at each step."""

import pytest

from daemon import DENY_ALL, Daemon
from internet import ALLOWED4, PORT, canary
from postern import flow
from wait import until


@pytest.fixture
def daemon(net):
    with Daemon(net) as running:
        yield running


def reaches(box, address=ALLOWED4):
    """Whether a TCP connection from inside is answered; both sides' word for it."""
    token = canary()
    since = box.daemon.net.mark()
    done = box.run(flow("tcp", address, PORT, token))
    arrived = bool(box.daemon.net.seen(token=token, since=since))
    assert arrived == (done.code == 0), done
    return arrived


def test_a_sandbox_lives_and_dies(daemon):
    box = daemon.create({})
    assert reaches(box)
    assert box.network({**DENY_ALL}).status == 204
    assert not reaches(box)
    assert box.network({**DENY_ALL, "allowOut": [ALLOWED4]}).status == 204
    assert reaches(box)
    daemon.kill()
    assert reaches(box)
    daemon.start()
    assert box.show()["state"] == "running"
    assert reaches(box)
    assert box.network({**DENY_ALL}).status == 204
    assert not reaches(box)
    daemon.kill()
    assert not reaches(box)
    daemon.start()
    assert not reaches(box)
    box.delete()
    assert not box.cgroup.exists()
    until(lambda: not box.pins().exists(), "its pins are gone")
