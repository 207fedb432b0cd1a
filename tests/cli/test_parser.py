import ast
import json
import os
from dataclasses import fields, replace
from pathlib import Path

import pytest

import bids_qcm
from bids_qcm import __version__
from bids_qcm.cli import parser
from bids_qcm.cli.parser import build_parser, parse_settings
from bids_qcm.recon.methods import PUBLISHED
from bids_qcm.settings import Settings
from bids_qcm.workflows.machine import available_cores


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """A working directory with the files and folders that the options name."""
    monkeypatch.chdir(tmp_path)
    for name in ("data", "seg", "a=b"):
        (tmp_path / name).mkdir()
    (tmp_path / "plugin.yml").write_text("plugin: Linear\n")
    filters = {
        "phase": {"suffix": ["T2w"], "run": 1},
        "segmentation": {"session": "a"},
        "mask": {"run": 2},
        "lesions": {"label": "L"},
        "b1": {"acquisition": "dream"},
    }
    (tmp_path / "filters.json").write_text(json.dumps(filters))
    (tmp_path / "labels.tsv").write_text("index\tname\n")
    (tmp_path / "x.nii.gz").touch()
    return tmp_path


@pytest.fixture
def parse(folders):
    def parse(*options):
        level = (
            "group"
            if {"--group-by", "--covariates", "--differences"} & set(options)
            else "participant"
        )
        return parse_settings(["data", "out", level, *options])[0]

    return parse


@pytest.fixture
def usage_error(folders, capsys):
    """Return the message of a usage error."""

    def usage_error(*argv):
        with pytest.raises(SystemExit) as stop:
            parse_settings(argv)
        assert stop.value.code == 64
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("usage: bids-qcm")
        return captured.err.splitlines()[-1].removeprefix("bids-qcm: error: ")

    return usage_error


FILE_TEXT = 'fit-radius = ["4", "5", "0"]\nsign = "-"\n'

# each field of Settings, options that set it, and the resulting value; {} is the folder
FIELDS = {
    "bids_dir": ([], "{}/data"),
    "output_dir": ([], "{}/out"),
    "work_dir": (["-w", "w"], "{}/w"),
    "mask": (["--mask", "brain"], "brain"),
    "lesions": (["--lesions", "none"], "none"),
    "b1": (["--b1", "model"], "model"),
    "image_checks": (["--image-checks", "warn"], "warn"),
    "echoes": (["--echoes", "3", "1", "3"], (1, 3)),
    "average_runs": (["--average-runs", "run", "dir"], ("dir", "run")),
    "analysis_level": ([], "participant"),
    "command": (["--sign", "-"], "bids-qcm BIDS_DIR OUTPUT_DIR participant --sign -"),
    "config": (["--sign", "-", "--fit-radius", "4", "5", "0"], FILE_TEXT),
    "participant_labels": (["--participant-label", "sub-01", "02"], ("01", "02")),
    "session_labels": (["--session-label", "ses-a", "b"], ("a", "b")),
    "bids_filters": (["--bids-filter-file", "filters.json"], {"suffix": ["T2w"], "run": 1}),
    "derivatives": (["-d", "seg"], (("", "{}/seg"),)),
    "segmentation": (["--segmentation", "fmriprep"], "fmriprep"),
    "segmentation_filters": (["--bids-filter-file", "filters.json"], {"session": "a"}),
    "mask_filters": (["--bids-filter-file", "filters.json"], {"run": 2}),
    "lesion_filters": (["--bids-filter-file", "filters.json"], {"label": "L"}),
    "b1_filters": (["--bids-filter-file", "filters.json"], {"acquisition": "dream"}),
    "label_table": (["--label-table", "labels.tsv"], "{}/labels.tsv"),
    "atlases": (
        ["--atlas", "x@T1w=x.nii.gz:labels.tsv"],
        (("x", "{}/x.nii.gz", "{}/labels.tsv", "T1w"),),
    ),
    "coreg": (["--coreg", "rigid"], "rigid"),
    "output_spaces": (["--output-spaces", "T1w", "MNI6", "T1w"], ("T1w", "MNI6")),
    "bids_database_dir": (["--bids-database-dir", "/db"], "/db"),
    "skip_bids_validation": (["--skip-bids-validation"], True),
    "methods": (["--method", "integral", "laplacian"], ("integral", "laplacian")),
    "fit_radius": (["--fit-radius", "4"], (4, 4, 4)),
    "in_plane": (["--in-plane", "k"], "k"),
    "target_std": (["--target-std", "0.2"], 0.2),
    "integral_radius": (["--integral-radius", "4", "5", "0"], (4, 5, 0)),
    "phase_type": (["--phase-type", "transmit"], "transmit"),
    "sign": (["--sign", "-"], "-"),
    "phase_units": (["--phase-units", "mrad"], "mrad"),
    "uncertainty": (["--no-uncertainty"], False),
    "aggregated_sessions": (["--aggregate-session-reports", "3"], 3),
    "group_by": (["--group-by", "diagnosis"], "diagnosis"),
    "covariates": (["--covariates", "age", "sex"], ("age", "sex")),
    "differences": (["--differences"], True),
    "reports_only": (["--reports-only"], True),
    "boilerplate_only": (["--boilerplate-only"], True),
    "nprocs": (["--nprocs", "97"], 97),
    "omp_nthreads": (["--nprocs", "98", "--omp-nthreads", "97"], 97),
    "memory_gb": (["--mem", "1.5G"], 1.5),
    "plugin_file": (["--use-plugin", "plugin.yml"], "plugin.yml"),
    "slurm_dir": (["--write-slurm", "scripts"], "{}/scripts"),
    "slurm_arguments": (
        ["--write-slurm", "scripts", "--sign", "-"],
        ("data", "out", "participant", "--sign", "-"),
    ),
    "dry_run": (["--dry-run"], True),
    "stop_on_first_crash": (["--stop-on-first-crash"], True),
    "clean_workdir": (["--clean-workdir"], True),
    "write_graph": (["--write-graph"], True),
    "resource_monitor": (["--resource-monitor"], True),
}

