import pickle

from bids_qcm.bids.errors import InputError, SelectionError


def test_the_message_is_one_line(tmp_path):
    error = InputError(tmp_path, "is broken\n - is it damaged?", "mend it")
    assert str(error) == f"{tmp_path}: is broken  - is it damaged?. Remedy: mend it"
    assert error.where == tmp_path


def test_errors_can_be_pickled():
    error = pickle.loads(pickle.dumps(SelectionError("a", "b", "c")))
    assert isinstance(error, SelectionError)
    assert (str(error), error.where) == ("a: b. Remedy: c", "a")
