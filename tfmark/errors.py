"""The exceptions that tfmark raises.

TfmarkError
├── InvalidArgumentError   (also a ValueError)  a caller's value cannot work
├── KeyFileError           (also a ValueError)  a key file is damaged or not one
│   └── PassphraseError    a key file is locked, and not with this passphrase
├── KeyFileExistsError     (also a FileExistsError)  a save would replace a key
├── CommitmentError        (also a ValueError)  a commitment.json is damaged or not one
├── TimeStampError         (also a ValueError)  a time stamp does not show what it should
│   └── UntrustedTimeStampError  its authority does not chain to a trusted root
├── EvidenceError          (also a ValueError)  a file of evidence is damaged or does not hold
├── ModelFileError         (also a ValueError)  a suspect's file of weights is damaged or not one
├── DatasetError           a data set cannot be had
├── ServingError           a model server could not be started
├── AttackError            an attack cannot be made on this model, or with these data
└── EndpointError          a suspect could not be asked properly
├── UnreachableError       no connection, or no answer in time
├── RefusedError           an HTTP status that is not 200
└── AnswerError            an answer that cannot be read
"""

from __future__ import annotations


class TfmarkError(Exception):
    """Base class of all errors that tfmark raises on purpose.

    Those of wrong values are a `ValueError` as well. All of them are in `tfmark.errors`.

    Example:
    ```python
    >>> try:
    ...     tfmark.inject(key, ratio=3)
    ... except tfmark.TfmarkError as error:
    ...     print(error)
    Invalid value for argument `ratio`. Expected a number above 0 and up to 1. Received: ratio=3
    ```
    """


class InvalidArgumentError(TfmarkError, ValueError):
    """A value was given that cannot work; the message says what was expected."""


class KeyFileError(TfmarkError, ValueError):
    """A key file is damaged, truncated, or not a key file."""


class PassphraseError(KeyFileError):
    """A key file is locked, and there was no passphrase or another one."""


class KeyFileExistsError(TfmarkError, FileExistsError):
    """Saving would replace an existing file, and that was not asked for."""


class CommitmentError(TfmarkError, ValueError):
    """A `commitment.json` is damaged, or not one."""


class TimeStampError(TfmarkError, ValueError):
    """A time stamp is damaged, or does not show what it should."""


class UntrustedTimeStampError(TimeStampError):
    """A time stamp's authority does not chain to a root that is trusted."""


class EvidenceError(TfmarkError, ValueError):
    """A file of evidence is damaged, is not one, or does not prove what it says."""


class ModelFileError(TfmarkError, ValueError):
    """A suspect's file of weights is damaged, too large when unpacked, or not one."""


class DatasetError(TfmarkError):
    """A data set is unknown, unreadable, or cannot be downloaded."""


class ServingError(TfmarkError):
    """A model server could not be started."""


class AttackError(TfmarkError):
    """An attack cannot be made on this model, or with what the attacker has."""


class EndpointError(TfmarkError):
    """A suspect could not be asked properly."""


class UnreachableError(EndpointError):
    """There was no connection, or no answer in time.

    Args:
        message: what went wrong.
        passing: whether trying again could help. Defaults to `True`.
    """

    def __init__(self, message: str, passing: bool = True):
        super().__init__(message)
        self.passing = passing


class RefusedError(EndpointError):
    """The suspect's server answered with an HTTP error status.

    Args:
        message: what went wrong.
        status: the HTTP status.
    """

    def __init__(self, message: str, status: int):
        super().__init__(message)
        self.status = status


class AnswerError(EndpointError):
    """The suspect's answer cannot be read as one class for each image."""