# expressions with which the package reads a field of Settings
NAMES_OF_SETTINGS = ("settings", "self.settings")


def plain(value, folder):
    """Convert paths to text, so that they can be compared with a table."""
    if isinstance(value, tuple):
        return tuple(plain(one, folder) for one in value)
    return os.fspath(value).replace(str(folder), "{}") if hasattr(value, "__fspath__") else value


def test_every_field_of_settings_is_in_the_table():
    assert set(FIELDS) == {field.name for field in fields(Settings)}


@pytest.mark.parametrize("field", FIELDS)
def test_every_field_of_settings_can_be_set(parse, folders, field):
    options, expected = FIELDS[field]
    assert plain(getattr(parse(*options), field), folders) == expected
    if options:
        assert plain(getattr(parse(), field), folders) != expected


def test_every_option_reaches_settings(parse):
    """An option that changes no field would be accepted and ignored."""
    told = {option for options, _ in FIELDS.values() for option in options if option[:1] == "-"}
    actions = [action for action in build_parser()._actions if action.option_strings]
    unused = [a.dest for a in actions if not told & set(a.option_strings)]
    assert sorted(unused) == ["config_file", "help", "verbose", "version"]


def test_every_field_of_settings_is_used():
    """A field that no module reads would make its option ineffective."""
    package = Path(bids_qcm.__file__).parent
    of_parser = package / "cli" / "parser.py"
    read = {
        node.attr
        for path in package.rglob("*.py")
        if path != of_parser
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in NAMES_OF_SETTINGS
    }
    assert [field.name for field in fields(Settings) if field.name not in read] == []


def test_the_defaults_are_the_defaults_of_settings(parse, folders):
    settings = parse()
    cpus = available_cores()
    expected = Settings(
        bids_dir=folders / "data",
        output_dir=folders / "out",
        work_dir=folders / "work",
        command="bids-qcm BIDS_DIR OUTPUT_DIR participant",
        nprocs=cpus,
        omp_nthreads=min(cpus, 8),
    )
    assert settings == expected


