"""A plot of what attacks did: test accuracy against watermark accuracy."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from tfmark.robustness_report import THOROUGH, USEFUL_WITHIN, RobustnessReport, Row

# Colours that can be told apart by everybody (Okabe and Ito), and shapes for those printed in grey.
STYLES = {
    "owned": ("#0072B2", "o"),
    THOROUGH: ("#009E73", "D"),
    "not shown": ("#D55E00", "X"),
    "inconclusive": ("#555555", "^"),
}
INK, FAINT, SHADE = "#333333", "#999999", "#e9f3ea"
NEAR = 0.03  # points so near to each other on both axes share one label
LINE = 0.165  # inches that a line of the list takes


def draw(report: RobustnessReport, path: str | os.PathLike[str]) -> None:
    """Draw a report; see `RobustnessReport.plot`."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "A plot needs matplotlib: pip install 'tfmark[plot]'", name=error.name
        ) from None
    rows = [row for row in report.rows if row.verdict is not None]
    figure = Figure((13.5, max(6.0, LINE * (len(rows) + 6))), layout="constrained")
    axes, beside = figure.subplots(1, 2, width_ratios=(7, 6))
    _axes(axes, report)
    for number, row in enumerate(rows):
        _point(axes, row, is_stolen=number == 0)
    for numbers in _groups(rows[1:]):
        _label(axes, [number + 1 for number in numbers], rows[1:][numbers[0]])
    _legend(axes)
    _list(beside, rows)
    figure.savefig(path, dpi=150)


def _axes(axes: Any, report: RobustnessReport) -> None:
    useful = (report.stolen.test_accuracy or 0.0) - USEFUL_WITHIN
    axes.axvspan(100 * useful, 102, color=SHADE, zorder=0)
    axes.text(100 * useful - 0.5, 50, "still useful", color=FAINT, rotation=90, ha="right",
              va="center", fontsize=9)  # fmt: skip
    axes.axhline(100 * report.chance, color=FAINT, linewidth=1, linestyle=":", zorder=1)
    lowest = min(100 * (row.test_accuracy or 0.0) for row in (report.stolen, *report.tried))
    left = min(80.0, lowest // 10 * 10)
    axes.text(left, 100 * report.chance + 1, "by chance", color=FAINT, fontsize=9)
    axes.set(xlim=(left - 1, 102), ylim=(-3, 108), xlabel="test accuracy, per cent",
             ylabel="watermark accuracy on unseen triggers, per cent")  # fmt: skip
    axes.set_title(
        f"{report.strength} attacks, alpha = {report.alpha:g}, seed {report.seed}", fontsize=11
    )
    axes.spines[["top", "right"]].set_visible(False)


def _place(row: Row) -> tuple[float, float]:
    return 100 * (row.test_accuracy or 0.0), 100 * (row.watermark_unseen or 0.0)


def _point(axes: Any, row: Row, is_stolen: bool) -> None:
    colour, marker = STYLES[row.status]
    if is_stolen:
        axes.plot(*_place(row), "*", color=INK, markersize=17, markeredgecolor="white", zorder=4)
    else:
        axes.plot(*_place(row), marker, color=colour, markersize=9, markeredgecolor="white",
                  alpha=0.85, zorder=3)  # fmt: skip


def _label(axes: Any, numbers: Sequence[int], row: Row) -> None:
    """Put numbers beside a point, or above it where they take more room than there is beside."""
    above = len(numbers) > 3
    axes.annotate(
        _ranges(numbers), _place(row), (8, 14) if above else (-8, 0),
        textcoords="offset points", color=INK, fontsize=8, ha="right", va="center",
    )  # fmt: skip


def _legend(axes: Any) -> None:
    axes.plot([], [], "*", color=INK, markersize=13, linestyle="", label="the model as it is")
    for status, (colour, marker) in STYLES.items():
        axes.plot([], [], marker, color=colour, linestyle="", label=status)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.09), ncols=5, frameon=False, fontsize=9)


def _list(axes: Any, rows: Sequence[Row]) -> None:
    """What the numbers stand for, with the verdict and the p-value of each."""
    axes.set_axis_off()
    height = axes.figure.get_figheight()
    step = LINE / height * 1.1
    columns = (0.0, 0.04, 0.74, 1.0)
    top = 0.98
    for x, text in zip(columns[1:], ("attack", "verdict", "p-value"), strict=True):
        axes.text(x, top, text, transform=axes.transAxes, color=FAINT, fontsize=8,
                  ha="right" if x == columns[-1] else "left")  # fmt: skip
    for number, row in enumerate(rows):
        y = top - (number + 1.3) * step
        colour, marker = STYLES[row.status]
        style = {"transform": axes.transAxes, "fontsize": 8, "va": "center"}
        axes.text(columns[0], y, str(number) if number else "★", color=INK, **style)
        axes.text(columns[1], y, _clipped(f"{row.attack}: {row.setting}"), color=INK, **style)
        axes.plot(columns[2] - 0.025, y, marker, color=colour, transform=axes.transAxes,
                  markersize=6, clip_on=False)  # fmt: skip
        axes.text(columns[2], y, row.status, color=INK, **style)
        p_value = f"{row.verdict.p_value:.1e}" if row.verdict else ""
        axes.text(columns[3], y, p_value, color=INK, ha="right", **style)


def _clipped(text: str, longest: int = 60) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _groups(rows: Sequence[Row]) -> list[list[int]]:
    """Points that lie so close together that one label has to serve for them."""
    groups: list[list[int]] = []
    for number, row in enumerate(rows):
        x, y = _place(row)
        for group in groups:
            near_x, near_y = _place(rows[group[0]])
            if max(abs(x - near_x), abs(y - near_y)) <= 100 * NEAR:
                group.append(number)
                break
        else:
            groups.append([number])
    return groups


def _ranges(numbers: Sequence[int]) -> str:
    """Numbers in rising order as text, such as 1-4, 7."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{r[0]}-{r[-1]}" if len(r) > 1 else str(r[0]) for r in runs)
