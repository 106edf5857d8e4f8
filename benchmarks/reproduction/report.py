"""The figures as Markdown tables and plots, each beside the paper's."""

from reproduction import one_mark, plots
from reproduction.figures import RATES, SCHEMES, WATERMARK, figure
from reproduction.measuring import MOST, RATIO, SEEN
from reproduction.training import BATCH, RATE

NAMES = {"mnist": "MNIST", "cifar10": "CIFAR-10", "digits": "digits"}
PAIRS = [f"{scheme}: {what}" for scheme in SCHEMES for what in ("test", "watermark")]
TUNINGS = ("fine-tune", "fine-tune, momentum 0.9")
FAR = {"test": 1.0, "trained": 5.0}  # points from the paper's figure that are called a difference


def write(facts, file):
    """Write the report beside the JSON file, with a plot for each data set.

    Args:
        facts: what the JSON file holds.
        file: its path.

    Returns:
        The report as text.
    """
    rows = {
        (row["dataset"], row["model"], row["setting"], row["scheme"], row["attack"]): row
        for row in facts["rows"]
    }
    parts = [_introduction(facts), _unfinished(rows)]
    for name in dict.fromkeys(row["dataset"] for row in facts["rows"]):
        picture = file.with_name(f"{file.stem}_{name}.png")
        plots.draw(name, NAMES[name], rows, picture)
        parts += [
            f"## {NAMES[name]}",
            f"![Accuracy after pruning]({picture.name})",
            _embedded(name, rows), _pruned(name, rows), _tuned(name, rows, facts["settings"]),
            _many(name, rows), _differences(name, rows),
        ]  # fmt: skip
    text = "\n\n".join(part for part in parts if part) + "\n"
    file.with_suffix(".md").write_text(text)
    return text


def _introduction(facts):
    settings, versions = facts["settings"], facts["versions"]
    names = dict.fromkeys(row["dataset"] for row in facts["rows"])
    sizes = ", ".join(
        f"{NAMES[name]} {settings['epochs'][name]} epochs on {settings['images'][name]} images"
        for name in names
    )
    warning = (
        "**A fast run: few epochs on a part of the data. It shows that the script works and which "
        "way things go; it does not reproduce the paper's accuracy.**\n\n"
    )
    return f"""\
# `{facts["command"]}`
{warning * settings["fast"]}Zhang et al., ASIACCS 2018, against this run: ours / the paper's, in per
cent. Seed {settings["seed"]}, one run of each model. {sizes} (the paper: 50 epochs on all
images), tested on at most {settings["test_images"]} images. SGD {RATE}, Nesterov momentum
{settings["momentum"]}, batch {BATCH}, dropout 0.5.
{", ".join(f"{name} {version}" for name, version in versions.items())}.

The paper's own setting, "one mark", with these choices where the paper is silent:

{one_mark.CHOICES}

tfmark's own setting, "many marks": a key of 48 marks, each with a secret random label, embedded
with `tfmark.inject` (its default ratio of {RATIO}, or more where a mark would be seen less than
{SEEN} times, up to {MOST}), and `tfmark.verify` at alpha = 1e-9.

Pruning is of the smallest weights of all kernels together, without retraining. Fine-tuning is on
half of the test set, and measured on the other half; the paper says neither learning rate nor
epochs. Watermark accuracy after an attack is that on trained triggers with one mark, as in the
paper, and on unseen ones with many marks; the JSON file has both."""


def _unfinished(rows):
    """Say which marked models are not there, where any of the paper's data sets is."""
    names = {key[0] for key in rows}
    if not names & set(WATERMARK):
        return ""
    last = TUNINGS[-1]
    missing = [
        f"{NAMES[name]} {setting} {scheme}"
        for name in WATERMARK
        for setting in ("one", "many")
        for scheme in SCHEMES
        if (name, "marked", setting, scheme, last) not in rows
    ]
    return f"**Not done yet: {', '.join(missing)}.**" if missing else ""


