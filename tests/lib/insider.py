# SPDX-License-Identifier: MIT
"""Somebody inside a sandbox of posternd who does what the test says, call by call."""

from captive import Captive

NOBODY = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]


def inside(box, *prefix):
    """A Captive in the box, started by `prefix` there."""
    return Captive(box.daemon.net, None, prefix=box.argv(prefix))
