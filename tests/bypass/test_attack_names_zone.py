# SPDX-License-Identifier: MIT
"""What the zone behind one allowed name can do to the other allowed names."""

from captive import Captive
from dnsrows import GOOD, RESOLVERS, TO4, assert_reached, assert_shut, learn
from dnswire import QNAME, address, query
from internet import PORT

TARGET = "93.184.67.1"
POLICY = [*RESOLVERS, "--allow", f"{GOOD}:{PORT}", "--allow", "*.wild.example.com:7001"]


def test_a_zone_that_claims_the_address_of_another_name(net, dns, free):
    """Its names have other ports and live longer: however many, the other name keeps its place."""
    with Captive(net, POLICY) as box:
        learn(dns, box, TARGET)
        assert_reached(net, box, TARGET)
        dns.answer = lambda asked: [asked.reply([address(QNAME, TARGET, ttl=3600)])]
        assert box.ask_all(data=[query(f"n{n}.wild.example.com", n).hex() for n in range(40)], to=TO4) == 40
        assert_reached(net, box, TARGET, 7001)
        assert_reached(net, box, TARGET)
        assert_shut(net, box, free, TARGET, port=443)
