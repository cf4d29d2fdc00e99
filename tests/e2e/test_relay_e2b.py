# SPDX-License-Identifier: MIT
"""
What E2B's own SDK says of egressProxy and rules, and real traffic after each of its calls: through the proxy with the
password, with the headers of the rules, and held to the name by default.
"""

import json

import pytest

from daemon import Box
from relaybox import Talker
from relaypeers import AUTH4, DNS4, ECHO, ECHO4, NGINX4, ORIGIN4, PASSWORD, SOCKS, USER
from sdk import Sdk

API, ONE, TWO = "api.example.com", "one.example.org", "two.example.org"
SECRET = "Bearer pst-e2b-secret-2b90"
PROXY = f"{{ address: '{AUTH4}:{SOCKS}', username: '{USER}', password: '{PASSWORD}' }}"
RULES = f"{{ '{API}': [{{ transform: {{ headers: {{ Authorization: '{SECRET}' }} }} }}] }}"


@pytest.fixture(name="sdk")
def sdk_fixture(relays):
    with Sdk(relays.daemon) as running:
        yield running


@pytest.fixture(name="create")
def create_fixture(sdk, relays):
    """Sandbox.create() with a network, kept as my.box; somebody inside."""
    opened = []

    def create(network):
        name = sdk.run(f"my.box = await Sandbox.create({{ network: {network} }}); return my.box.sandboxId")
        opened.append((name, Talker(relays.net, enter=Box(relays.daemon, name).argv)))
        return opened[-1][1]
    yield create
    for name, talker in opened:
        talker.stop()
        relays.daemon.request("DELETE", f"/sandboxes/{name}")


def page(talker, name, address=NGINX4, port=80):
    """What is fetched over HTTP: its text, or how it ended."""
    result = talker.connect(name="c", address=address, port=port)
    return talker.get(name)[2] if result == "ok" else result


def echoes(talker):
    if talker.connect(name="c", address=ECHO4, port=ECHO) != "ok" or talker.send(name="c", data="hello") != "ok":
        return False
    return talker.receive(name="c", size=5)["data"] == "hello"


def test_a_proxy_is_used_and_its_password_is_never_told(sdk, create, peers):
    talker, since, before = create(f"{{ allowOut: ['{ECHO4}', '{ONE}'], denyOut: [ALL_TRAFFIC], egressProxy: {PROXY} }}"), \
        peers.mark(), len(peers.guarded.log())
    assert echoes(talker)
    assert page(talker, ONE) == "one http \n" and page(talker, TWO) != "two http \n"
    assert not peers.seen(ECHO4, since=since) and not peers.seen(NGINX4, since=since)
    assert f"connected to {ECHO4}:{ECHO}" in peers.guarded.log()[before:]
    assert f"connected to {ONE}:80" in peers.guarded.log()[before:]
    info = sdk.run("return await my.box.getInfo()")
    assert info["network"]["egressProxy"] == {"address": f"{AUTH4}:{SOCKS}", "username": USER}
    assert PASSWORD not in json.dumps(info)
    # What an update leaves out is cleared.
    sdk.run(f"await my.box.updateNetwork({{ allowOut: ['{ECHO4}'], denyOut: [ALL_TRAFFIC] }})")
    since = peers.mark()
    assert echoes(talker) and peers.seen(ECHO4, since=since)
    assert "egressProxy" not in sdk.run("return (await my.box.getInfo()).network")
    sdk.run(f"await my.box.updateNetwork({{ egressProxy: {PROXY} }})")
    since = peers.mark()
    assert echoes(talker) and not peers.seen(ECHO4, since=since)


def test_rules_are_applied_and_open_nothing(sdk, create, peers, relays, tmp_path):
    trust = relays.ca(tmp_path / "ca.pem")
    talker = create(f"{{ rules: {RULES}, allowOut: ({{ rules }}) => [...rules.keys()], denyOut: [ALL_TRAFFIC] }}")

    def values():
        """Of Authorization, as it arrived over HTTP and over HTTPS."""
        start = len(peers.origin.requests)
        for port in (80, 443):
            assert talker.connect(name="c", address=ORIGIN4, port=port) == "ok"
            if port == 443:
                talker.tls(name="c", server=API, trust=trust)
            talker.get(API)
        return [request.values("authorization") for request in peers.origin.requests[start:]]
    assert values() == [[SECRET], [SECRET]]
    assert SECRET not in json.dumps(sdk.run("return await my.box.getInfo()"))
    sdk.run(f"await my.box.updateNetwork({{ rules: {RULES}, denyOut: [ALL_TRAFFIC] }})")
    assert talker.connect(name="c", address=ORIGIN4, port=443, timeout=8) != "ok", "a rule opens nothing"
    sdk.run(f"await my.box.updateNetwork({{ allowOut: ['{API}'], denyOut: [ALL_TRAFFIC] }})")
    assert values() == [[], []]


def test_names_are_those_of_sni_and_host(create, peers):
    """hostCheck is strict on this route, as E2B's is."""
    talker = create(f"{{ allowOut: ['{ONE}'], denyOut: [ALL_TRAFFIC] }}")
    trust = str(peers.ca.certificate)
    assert page(talker, ONE) == "one http \n" and page(talker, TWO).startswith("postern: blocked")
    for name, expected in ((ONE, True), (TWO, False)):
        assert talker.connect(name="c", address=NGINX4, port=443) == "ok"
        assert (talker.tls(name="c", server=name, trust=trust)["result"] == "ok") == expected
    assert talker.ask(server=DNS4, name=ONE)["addresses"] == [NGINX4]
    assert talker.ask(server=DNS4, name=TWO)["rcode"] == 3


def test_errors_are_those_of_e2b(sdk, create):
    create("{}")
    for network, message in (
            ("egressProxy: { address: '' }", "400: Invalid egress proxy config: egress proxy address must not be empty"),
            ("egressProxy: { address: '1.2.3.4:0' }",
             '400: Invalid egress proxy config: egress proxy port "0" is not a valid 1-65535 value'),
            ("egressProxy: { address: '1.2.3.4:1080', password: 'x' }",
             "400: Invalid egress proxy config: egress proxy password must be empty when username is empty"),
            ("rules: { 'a b': [{ transform: { headers: { A: 'b' } } }] }", '400: Rule domain "a b" is not a valid domain name.'),
            ("rules: { 'a.com': [{ transform: { headers: { 'A B': 'b' } } }] }",
             '400: Header name "A B" in rule for domain "a.com" must contain only valid HTTP token characters.')):
        error = sdk.error(f"await my.box.updateNetwork({{ {network} }})")
        assert (error.classes[0], error.message.split("\n")[0]) == ("SandboxError", message), network


@pytest.mark.parametrize("address", ["10.9.0.5:1080", "inner.example.net:1080"])
def test_a_proxy_in_a_private_network_is_none(sdk, create, net, address):
    talker = create("{}")
    since = net.mark()
    call = f"await my.box.updateNetwork({{ egressProxy: {{ address: '{address}' }} }})"
    try:
        sdk.run(call)
    except Exception as error:  # pylint: disable=broad-except
        assert "internal / denied IP range" in str(error)
    else:
        assert not echoes(talker)
    net.fence()
    assert not net.seen(dst="10.9.0.5", since=since)
