# SPDX-License-Identifier: MIT
"""
HTTP/1.x requests as sloppy servers read them: not one reader but many, each with another set of the leniencies that request
smuggling lives on. What the relay sends on must be the same requests, for the same hosts, to every one of them.

    readings(raw) -> {name of the reader: [Request, ...]}
    agreed(raw)   -> [Request, ...], or Disagreement
"""
import itertools
from typing import NamedTuple


class Request(NamedTuple):
    method: bytes
    target: bytes
    host: bytes
    body: bytes


class Disagreement(AssertionError):
    pass


class _Short(Exception):
    """The bytes end within a request."""


class Reader(NamedTuple):
    bare_lf: bool = False          # a line may end with LF alone
    bare_cr: bool = False          # or with CR alone
    folds: bool = False            # a line that begins with space goes on with the one before
    trims_names: bool = False      # space before the colon, or around a name, does not count
    underscores: bool = False      # '_' in a name is '-'
    nul_ends: bool = False         # a value ends at NUL, as in C
    length_wins: bool = False      # Content-Length counts though Transfer-Encoding is there
    chunked_anywhere: bool = False # Transfer-Encoding with "chunked" in it is chunked
    last_wins: bool = False        # of several same fields the last one counts, not the first
    absolute_wins: bool = False    # an absolute target's host beats Host
    skips_empty: bool = False      # empty lines before a request do not count
    loose_sizes: bool = False      # chunk sizes as strtol() reads them
    no_body_of_get: bool = False   # GET and HEAD have no body, whatever the fields say


def _readers():
    names = Reader._fields
    yield "strict", Reader()
    for name in names:
        yield name, Reader(**{name: True})
    for pair in itertools.combinations(names, 2):
        if "no_body_of_get" not in pair:
            yield "+".join(pair), Reader(**{name: True for name in pair})
    yield "everything", Reader(**{name: name != "no_body_of_get" for name in names})


READERS = dict(_readers())


class _Text:
    def __init__(self, reader, raw):
        self.reader, self.raw, self.at = reader, raw, 0

    def line(self):
        ends = [b"\r\n"]
        if self.reader.bare_lf:
            ends.append(b"\n")
        if self.reader.bare_cr:
            ends.append(b"\r")
        found = [(at, -len(end), end) for end in ends if (at := self.raw.find(end, self.at)) >= 0]
        if not found:
            raise _Short
        at, _, end = min(found)
        text, self.at = self.raw[self.at:at], at + len(end)
        return text

    def take(self, size):
        if len(self.raw) - self.at < size:
            raise _Short
        self.at += size
        return self.raw[self.at - size:self.at]


def _fields(reader, text):
    fields = []
    while line := text.line():
        if reader.folds and line[:1] in b" \t" and fields:
            fields[-1] = (fields[-1][0], fields[-1][1] + b" " + line.strip())
            continue
        name, _, value = line.partition(b":")
        if reader.trims_names:
            name = name.strip(b" \t\x0b\x0c\x00\xa0")
        if reader.underscores:
            name = name.replace(b"_", b"-")
        if reader.nul_ends:
            value = value.split(b"\0")[0]
        fields.append((name.lower(), value.strip(b" \t\x0b\x0c" if reader.trims_names else b" \t")))
    return fields


def _one(reader, fields, name):
    values = [value for key, value in fields if key == name]
    if not values:
        return None
    return values[-1 if reader.last_wins else 0]


def _number(text, base, loose):
    if loose:
        digits = text.strip().lower().removeprefix(b"0x" if base == 16 else b"+")
        allowed = b"0123456789abcdef"[:base]
        size = next((i for i, c in enumerate(digits) if c not in allowed), len(digits))
        return int(digits[:size] or b"0", base)
    try:
        return max(int(text, base), 0)
    except ValueError:
        return 0


def _chunks(reader, text):
    body = b""
    while size := _number(text.line().split(b";")[0], 16, reader.loose_sizes):
        body += text.take(size)
        text.line()
    while text.line():
        pass
    return body


def _body(reader, method, fields, text):
    length, coding = _one(reader, fields, b"content-length"), _one(reader, fields, b"transfer-encoding")
    is_chunked = coding is not None and (
        b"chunked" in coding.lower() if reader.chunked_anywhere else coding.lower() == b"chunked")
    if reader.no_body_of_get and method in (b"GET", b"HEAD"):
        return b""
    if is_chunked and not (reader.length_wins and length is not None):
        return _chunks(reader, text)
    return text.take(_number(length, 10, reader.loose_sizes)) if length is not None else b""


def _host(reader, target, fields):
    host = _one(reader, fields, b"host") or b""
    if reader.absolute_wins and b"://" in target:
        host = target.split(b"://")[1].split(b"/")[0].rsplit(b"@")[-1]
    return host.lower()


def read(reader, raw):
    """All whole requests that this reader sees, and whether bytes are left that are none."""
    text, requests = _Text(reader, raw), []
    try:
        while text.at < len(raw):
            line = text.line()
            if reader.skips_empty and not line:
                continue
            method, _, rest = line.partition(b" ")
            target = rest.rsplit(b" ", 1)[0]
            fields = _fields(reader, text)
            body = _body(reader, method, fields, text)
            requests.append(Request(method, target, _host(reader, target, fields), body))
    except _Short:
        pass
    return requests


def readings(raw):
    return {name: read(reader, raw) for name, reader in READERS.items()}


def agreed(raw, gets_have_bodies=False):
    """What all readers see. One that knows no body of GET may differ where the relay was sent one."""
    seen = readings(raw)
    for name, requests in seen.items():
        if gets_have_bodies and "no_body_of_get" in name:
            continue
        if requests != seen["strict"]:
            raise Disagreement(f"{name} sees {requests!r}, strict {seen['strict']!r}, of {raw!r}")
    return seen["strict"]