@pytest.mark.parametrize(
    "argv",
    [
        ["gone", "out", "group"],
        ["gone", "out", "participant", "--reports-only"],
        ["gone", "out", "participant", "--boilerplate-only"],
    ],
)
def test_reports_need_no_raw_data(folders, argv):
    assert parse_settings(argv)[0].analysis_level == argv[2]


@pytest.mark.parametrize(
    ("work", "where"), [("data/work", "inside BIDS_DIR"), ("data", "inside"), ("out", "OUTPUT_DIR")]
)
def test_the_work_directory_is_separate_from_data_and_output(usage_error, folders, work, where):
    message = usage_error("data", "out", "participant", "-w", work)
    assert message.startswith(f"argument --work-dir: {folders / work} is ")
    assert where in message
    assert message.endswith(f"such as {folders / 'work'}")


def test_the_default_work_directory_is_not_in_the_dataset(usage_error, folders, monkeypatch):
    monkeypatch.chdir(folders / "data")
    assert "is inside BIDS_DIR" in usage_error(".", "../out", "participant")


def test_omp_nthreads_is_at_most_nprocs(parse):
    assert parse("--nprocs", "2", "--omp-nthreads", "5").omp_nthreads == 2


@pytest.mark.parametrize(("given", "verbosity"), [([], 0), (["-v"], 1), (["-vv"], 2)])
def test_verbosity_is_the_number_of_v_options(folders, given, verbosity):
    assert parse_settings(["data", "out", "participant", *given])[1] == verbosity


def test_options_may_come_first(folders):
    argv = ["--participant-label", "01", "--nprocs", "1", "data", "out", "participant"]
    assert parse_settings(argv)[0].participant_labels == ("01",)


@pytest.mark.parametrize(
    "options",
    [["--method", "all"], ["--method", "all", "all"], ["--method", "all", "integral"]],
)
def test_all_selects_the_published_methods(parse, options):
    assert parse(*options).methods == PUBLISHED


def test_duplicate_methods_are_removed(parse):
    assert parse("--method", "integral", "laplacian", "integral").methods == (
        "integral",
        "laplacian",
    )


@pytest.mark.parametrize(
    ("flag", "field"), [("--fit-radius", "fit_radius"), ("--integral-radius", "integral_radius")]
)
def test_a_radius_is_one_or_three_numbers_or_auto(parse, usage_error, flag, field):
    assert getattr(parse(flag, "4.5"), field) == (4.5, 4.5, 4.5)
    assert getattr(parse(flag, "1", "2", "3"), field) == (1, 2, 3)
    for numbers in (["1", "2"], ["1", "2", "3", "4"]):
        message = usage_error("data", "out", "participant", flag, *numbers)
        assert flag in message
        assert "one or three numbers, in mm" in message
    assert getattr(parse(flag, "auto"), field) == "auto"
    assert f"{flag} takes auto, or" in usage_error("data", "out", "participant", flag, "auto", "3")
    for number in ("nan", "inf"):
        assert flag in usage_error("data", "out", "participant", flag, number)


@pytest.mark.parametrize(
    ("units", "expected"), [("auto", "auto"), ("rad", "rad"), ("4096", 4096.0), ("6.28", 6.28)]
)
def test_phase_units_are_parsed(parse, units, expected):
    assert parse("--phase-units", units).phase_units == expected


@pytest.mark.parametrize(
    ("atlases", "part"),
    [
        (["lesions@T1w=x.nii.gz"], "has a name that the app itself uses"),
        (["aparcaseg=x.nii.gz"], "has a name that the app itself uses"),
        (["x=x.nii.gz", "x@T1w=x.nii.gz"], "is given 2 times; give it once"),
    ],
)
def test_invalid_names_of_atlases_are_refused(usage_error, folders, atlases, part):
    (folders / "x.nii.gz").touch()
    assert part in usage_error("data", "out", "participant", "--atlas", *atlases)


