import math
from types import SimpleNamespace

from bids_qcm.reports.tables import comparison_table


def row(label, tissue, median, erosion=0):
    return {"label": label, "tissue": tissue, "erosion": erosion, "median": median, "iqr": 0.2}


def table(*maps, noise=None):
    maps = [
        SimpleNamespace(method=method, condstats=bool(rows), statistics=rows)
        for method, rows in maps
    ]
    result = SimpleNamespace(
        maps=maps, literature=lambda names: {"WM": 0.4} if "WM" in names else {}
    )
    return comparison_table(result, noise or {})


def test_methods_are_compared_in_each_tissue():
    first = [row(0, "all", 0.6), row(1, "GM", 0.7), row(2, "WM", 0.5), row(2, "WM", 0.4, erosion=2)]
    second = [row(0, "all", 0.6), row(2, "WM", math.nan), row(3, "CSF", 2.0)]
    found = table(
        ("a", first), ("b", second), ("without a table", []), noise={"a": {"GM": 0.01, "WM": 0.02}}
    )
    assert found["tissues"] == [
        {"name": "GM", "literature": "-"},
        {"name": "WM", "literature": "0.400"},
        {"name": "CSF", "literature": "-"},
    ]
    nothing = ["-"] * 4
    assert found["methods"] == [
        {
            "name": "a",
            "cells": [
                ["0.700", "0.200", "-", "0.010"],
                ["0.500", "0.200", "1.25", "0.020"],
                nothing,
            ],
        },
        {
            "name": "b",
            "cells": [nothing, ["-", "0.200", "-", "-"], ["2.000", "0.200", "-", "-"]],
        },
    ]


def test_the_whole_mask_is_the_only_column_without_a_segmentation():
    found = table(("a", [row(0, "all", 0.6)]))
    assert [tissue["name"] for tissue in found["tissues"]] == ["all"]
    assert table(("a", []))["methods"] == []
