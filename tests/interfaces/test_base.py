from nipype.interfaces.base import BaseInterfaceInputSpec, File, TraitedSpec

from bids_qcm.interfaces.base import CheckedInterface, optional_file


class _In(BaseInterfaceInputSpec):
    file = optional_file()


class _Out(TraitedSpec):
    file = File(exists=True)


class _Touch(CheckedInterface):
    input_spec = _In
    output_spec = _Out

    def _run_interface(self, runtime):
        path = f"{runtime.cwd}/out.txt"
        with open(path, "w") as file:  # noqa: PTH123
            file.write(str(self.inputs.file))
        self._results["file"] = path
        return runtime


def test_an_optional_file_is_none_by_default(tmp_path):
    assert _Touch().inputs.file is None
    (tmp_path / "x").touch()
    assert _Touch(file=str(tmp_path / "x")).inputs.file == str(tmp_path / "x")


def test_a_deleted_output_makes_the_node_run_again(check_rerun):
    check_rerun(_Touch, "file")
