"""Interface that imports a segmentation."""

from pathlib import Path

from nipype.interfaces.base import BaseInterfaceInputSpec, Bunch, File, TraitedSpec

from bids_qcm.bids.images import read_integers, write_image
from bids_qcm.bids.label_tables import read_names, write_names
from bids_qcm.interfaces.base import CheckedInterface, optional_file


class _ImportSegmentationInputSpec(BaseInterfaceInputSpec):
    segmentation_file = File(exists=True, mandatory=True, desc="labels in the phase's grid")
    table_file = optional_file()


class _ImportSegmentationOutputSpec(TraitedSpec):
    labels_file = File(exists=True, desc="int32 labels")
    table_file = File(exists=True, desc="TSV with index and name of each label present")


class ImportSegmentation(CheckedInterface):
    """Bring a segmentation and its label table to the form that the methods use."""

    input_spec = _ImportSegmentationInputSpec
    output_spec = _ImportSegmentationOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        source, table = self.inputs.segmentation_file, self.inputs.table_file
        labels = read_integers(Path(source))
        labels_file = Path(runtime.cwd, "labels.nii.gz")
        write_image(labels_file, labels, like=Path(source))
        table_file = Path(runtime.cwd, "labels.tsv")
        write_names(table_file, read_names(Path(table) if table else None, labels))
        self._results |= {"labels_file": str(labels_file), "table_file": str(table_file)}
        return runtime
