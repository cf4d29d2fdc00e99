# SPDX-License-Identifier: MIT
"""An Ethernet frame as far as the tests ask: who sends what to whom. Never raises for odd bytes."""

import ipaddress
import struct
from dataclasses import dataclass

TCP, UDP, ICMP, ICMP6, FRAGMENT = 6, 17, 1, 58, 44
EXTENSIONS = (0, 43, 44, 60)


@dataclass
class Frame:
    raw: bytes
    dst: object = None  # ipaddress, or None when it is not IP
    src: object = None
    protocol: int = -1  # after IPv6 extension headers
    first_header: int = -1
    sport: int = -1
    dport: int = -1
    flags: int = 0  # of TCP
    payload: bytes = b""  # after the TCP or UDP header

    def __str__(self):
        return f"{self.src}:{self.sport} > {self.dst}:{self.dport} protocol {self.protocol}"


def _ports(frame, body):
    if frame.protocol not in (TCP, UDP, 136) or len(body) < 8:
        frame.payload = body
        return
    frame.sport, frame.dport = struct.unpack("!HH", body[:4])
    if frame.protocol != TCP:
        frame.payload = body[8:]
    elif len(body) >= 20:
        frame.flags = body[13]
        frame.payload = body[(body[12] >> 4) * 4:]


def _ipv4(frame, packet):
    if len(packet) < 20:
        return
    header = (packet[0] & 15) * 4
    frame.first_header = frame.protocol = packet[9]
    frame.src = ipaddress.IPv4Address(packet[12:16])
    frame.dst = ipaddress.IPv4Address(packet[16:20])
    offset = struct.unpack("!H", packet[6:8])[0] & 0x1FFF
    if offset == 0:
        _ports(frame, packet[header:struct.unpack("!H", packet[2:4])[0]])


def _ipv6(frame, packet):
    if len(packet) < 40:
        return
    frame.first_header = protocol = packet[6]
    frame.src = ipaddress.IPv6Address(packet[8:24])
    frame.dst = ipaddress.IPv6Address(packet[24:40])
    body = packet[40:]
    while protocol in EXTENSIONS and len(body) >= 8:
        size = 8 if protocol == FRAGMENT else (body[1] + 1) * 8
        protocol, body = body[0], body[size:]
    frame.protocol = protocol
    _ports(frame, body)


def parse(raw):
    frame = Frame(raw)
    kind = struct.unpack("!H", raw[12:14])[0] if len(raw) >= 14 else 0
    if kind == 0x0800:
        _ipv4(frame, raw[14:])
    elif kind == 0x86DD:
        _ipv6(frame, raw[14:])
    return frame
