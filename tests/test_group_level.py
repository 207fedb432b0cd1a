"""The group level of a study, as a user sees it."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from bids_qcm.bids import session_differences
from bids_qcm.bids.images import save_array
from bids_qcm.cli.run import main
from bids_qcm.reports.states import participant_state
from tests.group_tables import write_scan, write_study


def group(folder, *options):
    raw, out = folder / "raw", folder / "out"
    return main([str(raw), str(out), "group", "-w", str(folder / "w"), *options])


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Thirty participants with two sessions; one session is an outlier, and one group differs."""
    folder = tmp_path_factory.mktemp("study")
    _, out = write_study(folder, 30, 40, effect=0.06)
    medians = {f"region-{n:03d}": 0.6 + 0.3 * n / 40 for n in range(40)}
    write_scan(out, "sub-003", "a", medians, scale=1.5)
    for number in range(30):
        (out / f"sub-{number:03d}.html").write_text("x")
    assert group(folder, "--group-by", "group", "--covariates", "age") == 0
    return folder


@pytest.mark.slow
def test_the_tables_of_a_study_contain_the_known_effect(study):
    regions = pd.read_csv(study / "out/group_regions.tsv", sep="\t")
    assert len(regions) == 30 * 2 * 40 * 2
    assert {"participant_id", "session_id", "age", "sex", "group", "months"} <= set(regions)
    assert list(json.loads((study / "out/group_regions.json").read_text())) == list(regions)
    effects = pd.read_csv(study / "out/group_effects.tsv", sep="\t")
    assert len(effects) == 40 * 2 * 2
    assert list(json.loads((study / "out/group_effects.json").read_text())) == list(effects)
    found = effects[(effects["term"] == "group") & (effects["p_corrected"] < 0.05)]
    assert set(found["region"]) == {"region-000"}


def test_the_page_is_small_and_names_outlying_sessions(study):
    page = study / "out/group_condmap.html"
    text = page.read_text()
    assert len(text) < 400_000
    assert re.search(r"sub-003_ses-a</a></td><td>integral-magseg</td><td>\+\d", text)


def test_an_unchanged_study_is_not_combined_again(study, caplog):
    caplog.set_level("INFO")
    options = ("--group-by", "group", "--covariates", "age")
    assert group(study, *options) == 0
    assert "unchanged: " in caplog.text


@pytest.mark.parametrize("options", [("--group-by", "sex"), ()])
def test_the_comparison_is_repeated_for_other_columns(tmp_path, options):
    raw, out = write_study(tmp_path, 12, 3)
    assert group(tmp_path, "--group-by", "group") == 0
    assert group(tmp_path, *options) == 0
    path = out / "group_effects.tsv"
    assert path.exists() == bool(options)
    if options:
        assert set(pd.read_csv(path, sep="\t")["term"]) == {"sex"}
    text = (raw / "participants.tsv").read_text()
    (raw / "participants.tsv").write_text(text.replace("\tF\t", "\tX\t"))
    assert group(tmp_path, *options) == 0
    assert "X" in set(pd.read_csv(out / "group_regions.tsv", sep="\t")["sex"])


def test_participants_without_a_row_or_a_value_are_listed(tmp_path, caplog):
    raw, out = write_study(tmp_path, 12, 3)
    table = pd.read_csv(raw / "participants.tsv", sep="\t", dtype=str).iloc[1:]
    table.loc[4, "age"] = "n/a"
    table.to_csv(raw / "participants.tsv", sep="\t", index=False)
    assert group(tmp_path, "--covariates", "age") == 0
    assert "group level: participants.tsv has no row for sub-000" in caplog.text
    assert "group level: 2 participants have no value for age" in caplog.text
    assert "2 participants have no value for age" in (out / "group_condmap.html").read_text()


def test_damaged_tables_are_reported_and_the_others_are_used(tmp_path, caplog):
    raw, out = write_study(tmp_path, 12, 3)
    (raw / "participants.tsv").write_bytes(b"\xff")
    next((out / "sub-004").rglob("*_condregions.tsv")).write_text("label\n1\n")
    assert group(tmp_path) == 1
    messages = [one for one in caplog.messages if one.startswith("left out: ")]
    assert len(messages) == 2
    regions = pd.read_csv(out / "group_regions.tsv", sep="\t")
    assert len(regions) == 23 * 3 * 2
    assert "age" not in regions
    assert len(pd.read_csv(out / "group_condmap.tsv", sep="\t")) == 24 * 3
    page = (out / "group_condmap.html").read_text()
    assert "BIDS_DIR/participants.tsv" in page
    assert str(tmp_path) not in page


