"""Test and watermark accuracy over the pruning rate, with the paper's points."""

from matplotlib.figure import Figure

from reproduction.figures import PRUNED, RATES, SCHEMES

TEST, WATERMARK = "#0072B2", "#D55E00"  # can be told apart by everybody (Okabe and Ito)
GREY = "#666666"
LOW = 50  # per cent; above it, the axis begins at the lowest point
STYLES = {
    "one": ("-", "o", "trained", "one mark, trained triggers"),
    "many": ("--", "s", "unseen", "many marks, new triggers"),
}


def draw(name, title, rows, file):
    """Draw a panel for each scheme.

    Args:
        name: of the data set.
        title: the same for people.
        rows: the figures by (data set, model, setting, scheme, attack).
        file: where to write.
    """
    figure = Figure((12, 4.6), layout="constrained")
    panels = figure.subplots(1, len(SCHEMES), sharey=True)
    lowest = 100.0
    for axes, scheme in zip(panels, SCHEMES, strict=True):
        for setting, (line, marker, triggers, _) in STYLES.items():
            for what, colour in (("test", TEST), (triggers, WATERMARK)):
                rates, points = _points(rows, name, setting, scheme, what)
                axes.plot(rates, points, line, marker=marker, color=colour, markersize=5, alpha=0.9)
                lowest = min([lowest, *points])
        for i, colour in enumerate((TEST, WATERMARK)):
            known = [pair[i] for pair in PRUNED.get(name, {}).get(scheme, ())]
            axes.plot(RATES[: len(known)], known, "D", color=colour, fillstyle="none", markersize=9)
            lowest = min([lowest, *known])
        axes.set(title=scheme, xlabel="weights pruned, per cent", xlim=(-3, 93), xticks=(0, *RATES))
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set(
        ylabel="accuracy, per cent", ylim=(-3, 105) if lowest < LOW else (lowest - 3, 102)
    )
    if lowest < LOW:
        for axes in panels:
            axes.axhline(10, color=GREY, linewidth=0.8, linestyle=":")
        panels[0].text(0, 11.5, "by chance (many marks)", color=GREY, fontsize=9)
    figure.suptitle(title, fontsize=13)
    _legend(figure)
    figure.savefig(file, dpi=120)


def _points(rows, name, setting, scheme, what):
    attacks = {0: "none"} | {rate: f"prune {rate}" for rate in RATES}
    found = {
        rate: rows.get((name, "marked", setting, scheme, attack))
        for rate, attack in attacks.items()
    }
    kept = [rate for rate, row in found.items() if row]
    return kept, [100 * found[rate][what] for rate in kept]


def _legend(figure):
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=TEST, linewidth=4, label="test accuracy"),
        Line2D([], [], color=WATERMARK, linewidth=4, label="watermark accuracy"),
        *(
            Line2D([], [], color=GREY, linestyle=line, marker=marker, label=label)
            for line, marker, _, label in STYLES.values()
        ),
        Line2D([], [], color=GREY, linestyle="", marker="D", fillstyle="none", markersize=9,
               label="the paper"),
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
