import pytest

from bids_qcm.bids.errors import InputError
from bids_qcm.cli.config_file import read_options
from bids_qcm.cli.run import main
from tests.synthetic import write_subjects


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("", []),
        ("mask = 'signal'", ["--mask=signal"]),
        ("fit_radius = [4, 5.5, 0]", ["--fit-radius", "4", "5.5", "0"]),
        ("dry-run = true\nno_uncertainty = false", ["--dry-run"]),
    ],
)
def test_options_become_arguments(tmp_path, text, arguments):
    path = tmp_path / "options.toml"
    path.write_text(text)
    assert read_options(path) == arguments


@pytest.mark.parametrize(
    "content", [b"a = ", b"\xff", b"a = [[1]]", b"a = 2020-01-01", b"help = true"]
)
def test_the_error_for_an_invalid_file_names_the_file(tmp_path, content):
    path = tmp_path / "options.toml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"options\.toml"):
        read_options(path)


@pytest.mark.slow
def test_the_configuration_file_of_a_run_reproduces_its_maps(tmp_path, in_process, without_pages):
    raw = write_subjects(tmp_path / "raw", 1)

    def run(out, *options):
        arguments = (raw, tmp_path / out, "participant", "-w", tmp_path / f"work-{out}", *options)
        with without_pages():
            assert main([*map(str, arguments), *in_process]) == 0
        return sorted((tmp_path / out / "sub-0000").rglob("*.*"))

    options = ("--method", "laplacian", "--fit-radius", "3", "--mask", "signal", "--sign", "-")
    first = run("first", *options)
    (config,) = (tmp_path / "first" / "logs").glob("config-*.toml")
    second = run("second", "--config-file", config)
    assert [path.name for path in first] == [path.name for path in second]
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name
