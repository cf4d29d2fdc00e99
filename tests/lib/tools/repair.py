# SPDX-License-Identifier: MIT
"""repair.py ADDRESS PORT DATA: a TCP socket made established by TCP_REPAIR, without a SYN, sends DATA."""

import errno
import socket
import struct
import sys
import time

TCP_REPAIR, TCP_REPAIR_WINDOW = 19, 29
OFF_WITHOUT_PROBE = -1


def op(name, call):
    """Reports as the C tools do: name, result, milliseconds."""
    start = time.monotonic()
    try:
        call()
        result = "ok"
    except OSError as error:
        result = errno.errorcode[error.errno]
    print(name, result, round((time.monotonic() - start) * 1000, 1), flush=True)
    if result != "ok":
        sys.exit(1)


def main(address, port, data):
    sock = socket.socket()
    op("setsockopt", lambda: sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1))
    op("connect", lambda: sock.connect((address, int(port))))
    # The peer never named a window.
    window = struct.pack("5I", 0, 65535, 65535, 65535, 0)
    sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR_WINDOW, window)
    sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, OFF_WITHOUT_PROBE)
    op("send", lambda: sock.send(data.encode()))
    # Nobody will acknowledge: let go of it at once instead of sending it again for minutes.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


main(*sys.argv[1:])
