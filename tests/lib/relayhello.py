# SPDX-License-Identifier: MIT
"""ClientHellos (RFC 8446 4.1.2) made of one that OpenSSL wrote: with other extensions, in other records."""

import struct

SERVER_NAME, ECH = 0, 0xFE0D
SESSION_ID = 5 + 4 + 2 + 32  # where its length stands: behind record, handshake header, version and random


def _extensions_at(hello):
    """Where the length of the extensions stands."""
    at = SESSION_ID + 1 + hello[SESSION_ID]
    at += 2 + int.from_bytes(hello[at:at + 2], "big")
    return at + 1 + hello[at]


def _sized(hello, change):
    """With all lengths that are `change` larger."""
    out, at = bytearray(hello), _extensions_at(hello)
    for place, size in ((3, 2), (6, 3), (at, 2)):
        value = int.from_bytes(out[place:place + size], "big") + change
        out[place:place + size] = value.to_bytes(size, "big")
    return bytes(out)


def extended(hello, kind, data, first=False):
    """With an extension more, at the front or at the end."""
    extension = struct.pack("!HH", kind, len(data)) + data
    out = _sized(hello, len(extension))
    at = _extensions_at(hello) + 2 if first else len(out)
    return out[:at] + extension + out[at:]


def server_name(name):
    """The data of that extension."""
    raw = name.encode()
    return struct.pack("!HBH", len(raw) + 3, 0, len(raw)) + raw


def padded(hello, size):
    """With an unknown extension of so many bytes before all others."""
    return extended(hello, 0x7357, bytes(size), first=True)


def records(hello, *places):
    """The same handshake message in several records, which end at these places of it."""
    message = hello[5:]
    return b"".join(hello[:3] + struct.pack("!H", end - start) + message[start:end]
                    for start, end in zip((0, *places), (*places, len(message))))
