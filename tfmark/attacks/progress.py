"""How far an attack is, for whoever wants to show it.

An attack takes a model and data, nothing else; so that it can still be watched, its trainings
report to whatever function is watching at the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Watcher = Callable[[float], None]

_watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


@contextmanager
def watched(watcher: Watcher) -> Iterator[None]:
    """Call `watcher` with the share of the work that is done, 0 to 1, while this is open."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


def report(share: float) -> None:
    """Tell whoever is watching that this share of the work is done."""
    if watcher := _watcher.get():
        watcher(share)
