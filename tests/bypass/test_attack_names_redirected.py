# SPDX-License-Identifier: MIT
"""A remote resolver that the host redirects to its own: the reply comes over lo, from the remote address. It is learned."""

import socket
import subprocess
import threading

import dnswire
from captive import Captive
from crafted import RESOLVER4
from dnsrows import GOOD, NAMED, TO4, assert_reached
from dnswire import QNAME, address

TARGET, LOCAL = "93.184.72.1", "127.0.0.1"
RULES = f"""table ip pst_redirect {{
chain output {{ type nat hook output priority -100;
ip daddr {RESOLVER4} udp dport 53 dnat to {LOCAL}:53
}}
}}
"""


def local_resolver():
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((LOCAL, 53))
    sock.settimeout(10)
    return sock


def answer_one(sock):
    data, peer = sock.recvfrom(512)
    sock.sendto(dnswire.Question(data).reply([address(QNAME, TARGET)]), peer)


def test_a_redirected_resolver_is_learned_from(net):
    subprocess.run(net.host.command(["nft", "-f", "-"]), input=RULES, text=True, check=True)
    try:
        with net.host.call(local_resolver) as sock, Captive(net, [*NAMED, "--resolver", LOCAL]) as box:
            server = threading.Thread(target=answer_one, args=[sock])
            server.start()
            result, reply = box.ask(data=dnswire.query(GOOD, 7).hex(), to=TO4)
            server.join(11)
            assert result == "ok" and reply
            assert TARGET in box.leases(), box.replies()
            assert_reached(net, box, TARGET)
    finally:
        subprocess.run(net.host.command(["nft", "delete", "table", "ip", "pst_redirect"]), check=True)
