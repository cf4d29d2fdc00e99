# SPDX-License-Identifier: MIT
"""Whether traffic from inside a daemon's sandbox gets out: the word of the program inside, and of the sniffer."""

from internet import ALLOWED4, PORT, canary
from postern import AT_ONCE_MS, assert_silence, flow


def reaches(box, address=ALLOWED4, port=PORT, mode="tcp"):
    """True: answered, and seen at the far side. False: refused at once, in its kind's way, and nothing was seen there."""
    token, since = canary(), box.daemon.net.mark()
    done = box.run(flow(mode, address, port, token))
    if done.code == 0:
        box.daemon.net.await_seen(token=token, since=since)
        return True
    refusal = done.ops[-1]
    assert refusal.result == box.refusal(mode, address) and refusal.ms < AT_ONCE_MS, done
    assert_silence(box.daemon.net, since, token, address, port)
    return False


def is_answered(box, address=ALLOWED4):
    """Whether a TCP connection from inside is answered; the far side is asked, too. How it ended otherwise is not asked."""
    token, since = canary(), box.daemon.net.mark()
    done = box.run(flow("tcp", address, PORT, token))
    arrived = bool(box.daemon.net.seen(token=token, since=since))
    assert arrived == (done.code == 0), done
    return arrived
