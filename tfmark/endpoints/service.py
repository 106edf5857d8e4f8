"""What a protocol has to offer, and the endpoint that is made of it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from tfmark.answers import AnswerReader, ClassIds, Scores
from tfmark.class_names import ClassNames
from tfmark.endpoints.dialect import Dialect, Task
from tfmark.endpoints.image_input import ImageInput, image_input, json_size
from tfmark.endpoints.redaction import Redactor
from tfmark.endpoints.signature import Signature, choose_signature
from tfmark.errors import (
    AnswerError,
    EndpointError,
    InvalidArgumentError,
    RefusedError,
    TfmarkError,
    UnreachableError,
)
from tfmark.pixels import Pixels

MAX_REQUEST = 900_000  # bytes; gateways refuse bodies of more than 1 MB unless told otherwise
TOO_LARGE = (413, 429)

_Read = Callable[[Any, int], Any]  # outputs for so many images: class ids, or scores


@dataclass(frozen=True)
class Description:
    """What a service says of a model.

    Attributes:
        protocol: name of the protocol, and of the server if it tells.
        versions: versions of the model that can be asked.
        signatures: ways to ask it; none where the service does not tell.
    """

    protocol: str
    versions: tuple[str, ...] = ()
    signatures: tuple[Signature, ...] = ()


class Service(Protocol):
    """One model behind one protocol.

    Attributes:
        address: address or path of the model, without what may be secret in it.
    """

    address: str

    def signatures(self) -> tuple[Signature, ...]:
        """The ways to ask the model; none if the service does not tell.

        Raises:
            EndpointError: if it cannot be asked for them.
        """
        ...

    def describe(self) -> Description:
        """All that the service says of the model.

        Raises:
            EndpointError: if this is not such a service.
        """
        ...

    def ask(self, images: Pixels, sent: ImageInput) -> Any:
        """Ask about images of shape (n, *image_shape), as `tfmark.answers.class_ids` takes it.

        Raises:
            EndpointError: if there is no answer.
        """
        ...


class Suspect:
    """An `Endpoint`: asks a service in batches that it takes, and reads classes in its answers.

    Args:
        service: the service.
        task: images and classes of the key.
        dialect: how the service wants to be asked.
        redactor: takes secrets out of what the service says.
        max_time: seconds after the first question in which others may follow: answers that come
            just in time, and pauses that a service asks for, add up.
    """

    def __init__(
        self,
        service: Service,
        task: Task,
        dialect: Dialect,
        redactor: Redactor | None = None,
        max_time: float = math.inf,
    ):
        self._service = service
        self._task = task
        self._dialect = dialect
        names, classes = dialect.class_names, task.num_classes
        if names is not None and classes is not None and len(names) != classes:
            raise InvalidArgumentError(
                f"Expected a name for each of the key's {classes} classes. Received: {len(names)}"
            )
        self._reader = AnswerReader(
            classes, dialect.output, ClassNames(names, learn=classes is None)
        )
        self._outputs: list[str] | None = None  # their names, if they are known
        self._input: ImageInput | None = None
        self._batch_size = dialect.batch_size
        self._redactor = redactor or Redactor()
        self._max_time = max_time
        self._started: float | None = None

    def classify(self, images: Pixels) -> ClassIds:
        """See `Endpoint.classify`."""
        ids: ClassIds = self._all(images, self._reader.read)
        return ids

    def scores(self, images: Pixels) -> Scores:
        """How likely the service finds each class.

        Args:
            images: see `Endpoint.classify`.

        Returns:
            A float64 array of shape (n, K), on whatever scale the service has; where it tells the
            likeliest class alone, 1 for that and 0 for the others.

        Raises:
            EndpointError: if the suspect could not be asked properly.
        """
        scores: Scores = self._all(images, self._reader.scores)
        return scores

    def _all(self, images: Pixels, read: _Read) -> Any:
        if self._started is None:
            self._started = time.monotonic()
        if self._dialect.mirrored:
            images = np.ascontiguousarray(images[:, :, ::-1])
        with self._redactor.errors():
            if self._input is None:
                self._input = self._prepare(images.shape[1:])
            return np.concatenate([*self._in_batches(images, self._input, read)])

    @property
    def remark(self) -> str:
        """What may be wrong with the way the suspect is asked, "" if nothing strikes."""
        if not self._reader.beyond:
            return ""
        return (
            "It answered with ids that are no classes of the key: it may number its classes in "
            "another way, which clean images can show (`clean`, --align)."
        )

    def about(self, task: Task) -> Suspect:
        """The same suspect, to be asked about other images or classes."""
        return Suspect(self._service, task, self._dialect, self._redactor, self._max_time)

    def _prepare(self, shape: tuple[int, ...]) -> ImageInput:
        try:
            signatures = self._service.signatures()
        except EndpointError:
            signatures = ()  # many gateways let no questions about the model through
        tensor = None
        if signatures:
            chosen = choose_signature(signatures, self._dialect.signature)
            tensor = chosen.image(self._dialect.input)
            self._outputs = [output.name for output in chosen.outputs] or None
        return image_input(tensor, self._task.image_shape or shape, self._task, self._dialect)

    def _in_batches(self, images: Pixels, sent: ImageInput, read: _Read) -> Iterator[Any]:
        fitting = max(1, MAX_REQUEST // json_size(sent.pixels, images.shape[1:]))
        start = 0
        while start < len(images):
            if time.monotonic() > (self._started or 0) + self._max_time:
                raise UnreachableError(
                    f"The suspect did not answer everything within {self._max_time:g} s in all."
                )
            size = sent.batch_size or self._batch_size or fitting
            batch = images[start : start + size]
            try:
                yield self._ask(batch, sent, read)
            except RefusedError as error:
                # A batch may be too large for a gateway, or for the memory behind it.
                if not _is_too_large(error) or len(batch) == 1 or sent.batch_size:
                    raise
                self._batch_size = len(batch) // 2
            else:
                start += len(batch)

    def _ask(self, images: Pixels, sent: ImageInput, read: _Read) -> Any:
        asked = images
        if sent.batch_size is not None and len(images) < sent.batch_size:
            asked = np.resize(images, (sent.batch_size, *images.shape[1:]))
        try:
            outputs = self._service.ask(asked, sent)
            if not sent.batched:
                outputs = _with_batch_axis(outputs)
            return read(self._named(outputs), len(asked))[: len(images)]
        except (TfmarkError, ModuleNotFoundError):
            raise
        except Exception as error:  # nothing that a suspect answers may end a verification
            raise AnswerError(f"The answer cannot be read ({type(error).__name__}).") from None

    def _named(self, outputs: Any) -> Any:
        """The output that was asked for. TensorFlow Serving leaves out the name of a single one."""
        name = self._dialect.output
        if name is None or isinstance(outputs, Mapping):
            return outputs
        if self._outputs not in (None, [name]):
            raise AnswerError(f"The model has no output {name!r}. Expected one of {self._outputs}.")
        return outputs


def _is_too_large(error: RefusedError) -> bool:
    """Whether fewer images could help: TensorFlow Serving and Triton say it in words."""
    said = str(error).partition(": ")[2].lower()
    batch = "batch" in said and "inconsistent" not in said
    return error.status in TOO_LARGE or (error.status == 400 and batch)


def _with_batch_axis(outputs: Any) -> Any:
    if isinstance(outputs, Mapping):
        return {name: _with_batch_axis(output) for name, output in outputs.items()}
    return outputs[np.newaxis] if isinstance(outputs, np.ndarray) else [outputs]
