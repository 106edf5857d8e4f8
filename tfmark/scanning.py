"""Verifies many suspects with one key, several at a time, and goes on after an interruption."""

from __future__ import annotations

import math
import os
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import fields
from functools import cached_property
from typing import Any, NamedTuple, Unpack

from tfmark.asking import ask
from tfmark.endpoint_list import hash_of, shown
from tfmark.endpoints.dialect import Dialect, Task
from tfmark.endpoints.image_input import json_size
from tfmark.endpoints.options import EndpointOptions, split_options
from tfmark.endpoints.service import MAX_REQUEST
from tfmark.journal import Header, Journal
from tfmark.key import WatermarkKey
from tfmark.scan_endpoint import Interrupted, LateEndpoint, StoppableConnection
from tfmark.scan_progress import (
    Progress,
    RecordedTest,
    progress_facts,
    restore,
    verdict_facts,
)
from tfmark.sequential import SequentialTest, corrected_alpha
from tfmark.triggers import TriggerSet
from tfmark.verdict import Verdict

GRACE = 2.0  # seconds, on top of the time-out, for answers that are on their way when it stops


class Result(NamedTuple):
    """What was found about one endpoint: its address as it may be printed, and the verdict."""

    endpoint: str
    verdict: Verdict


class Scan:
    """A scan of a list of suspects; a context manager, at the end of which its journal is closed.

    Each is asked in the order of the marks, in one request after the other. What it answered is in
    the journal before it is asked the next questions.

    Args:
        key: the owner's key.
        addresses: the suspects, each once.
        alpha: the highest tolerable probability of accusing any that was made without the key.
        path: the journal: of this scan as far as it came, or a new file.
        concurrency: how many suspects are asked at a time.
        retry: whether to ask those again that could not be asked properly.
        options: the options of `tfmark.endpoint_from`, for all of them.

    Attributes:
        alpha_each: error rate for each of the suspects.
        journal: the journal.
        stop: once this event is set, no more questions are sent.

    Raises:
        InvalidArgumentError: if an option cannot work, the key has too few marks, or there is
            another file where the journal should be.
    """

    def __init__(
        self,
        key: WatermarkKey,
        addresses: Sequence[str],
        alpha: float,
        path: str | os.PathLike[str],
        concurrency: int = 16,
        retry: bool = False,
        **options: Unpack[EndpointOptions],
    ):
        opened, classes = key.records.opened, key.spec.num_classes
        marks = key.spec.num_marks - opened
        self.alpha_each = corrected_alpha(marks, classes, alpha, len(addresses))
        self.stop = threading.Event()
        self._terms = marks, classes, self.alpha_each
        self._key, self._addresses = key, addresses
        self._dialect, connection = split_options(dict(options))
        self._connection = StoppableConnection(**_values(connection), stop=self.stop)
        if any(address.lower().startswith("https:") for address in addresses):
            self._connection.tls()  # a wrong file is told before anything is asked
        self._task = Task(key.spec.image_shape, key.value_range, key.spec.num_classes)
        self._at_once = self._dialect.batch_size or _fitting(key, self._dialect)
        self._threads, self._retry, self._lock = concurrency, retry, threading.Lock()
        header = Header(key.commitment, opened, alpha, len(addresses), hash_of(addresses))
        self.journal = Journal(path, header)
        self._restored = restore(self.journal, addresses, self._test)
        self._todo = (i for i in range(len(addresses)) if not self._is_finished(i))

    def __enter__(self) -> Scan:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.journal.close()

    def finished(self) -> Iterator[Result]:
        """The verdicts of the journal that stand."""
        for index, problem in self._restored.verdicts.items():
            if self._is_finished(index):
                test = self._test(self._restored.progress.get(index, Progress()))
                yield Result(shown(self._addresses[index]), test.verdict(problem))

    def run(self) -> Iterator[Result]:
        """Ask all others, and give their verdicts as they come. Ends early once it is to stop."""
        _ = self._triggers  # rendered here, once
        results: queue.SimpleQueue[Result | BaseException | None] = queue.SimpleQueue()
        running = self._threads
        for _ in range(running):
            threading.Thread(target=self._work, args=(results,), daemon=True).start()
        until = math.inf
        try:
            while running and time.monotonic() < until:
                if self.stop.is_set() and until == math.inf:
                    until = time.monotonic() + self._connection.timeout + GRACE
                try:
                    result = results.get(timeout=0.1)  # signals are noticed in between
                except queue.Empty:
                    continue
                if isinstance(result, BaseException):
                    raise result
                if result is None:
                    running -= 1
                else:
                    yield result
        finally:
            self.stop.set()

    @cached_property
    def _triggers(self) -> TriggerSet:
        return self._key.fresh_triggers()

    def _is_finished(self, index: int) -> bool:
        problem = self._restored.verdicts.get(index)
        return problem is not None and not (problem and self._retry)

    def _work(self, results: queue.SimpleQueue[Result | BaseException | None]) -> None:
        try:
            while not self.stop.is_set():
                with self._lock:
                    index = next(self._todo, None)
                if index is None:
                    break
                results.put(self._verify(index))
        except Interrupted:
            pass
        except BaseException as error:  # told, and raised, where the results are read
            results.put(error)
        results.put(None)

    def _verify(self, index: int) -> Result:
        address = self._addresses[index]
        endpoint = shown(address)

        def record(progress: Progress) -> None:
            self.journal.write(progress_facts(index, endpoint, progress))

        before = self._restored.progress.get(index, Progress())
        test = RecordedTest(
            *self._terms, **before._asdict(), at_once=self._at_once, record_progress=record,
            stop=self.stop,
        )  # fmt: skip
        suspect = LateEndpoint(address, self._task, self._dialect, self._connection)
        verdict = ask(suspect, self._triggers, test)
        self.journal.write(verdict_facts(index, endpoint, verdict))
        return Result(endpoint, verdict)

    def _test(self, progress: Progress) -> SequentialTest:
        return SequentialTest(*self._terms, **progress._asdict())


def _fitting(key: WatermarkKey, dialect: Dialect) -> int:
    """How many images go into one request, so that an answer is all of a batch."""
    return max(1, MAX_REQUEST // json_size(dialect.pixels or "float", key.spec.image_shape))


def _values(instance: Any) -> dict[str, Any]:
    """The fields of a dataclass, as they are."""
    return {item.name: getattr(instance, item.name) for item in fields(instance)}
