import os

import pytest

from bids_qcm.bids.errors import InputError
from bids_qcm.bids.readers import read_json_object, read_rows, read_text, read_yaml_mapping

NESTED = "[" * 2000 + "]" * 2000
# 10 nested lists, each with ten references to the previous list: 10 ** 10 numbers if copied
LAUGHS = "a0: &a0 [1]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "cannot be read as JSON"),
        ("{", "cannot be read as JSON"),
        (NESTED, "is nested in more than 100 levels"),
        (f'{{"a": {NESTED}}}', "is nested in more than 100 levels"),
        (f'{{"a": {"[" * 200}{"]" * 200}}}', "is nested in more than 100 levels"),
        (f'{{"a": {"9" * 5000}}}', "cannot be read as JSON"),
        ("[]", "is not a JSON object"),
        ("null", "is not a JSON object"),
    ],
)
def test_the_error_for_invalid_json_names_the_file(path, content, problem):
    path.write_text(content)
    with pytest.raises(InputError, match=problem) as error:
        read_json_object(path, "mend it")
    assert str(error.value).startswith(f"{path}: ")
    assert str(error.value).endswith("Remedy: mend it")


@pytest.mark.parametrize("content", ["[1", "a: b: c", "- 1", NESTED, "!!python/object:x {}"])
def test_the_error_for_invalid_yaml_names_the_file(path, content):
    path.write_text(content)
    with pytest.raises(InputError) as error:
        read_yaml_mapping(path)
    assert str(error.value).startswith(f"{path}: ")


def test_a_yaml_file_that_contains_itself_is_refused(path):
    path.write_text("a: &a [*a]")
    with pytest.raises(InputError, match="is nested"):
        read_yaml_mapping(path)


def test_a_yaml_file_with_many_references_is_read_quickly(path):
    path.write_text(LAUGHS)
    assert len(read_yaml_mapping(path)) == 10


@pytest.mark.parametrize("read", [read_text, read_json_object, read_yaml_mapping])
@pytest.mark.parametrize("kind", ["gone", "folder", "pipe", "endless", "not UTF-8", "large"])
def test_a_file_that_is_not_text_is_refused(path, read, kind):
    match kind:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "endless":
            path.symlink_to("/dev/zero")
        case "not UTF-8":
            path.write_bytes(b"\xff\xfe")
        case "large":
            with path.open("wb") as file:
                file.truncate(20 << 20)
    with pytest.raises(InputError) as error:
        read(path)
    assert str(error.value).startswith(f"{path}: ")


def test_the_size_of_a_file_is_checked_before_its_characters(path):
    """The size limit may lie in the middle of a character."""
    path.write_bytes(b"x" + "é".encode() * (8 << 20))
    with pytest.raises(InputError, match="is larger than 16 MiB"):
        read_text(path)


def test_rows_of_a_table_are_read(path):
    path.write_text('﻿a\tb\nx\t"1\t2"\n\ny\n')
    assert read_rows(path, ("a",)) == [{"a": "x", "b": "1\t2"}, {"a": "y", "b": ""}]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "lacks the column a, b"),
        ("a\nb", "lacks the column b"),
        ("a\tb\n1\t2\t3\n", "has too many cells in row 1"),
        ("a\tb\n" + "x" * 200_000, "cannot be read as TSV"),
        ("a\tb\n" + "1\t2\n" * 100_001, "has more than 100,000 rows"),
    ],
)
def test_the_error_for_an_invalid_table_names_the_file(path, content, problem):
    path.write_text(content)
    with pytest.raises(InputError, match=problem) as error:
        read_rows(path, ("a", "b"))
    assert str(error.value).startswith(f"{path}: ")
