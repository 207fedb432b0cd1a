"""Write the tables of outputs.md from the tables in the code: python docs/tables.py."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from bids_qcm.bids.outputs import OUTPUTS
from bids_qcm.bids.sidecar_schema import (
    B1Choice,
    B1Sidecar,
    CondmapSidecar,
    CondstdSidecar,
    DatasetDescription,
    DifferenceSidecar,
    Fields,
    GroupMapSidecar,
    InSpace,
    LesionsSidecar,
    MagnitudeSidecar,
    MapSidecar,
    MaskSidecar,
    Phi0Sidecar,
    Placement,
    Registration,
    TissueLabels,
    list_fields,
)

PAGE = Path(__file__).with_name("outputs.md")


def render_fields(schema: type[Fields], *without: type[Fields]) -> list[str]:
    """Return the table of a schema's fields, without the fields of other schemas."""
    left_out = {field.attribute for other in without for field in list_fields(other)}
    rows = [row for row in _rows(schema) if row[0] not in left_out]
    return [
        "| field | meaning |",
        "| --- | --- |",
        *(f"| `{key}` | {text} |" for _, key, text in rows),
    ]


def _rows(schema: type[Fields], prefix: str = "") -> Iterable[tuple[str, str, str]]:
    """Yield the attribute, key and description of each field, including nested fields."""
    for field in list_fields(schema):
        yield field.attribute, prefix + field.key, field.description
        if field.nested:
            for _, key, text in _rows(field.nested, f"{prefix}{field.key}."):
                yield field.attribute, key, text


def render_outputs() -> list[str]:
    """Return the table of the derivatives of an acquisition."""
    rows = []
    for output in OUTPUTS.values():
        labels = output.variants or {"<method>" if output.of_method else None: ""}
        for desc, more in labels.items():
            name = f"sub-*/{output.folder}/{output.file_name('<src>', desc, '<suffix>')}"
            rows.append(f"| `{name}` | {'; '.join(filter(None, [output.content, more]))} |")
            if output.in_spaces:
                name = output.file_name("<src>", desc, space="<space>")
                rows.append(
                    f"| `sub-*/{output.folder}/{name}` | the same in another space; see "
                    "[output spaces](usage.md#output-spaces) |"
                )
    return ["| file in `OUTPUT_DIR` | content |", "| --- | --- |", *rows]


TABLES: dict[str, Callable[[], list[str]]] = {
    "derivatives": render_outputs,
    "phi0map": lambda: render_fields(Phi0Sidecar),
    "condmap and condstd": lambda: render_fields(MapSidecar, Phi0Sidecar, TissueLabels),
    "condmap": lambda: render_fields(CondmapSidecar, MapSidecar),
    "condstd": lambda: render_fields(CondstdSidecar, MapSidecar),
    "spaces": lambda: render_fields(InSpace),
    "group maps": lambda: render_fields(GroupMapSidecar),
    "differences": lambda: render_fields(DifferenceSidecar),
    "segmentation": lambda: render_fields(TissueLabels),
    "mask": lambda: render_fields(MaskSidecar, Placement),
    "TB1map": lambda: render_fields(B1Sidecar, B1Choice),
    "lesions": lambda: render_fields(LesionsSidecar, Registration),
    "magnitude": lambda: render_fields(MagnitudeSidecar),
    "dataset_description.json": lambda: render_fields(DatasetDescription),
}
"""The tables by the name in the comment that precedes the table in the page."""


def update(page: str) -> str:
    """Return the text of the page with new tables."""
    for name, render in TABLES.items():
        start, end = f"<!-- table of {name} -->\n\n", "\n\n<!-- end of table -->"
        pattern = rf"(?<={re.escape(start)}).*?(?={end})"
        table = "\n".join(render())
        page, n = re.subn(pattern, lambda _: table, page, flags=re.DOTALL)  # noqa: B023
        if n != 1:
            raise ValueError(f"the page has {n} tables of {name}, not one")
    return page


if __name__ == "__main__":
    PAGE.write_text(update(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