def test_files_of_several_participants_are_one_atlas(parse, folders):
    for name in ("sub-01_dseg.nii.gz", "sub-02_dseg.nii.gz"):
        (folders / name).touch()
    found = parse("--atlas", "x=sub-01_dseg.nii.gz", "x=sub-02_dseg.nii.gz").atlases
    assert [atlas.name for atlas in found] == ["x", "x"]


def test_aliases_of_options_are_accepted(parse):
    settings = parse("--participant_label", "01", "--phase-sign", "+", "--mem-mb", "2000")
    assert (settings.participant_labels, settings.sign, settings.memory_gb) == (("01",), "+", 2)


@pytest.mark.parametrize(
    ("options", "echoes"),
    [
        ([], "all"),
        (["--echoes", "all"], "all"),
        (["--echoes", "auto"], "auto"),
        (["--echoes", "2", "03"], (2, 3)),
    ],
)
def test_echoes_are_parsed(parse, options, echoes):
    assert parse(*options).echoes == echoes


@pytest.mark.parametrize(
    ("listed", "echoes"), [(3, (3,)), ([2, "1"], (1, 2)), ("02", (2,)), ("auto", "auto")]
)
def test_the_filter_file_can_select_echoes(parse, folders, listed, echoes):
    (folders / "f.json").write_text(json.dumps({"phase": {"echo": listed, "run": 1}}))
    settings = parse("--bids-filter-file", "f.json")
    assert settings.echoes == echoes
    assert settings.bids_filters == {"run": 1}


@pytest.mark.parametrize(
    ("listed", "options", "part"),
    [
        (None, ["1", "auto"], "takes all, auto or echo numbers"),
        (None, ["x"], "x is not an echo number"),
        ([1], ["2"], 'not allowed with "echo" in --bids-filter-file'),
        ("Query.ANY", [], "Query.ANY is not an echo number"),
    ],
)
def test_invalid_echoes_are_refused(usage_error, folders, listed, options, part):
    filters = {"run": 1} if listed is None else {"echo": listed}
    (folders / "f.json").write_text(json.dumps({"phase": filters}))
    argv = ["data", "out", "participant", "--bids-filter-file", "f.json"]
    assert part in usage_error(*argv, *(["--echoes", *options] if options else []))


def test_average_runs_without_a_value_averages_runs(parse):
    assert parse().average_runs == ()
    assert parse("--average-runs").average_runs == ("run",)


@pytest.mark.parametrize(
    ("option", "field", "expected"),
    [
        (["--n_cpus", "3"], "nprocs", 3),
        (["--nthreads=3"], "nprocs", 3),
        (["--fit_radius=4"], "fit_radius", (4, 4, 4)),
        (["--skip_bids_validation"], "skip_bids_validation", True),
        (["--segmentation", "my_seg"], "segmentation", "my_seg"),
        (["--segmentation=my_seg"], "segmentation", "my_seg"),
    ],
)
def test_options_may_be_written_with_underscores(parse, option, field, expected):
    assert getattr(parse(*option), field) == expected


@pytest.fixture
def config(folders):
    def write(text):
        (folders / "options.toml").write_text(text)
        return ("--config-file", "options.toml")

    return write


def test_options_in_a_file_are_equal_to_options_on_the_command_line(parse, config):
    text = """
        method = ["integral", "laplacian"]
        fit_radius = [4, 5, 0]
        sign = "-"
        target-std = 0.2
        no-uncertainty = true
        dry-run = false
    """
    given = ("--method", "integral", "laplacian", "--fit-radius", "4", "5", "0", "--sign", "-")
    expected = parse(*given, "--target-std", "0.2", "--no-uncertainty")
    settings = parse(*config(text))
    assert replace(settings, command="", config="") == replace(expected, command="", config="")
    assert settings.config == expected.config


def test_the_configuration_file_is_read_once(parse, config, monkeypatch):
    files = []
    monkeypatch.setattr(parser, "read_options", lambda file: files.append(file) or ["--sign", "-"])
    assert parse(*config("")).sign == "-"
    assert len(files) == 1