def _embedded(name, rows):
    lines = []
    for scheme in SCHEMES:
        clean, marked = (
            rows.get((name, model, "one", scheme, "none")) for model in ("clean", "marked")
        )
        if clean is None or marked is None:
            continue
        pruned = rows.get((name, "clean", "one", scheme, "prune 90"))
        trained, unseen = WATERMARK.get(name, {}).get(scheme, (None, None))
        lines.append((
            scheme, _beside(clean["test"], figure(name, "clean", "none")[0]),
            _beside(marked["test"], figure(name, scheme, "none")[0]),
            _beside(marked["trained"], trained), _beside(marked["unseen"], unseen),
            _beside(clean["unseen"]),
            "" if pruned is None else _beside(pruned["unseen"]),
        ))  # fmt: skip
    head = ("one mark", "test, clean model", "test, marked", "watermark, trained triggers",
            "watermark, new triggers", "clean model, new triggers",
            "clean model pruned by 90 %, new triggers")  # fmt: skip
    return _table(head, lines)


def _pruned(name, rows):
    head = ["pruned", *PAIRS]
    lines = []
    for rate in RATES:
        line = [f"{rate} %"]
        for scheme in SCHEMES:
            line += _pair(name, rows, scheme, f"prune {rate}")
        lines.append(line)
    return _table(head, lines)


def _pair(name, rows, scheme, attack):
    row = rows.get((name, "marked", "one", scheme, attack))
    if row is None:
        return ["", ""]
    test, watermark = figure(name, scheme, attack)
    return [_beside(row["test"], test), _beside(row["trained"], watermark)]


def _tuned(name, rows, settings):
    head = ["half the test set tunes", *PAIRS]
    lines = []
    for attack in TUNINGS:
        line = [f"SGD 0.01{attack.removeprefix('fine-tune')}, {settings['tuning_epochs']} epochs"]
        for scheme in SCHEMES:
            line += _pair(name, rows, scheme, attack)
        lines.append(line)
    return _table(head, lines)


def _many(name, rows):
    head = ["many marks"]
    for scheme in SCHEMES:
        head += [f"{scheme}: test", "watermark, unseen", "verdict (p-value)"]
    lines = []
    for model in ("clean", "marked"):
        for attack in ("none", *(f"prune {rate}" for rate in RATES), *TUNINGS):
            lines.append([f"{model}, {attack}", *_verdicts(name, rows, model, attack)])
    return _table(head, lines)


def _verdicts(name, rows, model, attack):
    for scheme in SCHEMES:
        row = rows.get((name, model, "many", scheme, attack))
        if row is None:
            yield from ("", "", "")
        else:
            yield from (_beside(row["test"]), _beside(row["unseen"]))
            yield f"{row['verdict']} ({row['p_value']:.1e})"


def _differences(name, rows):
    """Where this run is far from the paper, told from the figures alone."""
    far = {}
    for (dataset, model, setting, scheme, attack), row in rows.items():
        if (dataset, model, setting) != (name, "marked", "one"):
            continue
        for what, paper in zip(FAR, figure(name, scheme, attack), strict=True):
            if paper is not None and abs(100 * row[what] - paper) > FAR[what]:
                far.setdefault((scheme, what), []).append((100 * row[what] - paper, attack))
    if name not in WATERMARK:
        return ""
    lines = []
    for (scheme, what), found in far.items():
        ends = [pick(found, key=_size) for pick in (min, max)][-len(found) :]
        by = " to ".join(f"{points:+.2f} ({attack})" for points, attack in ends)
        accuracy = {"test": "test accuracy", "trained": "watermark accuracy"}[what]
        figures = f"{len(found)} figure{'s' * (len(found) > 1)}"
        lines.append(f"- {scheme}: {accuracy} in {figures}, by {by}")
    return (
        f"Further from the paper than {FAR['test']:g} point of test accuracy or "
        f"{FAR['trained']:g} points of watermark accuracy, unpruned or attacked:\n\n"
        + ("\n".join(lines) or "nothing.")
    )


def _size(found):
    return abs(found[0])


def _beside(share, paper=None):
    ours = f"{100 * share:.2f}"
    return ours if paper is None else f"{ours} / {paper:g}"


def _table(head, lines):
    if not any(any(line[1:]) for line in lines):
        return ""
    rows = [head, ["---"] * len(head), *(line for line in lines if any(line[1:]))]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
