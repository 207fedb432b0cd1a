import pytest

from bids_qcm.bids.participants import phenotype_files, read_phenotype

PEOPLE = ["sub-01", "sub-02"]


@pytest.fixture
def dataset(tmp_path):
    (tmp_path / "participants.tsv").write_text(
        "participant_id\tage\tsource\nsub-01\t31\tx\n02\tn/a\ty\nsub-99\t1\tz\n"
    )
    (tmp_path / "participants.json").write_text('{"age": {"Units": "year"}, "other": 3}')
    (tmp_path / "sub-01").mkdir()
    (tmp_path / "sub-01/sub-01_sessions.tsv").write_text(
        "session_id\tage\tdrug\nses-a\t31\tno\nb\t32\t\n"
    )
    (tmp_path / "sessions.json").write_text('{"drug": {"Description": "Drug"}}')
    return tmp_path


def test_columns_of_participants_and_sessions_are_merged(dataset):
    damaged = []
    found = read_phenotype(dataset, PEOPLE, damaged, taken={"source"})
    assert damaged == []
    assert list(found.dictionary) == ["age", "participants_source", "sessions_age", "drug"]
    assert found.dictionary["age"]["Units"] == "year"
    assert found.dictionary["drug"] == {"Description": "Drug"}
    assert found.values("sub-01", "ses-b") == {
        "age": "31",
        "participants_source": "x",
        "sessions_age": "32",
        "drug": None,
    }
    assert found.values("sub-02", None) == dict.fromkeys(found.dictionary) | {
        "participants_source": "y"
    }
    assert set(found.of_participants) == set(PEOPLE)


def test_missing_tables_yield_no_columns(tmp_path):
    damaged = []
    found = read_phenotype(tmp_path / "gone", PEOPLE, damaged)
    assert (found.dictionary, damaged) == ({}, [])
    assert found.values("sub-01", None) == {}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("participants.tsv", b"subject\tage\n01\t3\n", "lacks the column participant_id"),
        ("participants.tsv", b"participant_id\nsub-01\n01\n", "contains the row sub-01 twice"),
        ("participants.tsv", b"\xff", "cannot be read as text"),
        ("participants.tsv", b"participant_id\nsub-01\t3\n", "has too many cells"),
        ("participants.json", b"{", "cannot be read as JSON"),
        ("sub-01/sub-01_sessions.tsv", b"session\n", "lacks the column session_id"),
        ("sessions.json", b"[]", "is not a JSON object"),
    ],
)
def test_a_damaged_table_is_reported_and_left_out(dataset, name, content, message):
    (dataset / name).write_bytes(content)
    damaged = []
    found = read_phenotype(dataset, PEOPLE, damaged)
    assert [message in str(error) for error in damaged] == [True]
    assert ("source" in found.dictionary) == (name != "participants.tsv")
    assert found.values("sub-01", "ses-a").get("drug") == (
        None if name.endswith("sessions.tsv") else "no"
    )


def test_a_table_that_is_not_downloaded_is_reported(dataset):
    (dataset / "participants.tsv").unlink()
    (dataset / "participants.tsv").symlink_to("gone")
    damaged = []
    read_phenotype(dataset, PEOPLE, damaged)
    assert "has not been downloaded" in str(damaged[0])


def test_all_files_that_may_be_read_are_listed(dataset):
    names = {path.relative_to(dataset).as_posix() for path in phenotype_files(dataset, PEOPLE)}
    assert {
        "participants.tsv",
        "participants.json",
        "sub-01/sub-01_sessions.tsv",
        "sessions.json",
    } <= names