def test_an_unknown_column_stops_the_comparison(tmp_path, caplog):
    write_study(tmp_path, 6, 2)
    assert group(tmp_path, "--group-by", "diagnosis") == 65
    assert "there is no column diagnosis; the columns are: age, sex, group, months" in caplog.text


def test_a_comparison_without_region_tables_is_refused(tmp_path, caplog):
    _, out = write_study(tmp_path, 6, 2)
    for path in out.rglob("*_condregions.tsv"):
        path.unlink()
    assert group(tmp_path) == 0
    assert not (out / "group_regions.tsv").exists()
    assert group(tmp_path, "--group-by", "group") == 65
    assert "has no table of regions" in caplog.text


def test_maps_in_a_template_space_are_averaged_and_shown(tmp_path, caplog):
    _, out = write_study(tmp_path, 4, 2)
    rng, affine = np.random.default_rng(0), np.diag([4.0, 4.0, 4.0, 1.0])
    for path in out.rglob("*_condmap.json"):
        name = path.name.replace("_desc-", "_space-MNI152NLin2009cAsym_desc-")
        values = np.zeros((20, 24, 20), np.float32)
        values[3:17, 3:21, 3:17] = rng.normal(0.4, 0.05, (14, 18, 14))
        path.with_name(name).write_text('{"SpatialReference": "https://x"}')
        save_array(path.with_name(name.replace(".json", ".nii.gz")), values, affine)
    damaged = next(out.glob("sub-002/ses-b/anat/*space*.nii.gz"))
    damaged.write_bytes(b"\x1f")
    assert group(tmp_path) == 1
    assert damaged.name in caplog.text
    folder = out / "tpl-MNI152NLin2009cAsym"
    assert len(list((folder / "anat").glob("*_condmap.nii.gz"))) == 4
    page = (out / "group_condmap.html").read_text()
    assert "7 maps of 4 participants" in page
    for link in re.findall(r'(?:src|href)="(tpl-[^"]+)"', page):
        assert (out / link).is_file()


def add_images(out):
    """Write small images, so that the differences of repeated scans can be computed."""
    rng = np.random.default_rng(0)
    mask = np.zeros((10, 10, 10), np.float32)
    mask[2:8, 2:8, 2:8] = 1
    for path in sorted(out.rglob("*_condmap.json")):
        source, _, end = path.name.partition("_desc-")
        desc = end.removesuffix("_condmap.json")
        images = {
            f"desc-{desc}_condmap": mask * rng.normal(0.5, 0.1, mask.shape),
            f"desc-{desc}_condstd": mask * 0.1,
            "desc-signal_mask": mask,
            "part-mag_desc-preproc_MEGRE": mask,
        }
        for name, values in images.items():
            save_array(path.with_name(f"{source}_{name}.nii.gz"), values.astype("f4"), np.eye(4))


@pytest.fixture
def threads(monkeypatch):
    """Replace the registration. Return the numbers of threads it was called with."""
    used = []

    def align(first, second, *, always, n_threads):
        used.append(n_threads)
        return SimpleNamespace(pose=np.eye(4), looks_flipped=False)

    monkeypatch.setattr(session_differences, "align", align)
    return used


def test_differences_are_unchanged_in_a_second_run_and_change_no_page(tmp_path, threads, caplog):
    _, out = write_study(tmp_path, 3, 2)
    add_images(out)
    participant = participant_state(out, "sub-000", None)
    before = participant.fingerprint()
    assert group(tmp_path, "--differences", "--nprocs", "4", "--omp-nthreads", "3") == 0
    assert threads == [3, 3, 3]
    maps = sorted(out.rglob("*_condzmap.nii.gz"))
    assert [path.name for path in maps] == [
        f"sub-{n:03d}_ses-b_space-sesa_desc-integralMagSeg_condzmap.nii.gz" for n in range(3)
    ]
    assert participant_state(out, "sub-000", None).fingerprint() == before
    caplog.set_level("INFO")
    assert "unchanged: " not in caplog.text
    assert group(tmp_path, "--differences") == 0
    assert "unchanged: " in caplog.text
    assert len(threads) == 3
    # an edited difference is written again
    maps[0].write_bytes(b"")
    assert group(tmp_path, "--differences") == 0
    assert len(threads) == 6


