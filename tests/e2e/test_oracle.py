# SPDX-License-Identifier: MIT
"""The oracle itself: the sniffer sees what is sent, and assert_denied() fails when a denial is not one."""

import pytest

import postern
import wait
from internet import ALLOWED4, ALLOWED6, DENIED4, DENIED6, PORT, canary
from postern import assert_denied, execute, fill, flow

WAYS = [("tcp", "connect"), ("udp", "sendto"), ("udp-connected", "connect")]


@pytest.fixture(autouse=True)
def _forgiven(net):
    yield
    net.forgive()


def fake(tmp_path, monkeypatch, script):
    """Puts a program in Postern's place: it gets `run OPTION... -- COMMAND...`."""
    program = tmp_path / "postern"
    program.write_text(f'#!/bin/bash\nwhile [ "$1" != -- ]; do shift; done; shift\n{script}\n')
    program.chmod(0o755)
    monkeypatch.setattr(postern, "POSTERN", str(program))


@pytest.mark.parametrize("address", [ALLOWED4, DENIED4, ALLOWED6, DENIED6, "::ffff:" + DENIED4])
@pytest.mark.parametrize("way,op", WAYS)
def test_every_address_answers(net, way, op, address):
    token, since = canary(), net.mark()
    done = execute(net, fill(flow(way, address, PORT, "CANARY"), token))
    assert done.code == 0, done
    assert done.op(op).result == "ok"
    assert net.await_seen(token=token, dst=address, port=PORT, since=since)


@pytest.mark.parametrize("way,op", WAYS)
def test_a_postern_that_lets_everything_through_fails(net, tmp_path, monkeypatch, way, op):
    fake(tmp_path, monkeypatch, 'exec "$@"')
    with pytest.raises(AssertionError):
        assert_denied(net, flow(way, DENIED4, PORT, "CANARY"), DENIED4, PORT, policy=[], op=op)


def test_a_postern_that_lies_about_the_error_fails(net, tmp_path, monkeypatch):
    fake(tmp_path, monkeypatch, '"$@" >/dev/null; echo "sendto EPERM 0.1"; exit 1')
    with pytest.raises(AssertionError, match="frames arrived"):
        assert_denied(net, flow("udp", DENIED4, PORT, "CANARY"), DENIED4, PORT, policy=[], op="sendto")


def test_a_postern_that_drops_without_a_word_fails(net, tmp_path, monkeypatch):
    fake(tmp_path, monkeypatch, 'echo "connect ETIMEDOUT 131000"; exit 1')
    with pytest.raises(AssertionError, match="not EPERM"):
        assert_denied(net, flow("tcp", DENIED4, PORT, "CANARY"), DENIED4, PORT, policy=[], op="connect")


def test_a_slow_denial_fails(net, tmp_path, monkeypatch):
    fake(tmp_path, monkeypatch, 'echo "connect EPERM 1000"; exit 1')
    with pytest.raises(AssertionError, match="took"):
        assert_denied(net, flow("tcp", DENIED4, PORT, "CANARY"), DENIED4, PORT, policy=[], op="connect")


def test_a_control_that_does_not_arrive_fails(net, monkeypatch):
    monkeypatch.setattr(wait, "DEADLINE_S", 0.3)
    with pytest.raises(AssertionError, match="control must arrive"):
        assert_denied(net, ["/bin/true"], DENIED4, PORT, policy=[], op="connect")


def test_a_real_denial_passes(net, tmp_path, monkeypatch):
    fake(tmp_path, monkeypatch, 'echo "connect EPERM 0.1"; exit 1')
    assert_denied(net, flow("tcp", DENIED4, PORT, "CANARY"), DENIED4, PORT, policy=[], op="connect")