def test_the_command_line_overrides_the_file(parse, config):
    settings = parse(*config('sign = "-"\nmask = "signal"'), "--sign", "+")
    assert (settings.sign, settings.mask) == ("+", "signal")


@pytest.mark.parametrize("field", sorted(set(FIELDS) - {"command", "slurm_dir", "slurm_arguments"}))
def test_the_options_of_a_run_can_be_reused(parse, config, field):
    """The text of a configuration file from any options gives the same settings."""
    settings = parse(*FIELDS[field][0])
    again = parse_settings(["data", "out", settings.analysis_level, *config(settings.config)])[0]
    assert replace(again, command="") == replace(settings, command="")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("method = ", "is not a TOML file"),
        ("[method]", "wrong type for method"),
        ('write-slurm = "a"', "contains the option write-slurm"),
        ('config_file = "a"', "contains the option config_file"),
        ('methods = "integral"', "unrecognized arguments: --methods=integral"),
        ('method = ["integral-magsg"]', "did you mean 'integral-magseg'"),
        ("nprocs = 1.5", "--nprocs"),
    ],
)
def test_an_invalid_configuration_file_is_refused(usage_error, config, text, part):
    message = usage_error("data", "out", "participant", *config(text))
    assert message.startswith("argument --config-file: options.toml")
    assert part in message


@pytest.mark.parametrize(
    "options", [["--method", "integral"], ["--dry-run"], ["--no-uncertainty"], ["--mask=signal"]]
)
def test_the_group_level_refuses_options_that_it_ignores(usage_error, options):
    message = usage_error("data", "out", "group", *options)
    assert message.startswith(f"argument {options[0].partition('=')[0]}: the group level")


@pytest.mark.parametrize(
    "options", [["--group-by", "sex"], ["--covariates", "age", "sex"], ["--differences"]]
)
def test_the_participant_level_refuses_options_of_the_group_level(usage_error, options):
    message = usage_error("data", "out", "participant", *options)
    assert message.startswith(f"argument {options[0]}: only the group level compares participants")


def test_the_group_level_accepts_the_options_that_it_uses(folders):
    options = ("--participant-label", "01", "-w", "w", "--nprocs", "3", "--mem", "4G", "-v")
    settings, _ = parse_settings(["data", "out", "group", *options])
    assert settings.participant_labels == ("01",)
    # the threads of the registration with --differences
    assert settings.omp_nthreads == 3
    settings, _ = parse_settings(["data", "out", "group", *options, "--omp-nthreads", "2"])
    assert settings.omp_nthreads == 2


def test_the_usage_is_one_line(folders, capsys):
    with pytest.raises(SystemExit):
        parse_settings(["data", "out", "participant", "--method", "integral-magsge"])
    usage, error = capsys.readouterr().err.splitlines()
    assert usage == "usage: bids-qcm BIDS_DIR OUTPUT_DIR {participant,group} [options]"
    assert error.endswith("; did you mean 'integral-magseg'?")


def test_derivative_datasets_can_be_named(parse, folders):
    found = parse("--derivatives", "x=seg", "a=b", "data").derivatives
    # a folder may have an equals sign in its name
    assert found == (("x", folders / "seg"), ("", folders / "a=b"), ("", folders / "data"))


