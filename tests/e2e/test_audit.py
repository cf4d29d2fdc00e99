# SPDX-License-Identifier: MIT
"""--audit: what the rules would deny passes and is reported; what no rule decides stays denied."""

import json

import pytest

from internet import ALLOWED4_NET, DENIED4, DENIED6, HOST4, PORT, tcp_listener
from postern import assert_allowed, assert_denied, flow, sandboxed

POLICY = ["--audit", "--allow", ALLOWED4_NET]


@pytest.mark.parametrize("address", [DENIED4, DENIED6])
@pytest.mark.parametrize("way,op", [("tcp", "connect"), ("udp", "sendto")])
def test_traffic_passes_and_is_reported(net, tmp_path, way, op, address):
    report = tmp_path / "report"
    done = assert_allowed(net, flow(way, address, PORT, "CANARY"), op=op,
                          policy=POLICY + ["--report", report])
    assert done.code == 0, done
    assert "would-deny" in done.err and address in done.err, done
    assert "would-deny" in report.read_text() and address in report.read_text()


def test_the_key_in_a_document_is_the_same(net, tmp_path):
    document = tmp_path / "policy.json"
    document.write_text(json.dumps({"audit": True, "denyOut": [DENIED4]}))
    done = assert_allowed(net, flow("tcp", DENIED4, PORT, "CANARY"), op="connect", policy=["--policy", document])
    assert "would-deny" in done.err and "denyOut[0]" in done.err, done


def test_always_denied_is_still_denied(net):
    assert_denied(net, flow("tcp", "169.254.169.254", PORT, "CANARY"), "169.254.169.254", PORT,
                  policy=POLICY, op="connect")


def test_what_is_not_understood_is_still_denied(net):
    assert_denied(net, flow("udplite", DENIED4, PORT, "CANARY"), DENIED4, PORT, policy=POLICY, op="socket")


def test_a_listener_of_the_host_is_still_denied(net):
    server = net.host.call(tcp_listener, 0)
    try:
        done = sandboxed(net, POLICY, flow("tcp", HOST4, server.getsockname()[1], "x"))
        assert done.op("connect").result == "EPERM", done
    finally:
        server.close()
