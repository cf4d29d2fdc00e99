# SPDX-License-Identifier: MIT
"""Knocks without an end: knock.py ADDRESS PORT TOKEN PAUSE_MS. Each knock is a datagram; says when it has begun."""

import socket
import sys
import time


def main():
    address, port, token, pause_ms = sys.argv[1], int(sys.argv[2]), sys.argv[3].encode(), float(sys.argv[4])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        said = False
        while True:
            try:
                sock.sendto(token, (address, port))
            except OSError:
                pass
            if not said:
                print("knocks", flush=True)
                said = True
            time.sleep(pause_ms / 1000)


main()
