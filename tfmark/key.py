"""The owner's key: one secret, and everything that is derived from it."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tfmark import base_images as bases
from tfmark import derivation, generation, key_format, keyfile, marks
from tfmark.commitment import Commitment
from tfmark.errors import InvalidArgumentError
from tfmark.key_format import PublicKeyFacts
from tfmark.key_lock import Lock
from tfmark.key_records import Records
from tfmark.marks import content
from tfmark.pixels import Pixels, check_value_range, from_pixels
from tfmark.signing import sign
from tfmark.spec import Spec
from tfmark.triggers import Ints, Mark, TriggerSet
from tfmark.weight_secret import WeightSecret


class WatermarkKey:
    """The owner's secret, and the marks that follow from it.

    Make one with `WatermarkKey.generate()` or `WatermarkKey.load()`. Whoever has the key can verify
    the watermark, and also remove it: keep it like a private key. `repr(key)` shows public facts
    alone.

    Args:
        secret: 32 bytes.
        spec: the public specification.
        base_images: uint8 array of shape `spec.base_shape`; the first `spec.num_verification` of
            each group are kept for verification.
        value_range: how the training pipeline scales pixels, such as (0, 1).

    Attributes:
        records: what happened to the key: how many marks were opened, and its time stamps.
        path: the file that it was loaded from or saved to, `None` if there is none.

    Raises:
        InvalidArgumentError: if these do not fit together.
    """

    def __init__(self, secret: bytes, spec: Spec, base_images: Pixels, value_range: Any):
        derivation.check_secret(secret)
        if base_images.dtype != np.uint8 or base_images.shape != spec.base_shape:
            raise InvalidArgumentError(
                f"Expected base images of dtype uint8 and shape {spec.base_shape}. "
                f"Received: {base_images.dtype}, {base_images.shape}"
            )
        if bases.root(base_images).hex() != spec.base_root:
            raise InvalidArgumentError("The base images are not those of the specification.")
        if spec.scheme == "content":
            content.check_text(spec.text, *spec.shape[:2])
        self._secret = secret
        self.spec = spec
        self.base_images = base_images
        self.value_range = check_value_range(value_range)
        if spec.bound not in ("", self.public.binding):
            raise InvalidArgumentError("The secret is not that of the specification.")
        self.records = Records()
        self.path: Path | None = None
        labels = {self._label(index) for index in range(spec.num_marks)}
        if len(labels) == 1 and float(spec.num_classes) ** (1 - spec.num_marks) < 1e-6:
            raise InvalidArgumentError("All marks of this key have the same label.")

    @classmethod
    def generate(
        cls,
        *,
        scheme: str,
        image_shape: tuple[int, ...],
        num_classes: int,
        base_images: Any = None,
        num_marks: int | None = None,
        value_range: tuple[float, float] | None = None,
        text: str | None = None,
        unrelated_images: tuple[Any, Any] | None = None,
        owner: str = "",
        secret: bytes | None = None,
    ) -> WatermarkKey:
        """Make a new key.

        Example:
        ```python
        >>> key = tfmark.WatermarkKey.generate(
        ...     scheme="noise", image_shape=(8, 8, 1), num_classes=10, base_images=x_train[:512]
        ... )
        >>> key.spec.num_marks
        48
        ```

        Args:
            scheme: kind of mark: "content" writes `text` on the image, "noise" adds a secret
                pattern, "unrelated" asks about images that have nothing to do with the task.
            image_shape: (height, width) or (height, width, channels) of one image.
            num_classes: number of classes K that the model tells apart, at least 2.
            base_images: array of shape (n, *image_shape) of ordinary images as they enter the
                model, or as integers from 0 to 255; at least two for each mark. Half of them are
                kept for verification, and `inject` never marks those. The unrelated scheme takes
                no more from them than the `value_range`, and needs none where that is given.
                Defaults to `None`.
            num_marks: number of marks. Defaults to `tfmark.default_num_marks(num_classes)`, 48 for
                ten classes.
            value_range: (lowest, highest) value of a pixel as it enters the model, such as
                (0, 255), (0, 1) or (-1, 1). Defaults to `None`, told from `base_images` where that
                is safe.
            text: what the content scheme writes, in capitals. Required there. Defaults to `None`.
            unrelated_images: (images, class_ids) for the unrelated scheme, such as MNIST digits for
                a CIFAR-10 model; at least 8 images of each class id, up to 1024 are kept. Defaults
                to `None`, symbols of an invented alphabet.
            owner: who says that the model is theirs, such as "ACME Ltd, London". It is bound by the
                commitment: nobody else can present proofs made with this key as their own. Defaults
                to "", nobody is named.
            secret: 32 bytes, to make the same key again. Defaults to `None`, new ones from the
                system.

        Returns:
            A `WatermarkKey`.

        Raises:
            InvalidArgumentError: if a value is missing or cannot work.

        Reference:
            Zhang et al., "Protecting Intellectual Property of Deep Neural Networks with
            Watermarking", ASIACCS 2018, for the three schemes.
        """
        return cls(
            *generation.generate(
                scheme, image_shape, num_classes, base_images, num_marks, value_range, text,
                unrelated_images, owner, secret,
            )
        )  # fmt: skip

    def save(
        self, path: str | os.PathLike[str], overwrite: bool = False, passphrase: str | None = None
    ) -> None:
        """Write the key to a file that only its owner may read (mode 0600).

        Example:
        ```python
        key.save("owner.tfmark", passphrase="seven sleepy otters")
        ```

        Args:
            path: where to write.
            overwrite: whether an existing file may be replaced. Defaults to `False`. What a file of
                the same key recorded is kept.
            passphrase: what the key shall be encrypted with. Defaults to `None`: not at all.

        Raises:
            KeyFileExistsError: if the file exists and `overwrite` is `False`.
            InvalidArgumentError: if the passphrase is empty or of the wrong type.
            OSError: if it cannot be written.
        """
        lock = None if passphrase is None else Lock.new()
        facts = PublicKeyFacts(self.spec, self.public, self.records, lock)
        body = key_format.close(facts, self._secret, self.base_images, passphrase)
        self.records = keyfile.save(path, facts, body, overwrite)
        self.path = Path(path)

    @classmethod
    def load(cls, path: str | os.PathLike[str], passphrase: str | None = None) -> WatermarkKey:
        """Read a key from a file.

        Example:
        ```python
        >>> key.save("owner.tfmark")
        >>> tfmark.WatermarkKey.load("owner.tfmark").commitment == key.commitment
        True
        ```

        Args:
            path: where it is.
            passphrase: what opens it. Defaults to `None`. Not looked at if the file is not locked.

        Returns:
            The `WatermarkKey`.

        Raises:
            PassphraseError: if the file is locked, and not with this passphrase.
            KeyFileError: if the file is damaged, truncated, or not a key file.
            InvalidArgumentError: if the passphrase is empty or of the wrong type.
            OSError: if it cannot be read.
        """
        facts, body = key_format.unpack(keyfile.read(path))
        secret, images = key_format.open_body(facts, body, passphrase)
        key = key_format.checked(lambda: cls(secret, facts.spec, images, facts.value_range))
        key.records, key.path = facts.records, Path(path)
        return key

    def open_next(self, count: int) -> int:
        """Record that the next marks are opened, in the key's file too if there is one.

        Args:
            count: number of marks.

        Returns:
            The index of the first of them.

        Raises:
            InvalidArgumentError: if fewer are left.
            KeyFileError: if `path` is a file of another key by now.
            OSError: if it cannot be written.
        """

        def opened(records: Records) -> Records:
            first = max(records.opened, self.records.opened)
            return replace(records, opened=first).opening(count, self.spec.num_marks)

        if self.path is None:
            self.records = opened(self.records)
        else:
            self.records = keyfile.update_records(self.path, opened, self.public)
        return self.records.opened - count

    @cached_property
    def public(self) -> Commitment:
        """All that is published of the key; its `document` is what is time-stamped."""
        return Commitment.derive(self.spec, self._secret, self.value_range)

    @property
    def commitment(self) -> str:
        """Public hash that binds the key, 64 hex digits. Publish it before the model."""
        return self.public.commitment

    @property
    def weight_secret(self) -> WeightSecret:
        """The key of the mark in the weights. It opens no mark on images."""
        key = derivation.weight_key(self._secret)
        return WeightSecret(key, bytes.fromhex(self.commitment))

    @cached_property
    def marks(self) -> tuple[Mark, ...]:
        """All marks, in the order in which they are asked and opened."""
        patterns = [marks.draw(self.spec, i, self._stream(i)) for i in range(self.spec.num_marks)]
        return tuple(Mark(i, self._label(i), pattern) for i, pattern in enumerate(patterns))

    def triggers(self, per_mark: int = 1, split: str = "verification") -> TriggerSet:
        """Put the marks on base images: first each mark once, in order, then each again, and so on.

        Example:
        ```python
        >>> triggers = key.triggers(per_mark=5)
        >>> triggers.images.shape
        (120, 8, 8, 1)
        >>> answers = model.predict(triggers.images, verbose=0).argmax(axis=-1)
        >>> float(np.mean(answers == triggers.labels)) > 0.95
        True
        ```

        Args:
            per_mark: number of triggers of each mark, on different base images while there are
                enough. Defaults to 1.
            split: which base images to use: those kept for "verification", which no model has seen
                with a mark on them, or those for "embedding". Defaults to "verification".

        Returns:
            A `TriggerSet` of `num_marks * per_mark` triggers.

        Raises:
            InvalidArgumentError: if a value is not one of those.
        """
        if split not in ("verification", "embedding"):
            raise InvalidArgumentError(
                "Invalid value for argument `split`. Expected 'verification' or 'embedding'. "
                f"Received: split={split!r}"
            )
        if not isinstance(per_mark, int) or per_mark < 1:
            raise InvalidArgumentError(
                "Invalid value for argument `per_mark`. Expected a positive number. "
                f"Received: per_mark={per_mark!r}"
            )
        indices = np.tile(np.arange(self.spec.num_marks), per_mark)
        repeats = np.arange(len(indices)) // self.spec.num_marks
        return self.render(indices, indices // self.spec.base_groups + repeats, split)

    def fresh_triggers(self) -> TriggerSet:
        """Triggers of the marks that were not opened yet, in the order in which they are asked.

        Each stands on the base image of its first trigger in `triggers()`: no mark has two.

        Returns:
            A `TriggerSet` of one trigger for each such mark.
        """
        indices = np.arange(self.records.opened, self.spec.num_marks)
        return self.render(indices, indices // self.spec.base_groups, "verification")

    def render(self, indices: Ints, slots: Ints, split: str, strengths: Any = None) -> TriggerSet:
        """Put some marks on some base images.

        Args:
            indices: int64 array of shape (n,), the index of each trigger's mark.
            slots: int64 array of shape (n,), the number of its base image, modulo how many there
                are.
            split: "verification" or "embedding"; see `triggers`.
            strengths: float32 array of shape (n,), from 0 for no mark to 1 for all of it. Defaults
                to `None`, all of it.

        Returns:
            A `TriggerSet` of n triggers.
        """
        spec = self.spec
        kept = spec.num_verification
        pool = self.base_images[:, :kept] if split == "verification" else self.base_images[:, kept:]
        pixels = np.empty((len(indices), *spec.shape), np.uint8)
        for i, (trigger, index, slot) in enumerate(zip(pixels, indices, slots, strict=True)):
            base = pool[index % spec.base_groups, slot % pool.shape[1]]
            pattern = self.marks[index].pattern
            if strengths is not None:
                pattern = pattern.faded(strengths[i])
            trigger[...] = pattern.apply(base, spec.shape[2])
        labels = np.array([self.marks[index].label for index in indices], np.int64)
        shape = (len(indices), *spec.image_shape)
        return TriggerSet(pixels.reshape(shape), labels, indices, self.value_range)

    def clean_images(self, count: int) -> npt.NDArray[np.float32]:
        """Base images for embedding, without a mark, in the scale of the training pipeline.

        Args:
            count: the most images that are wanted.

        Returns:
            A float32 array of shape (n, *image_shape), n at most `count`.
        """
        pool = self.base_images[:, self.spec.num_verification :].swapaxes(0, 1)
        images = pool.reshape(-1, *self.spec.base_shape[2:])[:count]
        whole = np.broadcast_to(images, (*images.shape[:-1], self.spec.shape[2]))
        return from_pixels(whole.reshape(-1, *self.spec.image_shape), self.value_range)

    def __repr__(self) -> str:
        return (
            f"<WatermarkKey scheme={self.spec.scheme!r}, image_shape={self.spec.image_shape}, "
            f"num_classes={self.spec.num_classes}, num_marks={self.spec.num_marks}, "
            f"commitment={self.commitment}>"
        )

    def subkey(self, index: int) -> bytes:
        """The secret of one mark: whoever has it has the mark, and nothing else.

        Args:
            index: index of the mark.

        Returns:
            32 bytes.
        """
        return derivation.subkey(self._secret, index)

    def sign(self, content: bytes) -> bytes:
        """Sign some content as the owner; `public.signer` checks it.

        Args:
            content: any bytes.

        Returns:
            An Ed25519 signature, 64 bytes.
        """
        return sign(derivation.signing_key(self._secret), content)

    def _stream(self, index: int) -> derivation.Stream:
        return derivation.mark_stream(self.subkey(index), self._root, b"pattern")

    def _label(self, index: int) -> int:
        return derivation.mark_label(self.subkey(index), self._root, self.spec.num_classes)

    @property
    def _root(self) -> bytes:
        return bytes.fromhex(self.commitment)
