"""What attacks did to a model and its mark: a table, JSON, and an honest summary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import os

    from tfmark.verdict import Verdict

USEFUL_WITHIN = 0.05  # of the stolen model's test accuracy a model is still useful, as in the SoK
THOROUGH = "owned, thorough"
COLUMNS = (
    "attack", "setting", "test", "marks, trained", "marks, unseen", "verdict", "p-value", "seconds",
)  # fmt: skip
UNKNOWN = (
    "attacks that are not in tfmark (such as adversarial neuron pruning, neural attention "
    "distillation, or combinations of these) and attackers who have the key"
)


@dataclass(frozen=True)
class Row:
    """What one attack did.

    Attributes:
        attack: its name, "none" for the stolen model as it is.
        setting: what it did, in words.
        seconds: how long the attack took.
        test_accuracy: share of test images that are answered with their class, 0 to 1.
        watermark_trained: share of triggers that are answered with their label, on base images that
            may have been marked in training.
        watermark_unseen: the same on base images that never were.
        verdict: of `tfmark.verify`, of the thorough question if the ordinary one does not show the
            mark.
        problem: why the attack was not possible, else `None`; then all the rest is `None`.
    """

    attack: str
    setting: str
    seconds: float
    test_accuracy: float | None = None
    watermark_trained: float | None = None
    watermark_unseen: float | None = None
    verdict: Verdict | None = None
    problem: str | None = None

    @property
    def status(self) -> str:
        """The verdict in words: its status, and whether the thorough question was needed."""
        if self.verdict is None:
            return "not possible"
        return THOROUGH if self.needs_thorough else self.verdict.status

    @property
    def needs_thorough(self) -> bool:
        """Whether the mark is shown, and by the thorough question alone."""
        return self.verdict is not None and self.verdict.owned and bool(self.verdict.thorough)

    def cells(self) -> list[str]:
        """What the table shows, one text for each of `COLUMNS`."""
        if self.verdict is None or self.test_accuracy is None:
            empty = ["", "", ""]
            verdict, p_value = f"{self.status}: {self.problem}", ""
        else:
            shares = (self.test_accuracy, self.watermark_trained or 0, self.watermark_unseen or 0)
            empty = [f"{share:.1%}" for share in shares]
            verdict, p_value = self.status, f"{self.verdict.p_value:.2g}"
        return [self.attack, self.setting, *empty, verdict, p_value, f"{self.seconds:.1f}"]


@dataclass(frozen=True)
class RobustnessReport:
    """What `tfmark.robustness` found. `str(report)` is the table and the summary.

    Example:
    ```python
    >>> data = (x_train, y_train, x_test, y_test)
    >>> report = tfmark.robustness(model, key, data, attacks=["weight-noise", "bit-depth"])
    >>> [row.attack for row in report.rows]
    ['none', 'weight-noise', 'bit-depth']
    >>> report.survives
    True
    ```

    Attributes:
        rows: the stolen model as it is, then one row for each attack.
        strength: "mild" or "strong".
        seed: what made it reproducible.
        alpha: error rate of the verdicts.
        chance: watermark accuracy of an innocent model, 1 / K.
        not_tried: names of attacks that were left out.
        facts: the public facts about the key, the data and the versions.
    """

    rows: tuple[Row, ...]
    strength: str
    seed: int
    alpha: float
    chance: float
    not_tried: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def stolen(self) -> Row:
        """The row of the stolen model as it is."""
        return self.rows[0]

    @property
    def tried(self) -> tuple[Row, ...]:
        """The rows of the attacks that were possible."""
        return tuple(row for row in self.rows[1:] if row.verdict is not None)

    @property
    def survives(self) -> bool:
        """Whether the mark is shown in the model and after every attack that leaves it useful."""
        return _owned(self.stolen) and not self._killed(useful=True)

    def is_useful(self, row: Row) -> bool:
        """Whether the model is within 5 points of the stolen model's test accuracy.

        Args:
            row: one of `rows`.

        Returns:
            `True` or `False`; `False` as well for an attack that was not possible.
        """
        before, after = self.stolen.test_accuracy, row.test_accuracy
        return before is not None and after is not None and after >= before - USEFUL_WITHIN - 1e-9

    @property
    def summary(self) -> str:
        """What killed the mark, whether the model was still useful then, and what was not tried."""
        return " ".join(filter(None, (self._suspicion(), self._outcome(), self._left_out())))

    def table(self) -> str:
        """The rows as a table in Markdown, aligned so that it can be read as it is.

        Returns:
            A text of one line for each row, below two lines of head.
        """
        cells = [list(COLUMNS), *(row.cells() for row in self.rows)]
        widths = [max(len(line[i]) for line in cells) for i in range(len(COLUMNS))]
        left = {0, 1, 5}

        def line(texts: Sequence[str]) -> str:
            padded = [
                text.ljust(width) if i in left else text.rjust(width)
                for i, (text, width) in enumerate(zip(texts, widths, strict=True))
            ]
            return f"| {' | '.join(padded)} |"

        rule = [
            "-" * width if i in left else "-" * (width - 1) + ":" for i, width in enumerate(widths)
        ]
        return "\n".join([line(cells[0]), line(rule), *map(line, cells[1:])])

    def to_dict(self) -> dict[str, Any]:
        """All of it, for JSON.

        Returns:
            A dict of the facts, the summary, and one dict for each row.
        """
        rows = [
            asdict(row)
            | {
                "verdict": None if row.verdict is None else row.verdict.to_dict(),
                "useful": None if row.verdict is None else self.is_useful(row),
            }
            for row in self.rows
        ]
        return {
            **self.facts,
            "strength": self.strength,
            "seed": self.seed,
            "alpha": self.alpha,
            "useful_within": USEFUL_WITHIN,
            "survives": self.survives,
            "summary": self.summary,
            "not_tried": list(self.not_tried),
            "rows": rows,
        }

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Draw test accuracy against watermark accuracy, with the verdict at each point.

        Args:
            path: where to write; the suffix says the format, such as .png, .svg or .pdf.

        Raises:
            ModuleNotFoundError: if matplotlib is not installed.
        """
        from tfmark.robustness_plot import draw

        draw(self, path)

    def __str__(self) -> str:
        return f"{self.table()}\n\n{self.summary}"

    def _called(self, row: Row) -> str:
        """An attack by name, with its setting only where there are several of that name."""
        several = sum(other.attack == row.attack for other in self.rows) > 1
        return f"{row.attack} ({row.setting})" if several and row.setting else row.attack

    def _listed(self, rows: Sequence[Row]) -> str:
        return "; ".join(
            f"{self._called(row)} [test accuracy {row.test_accuracy or 0:.1%}, watermark accuracy "
            f"{row.watermark_unseen or 0:.1%}]"
            for row in rows
        )

    def _killed(self, useful: bool) -> list[Row]:
        return [r for r in self.tried if not _owned(r) and self.is_useful(r) == useful]

    def _suspicion(self) -> str:
        accuracy = self.stolen.test_accuracy or 0.0
        if accuracy > 1.5 * self.chance:
            return ""
        return (
            f"The model answers {accuracy:.1%} of the test images rightly, hardly more than by "
            "guessing: are these its data, and the classes numbered as in training?"
        )

    def _outcome(self) -> str:
        stolen, tried = self.stolen, self.tried
        if not _owned(stolen):
            return (
                f"The model itself does not show this key's mark (watermark accuracy "
                f"{stolen.watermark_unseen or 0:.1%}, by chance {self.chance:.1%}), so there is "
                f"nothing that could survive; {sum(map(_owned, tried))} of {len(tried)} attacked "
                "copies show it."
            )
        if not tried:
            return "The model shows the mark. No attack was made on it."
        whole = f"{len(tried)} {self.strength} attack{'s' * (len(tried) != 1)}"
        survived = (
            f"At alpha = {self.alpha:g} the mark survives {sum(map(_owned, tried))} of {whole}."
        )
        if asked := [row for row in tried if row.needs_thorough]:
            survived += (
                f" Only the thorough question (--thorough) shows it after {self._listed(asked)}."
            )
        fatal, costly = self._killed(useful=True), self._killed(useful=False)
        before = f"{stolen.test_accuracy or 0:.1%}"
        if fatal:
            lost = (
                f"It is lost while the model stays useful (test accuracy within 5 points of "
                f"{before}) after {self._listed(fatal)}."
            )
        else:
            lost = f"No attack that leaves the model within 5 points of {before} removes it."
        if costly:
            lost += (
                f" It is lost together with the model's usefulness after {self._listed(costly)}."
            )
        return f"{survived} {lost}"

    def _left_out(self) -> str:
        impossible = [f"{self._called(r)}: {r.problem}" for r in self.rows[1:] if r.problem]
        sentences = [f"Not possible here: {'; '.join(impossible)}." if impossible else ""]
        left = list(self.not_tried)
        if self.strength == "mild":
            left.append("the strong settings")
        sentences.append(f"Not tried: {'; '.join([*left, UNKNOWN])}.")
        return " ".join(filter(None, sentences))


def _owned(row: Row) -> bool:
    return row.verdict is not None and row.verdict.owned