@pytest.mark.parametrize(
    ("argv", "parts"),
    [
        ([], ["BIDS_DIR", "OUTPUT_DIR", "analysis_level"]),
        (["data", "out"], ["analysis_level"]),
        (["gone", "out", "participant"], ["BIDS_DIR", "gone is not a folder"]),
        (["data", "out", "session"], ["session", "participant", "group"]),
        (
            ["data", "data", "participant"],
            ["OUTPUT_DIR is inside the raw data", "derivatives/bids_qcm"],
        ),
        (["data", "data/../data", "participant"], ["OUTPUT_DIR is inside the raw data"]),
        (
            ["data", "out", "participant", "--method", "laplace"],
            ["--method", "laplace", "laplacian"],
        ),
        (["data", "out", "participant", "--method"], ["--method"]),
        (["data", "out", "participant", "--nope"], ["--nope"]),
        *(
            (
                ["data", "out", "participant", "--dry-run", *flag],
                ["--dry-run: not allowed with", flag[0]],
            )
            for flag in (["--write-slurm", "s"], ["--reports-only"], ["--boilerplate-only"])
        ),
        (
            ["data", "out", "participant", "--resource-monitor", "--use-plugin", "plugin.yml"],
            ["--resource-monitor: not allowed with --use-plugin"],
        ),
        (
            ["data", "out", "participant", "-w", "w[6]"],
            ["w[6] contains one of the characters [ ] * ?", "nipype"],
        ),
        (["data", "out", "participant", "-d", "gone"], ["--derivatives", "gone is not a folder"]),
        (["data", "out", "participant", "-d", "x=gone"], ["--derivatives", "gone is not a folder"]),
        (
            ["data", "out", "participant", "--use-plugin", "gone"],
            ["--use-plugin", "gone is not a file"],
        ),
        (["data", "out", "participant", "--nprocs", "0"], ["--nprocs", "positive whole number"]),
        (["data", "out", "participant", "--nprocs", "x"], ["--nprocs", "x"]),
        (["data", "out", "participant", "--omp-nthreads", "1.5"], ["--omp-nthreads", "1.5"]),
        (["data", "out", "participant", "--target-std", "0"], ["--target-std", "0"]),
        (["data", "out", "participant", "--mem", "-1"], ["--mem", "-1"]),
        (["data", "out", "participant", "--mem", "nan"], ["--mem", "not a positive number"]),
        (["data", "out", "participant", "--phase-units", "deg"], ["--phase-units", "deg"]),
        (
            ["data", "out", "participant", "--phase-units", "0"],
            ["--phase-units", "positive number"],
        ),
        (["data", "out", "participant", "--phase-type", "received"], ["transceive", "transmit"]),
        (["data", "out", "participant", "--sign", "0"], ["--sign", "auto"]),
        (["data", "out", "participant", "--fit-radius", "big"], ["--fit-radius", "big"]),
    ],
)
def test_usage_errors_name_the_argument(usage_error, argv, parts):
    message = usage_error(*argv)
    assert [part for part in parts if part not in message] == [], message


@pytest.mark.parametrize(
    "content",
    [
        *(None, "{", "[]", "{}", '["phase"]', '{"bold": {}}', '{"phase": "T2w"}'),
        *('{"phase": null}', '{"phase": []}', '{"phase": {"part": "mag"}}'),
        '{"segmentation": {"descripton": "aseg"}}',
        '{"phase": {"suffix": [["T2w"]]}}',
        '{"phase": {"suffix": {"a": 1}}}',
        '{"phase": {"suffix": ' + "[" * 90 + "]" * 90 + "}}",
        '{"phase": ' + "[" * 2000 + "]" * 2000 + "}",
    ],
)
def test_an_invalid_filter_file_is_refused(usage_error, folders, content):
    path = folders / "filters.json"
    path.unlink()
    if content is not None:
        path.write_text(content)
    argv = ["data", "out", "participant", "--bids-filter-file", "filters.json"]
    message = usage_error(*argv)
    assert "--bids-filter-file" in message
    assert "filters.json" in message


@pytest.mark.parametrize(("flag", "text"), [("--version", __version__), ("--help", "exit status:")])
def test_version_and_help_are_printed(folders, capsys, flag, text):
    with pytest.raises(SystemExit) as stop:
        parse_settings([flag])
    assert stop.value.code == 0
    assert text in capsys.readouterr().out


def test_parsing_writes_nothing(parse, folders):
    before = sorted(folders.rglob("*"))
    parse("--bids-database-dir", "db", "-w", "w")
    assert sorted(folders.rglob("*")) == before


@pytest.mark.parametrize(
    ("text", "gigabytes"),
    [("8000", 8), ("8G", 8), ("8gb", 8), ("500M", 0.5), ("2T", 2000), ("500000K", 0.5)],
)
def test_memory_accepts_the_units_of_fmriprep(parse, text, gigabytes):
    assert parse("--mem", text).memory_gb == pytest.approx(gigabytes)
