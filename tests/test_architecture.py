"""Packages import only the packages that the documentation allows."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from itertools import chain
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "bids_qcm"
GUIDE = PACKAGE.parent / "docs" / "developers.md"
MODULES = sorted(PACKAGE.rglob("*.py"))
ARRAYS_ONLY = ("checks", "recon", "phase", "phantom", "statistics")
FILES = ("nibabel", "nipype", "bids", "pandas")

MAY_IMPORT = {
    "recon": {"recon", "dispersions", "folders", "physics"},
    "phase": {"phase"},
    "statistics": set(),
    "grids": set(),
    "physics": set(),
    "effects": set(),
    "repeatability": set(),
    "differences": {"grids", "segmentation"},
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
        "effects",
        "grids",
        "phantom",
        "phase",
        "physics",
        "recon",
        "repeatability",
        "segmentation",
        "statistics",
    },
    "bids": {
        "bids",
        "checks",
        "differences",
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
    "workflows": {
        "workflows",
        "interfaces",
        "bids",
        "folders",
        "grids",
        "phase",
        "recon",
        "settings",
    },
    "settings": {"physics", "recon"},
    "data": set(),
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

# Modules without their own test file, and the file in which they are tested through their callers.
TESTED_IN = {
    "bids/anatomy/auxiliary.py": "bids/anatomy/test_segmentations.py",
    "bids/anatomy/finder.py": "bids/test_planning.py",
    "bids/echo_plans.py": "bids/test_planning.py",
    "bids/fingerprints.py": "test_unchanged.py",
    "bids/four_d.py": "bids/test_planning.py",
    "bids/phantom/dataset.py": "cli/test_phantom.py",
    "bids/phantom/study.py": "cli/test_phantom.py",
    "bids/run_records.py": "bids/test_results.py",
    "checks/echoes.py": "checks/test_acquisition.py",
    "checks/findings.py": "checks/test_acquisition.py",
    "checks/literature.py": "checks/test_evidence.py",
    "checks/pairs.py": "checks/test_acquisition.py",
    "checks/plausible.py": "checks/test_evidence.py",
    "checks/slices.py": "checks/test_acquisition.py",
    "cli/environment.py": "test_reports.py",
    "cli/reports.py": "test_reports.py",
    "cli/summary.py": "cli/test_exits.py",
    "dispersions.py": "phantom/test_tissues.py",
    "interfaces/coils.py": "test_trust.py",
    "phantom/fullwave/charges.py": "phantom/fullwave/test_scattering.py",
    "phantom/image.py": "phantom/test_make.py",
    "phase/curvature.py": "checks/test_acquisition.py",
    "phase/planes.py": "phase/test_averaging.py",
    "phase/polarity.py": "phase/test_phi0.py",
    "phase/thinning.py": "phase/test_echo_selection.py",
    "physics.py": "recon/test_reconstruction.py",
    "recon/arguments.py": "recon/test_reconstruction.py",
    "recon/compiling.py": "recon/test_code_cache.py",
    "recon/fit_loops.py": "recon/test_quadratic_fit.py",
    "recon/forms/integral.py": "recon/test_reconstruction.py",
    "recon/forms/inversion.py": "recon/test_inversion.py",
    "recon/forms/laplacian.py": "recon/test_reconstruction.py",
    "recon/normal_equations.py": "recon/test_quadratic_fit.py",
    "recon/radii.py": "recon/test_automatic.py",
    "recon/replicates.py": "recon/test_uncertainty.py",
    "recon/stencils.py": "recon/test_quadratic_fit.py",
    "recon/volumes.py": "recon/test_reconstruction.py",
    "reports/citation_files.py": "test_reports.py",
    "reports/colours.py": "reports/test_figures.py",
    "reports/distributions.py": "reports/test_figures.py",
    "reports/difference_figures.py": "test_study.py",
    "reports/repeatability.py": "test_study.py",
    "reports/group_columns.py": "reports/test_group.py",
    "reports/group_effects.py": "reports/test_group.py",
    "reports/group_images.py": "test_group_level.py",
    "reports/group_request.py": "reports/test_group.py",
    "reports/group_plots.py": "reports/test_group.py",
    "reports/group_regions.py": "reports/test_group.py",
    "reports/outliers.py": "reports/test_group.py",
    "reports/pages.py": "reports/test_participant.py",
    "reports/saving.py": "reports/test_figures.py",
    "reports/states.py": "test_unchanged.py",
    "settings.py": "cli/test_parser.py",
    "workflows/computing.py": "cli/test_run.py",
    "workflows/finished.py": "test_unchanged.py",
    "workflows/names.py": "workflows/test_acquisition.py",
    "workflows/workers.py": "workflows/test_plugin.py",
}


def imports(module):
    """List the absolute names that a module imports, including lazy imports."""
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            yield node.module
            if node.module == "bids_qcm":
                yield from (f"bids_qcm.{alias.name}" for alias in node.names)


def wrong_arrows(package, module):
    """List the imports of a module that are forbidden in its package."""
    for name in imports(module):
        top, _, rest = name.partition(".")
        imported = rest.split(".")[0]
        ours = top == "bids_qcm" and imported in MAY_IMPORT
        if (
            (ours and imported not in MAY_IMPORT[package])
            or (package in ARRAYS_ONLY and top in FILES)
            or (package not in ("interfaces", "workflows") and top == "nipype")
        ):
            yield name


def layers():
    """Return the packages in each layer of the diagram in the guide, starting with the highest."""
    drawing = re.search(r"```text\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)[1]
    return [re.findall(r"\w+", line) for line in drawing.splitlines()]


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_data_flows_one_way(module):
    package = module.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if package != "__init__":
        assert not list(wrong_arrows(package, module))


@pytest.mark.parametrize(
    ("package", "line", "name"),
    [
        ("recon", "from bids_qcm.bids.images import read_grid", "bids_qcm.bids.images"),
        ("bids", "import bids_qcm.cli.parser", "bids_qcm.cli.parser"),
        ("phase", "def f():\n    from bids_qcm import recon", "bids_qcm.recon"),
        ("phantom", "import nibabel.affines", "nibabel.affines"),
        ("reports", "from nipype import Node", "nipype"),
    ],
)
def test_a_forbidden_import_is_found(tmp_path, package, line, name):
    module = tmp_path / "module.py"
    module.write_text(line)
    assert list(wrong_arrows(package, module)) == [name]


def test_the_guide_draws_all_packages():
    packages = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in MODULES}
    assert sorted(chain(*layers())) == sorted(packages - {"__init__"}) == sorted(MAY_IMPORT)


def test_packages_import_only_from_lower_layers():
    layer = {package: number for number, names in enumerate(layers()) for package in names}
    upward = {
        (package, other)
        for package, allowed in MAY_IMPORT.items()
        for other in allowed - {package}
        if layer[other] <= layer[package]
    }
    assert not upward


def test_imported_packages_are_declared_as_dependencies():
    """A package that is installed only by a dependency may be missing in the next version."""
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]
    declared = {re.match(r"[\w.-]+", one)[0].lower() for one in project["dependencies"]}
    used = {name.partition(".")[0] for module in MODULES for name in imports(module)}
    used -= sys.stdlib_module_names | {"bids_qcm"}
    providers = packages_distributions()
    undeclared = {n for n in used if not declared & {one.lower() for one in providers[n]}}
    assert not undeclared


def test_the_lock_of_the_image_has_all_dependencies():
    root = PACKAGE.parent
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    locked = set(
        re.findall(r"^([\w.-]+)==", (root / "requirements.lock").read_text(), re.MULTILINE)
    )
    needed = {re.match(r"[\w.-]+", one)[0].lower() for one in project["dependencies"]}
    assert needed <= locked


def test_each_module_has_a_test_file_or_is_tested_through_its_callers():
    tests = Path(__file__).parent
    modules = [m.relative_to(PACKAGE) for m in MODULES if m.name != "__init__.py"]
    without = {str(m) for m in modules if not (tests / m.with_name(f"test_{m.name}")).exists()}
    assert without == set(TESTED_IN)
    assert [name for name in TESTED_IN.values() if not (tests / name).exists()] == []
