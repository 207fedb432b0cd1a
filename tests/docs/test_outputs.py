"""The tables of the page on outputs agree with the code."""

import ast
import runpy
from pathlib import Path

from bids_qcm.bids import sidecar_schema
from bids_qcm.bids.sidecar_schema import Fields, list_fields
from tests.docs.blocks import ROOT

PACKAGE = ROOT / "bids_qcm"
# modules that read raw data and other software's datasets, or write the phantom dataset
OTHERS = [
    Path("bids", f"{name}.py")
    for name in (
        "dataset",
        "anatomy/datasets",
        "echo_plans",
        "echo_runs",
        "four_d",
        "phantom/dataset",
    )
] + [Path("bids", f"{name}.py") for name in ("sidecars", "sequences", "anatomy/b1_maps")]


def test_the_tables_are_up_to_date():
    page = (ROOT / "docs" / "outputs.md").read_text(encoding="utf-8")
    updated = runpy.run_path(str(ROOT / "docs" / "tables.py"))["update"](page)
    assert page == updated, "run: python docs/tables.py"


def keys_in(module):
    """Return the constants that a module uses as keys of mappings."""
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        match node:
            case ast.Dict(keys=keys):
                yield from (key.value for key in keys if isinstance(key, ast.Constant))
            case ast.Subscript(slice=ast.Constant(value=key)):
                yield key
            case ast.Call(func=ast.Attribute(attr="get"), args=[ast.Constant(value=key), *_]):
                yield key


def test_no_other_module_contains_sidecar_keys():
    schemas = [one for one in vars(sidecar_schema).values() if isinstance(one, type)]
    schemas = [one for one in schemas if issubclass(one, Fields)]
    keys = {field.key for schema in schemas for field in list_fields(schema)}
    # these are also keys in the data dictionaries of tables, or headings in the report
    keys -= {"Description", "Units", "Segmentation", "Lesions"}
    for module in sorted(PACKAGE.rglob("*.py")):
        if module.name != "sidecar_schema.py" and module.relative_to(PACKAGE) not in OTHERS:
            assert not keys & set(keys_in(module)), module
