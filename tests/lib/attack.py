# SPDX-License-Identifier: MIT
"""
A table of attacks, and its two halves: whoever is not enforced gets every one through, whoever is gets none. The oracle is
the internet's sniffer, or a bystander on the bridge for what no router passes on. A form, called with the cell and a token,
makes a frame or a list of them, or sends by itself and makes none. It is seen when its token is, or, for frames that have no
room for one, when at the bystander's port a frame is equal to one of them.
"""

from cell import new_tokens
from evidence import NOW
from internet import ALLOWED4
from wait import until


def _frames(net, watcher, since):
    return watcher.ear.frames(since) if watcher else net.sniffer.frames[since:]


def _mark(net, watcher):
    return watcher.ear.mark() if watcher else net.mark()


def launch(cell, forms):
    """Each form once, with a token of its own: name -> (token, frames)."""
    sent = {}
    for token, name in zip(new_tokens(len(forms)), forms):
        made = forms[name](cell, token) or []
        frames = [made] if isinstance(made, bytes) else list(made)
        sent[name] = token, frames
        cell.send(*frames)
    return sent


def seen(net, watcher, sent, since):
    """The names of the forms that were seen."""
    frames = [frame.raw for frame in _frames(net, watcher, since)]
    text, whole = b"\n".join(frames), set(frames)
    return {name for name, (token, made) in sent.items() if token in text or whole & set(made)}


def assert_arrive(cell, forms, watcher=None):
    """Every form arrives: a negative control, or what must pass."""
    since = _mark(cell.net, watcher)
    sent = launch(cell, forms)
    try:
        until(lambda: len(seen(cell.net, watcher, sent, since)) == len(sent), "every form arrives", 30)
    except AssertionError:
        missing = sorted(set(sent) - seen(cell.net, watcher, sent, since))
        raise AssertionError(f"these must arrive and did not: {missing}") from None


def assert_silent(cell, forms, watcher=None, fence=ALLOWED4):
    """No form arrives; what is allowed does, from the same cell and after them."""
    since = _mark(cell.net, watcher)
    sent = launch(cell, forms)
    cell.fence(fence)
    found = sorted(seen(cell.net, watcher, sent, since))
    NOW.tried(len(forms))
    assert not found, f"these got out: {found}"
    for token, _ in sent.values():
        cell.net.forbid(token)


def assert_stopped(free, held, forms, watcher=None, fence=ALLOWED4):
    """Each form gets out of `free`, which nobody enforces, and none gets out of `held`."""
    assert_arrive(free, forms, watcher)
    assert_silent(held, forms, watcher, fence)
