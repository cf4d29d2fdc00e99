# SPDX-License-Identifier: MIT
"""
Frames and packets by hand, whatever a test says, sense or nonsense: nothing here checks anything, lengths may lie.
Addresses are text, hardware addresses text or bytes; a checksum is right unless told otherwise.
"""

import ipaddress
import struct

from dnswire import checksum

TCP, UDP, ICMP, ICMP6 = 6, 17, 1, 58
IPV4, IPV6, ARP = 0x0800, 0x86DD, 0x0806
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
MF = 0x2000
BROADCAST = "ff:ff:ff:ff:ff:ff"
NONEXT = 59


def mac_bytes(mac):
    return mac if isinstance(mac, bytes) else bytes.fromhex(mac.replace(":", ""))


def raw(address):
    return address if isinstance(address, bytes) else ipaddress.ip_address(address).packed


def ether(dst, src, kind, payload):
    """kind: the two bytes behind the addresses as a number, or any bytes in their place."""
    return mac_bytes(dst) + mac_bytes(src) + (struct.pack("!H", kind) if isinstance(kind, int) else kind) + payload


def ip4(src, dst, protocol, body, *, options=b"", fragment=0, **lies):
    """fragment: flags and offset as they are on the wire. lies: version, ihl, length, ident, ttl, tos, sum."""
    options += bytes(-len(options) % 4)
    ihl = lies.get("ihl", 5 + len(options) // 4)
    head = struct.pack("!BBHHHBBH", lies.get("version", 4) << 4 | ihl, lies.get("tos", 0),
                       lies.get("length", 20 + len(options) + len(body)), lies.get("ident", 0x7357), fragment,
                       lies.get("ttl", 64), protocol, 0) + raw(src) + raw(dst) + options
    total = lies.get("sum", checksum(head))
    return head[:10] + struct.pack("!H", total) + head[12:] + body


def ip6(src, dst, protocol, body, *, label=0, hops=64, **lies):
    """lies: version, length."""
    word = lies.get("version", 6) << 28 | label
    return struct.pack("!IHBB", word, lies.get("length", len(body)), protocol, hops) + raw(src) + raw(dst) + body


def ip(src, dst, protocol, body, **options):
    return (ip6 if len(raw(dst)) == 16 else ip4)(src, dst, protocol, body, **options)


def pseudo(src, dst, protocol, size):
    src, dst = raw(src), raw(dst)
    return src + dst + (struct.pack("!HH", protocol, size) if len(dst) == 4 else struct.pack("!II", size, protocol))


def summed(src, dst, protocol, body, at):
    """body with its checksum filled in at that place, which holds zeros."""
    total = checksum(pseudo(src, dst, protocol, len(body)) + body)
    return body[:at] + struct.pack("!H", total or 0xFFFF) + body[at + 2:]


def udp_body(src, dst, sport, dport, data, length=None):
    return summed(src, dst, UDP, struct.pack("!HHHH", sport, dport, length or 8 + len(data), 0) + data, 6)


def tcp_body(src, dst, ports, flags, data=b"", *, seq=1, ack=0, options=b"", offset=None):
    options += b"\1" * (-len(options) % 4)
    words = 5 + len(options) // 4 if offset is None else offset
    head = struct.pack("!HHIIBBHHH", *ports, seq, ack, words << 4, flags, 65535, 0, 0) + options
    return summed(src, dst, TCP, head + data, 16)


def udp(src, dst, sport, dport, data, **options):
    return ip(src, dst, UDP, udp_body(src, dst, sport, dport, data), **options)


def tcp(src, dst, ports, flags, data=b"", **segment):
    return ip(src, dst, TCP, tcp_body(src, dst, ports, flags, data, **segment))


def echo(src, dst, ident, data, *, reply=False, code=0, **options):
    """An ICMP echo request, of the family of dst."""
    if len(raw(dst)) == 4:
        body = struct.pack("!BBHHH", 0 if reply else 8, code, 0, ident, 1) + data
        return ip4(src, dst, ICMP, body[:2] + struct.pack("!H", checksum(body)) + body[4:], **options)
    body = struct.pack("!BBHHH", 129 if reply else 128, code, 0, ident, 1) + data
    return ip6(src, dst, ICMP6, summed(src, dst, ICMP6, body, 2), **options)


def icmp4(src, dst, kind, code, rest):
    body = struct.pack("!BBH", kind, code, 0) + rest
    return ip4(src, dst, ICMP, body[:2] + struct.pack("!H", checksum(body)) + body[4:])


def icmp6(src, dst, kind, rest, *, code=0, hops=255):
    body = struct.pack("!BBH", kind, code, 0) + rest
    return ip6(src, dst, ICMP6, summed(src, dst, ICMP6, body, 2), hops=hops)


def extension(following, data=b"\1\4\0\0\0\0"):
    """A hop-by-hop or destination options header; data: 6 bytes, or 14 and so on; the default is padding."""
    return bytes([following, (len(data) + 2) // 8 - 1]) + data


def chain(kinds, last, body):
    """Extension headers of these kinds before body, which is of protocol `last`: (the first's kind, bytes)."""
    for kind in reversed(kinds):
        head = struct.pack("!BBHI", last, 0, 1, 4711) if kind == 44 else extension(last)
        last, body = kind, head + body
    return last, body


def segments(following, addresses, left):
    """A routing header of type 4 (SRv6, RFC 8754): the last address comes first."""
    hops = b"".join(raw(address) for address in reversed(addresses))
    return struct.pack("!BBBBBBH", following, len(hops) // 8, 4, left, len(addresses) - 1, 0, 0) + hops


def arp(op, sha, spa, tha, tpa, tail=b"", *, kinds=(1, IPV4, 6, 4)):
    return struct.pack("!HHBBH", *kinds, op) + mac_bytes(sha) + raw(spa) + mac_bytes(tha) + raw(tpa) + tail


def lladdr(kind, mac):
    """A link-layer address option of neighbour discovery: 1 source, 2 target."""
    return bytes([kind, 1]) + mac_bytes(mac)


def solicitation(src, dst, target, options=b"", **changed):
    return icmp6(src, dst, 135, bytes(4) + raw(target) + options, **changed)


def advertisement(src, dst, target, options=b"", *, flags=0x60000000, **changed):
    return icmp6(src, dst, 136, struct.pack("!I", flags) + raw(target) + options, **changed)


def solicited(address):
    """The solicited-node group of an address."""
    return str(ipaddress.IPv6Address(raw("ff02::1:ff00:0")[:13] + raw(address)[13:]))


def group_mac(address):
    return b"\x33\x33" + raw(address)[12:]
