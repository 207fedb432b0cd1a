"""The direction of the data flow, as the documentation draws it."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "bids_qcm"
MODULES = sorted(PACKAGE.rglob("*.py"))
ARRAYS_ONLY = ("checks", "recon", "phase", "phantom", "statistics")
FILES = ("nibabel", "nipype", "bids", "pandas")

MAY_IMPORT = {
    "recon": {"recon", "dispersions", "folders", "physics"},
    "phase": {"phase"},
    "statistics": set(),
    "grids": set(),
    "physics": set(),
    "folders": set(),
    "dispersions": {"physics"},
    "phantom": {"phantom", "dispersions", "grids", "physics", "statistics"},
    "checks": {
        "checks",
        "dispersions",
        "grids",
        "phase",
        "physics",
        "recon",
        "segmentation",
        "statistics",
    },
    "segmentation": {"segmentation", "grids"},
    "reports": {
        "reports",
        "bids",
        "checks",
        "grids",
        "phantom",
        "phase",
        "physics",
        "recon",
        "segmentation",
        "statistics",
    },
    "bids": {
        "bids",
        "checks",
        "grids",
        "phase",
        "recon",
        "segmentation",
        "phantom",
        "settings",
        "physics",
        "statistics",
    },
    "interfaces": {
        "interfaces",
        "bids",
        "checks",
        "grids",
        "phase",
        "recon",
        "segmentation",
        "statistics",
    },
    "workflows": {"workflows", "interfaces", "bids", "folders", "recon", "settings"},
    "cli": {
        "cli",
        "workflows",
        "bids",
        "checks",
        "folders",
        "recon",
        "segmentation",
        "phantom",
        "reports",
        "settings",
        "physics",
    },
}


def imports(module):
    """List the absolute names that a module imports, lazily or not."""
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            yield node.module


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_data_flows_one_way(module):
    package = module.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for name in imports(module):
        top, _, rest = name.partition(".")
        if top == "bids_qcm" and rest:
            allowed = MAY_IMPORT.get(package, {"recon", "segmentation", "physics"})
            assert rest.split(".")[0] in allowed, f"{package} imports {name}"
        if package in ARRAYS_ONLY:
            assert top not in FILES, f"{package} imports {name}"
        if package not in ("interfaces", "workflows"):
            assert top != "nipype", f"{package} imports {name}"


def test_what_is_imported_is_declared():
    """What a dependency of ours happens to bring may be gone with its next version."""
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]
    declared = {re.match(r"[\w.-]+", one)[0].lower() for one in project["dependencies"]}
    used = {name.partition(".")[0] for module in MODULES for name in imports(module)}
    used -= sys.stdlib_module_names | {"bids_qcm"}
    providers = packages_distributions()
    undeclared = {n for n in used if not declared & {one.lower() for one in providers[n]}}
    assert not undeclared
