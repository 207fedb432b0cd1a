"""Draw study.png, the errors and resolution of the methods, from the table study-2mm.tsv."""

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

HERE = Path(__file__).parent
SHADES = {16: "#9ecae1", 50: "#3182bd", 150: "#08306b"}
PUBLISHED = "error there"
PANELS = {
    "error": "mean absolute error, S/m\n(open: at the published radii)",
    "16 mm": "share of the contrast\nof 16 mm lesions",
    "slope_white": "slope against the truth\nwithin white matter",
}


def main() -> None:
    """Draw the figure and save it in the folder of this file."""
    table = pd.read_csv(HERE / "study-2mm.tsv", sep="\t")
    table = table[~table.method.str.endswith("-fd")]
    methods = list(table.method.unique())
    figure, panels = plt.subplots(
        1, 3, figsize=(10, 5.6), sharey=True, layout="constrained", width_ratios=[3, 2, 2]
    )
    for (column, title), axes in zip(PANELS.items(), panels, strict=True):
        for snr, rows in table.groupby("SNR"):
            places = [methods.index(method) for method in rows.method]
            axes.plot(rows[column], places, "o", color=SHADES[snr], label=f"SNR {snr}")
            if column == "error":
                axes.plot(rows[PUBLISHED], places, "o", mfc="none", color=SHADES[snr])
        axes.set_xlabel(title)
        axes.grid(axis="x", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set(xlim=(0, 0.85), yticks=range(len(methods)), yticklabels=methods)
    panels[0].invert_yaxis()
    panels[1].set_xlim(-0.05, 1)
    panels[2].set_xlim(0, 1)
    panels[0].legend(loc="lower right", frameon=False)
    figure.savefig(HERE / "study.png", dpi=110)


if __name__ == "__main__":
    main()
