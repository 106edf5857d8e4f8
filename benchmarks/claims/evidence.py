"""What an attack gets: evidence against the p-value alone, and as an audit counts it."""

import math

import numpy as np
from innocents import SHAPE, K
from scipy import stats

import tfmark
from tfmark import statistics

ALPHAS = (1e-1, 1e-2, 1e-3, 1e-4)
MARKS = 48
# What an audit counts at least: mark 0, no settings, classes as they are, no failures.
LEAST = math.log(2**4)
TABLE = np.array([
    [float(statistics.log_evidence(min(m, n), n, K)) for m in range(MARKS + 1)]
    for n in range(MARKS + 1)
])  # fmt: skip


def best(matches):
    """Highest log evidence on the way through matches, an array (keys, marks) of booleans."""
    counts = np.cumsum(matches, axis=1)
    return TABLE[np.arange(1, matches.shape[1] + 1), counts].max(axis=1)


class Results:
    """Rows of the table."""

    def __init__(self):
        self.rows = []

    def add(self, attack, detail, uncounted, audited, tries):
        """One row for each alpha, from log evidence, and from that less the tries counted."""
        for alpha in ALPHAS:
            row = {"attack": attack, "detail": detail, "alpha": alpha, "n": len(audited)}
            row["tries counted"] = tries
            for name, values in (("uncounted", uncounted), ("audited", audited)):
                hits = int((values >= -math.log(alpha)).sum())
                interval = stats.binomtest(hits, len(values)).proportion_ci()
                row[name] = hits / len(values)
                row[f"{name} 95 %"] = [interval.low, interval.high]
            self.rows.append(row)
        print(f"{attack}: {detail}", flush=True)

    def markdown(self):
        """A line for each attack: rates at each alpha, and those of audits with their intervals."""
        heads = [f"uncounted at {alpha:g}" for alpha in ALPHAS]
        heads += [f"audited at {alpha:g} (95 %)" for alpha in ALPHAS]
        yield f"| attack | runs | tries counted | {' | '.join(heads)} |"
        yield "|---" * (3 + len(heads)) + "|"
        for start in range(0, len(self.rows), len(ALPHAS)):
            rows = self.rows[start : start + len(ALPHAS)]
            tries = rows[0]["tries counted"]
            cells = [f"{row['uncounted']:.2g}" for row in rows]
            for row in rows:
                low, high = row["audited 95 %"]
                cells.append(f"{row['audited']:.2g} ({low:.1g} to {high:.1g})")
            counted = "as they come" if tries is None else f"{tries:.2g}"
            what = f"{rows[0]['attack']}: {rows[0]['detail']}"
            yield f"| {what} | {rows[0]['n']:,} | {counted} | {' | '.join(cells)} |"


def new_key(number, bases, scheme="noise", **options):
    return tfmark.WatermarkKey.generate(
        scheme=scheme, image_shape=SHAPE, num_classes=K, num_marks=MARKS, base_images=bases,
        secret=np.random.default_rng(number).bytes(32), **options,
    )  # fmt: skip


def matches_of(keys, models):
    """Whether each model answers each trigger of each key with its label."""
    rows = []
    for key in keys:
        triggers = key.triggers()
        rows += [model.classify(triggers.pixels) == triggers.labels for model in models]
    return np.array(rows)
