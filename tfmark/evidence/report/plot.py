"""Evidence over questions as a plot: where everything goes, in the units of an SVG viewBox."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tfmark.evidence.report.questions import Question

WIDTH, HEIGHT = 720, 380
LEFT, RIGHT, TOP, BOTTOM = 74, 16, 34, 52
MOST_TICKS = 8


@dataclass(frozen=True)
class Point:
    """A question: where it stands, and what came of it."""

    x: float
    y: float
    question: Question


@dataclass(frozen=True)
class Plot:
    """What is to be drawn.

    Attributes:
        points: one for each question.
        line: through them, as the `d` of a path.
        radius: of a point.
        rows: (y, exponent of ten) of each line of the grid.
        columns: (x, number of the question) below the axis.
        alpha: y of the line 1 / alpha.
        needed: y of that line times the tries.
        one: y of the evidence 1, which no answer has changed.
    """

    points: tuple[Point, ...]
    line: str
    radius: float
    rows: tuple[tuple[float, int], ...]
    columns: tuple[tuple[float, int], ...]
    alpha: float
    needed: float
    one: float

    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    bottom: int = HEIGHT - BOTTOM


def draw_plot(questions: Sequence[Question], log10_alpha: float, log10_needed: float) -> Plot:
    """Lay out the plot.

    Args:
        questions: the questions, in order.
        log10_alpha: logarithm of 1 / alpha.
        log10_needed: logarithm of the evidence that is needed, tries counted.
    """
    heights = [0.0, *(question.log10_evidence for question in questions)]
    step = _step(max(*heights, log10_needed) - min(heights))
    lowest = step * math.floor(min(heights) / step)
    highest = step * math.ceil((max(*heights, log10_needed) + step / 8) / step)

    def x(number: float) -> float:
        share = (number + 0.5) / (len(questions) + 1)
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 2)

    def y(log10: float) -> float:
        share = (highest - log10) / (highest - lowest)
        return round(TOP + share * (HEIGHT - TOP - BOTTOM), 2)

    points = tuple(Point(x(q.number), y(q.log10_evidence), q) for q in questions)
    path = [f"M{x(0)} {y(0)}", *(f"L{point.x} {point.y}" for point in points)]
    spacing = _step(len(questions))
    numbers = range(spacing, len(questions) + 1, spacing)
    return Plot(
        points=points,
        line="".join(path),
        radius=max(1.2, min(5.5, 0.3 * (WIDTH - LEFT - RIGHT) / (len(questions) + 1))),
        rows=tuple((y(power), power) for power in range(lowest, highest + 1, step)),
        columns=tuple((x(number), number) for number in numbers),
        alpha=y(log10_alpha),
        needed=y(log10_needed),
        one=y(0),
    )


def _step(extent: float) -> int:
    """The smallest of 1, 2, 5, 10, 20, 50 ... that makes few steps of this extent."""
    size = 1
    while True:
        for factor in (1, 2, 5):
            if extent <= MOST_TICKS * factor * size:
                return factor * size
        size *= 10
