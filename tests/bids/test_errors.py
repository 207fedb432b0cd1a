import pickle

import pytest

from bids_qcm.bids.errors import InputError, SelectionError, require_content


def test_the_message_is_one_line(tmp_path):
    error = InputError(tmp_path, "is broken\n - is it damaged?", "mend it")
    assert str(error) == f"{tmp_path}: is broken  - is it damaged?. Remedy: mend it"
    assert error.where == tmp_path


def test_errors_pass_between_processes():
    error = pickle.loads(pickle.dumps(SelectionError("a", "b", "c")))
    assert isinstance(error, SelectionError)
    assert (str(error), error.where) == ("a: b. Remedy: c", "a")


def test_content_is_required_of_links(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    link.symlink_to(target)
    with pytest.raises(InputError, match="datalad get") as error:
        require_content(link)
    assert error.value.where == link
    target.touch()
    require_content(link)
    # what is not there at all is another problem
    require_content(tmp_path / "gone")
