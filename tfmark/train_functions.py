"""Train functions of a model in which some of its methods are others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

Change = Callable[[], AbstractContextManager[None]]


def changed_train_function(model: Any, changes: Sequence[Change]) -> Callable[[Any], Any]:
    """A train function that is traced within changes. Nothing else of the model changes.

    Args:
        model: a compiled `keras.Model`. `model.train_function` stays as it is.
        changes: functions that give context managers, in which methods of the model are others.

    Returns:
        A function from an iterator over batches to logs, as `model.train_function`.
    """
    before = model.train_function
    try:
        with _all(changes):
            model.make_train_function(force=True)
        changed: Callable[[Any], Any] = model.train_function
    finally:
        model.train_function = before

    def train_function(iterator: Any) -> Any:
        with _all(changes):  # for it may be traced now
            return changed(iterator)

    return train_function


def once(model: Any, train_function: Callable[[Any], Any]) -> None:
    """Let the next step of the model be by another train function, and those after by its own."""
    own = model.train_function

    def step(iterator: Any) -> Any:
        model.train_function = own  # also if the step is interrupted
        return train_function(iterator)

    model.train_function = step


@contextmanager
def replaced(thing: Any, **methods: Any) -> Iterator[None]:
    """Within a `with` block, methods in front of those that an object has."""
    own = {name: vars(thing)[name] for name in methods if name in vars(thing)}
    vars(thing).update(methods)
    try:
        yield
    finally:
        for name in methods:
            del vars(thing)[name]
        vars(thing).update(own)


@contextmanager
def _all(changes: Sequence[Change]) -> Iterator[None]:
    with ExitStack() as stack:
        for change in changes:
            stack.enter_context(change())
        yield
