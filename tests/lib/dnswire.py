# SPDX-License-Identifier: MIT
"""
DNS messages by hand (RFC 1035 4.1): whatever a test says, sense or nonsense, and the datagrams that carry them.
Nothing here checks anything: a length may lie, a pointer may point anywhere.
"""

import ipaddress
import secrets
import struct

A, NS, CNAME, SOA, NULL, PTR, MX, TXT, AAAA, SRV, DNAME, OPT, SVCB, HTTPS, IXFR, AXFR, ANY = (
    1, 2, 5, 6, 10, 12, 15, 16, 28, 33, 39, 41, 64, 65, 251, 252, 255)
IN, CHAOS, CLASS_ANY = 1, 3, 255
QUERY, REPLY = 0x0100, 0x8180  # flags of an everyday query and its answer
QNAME = b"\xc0\x0c"  # a pointer to the question's name
HEADER = 12


def label(data):
    """One label; data longer than 63 gives what the length byte then means."""
    data = data if isinstance(data, bytes) else data.encode()
    return bytes([len(data)]) + data


def name(text):
    """"a.b" as labels and the root; bytes go through as they are. A trailing dot changes nothing."""
    if isinstance(text, bytes):
        return text
    return b"".join(label(part) for part in text.rstrip(".").split(".") if part) + b"\0"


def pointer(offset):
    return struct.pack("!H", 0xC000 | offset)


def header(txid, flags, counts):
    return struct.pack("!HHHHHH", txid, flags, *counts)


def question(text, qtype=A, qclass=IN):
    return name(text) + struct.pack("!HH", qtype, qclass)


def record(owner, rtype, rdata, *, ttl=60, rclass=IN, length=None):
    return name(owner) + struct.pack("!HHIH", rtype, rclass, ttl, len(rdata) if length is None else length) + rdata


def opt(size=1232, data=b"", length=None):
    return record(b"\0", OPT, data, ttl=0, rclass=size, length=length)


def address(owner, text, **options):
    """An A or AAAA record."""
    ip = ipaddress.ip_address(text)
    return record(owner, A if ip.version == 4 else AAAA, ip.packed, **options)


def cname(owner, target, **options):
    return record(owner, CNAME, name(target), **options)


def query(text, txid=0x1234, *, qtype=A, qclass=IN, flags=QUERY, extra=b"", counts=None):
    """A query; extra is what stands behind the question. counts: of the four sections."""
    return header(txid, flags, counts or (1, 0, 0, 1 if extra else 0)) + question(text, qtype, qclass) + extra


def svc(priority, target, *params):
    """RDATA of SVCB and HTTPS (RFC 9460 2.2)."""
    return struct.pack("!H", priority) + name(target) + b"".join(
        struct.pack("!HH", key, len(value)) + value for key, value in params)


class Question:
    """What a query asks, as far as a server must know; wire is the question as it came."""

    def __init__(self, raw):
        self.raw = raw
        self.txid = struct.unpack("!H", raw[:2])[0] if len(raw) >= 2 else 0
        end, parts = HEADER, []
        while end < len(raw) and 0 < raw[end] < 64:
            parts.append(raw[end + 1:end + 1 + raw[end]].decode("latin1"))
            end += raw[end] + 1
        self.name = ".".join(parts)
        self.wire = raw[HEADER:end + 5]
        self.type = struct.unpack("!H", raw[end + 1:end + 3])[0] if len(raw) >= end + 3 else 0

    def reply(self, answers=(), authority=(), additional=(), **changed):
        """
        A reply that answers it. Each section is a list of records. Changed: txid, flags, question (bytes), counts (of the
        four sections), tail (bytes behind everything).
        """
        sections = (list(answers), list(authority), list(additional))
        counts = changed.get("counts") or (1, *map(len, sections))
        return (header(changed.get("txid", self.txid), changed.get("flags", REPLY), counts) +
                changed.get("question", self.wire) + b"".join(b"".join(s) for s in sections) +
                changed.get("tail", b""))


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def udp(src, sport, dst, dport, payload, *, length=None, zero_checksum=False):
    """A UDP datagram with its IP header. length: what the UDP header claims."""
    src, dst = ipaddress.ip_address(src), ipaddress.ip_address(dst)
    size = 8 + len(payload)
    head = struct.pack("!HHH", sport, dport, size if length is None else length)
    pseudo = src.packed + dst.packed + struct.pack("!HH" if src.version == 4 else "!II", *(
        (17, size) if src.version == 4 else (size, 17)))
    total = 0 if zero_checksum else checksum(pseudo + head + b"\0\0" + payload) or 0xFFFF
    return ip_header(src, dst, size) + head + struct.pack("!H", total) + payload


def ip_header(src, dst, size, *, fragment=0, ident=0x7357, protocol=17):
    src, dst = ipaddress.ip_address(src), ipaddress.ip_address(dst)
    if src.version == 6:
        return struct.pack("!IHBB", 0x60000000, size, protocol, 64) + src.packed + dst.packed
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + size, ident, fragment, 64, protocol, 0) + src.packed + dst.packed
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:]


def fragments(packet, size, ident=None):
    """An IPv4 packet in pieces of `size` bytes behind the IP header, a multiple of 8; each train has an id of its own."""
    ident = ident or secrets.randbelow(65535) + 1
    src, dst, body = packet[12:16], packet[16:20], packet[20:]
    pieces = [(at, body[at:at + size]) for at in range(0, len(body), size)]
    return [ip_header(ipaddress.ip_address(src), ipaddress.ip_address(dst), len(piece),
                      ident=ident, fragment=at // 8 | (0x2000 if at + size < len(body) else 0)) + piece for at, piece in pieces]