def test_files_of_earlier_runs_are_removed(tmp_path, threads):
    _, out = write_study(tmp_path, 4, 2)
    add_images(out)
    template = out / "tpl-X/anat/tpl-X_desc-integralMagsegMean_condmap.nii.gz"
    figure = out / "tpl-X/figures/tpl-X_desc-integralMagsegMean_figure.png"
    own = [out / "tpl-Y/anat/tpl-Y_T1w.nii.gz", out / "sub-000/ses-b/anat/notes_condzmap.txt"]
    for path in (template, figure, *own):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    assert group(tmp_path, "--differences") == 0
    assert not (out / "tpl-X").exists()

    def differences():
        found = [*out.rglob("*_condzmap.nii.gz"), *out.rglob("*_condzmap.json")]
        return sorted(path.name[:7] for path in [*found, *out.glob("figures/*_condzmap.png")])

    assert differences() == [f"sub-{n:03d}" for n in range(4) for _ in range(3)]
    assert group(tmp_path, "--differences", "--participant-label", "000", "002") == 0
    assert differences() == ["sub-000"] * 3 + ["sub-002"] * 3
    assert group(tmp_path) == 0
    assert differences() == []
    assert not (out / "figures").exists()
    assert all(path.exists() for path in own)


def test_hostile_columns_do_not_break_the_page(tmp_path):
    evil = "</script><img src=x onerror=alert(1)>"
    raw, out = write_study(tmp_path, 4, 2)
    text = (raw / "participants.tsv").read_text()
    (raw / "participants.tsv").write_text(
        text.replace("group", evil, 1).replace("patient", f"{evil}\x07", 1)
    )
    assert group(tmp_path) == 0
    assert evil not in (out / "group_condmap.html").read_text()


@pytest.mark.parametrize("width", [1280, 800])
def test_the_page_of_a_study_works_in_a_browser(study, look, width):
    page = look(study / "out/group_condmap.html", width)
    point = page.locator("#region svg a[data-participant='4']")
    assert point.count() == 2
    # the two colours of the groups are in the legend
    assert page.locator("#colour").input_value() == "group"
    assert page.locator("#legend").inner_text().split() == ["control", "patient"]

    def fills():
        return page.evaluate(
            "new Set([...document.querySelectorAll('#region svg a .point')]"
            ".map(one => getComputedStyle(one).fill)).size"
        )

    # the Bland-Altman plots are drawn when they are opened
    assert page.locator("svg.agreement").count() == 0
    page.locator("details.agreement summary").first.click()
    page.locator("svg.agreement").first.wait_for()
    assert page.locator("svg.agreement").count() == 40
    assert fills() == 2
    page.locator("#colour").select_option("age")
    assert fills() > 10
    page.locator("#colour").select_option("")
    assert page.locator("#legend").inner_text() == ""
    # lines join the two sessions
    assert page.locator("#region svg .lines line").count() == 30
    # the panel lists all scans of a participant, with links
    point.first.locator(".point").hover(force=True)
    panel = page.locator("#participant")
    assert "sub-004" in panel.inner_text()
    links = panel.locator("a").evaluate_all("all => all.map(one => one.getAttribute('href'))")
    assert links == ["sub-004.html#sub-004_ses-a", "sub-004.html#sub-004_ses-b"]
    assert page.locator("#region svg a.same").count() == 2
    page.keyboard.press("Escape")
    assert not panel.is_visible()
    # the axis of a high plot is also on its top
    ticks = page.locator("#regions svg > text.tick").evaluate_all(
        "all => all.map(one => one.getAttribute('y'))"
    )
    assert len(set(ticks)) == 3
    # regions are filtered, and chosen by a click
    assert page.locator("#regions svg .row").count() == 40
    page.locator("#filter").fill("region-01")
    assert page.locator("#regions svg .row").count() == 10
    assert page.locator("#forest svg .effect").count() == 10
    page.locator("#regions svg .row text").nth(3).click()
    assert "region-013" in page.locator("#region svg").get_attribute("aria-label")
    page.locator("#filter").fill("")
    assert page.locator("#forest svg .certain").count() == 1
    page.locator("#term").select_option(index=1)
    assert page.locator("#forest svg .effect").count() == 40
    page.locator("#family").select_option(index=1)
    assert page.locator("#regions svg .row").count() == 40
    point.first.locator(".point").click(force=True)
    page.wait_for_url("**/sub-004.html#sub-004_ses-a")
