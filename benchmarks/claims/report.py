"""The tables as Markdown and JSON."""

import json
import platform

import numpy as np
import sklearn
from innocents import K

import tfmark
from claims.evidence import MARKS


def report(results, extra, args):
    versions = f"Python {platform.python_version()}, NumPy {np.__version__}, scikit-learn "
    versions += f"{sklearn.__version__}, tfmark {tfmark.__version__}"
    rates, chosen = extra["speed"], extra["chosen"]
    others = ", ".join(f"{rate:.0%}" for rate in chosen["others"])
    p_values = ", ".join(f"{p:.1g}" for p in chosen["p-values"])
    fast = " --fast" if args.fast else ""
    lines = [
        f"## `python benchmarks/false_claims.py{fast}`",
        f"{versions}; seeds 0 to {extra['models'] - 1} for models, 0 for all else; {MARKS} marks, "
        f"{K} classes; took {extra['took']:.0f} s on a shared core.",
        "",
        *results.markdown(),
        "",
        f"Labels chosen to suit a model, as published schemes allow: {chosen['own']:.0%} of 200 "
        f"adversarial triggers fit the model that they were made for, and {others} fit others that "
        f"the claimant never saw; the binomial p-values are {p_values}.",
        "",
        "| alpha | successes | tries to success, measured | exact |",
        "|---|---|---|---|",
    ]
    for row in extra["grinding"]:
        mean = "-" if row["mean tries"] is None else f"{row['mean tries']:,.0f}"
        lines.append(f"| {row['alpha']:g} | {row['successes']} | {mean} | {row['exact']:,.0f} |")
    lines += [
        "",
        f"Tries a second on one core: {rates['python, hashing']:,.0f} in Python where triggers do "
        "not depend on the root (unrelated scheme), "
        f"{rates['python, with triggers']:,.0f} in Python where they do and the model is asked; "
        f"{rates['SHA-256 compressions']:,.0f} SHA-256 compressions, so about "
        f"{rates['C, hashing']:,.0f} tries in C at 16 a try.",
        "",
        "| alpha | tries | core-hours, hashing in C | core-hours, Python with triggers |",
        "|---|---|---|---|",
    ]
    for row in extra["cost"]:
        hours = [
            row["tries"] / rates[way] / 3600 for way in ("C, hashing", "python, with triggers")
        ]
        lines.append(f"| {row['alpha']:g} | {row['tries']:.2g} | {hours[0]:.2g} | {hours[1]:.2g} |")
    text = "\n".join(lines) + "\n"
    print(text)
    args.out.mkdir(exist_ok=True)
    (args.out / "false_claims.md").write_text(text)
    facts = {"rows": results.rows, **extra}
    (args.out / "false_claims.json").write_text(json.dumps(facts, indent=1) + "\n")
