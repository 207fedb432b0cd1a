"""Draw study.png: errors and lesion contrasts on the full-wave phantom."""

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

HERE = Path(__file__).parent
B1_STYLES = {
    "none": ("without |B1+|", {"mfc": "white", "color": "#d95f02"}),
    "model": ("modelled |B1+|", {"color": "#6baed6"}),
    "measured": ("measured |B1+|", {"color": "#08306b"}),
}
LOWEST_SNR, SNR, HIGHEST_SNR = 16, 50, 150
LARGEST_ERROR = 0.85


def draw_column(axes: Axes, table: pd.DataFrame, column: str, methods: list[str]) -> None:
    """Draw three markers in the row of each method; lines connect the errors at SNR 16 and 150."""
    for offset, (b1, (label, style)) in zip((-0.2, 0, 0.2), B1_STYLES.items(), strict=True):
        rows = table[table.b1 == b1]
        by_snr = {snr: part.set_index("method")[column] for snr, part in rows.groupby("SNR")}
        for place, method in enumerate(methods):
            if column == "error":
                ends = [by_snr[snr][method] for snr in (LOWEST_SNR, HIGHEST_SNR)]
                axes.plot(ends, [place + offset] * 2, "-", color=style["color"], lw=1)
            axes.plot(
                by_snr[SNR][method],
                place + offset,
                "o",
                ms=5,
                label=label if place == 0 else None,
                **style,
            )
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def main() -> None:
    """Draw the figure and save it in the folder of this file."""
    table = pd.read_csv(HERE / "study-full-wave-2mm.tsv", sep="\t")
    table = table[table.labels.isin(["true", "-"]) & ~table.method.str.endswith("-fd")]
    methods = list(dict.fromkeys(table.method))
    figure, panels = plt.subplots(
        1, 3, figsize=(10.5, 6.2), sharey=True, layout="constrained", width_ratios=[3, 3, 2]
    )
    for axes, field_strength in zip(panels, (3, 1.5), strict=False):
        draw_column(axes, table[table["T"] == field_strength], "error", methods)
        axes.set_title(f"{field_strength:g} T")
        axes.set_xlabel("mean absolute error at SNR 50, S/m\n(line: SNR 16 to 150)")
        axes.set_xlim(0, LARGEST_ERROR)
    draw_column(panels[2], table[table["T"] == 3], "16 mm", methods)
    panels[2].set(title="3 T", xlabel="share of the contrast\nof 16 mm lesions, SNR 50")
    panels[0].set_yticks(range(len(methods)), methods)
    panels[0].invert_yaxis()
    panels[1].legend(loc="upper right", frameon=False)
    figure.savefig(HERE / "study.png", dpi=110)


if __name__ == "__main__":
    main()
