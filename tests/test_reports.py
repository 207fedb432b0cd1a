"""Reports and group results from the view of a user."""

import json
import platform
import re
import shutil
from datetime import UTC, datetime, timedelta
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlparse

import numpy as np
import pandas as pd
import pytest

from bids_qcm import __version__
from bids_qcm.bids.images import read_grid, read_integers, save_array
from bids_qcm.bids.results import find_results, map_warnings, read_sidecar
from bids_qcm.bids.sidecar_schema import (
    CondmapSidecar,
    CondstdSidecar,
    MagnitudeSidecar,
    MaskSidecar,
    Phi0Sidecar,
    SegmentationSidecar,
    list_fields,
)
from bids_qcm.bids.tables import CONDSTATS
from bids_qcm.cli.run import main
from bids_qcm.reports.methods_text import describe_methods
from bids_qcm.reports.participant import _summary, processing
from bids_qcm.reports.quality import quality_row
from bids_qcm.reports.states import participant_state

RADII = ("--fit-radius", "9", "--integral-radius", "9")
EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    return tmp_path_factory.mktemp("reports")


@pytest.fixture(scope="module")
def dataset(workspace, add_phantom):
    """Two complete participants, one without a magnitude, and one with a brain of one voxel."""
    dataset = workspace / "raw"
    for label in ("01", "02", "bad", "crash"):
        add_phantom(dataset, label, workspace / "made")
    mask = dataset / "derivatives/phantom/sub-crash/anat/sub-crash_desc-brain_mask.nii.gz"
    brain, affine = np.zeros_like(read_integers(mask), np.uint8), read_grid(mask).affine
    brain[tuple(np.array(brain.shape) // 2)] = 1
    save_array(mask, brain, affine)
    for path in (dataset / "sub-bad/anat").glob("*_part-mag_*"):
        path.unlink()
    return dataset


def run(dataset, out, work, *options):
    return main([str(dataset), str(out), "participant", "-w", str(work), *options])


@pytest.fixture(scope="module")
def computed(workspace, dataset):
    """The derivative dataset, and the exit status of the run that wrote it."""
    out = workspace / "out"
    options = ("--method", "laplacian", "laplacian-seg", *RADII)
    return out, run(dataset, out, workspace / "work", *options)


@pytest.fixture
def derived(computed, tmp_path):
    """A copy of the derivative dataset in another folder, without its pages and figures."""
    copy = tmp_path / "moved"
    shutil.copytree(computed[0], copy, ignore=shutil.ignore_patterns("*.html", "figures"))
    return copy


@pytest.fixture(scope="module")
def grouped(computed, workspace):
    """A copy with the group page; do not modify."""
    copy = workspace / "grouped"
    shutil.copytree(computed[0], copy)
    assert main(["x", str(copy), "group", "-w", str(workspace / "w")]) == 0
    return copy


class _Links(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.sources, self.links, self.anchors = [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.anchors.add(attributes.get("id"))
        self.links += [attributes["href"]] if tag in ("a", "link") else []
        self.sources += [attributes["src"]] if "src" in attributes else []


def check_links(page):
    """Check that all images of a page exist, and that its links are not broken."""
    found = _Links(page.read_text())
    for source in found.sources:
        assert (page.parent / unquote(source)).is_file(), source
    for link in found.links:
        url = urlparse(link)
        if url.scheme:
            assert link.startswith(("https://doi.org/", "data:")), link
            continue
        target = page.parent / unquote(url.path) if url.path else page
        assert target.is_file(), link
        if url.fragment:
            assert url.fragment in _Links(target.read_text()).anchors, link
    return found


def plotted(page):
    """Return the data of the plots on a group page."""
    text = re.search(r'<script id="data"[^>]*>(.*?)</script>', page.read_text(), re.DOTALL)[1]
    return json.loads(text)


@pytest.mark.slow
def test_a_run_with_a_bad_participant_writes_all_reports(computed):
    out, status = computed
    assert status == 1
    names = sorted(path.name for path in out.glob("*.html"))
    assert names == ["sub-01.html", "sub-02.html", "sub-bad.html", "sub-crash.html"]
    for name in names:
        check_links(out / name)


def test_a_page_has_its_sections_and_figures(computed):
    out, _ = computed
    text = (out / "sub-01.html").read_text()
    for words in (
        "127.732 MHz (from ImagingFrequency)",
        "determined automatically",
        "brain mask phantom:sub-01/anat/sub-01_desc-brain_mask.nii.gz",
        "phantom:sub-01/anat/sub-01_dseg.nii.gz",
        "laplacian-seg (fit radius 9 mm)",
        "nibabel ",
        "Last run",
        "bids-qcm BIDS_DIR OUTPUT_DIR participant -w WORK_DIR --method laplacian laplacian-seg",
        f"Python: {platform.python_version()}",
        "Plan of the last run",
        "<td>reconstruct_laplacian_seg</td>",
        "Cerebrospinal Fluid",
        "Voigt et al., 2011",
        "No errors in the last run",
    ):
        assert words in text
    figures = {Path(source).name for source in _Links(text).sources}
    expected = ["mask", "magnitude", "tissues", "wrapped", "phase", "comparison"]
    expected += ["laplacian", "laplacianSeg"]
    expected = {f"sub-01_desc-{name}_figure.png" for name in expected}
    expected |= {
        f"sub-01_desc-{name}_figure.{end}"
        for name, end in (("distributions", "svg"), ("viewer", "html"))
    }
    assert figures == expected == {path.name for path in (out / "sub-01/figures").iterdir()}
    size = sum(path.stat().st_size for path in (out / "sub-01/figures").iterdir())
    assert size < 5e6


def test_the_table_on_the_page_agrees_with_the_file(computed):
    out, _ = computed
    text = (out / "sub-01.html").read_text()
    table = pd.read_csv(out / "sub-01/anat/sub-01_desc-laplacianSeg_condstats.tsv", sep="\t")
    assert list(table.columns) == list(CONDSTATS)
    white = table[(table.tissue == "White Matter") & (table.erosion == 0)].iloc[0]
    # the table of the regions, which follows, has a similar row
    row, *_ = re.findall(
        rf"<tr><td>White Matter</td><td>{white.n}</td><td>{white['mean']:.3f}</td>.*?</tr>", text
    )
    cells = re.findall(r"<td>(.*?)</td>", row)
    found = re.findall(rf"White Matter</td><td>{white.n}</td><td>([-\d.]+)</td>", text)
    assert f"{white['mean']:.3f}" in found
    # literature value at 3 T
    assert cells[-2] == "0.342"
    assert float(cells[-1]) == pytest.approx(white["median"] / 0.342, abs=0.01)


def test_the_page_of_an_invalid_participant_shows_the_error(computed):
    text = (computed[0] / "sub-bad.html").read_text()
    assert "has part-phase, but there is no matching part-mag image" in text
    assert "There is no conductivity map" in text


def test_the_citation_describes_the_run(computed):
    logs = computed[0] / "logs"
    markdown = (logs / "CITATION.md").read_text()
    assert "2 acquisitions" in markdown
    assert "The laplacian-seg method computed the Laplacian" in markdown
    assert "integral" not in markdown
    keys = re.findall(r"@\w+\{(\w+),", (logs / "CITATION.bib").read_text())
    assert len(keys) == markdown.count("\n- ")
    assert "voigt2011" in keys
    check_links(logs / "CITATION.html")


def test_the_citation_can_describe_all_runs(derived, computed, tmp_path):
    """The text of a run describes only its own maps; on request, a text describes all maps."""
    for kind in ("md", "bib", "html"):
        (derived / f"logs/CITATION.{kind}").unlink(missing_ok=True)
    argv = ["/nowhere", str(derived), "participant", "--boilerplate-only"]
    assert main(argv) == 0
    for kind in ("md", "bib", "html"):
        written, of_run = (
            # remove the fingerprint, because it includes the options of the run
            re.sub('<meta name="fingerprint".*', "", (folder / f"logs/CITATION.{kind}").read_text())
            for folder in (derived, computed[0])
        )
        assert written == of_run
    assert main([*argv, "--participant-label", "02"]) == 0
    assert "of one acquisition" in (derived / "logs/CITATION.md").read_text()
    assert not list(derived.glob("*.html"))


def test_the_citation_requires_a_map(derived, caplog):
    argv = ["/nowhere", str(derived), "participant", "--boilerplate-only"]
    before = (derived / "logs/CITATION.md").read_bytes()
    assert main([*argv, "--participant-label", "bad"]) == 66
    assert "has no conductivity map to describe" in caplog.text
    assert (derived / "logs/CITATION.md").read_bytes() == before


def test_reports_are_rebuilt_without_raw_data(derived, computed, tmp_path):
    argv = ["/nowhere", str(derived), "participant", "--reports-only", "-w", str(tmp_path / "w")]
    assert main([*argv, "--participant-label", "02"]) == 0
    assert [path.name for path in derived.glob("*.html")] == ["sub-02.html"]
    check_links(derived / "sub-02.html")
    for path in (derived / "sub-02/figures").iterdir():
        assert path.read_bytes() == (computed[0] / "sub-02/figures" / path.name).read_bytes()


def test_the_figure_of_a_deleted_map_is_deleted(derived, computed, tmp_path):
    shutil.copy(computed[0] / "sub-01.html", derived)
    shutil.copytree(computed[0] / "sub-01/figures", derived / "sub-01/figures")
    argv = ["x", str(derived), "participant", "--reports-only", "-w", str(tmp_path / "w")]
    argv += ["--participant-label", "01"]
    names = {path.name for path in (derived / "sub-01/figures").iterdir()}
    assert {"sub-01_desc-laplacianSeg_figure.png", "sub-01_desc-laplacian_figure.png"} < names
    for path in (derived / "sub-01/anat").glob("*_desc-laplacianSeg_cond*"):
        path.unlink()
    assert main(argv) == 0
    names = {path.name for path in (derived / "sub-01/figures").iterdir()}
    assert "sub-01_desc-laplacian_figure.png" in names
    assert not {name for name in names if "Seg" in name or "comparison" in name}


def test_a_page_is_written_without_optional_outputs(derived, tmp_path):
    anat = derived / "sub-01/anat"
    for pattern in ("*_condstd.*", "*_part-mag_*", "*_dseg.*", "*_condstats.*"):
        for path in anat.glob(pattern):
            path.unlink()
    argv = ["x", str(derived), "participant", "--reports-only", "-w", str(tmp_path / "w")]
    assert main([*argv, "--participant-label", "01"]) == 0
    text = (derived / "sub-01.html").read_text()
    assert "The noise standard deviation of this map was not computed" in text
    assert "This map has no statistics table" in text
    check_links(derived / "sub-01.html")


@pytest.mark.slow
def test_leftovers_of_an_earlier_run_are_not_attributed_to_a_new_map(dataset, tmp_path, in_process):
    argv = (dataset, tmp_path / "out", tmp_path / "work", *in_process, "--participant-label", "01")
    anat = tmp_path / "out/sub-01/anat"
    first = ("--method", "laplacian", "laplacian-seg", "--fit-radius", "9")
    assert run(*argv, *first) == 0
    assert run(*argv, "--method", "laplacian", "--fit-radius", "9", "--no-uncertainty") == 0
    assert (anat / "sub-01_desc-laplacian_condstd.nii.gz").exists(), "the map is the same"
    options = ("--fit-radius", "12", "--no-uncertainty", "--segmentation", "none")
    assert run(*argv, "--method", "laplacian", *options) == 0
    names = {path.name for path in anat.glob("*condstd*")}
    assert names == {f"sub-01_desc-laplacianSeg_condstd.{end}" for end in ("nii.gz", "json")}
    citation = (tmp_path / "out/logs/CITATION.md").read_text()
    assert "noise standard deviation of the conductivity" not in citation
    assert "Tissue labels were taken" not in citation
    page = (tmp_path / "out/sub-01.html").read_text()
    assert "Seg_condmap.nii.gz is from an earlier run and differs from phi0 in Segmentation" in page
    assert "The noise standard deviation of this map was not computed" in page
    check_links(tmp_path / "out/sub-01.html")


def test_a_failed_report_is_not_a_failed_computation(
    dataset, workspace, tmp_path, monkeypatch, caplog, in_process
):
    def broken(*_, **__):
        raise RuntimeError("no ink")

    monkeypatch.setattr("bids_qcm.reports.participant.draw_result", broken)
    options = ("--method", "laplacian", *RADII, "--nprocs", "1", *in_process)
    argv = (dataset, tmp_path / "out", workspace / "work2", *options)
    assert run(*argv, "--participant-label", "01") == 2
    assert (tmp_path / "out/sub-01/anat/sub-01_desc-laplacian_condmap.nii.gz").exists()
    assert "no ink" in caplog.text
    # a failed computation takes precedence
    assert run(*argv, "--participant-label", "01", "bad") == 1


def test_html_in_messages_is_escaped(derived, tmp_path):
    """HTML in an error message is displayed but not executed."""
    crash = derived / "logs/crash-1.txt"
    crash.write_text(f"Node: a.b\n{EVIL}")
    path = derived / "logs/sub-01_T2w.json"
    record = json.loads(path.read_text())
    failure = {"step": "reconstruct_x", "error": EVIL, "crash_file": "logs/crash-1.txt"}
    path.write_text(json.dumps(record | {"failures": [failure], "command": EVIL}))
    sidecar = derived / "sub-01/anat/sub-01_phi0map.json"
    sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | {"Warnings": [EVIL]}))
    argv = [str(tmp_path), str(derived), "participant", "--reports-only", "-w", str(tmp_path / "w")]
    assert main([*argv, "--participant-label", "01"]) == 0
    text = (derived / "sub-01.html").read_text()
    assert EVIL not in text
    assert text.count("&lt;img src=x onerror=alert(1)&gt;") >= 4
    assert 'href="logs/crash-1.txt"' in text
    check_links(derived / "sub-01.html")


def test_a_failed_step_is_in_the_report_with_its_crash_file(computed):
    text = (computed[0] / "sub-crash.html").read_text()
    (crash,) = (computed[0] / "logs").glob("crash-*-mask-*")
    assert f'href="logs/{crash.name}"' in text
    last_line = crash.read_text().strip().splitlines()[-1].strip()
    # the page contains the path of the file relative to its dataset, but no text of the crash file
    kind, _file, problem = last_line.split(": ", 2)
    assert kind.endswith("InputError")
    assert unescape(text).count(problem) == 2, "at the top, and as the error"


@pytest.mark.slow
def test_sessions_have_separate_pages_on_request(derived, tmp_path):
    for session in ("a", "b"):
        shutil.copytree(derived / "sub-01/anat", derived / f"sub-01/ses-{session}/anat")
        for path in (derived / f"sub-01/ses-{session}/anat").iterdir():
            path.rename(path.with_name(path.name.replace("sub-01", f"sub-01_ses-{session}")))
    shutil.rmtree(derived / "sub-01/anat")
    argv = ["x", str(derived), "participant", "--reports-only", "-w", str(tmp_path / "w")]
    argv += ["--participant-label", "01"]
    assert main([*argv, "--aggregate-session-reports", "2"]) == 0
    assert [path.name for path in derived.glob("*.html")] == ["sub-01.html"]
    assert main([*argv, "--aggregate-session-reports", "1"]) == 0
    names = ["sub-01.html", "sub-01_ses-a.html", "sub-01_ses-b.html"]
    assert sorted(path.name for path in derived.glob("*.html")) == names
    sources = [set(check_links(derived / name).sources) for name in names]
    assert sources[0] == sources[1] | sources[2]
    assert not sources[1] & sources[2]


@pytest.mark.slow
def test_the_group_page_needs_only_the_derivatives(grouped):
    derived = grouped
    table = pd.read_csv(derived / "group_condmap.tsv", sep="\t")
    keys = ["participant_id", "source", "method", "tissue"]
    assert not table.duplicated(keys).any()
    assert set(table.participant_id) == {"sub-01", "sub-02"}
    assert len(table) == 2 * 2 * 4
    dictionary = json.loads((derived / "group_condmap.json").read_text())
    assert list(dictionary) == list(table.columns)
    own = pd.read_csv(derived / "sub-02/anat/sub-02_desc-laplacian_condstats.tsv", sep="\t")
    own = own[(own.tissue == "White Matter")].set_index("erosion")
    row = table[(table[keys] == ["sub-02", "sub-02", "laplacian", "White Matter"]).all(axis=1)]
    assert row["median"].item() == pytest.approx(own["median"][0])
    assert row["mean_eroded2"].item() == pytest.approx(own["mean"][2])
    assert row["literature"].item() == pytest.approx(0.342, abs=1e-3)
    assert row["n_eroded4"].item() == own["n"][4]
    page = check_links(derived / "group_condmap.html")
    assert "sub-02.html#sub-02" in plotted(derived / "group_condmap.html")["scans"]["links"]
    assert "sub-bad.html#errors" in page.links
    quality = pd.read_csv(derived / "group_qc.tsv", sep="\t")
    assert len(quality) == 2 * 2
    assert set(quality.verdict) <= {"green", "amber", "red"}
    sidecar = read_sidecar(
        derived / "sub-02/anat/sub-02_desc-laplacian_condmap.nii.gz", CondmapSidecar
    )
    row = quality[(quality.source == "sub-02") & (quality.method == "laplacian")].iloc[0]
    assert row.implausible_fraction == pytest.approx(sidecar.implausible_fraction, abs=1e-4)
    assert row.ratio_wm == pytest.approx(sidecar.literature_ratio["White Matter"], abs=1e-4)
    assert row.verdict == sidecar.verdict
    assert list(json.loads((derived / "group_qc.json").read_text())) == list(quality.columns)


@pytest.mark.slow
def test_a_page_reports_no_warnings_only_if_all_maps_are_green(derived, tmp_path):
    path = derived / "sub-01/anat/sub-01_desc-laplacian_condmap.json"
    other = derived / "sub-01/anat/sub-01_desc-laplacianSeg_condmap.json"
    # the methods must agree
    (derived / "sub-01/anat/sub-01_desc-laplacianSeg_condstats.tsv").unlink()
    argv = ["x", str(derived), "participant", "--reports-only", "-w", str(tmp_path / "w")]
    argv += ["--participant-label", "01"]

    def page(first, second):
        for one, fields in ((path, first), (other, second)):
            old = json.loads(one.read_text())
            old = {k: v for k, v in old.items() if k not in ("Verdict", "VerdictReasons")}
            one.write_text(json.dumps(old | fields))
        assert main(argv) == 0
        return (derived / "sub-01.html").read_text()

    green, red = {"Verdict": "green"}, {"Verdict": "red", "VerdictReasons": ["it is no map"]}
    text = page(green, green)
    assert "No warnings." in text
    assert text.count('class="badge green"') == 2
    text = page(green, red)
    assert "No warnings." not in text
    assert (
        'class="badge red">red</span></td><th><a href="#sub-01-laplacianSeg">laplacian-seg</a>'
        in text
    )
    assert "</a></th><td>it is no map" in text
    text = page(green, {})
    assert "No warnings." not in text
    assert 'class="badge none">no verdict' in text


def enlarge(derived, n):
    """Add many participants with the tables of one participant, and make one of them an outlier."""
    source = derived / "sub-01/anat"
    for number in range(n):
        name = f"sub-{number:03d}"
        folder = derived / name / "anat"
        folder.mkdir(parents=True)
        for path in source.iterdir():
            target = folder / path.name.replace("sub-01", name)
            if path.name.endswith("condstats.tsv"):
                table = pd.read_csv(path, sep="\t")
                factor = 3 if number == 7 else 1 + 0.001 * (number % 50)
                table[["mean", "median"]] *= factor
                table.to_csv(target, sep="\t", index=False, na_rep="n/a")
            elif path.suffix in (".json", ".tsv"):
                target.write_bytes(path.read_bytes())
            else:
                target.touch()
        (derived / f"{name}.html").write_text(f'<h2 id="{name}">{name}</h2>')
    for name in ("sub-01", "sub-02"):
        shutil.rmtree(derived / name)
    for path in (derived / "logs").glob("sub-*.json"):
        path.unlink()


@pytest.mark.slow
def test_an_outlier_among_two_hundred_participants_is_found(derived, tmp_path):
    enlarge(derived, 200)
    assert main(["x", str(derived), "group", "-w", str(tmp_path / "w")]) == 0
    table = pd.read_csv(derived / "group_condmap.tsv", sep="\t")
    assert table.participant_id.nunique() == 200
    assert set(table[table.outlier].participant_id) == {"sub-007"}
    check_links(derived / "group_condmap.html")


@pytest.mark.parametrize("prepare", [lambda out: None, lambda out: out.mkdir()])
def test_the_group_level_refuses_a_folder_that_is_not_a_dataset(tmp_path, prepare, caplog):
    prepare(tmp_path / "out")
    assert main(["x", str(tmp_path / "out"), "group", "-w", str(tmp_path / "w")]) == 66
    assert "is not a derivative dataset of bids_qcm" in caplog.text


def test_the_official_validator_passes_reports_and_group(grouped, validate):
    status, said = validate(grouped)
    assert status == 0, said


@pytest.mark.parametrize("width", [1280, 800])
def test_figures_of_a_report_are_displayed_in_a_browser(computed, look, width):
    for name, n_figures in (("sub-01", 9), ("sub-bad", 0), ("sub-crash", 0)):
        page = look(computed[0] / f"{name}.html", width)
        images = page.locator("img")
        assert images.count() == n_figures
        for image in images.all():
            size = image.evaluate("i => [i.complete, i.naturalWidth, i.clientWidth]")
            assert size[0]
            assert size[1] > 500
            assert 500 < size[2] <= width
        page.close()


def test_interactive_elements_of_a_page_work(computed, look):
    page = look(computed[0] / "sub-01.html", 1280)
    # the images before and after unwrapping alternate under the pointer
    flicker = page.locator("a.flicker").last
    alternative = flicker.locator(".alternative")
    assert not alternative.is_visible()
    flicker.hover()
    page.wait_for_function(
        "i => getComputedStyle(i).visibility == 'visible'", arg=alternative.element_handle()
    )
    boxes = [image.bounding_box() for image in flicker.locator("img").all()]
    assert boxes[0] == boxes[1]
    # a click opens a figure at full size
    with page.context.expect_page() as opened:
        flicker.click()
    opened.value.wait_for_url("**/*_figure.png")
    # the viewer is in the page
    viewer = page.frame_locator("iframe.viewer")
    page.locator("iframe.viewer").scroll_into_view_if_needed()
    viewer.get_by_text("± noise standard deviation").wait_for()
    # a rating is saved as a file
    form = page.locator("form.rating")
    form.get_by_label("doubtful").check()
    form.get_by_label("Comment").fill('a "ghost"')
    form.get_by_label("Rater").fill("A. B.")
    with page.expect_download() as download:
        form.get_by_role("button").click()
    assert download.value.suggested_filename == "sub-01_rating.json"
    rating = json.loads(Path(download.value.path()).read_text())
    assert (rating["acquisition"], rating["rating"]) == ("sub-01_T2w", "doubtful")
    assert (rating["comment"], rating["rater"]) == ('a "ghost"', "A. B.")
    assert set(rating["verdicts"]) == {"laplacian", "laplacian-seg"}
    assert set(rating["verdicts"].values()) <= {"green", "amber", "red"}
    assert rating["software"] == f"bids_qcm {__version__}"
    assert rating["report"] == participant_state(computed[0], "sub-01", None).fingerprint()
    written = datetime.fromisoformat(rating["date"])
    assert abs(datetime.now(UTC) - written) < timedelta(hours=1)
    page.close()


@pytest.mark.parametrize("width", [1280, 800])
def test_the_group_page_works_in_a_browser(derived, tmp_path, look, width):
    enlarge(derived, 12)
    assert main(["x", str(derived), "group", "-w", str(tmp_path / "w")]) == 0
    page = look(derived / "group_condmap.html", width)
    # plots are drawn when they come near the window
    for plot in page.locator("[data-plot]").all():
        plot.scroll_into_view_if_needed()
        plot.locator("svg").wait_for()
    outliers = page.locator("svg a.outlier .name")
    assert outliers.count() == 2 * 4
    assert all("sub-007: " in text for text in outliers.all_text_contents())
    point = page.locator("svg a[href='sub-003.html#sub-003']").first
    name = point.locator(".name")
    assert not name.is_visible()
    # use the keyboard, because another point may be in front of this point
    point.focus()
    assert name.is_visible()
    for text in page.locator("svg text.name").all()[:20]:
        box = text.evaluate("t => { const b = t.getBBox(); return [b.x, b.x + b.width] }")
        assert box[0] >= 0
        assert box[1] <= 1000
    point.press("Enter")
    page.wait_for_url("**/sub-003.html#sub-003")


SCHEMAS = {
    "condmap": CondmapSidecar,
    "condstd": CondstdSidecar,
    "phi0map": Phi0Sidecar,
    "dseg": SegmentationSidecar,
    "mask": MaskSidecar,
    "T2w": MagnitudeSidecar,
}


def sidecars(dataset):
    """List the sidecars of all images."""
    paths = sorted(dataset.glob("sub-*/anat/*.json"))
    return [path for path in paths if path.with_name(f"{path.stem}.nii.gz").exists()]


def test_sidecars_have_only_fields_of_the_schema(computed):
    seen = set()
    for path in sidecars(computed[0]):
        suffix = path.stem.rpartition("_")[2]
        seen.add(suffix)
        content = json.loads(path.read_text())
        assert content.keys() <= {field.key for field in list_fields(SCHEMAS[suffix])}, path
    assert seen == set(SCHEMAS)


def test_pages_are_written_from_sidecars_without_any_known_field(derived, tmp_path):
    for path in sidecars(derived):
        path.write_text('{"FieldOfAnotherVersion": 1}')
    for path in derived.glob("logs/sub-*.json"):
        path.write_text('{"field_of_another_version": 1}')
    work = ["-w", str(tmp_path / "w")]
    only = ["--reports-only", "--participant-label", "01"]
    assert main(["x", str(derived), "participant", *only, *work]) == 0
    assert main(["x", str(derived), "group", *work]) == 0
    assert "sub-01" in (derived / "sub-01.html").read_text()
    assert len(pd.read_csv(derived / "group_qc.tsv", sep="\t")) == 2 * 2


def test_texts_are_written_from_sidecars_with_one_missing_field(derived):
    """Test all fields, without figures because figures would be slow."""
    for path in sidecars(derived):
        content = path.read_text()
        for key in json.loads(content):
            path.write_text(json.dumps({k: v for k, v in json.loads(content).items() if k != key}))
            for result in find_results(derived, path.name.partition("_")[0]):
                describe_methods([processing(result)])
                for one in result.maps:
                    quality_row(one, result)
                assert _summary(result)
                map_warnings(result)
        path.write_text(content)
