"""Interfaces that compute the statistics of a conductivity map."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
from nipype.interfaces.base import BaseInterfaceInputSpec, Bunch, File, TraitedSpec, traits

from bids_qcm.bids.anatomy.label_tables import read_names
from bids_qcm.bids.images import read_integers, read_values
from bids_qcm.bids.tables import (
    CONDREGIONS,
    CONDSTATS,
    LESIONS_ATLAS,
    TISSUES_ATLAS,
    write_table,
)
from bids_qcm.interfaces.base import CheckedInterface, optional_file
from bids_qcm.statistics import WHOLE_MASK, region_statistics, tissue_statistics


class MapInputSpec(BaseInterfaceInputSpec):
    """Input specification of interfaces that compute statistics of a conductivity map."""

    condmap_file = File(
        exists=True, mandatory=True, desc="conductivity in S/m; NaN in invalid voxels"
    )
    mask_file = File(exists=True, mandatory=True)


class _ComputeStatisticsInputSpec(MapInputSpec):
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


class _ComputeRegionStatisticsInputSpec(MapInputSpec):
    noise_maps_file = optional_file()
    atlases = traits.List(traits.Str, desc="name of each segmentation or atlas")
    labels_files = traits.List(File(exists=True))
    table_files = traits.List(
        File(exists=True), desc="TSV files with the index and name of each label"
    )
    tissues_file = optional_file()
    names_file = optional_file()
    lesions_file = optional_file()
    provenance = traits.Dict({}, usedefault=True, desc="provenance of the labels")


class _ComputeRegionStatisticsOutputSpec(TraitedSpec):
    table_file = File(exists=True, desc="TSV file with one row for each atlas, region and erosion")
    provenance = traits.Dict(desc="fields for the sidecar")


class ComputeRegionStatistics(CheckedInterface):
    """Interface that computes conductivity statistics for atlas regions.

    With ``tissues_file`` or ``lesions_file``, the tissues or lesions form the regions of an
    additional atlas.
    """

    input_spec = _ComputeRegionStatisticsInputSpec
    output_spec = _ComputeRegionStatisticsOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        inputs = self.inputs
        conductivity = read_values(Path(inputs.condmap_file))
        mask = read_integers(Path(inputs.mask_file)) != 0
        noise = np.load(inputs.noise_maps_file) if inputs.noise_maps_file else None
        atlases = list(
            zip(inputs.atlases, inputs.labels_files, inputs.table_files, strict=True)
            if inputs.atlases
            else ()
        )
        if inputs.tissues_file:
            atlases.append((TISSUES_ATLAS, inputs.tissues_file, inputs.names_file))
        rows = []
        for atlas, labels_file, table_file in atlases:
            names = read_names(Path(table_file))
            found = region_statistics(conductivity, mask, read_integers(Path(labels_file)), noise)
            rows += [{**asdict(one), "atlas": atlas, "region": names[one.label]} for one in found]
        if inputs.lesions_file:
            lesions = read_integers(Path(inputs.lesions_file), allow_empty=True)
            rows += [
                {**asdict(one), "atlas": LESIONS_ATLAS, "region": f"Lesion {one.label}"}
                for one in region_statistics(conductivity, mask, lesions, noise)
            ]
        path = Path(runtime.cwd, "condregions.tsv")
        write_table(path, pd.DataFrame(rows, columns=list(CONDREGIONS)), CONDREGIONS)
        self._results |= {"table_file": str(path), "provenance": inputs.provenance}
        return runtime
