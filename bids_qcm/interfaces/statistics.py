"""Interface that computes the statistics of a conductivity map."""

from dataclasses import asdict
from pathlib import Path

import pandas as pd
from nipype.interfaces.base import BaseInterfaceInputSpec, Bunch, File, TraitedSpec

from bids_qcm.bids.anatomy.label_tables import read_names
from bids_qcm.bids.images import read_integers, read_values
from bids_qcm.bids.tables import CONDSTATS, write_table
from bids_qcm.interfaces.base import CheckedInterface, optional_file
from bids_qcm.statistics import WHOLE_MASK, tissue_statistics


class _ComputeStatisticsInputSpec(BaseInterfaceInputSpec):
    condmap_file = File(
        exists=True, mandatory=True, desc="conductivity in S/m; NaN in invalid voxels"
    )
    mask_file = File(exists=True, mandatory=True)
    labels_file = optional_file()
    names_file = optional_file()


class _ComputeStatisticsOutputSpec(TraitedSpec):
    table_file = File(exists=True, desc="TSV file with one row for each tissue and erosion")


class ComputeStatistics(CheckedInterface):
    """Interface that computes conductivity statistics in the mask and, with labels, in tissues."""

    input_spec = _ComputeStatisticsInputSpec
    output_spec = _ComputeStatisticsOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        inputs = self.inputs
        labels, names = None, {}
        if inputs.labels_file:
            labels = read_integers(Path(inputs.labels_file))
            names = read_names(Path(inputs.names_file))
        found = tissue_statistics(
            read_values(Path(inputs.condmap_file)),
            read_integers(Path(inputs.mask_file)) != 0,
            labels,
        )
        names |= {WHOLE_MASK: "whole mask"}
        rows = [{**asdict(one), "tissue": names[one.label]} for one in found]
        path = Path(runtime.cwd, "condstats.tsv")
        write_table(path, pd.DataFrame(rows)[list(CONDSTATS)], CONDSTATS)
        self._results["table_file"] = str(path)
        return runtime
