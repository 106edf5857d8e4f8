"""The tables of `robustness.py`: what attacks leave, and what embedding costs."""

import statistics

TRAINING = ("dataset", "images", "epochs", "network")  # of clean and of marked models


def attacked(runs, attacks, embeddings):
    """One line for each attack, the embeddings side by side."""
    heads = " | ".join(f"{embedding}: test | marks | owned" for embedding in embeddings)
    lines = [
        f"| data | network | scheme | ratio | seeds | attack | {heads} |",
        "|---|---|---|---|---|---|" + "---|---|---|" * len(embeddings),
    ]
    fields = (*TRAINING, "scheme", "ratio")
    marked = [run for run in runs if run["embedding"] != "clean"]
    for setting, found in groups(marked, fields):
        name, images, epochs, kind, scheme, ratio = setting
        for attack in ("none", *attacks):
            sides, seeds = [], set()
            for embedding in embeddings:
                cells = {
                    run["seed"]: run if attack == "none" else run["attacks"].get(attack)
                    for run in found
                    if run["embedding"] == embedding
                }
                done = [cell for cell in cells.values() if cell]
                seeds |= {seed for seed, cell in cells.items() if cell}
                sides += side(done)
            if seeds:
                lines.append(
                    f"| {name}, {images} images, {epochs} epochs | {kind} | {scheme} | {ratio:g} "
                    f"| {', '.join(map(str, sorted(seeds)))} | {attack} | {' | '.join(sides)} |"
                )
    return "\n".join(lines)


def costs(runs):
    """What embedding costs against the same training without marks."""
    lines = [
        "| data | network | scheme | embedding | ratio | seeds | test accuracy | against clean "
        "| time |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    clean = dict(groups([r for r in runs if r["embedding"] == "clean"], (*TRAINING, "seed")))
    for setting, group in groups(runs, (*TRAINING, "scheme", "embedding", "ratio")):
        name, images, epochs, kind, scheme, embedding, ratio = setting
        pairs = [(r, other) for r in group for other in clean.get((*setting[:4], r["seed"]), ())]
        lost = [100 * (r["test"] - other["test"]) for r, other in pairs]
        timed = [(a["seconds"], b["seconds"]) for a, b in pairs if a["machine"] == b["machine"]]
        times = [ours / theirs for ours, theirs in timed]
        lines.append(
            f"| {name}, {images} images, {epochs} epochs | {kind} | {scheme} | {embedding} "
            f"| {ratio:g} | {len(group)} | {spread([100 * r['test'] for r in group])} "
            f"| {f'{statistics.mean(lost):+.2f}' if lost else '-'} "
            f"| {f'x {statistics.mean(times):.2f}' if times else '-'} |"
        )
    return "\n".join(lines)


def groups(runs, fields):
    """Runs that agree in some fields, behind what they agree on, in order."""
    found = {}
    for run in runs:
        found.setdefault(tuple(run[field] for field in fields), []).append(run)
    return sorted(found.items())


def side(cells):
    """Test accuracy, watermark accuracy (mean and spread) and verdicts."""
    if not cells:
        return ["-"] * 3
    owned = sum(cell["verdict"] == "owned" for cell in cells)
    means = [spread([100 * cell[what] for cell in cells]) for what in ("test", "marks")]
    thorough = sum(cell.get("thorough", {}).get("verdict") == "owned" for cell in cells)
    return [*means, f"{owned}{f' + {thorough}' if thorough else ''}/{len(cells)}"]


def spread(values):
    return f"{statistics.mean(values):.1f}" + (
        f" ± {statistics.pstdev(values):.1f}" if len(values) > 1 else ""
    )
