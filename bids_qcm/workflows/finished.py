"""Record finished acquisitions, so that a later run with the same inputs skips them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

from bids_qcm.bids.anatomy.alignments import resampled_files
from bids_qcm.bids.derivatives import write_json
from bids_qcm.bids.errors import InputError
from bids_qcm.bids.fingerprints import checksum, fingerprint, states
from bids_qcm.bids.names import sidecar_path
from bids_qcm.bids.outputs import OUTPUTS
from bids_qcm.bids.planning import Plan
from bids_qcm.bids.provenance import software_versions
from bids_qcm.bids.readers import read_json_object
from bids_qcm.bids.sidecars import find_sidecars
from bids_qcm.recon import METHODS
from bids_qcm.settings import Settings
from bids_qcm.workflows.names import acquisition_wf_name, run_name

# Options that change the execution of a run, but not the maps of an acquisition.
_WITHOUT_EFFECT = {
    "command",
    "config",
    "participant_labels",
    "session_labels",
    "bids_filters",
    "bids_database_dir",
    "skip_bids_validation",
    "aggregated_sessions",
    "nprocs",
    "omp_nthreads",
    "memory_gb",
    "plugin_file",
    "slurm_dir",
    "slurm_arguments",
    "stop_on_first_crash",
    "clean_workdir",
    "write_graph",
    "resource_monitor",
}


@dataclass(frozen=True)
class FinishedRecord:
    """The record of a finished acquisition in the work directory.

    The record contains two fingerprints: the fingerprint of all inputs at the start of the run, and
    the fingerprint of the outputs when the acquisition was finished.

    Attributes
    ----------
    plan : Plan
        Plan from headers and sidecars.
    settings : Settings
    inputs : str
        Fingerprint of the inputs.
    """

    plan: Plan
    settings: Settings
    inputs: str

    @classmethod
    def start(
        cls, plan: Plan, settings: Settings, datasets: Mapping[str, Path]
    ) -> "FinishedRecord":
        """Compute the fingerprint of the inputs before the computation of the outputs starts."""
        options = {
            field.name: getattr(settings, field.name)
            for field in fields(settings)
            if field.name not in _WITHOUT_EFFECT
        }
        files = states(_inputs(plan, settings), Path("/"))
        inputs = fingerprint(software_versions(), options, dict(datasets), plan, files)
        return cls(plan, settings, inputs)

    @property
    def is_unchanged(self) -> bool:
        """Whether the acquisition was finished with the same inputs and still has its outputs.

        This is false if an option requests that everything is computed again.
        """
        if self.settings.clean_workdir or self.settings.write_graph:
            return False
        try:
            known = read_json_object(self._path, "delete this file")
            return known.get("inputs") == self.inputs and known.get("outputs") == self._outputs()
        except (InputError, OSError):
            return False

    def write(self, checked: Plan) -> None:
        """Write the record after all outputs have been written.

        No record is written if the image values led to decisions that differ from the decisions
        based on headers, because they may depend on further files.

        Parameters
        ----------
        checked : Plan
            The plan after all image values were read.
        """
        if _decisions(checked) == _decisions(self.plan):
            write_json(self._path, {"inputs": self.inputs, "outputs": self._outputs()})

    @property
    def _path(self) -> Path:
        name = acquisition_wf_name(self.plan.acquisition)
        return self.settings.work_dir / run_name(self.settings) / f"{name}.json"

    def _outputs(self) -> str:
        """Return the fingerprint of the content of all outputs, including missing outputs."""
        contents = {}
        for path in _outputs(self.plan, self.settings):
            try:
                contents[path.name] = checksum(path)
            except FileNotFoundError:
                contents[path.name] = ""
        return fingerprint(contents)


def _inputs(plan: Plan, settings: Settings) -> Iterator[Path]:
    """Yield all input files of an acquisition's outputs."""
    for image in plan.files:
        yield image
        yield from find_sidecars(image, settings.bids_dir)
    for auxiliary, alignment in (
        (plan.mask, plan.mask_alignment),
        (plan.segmentation, plan.segmentation_alignment),
        (plan.lesions, plan.lesion_alignment),
        (plan.b1, plan.b1_alignment),
    ):
        yield from resampled_files(auxiliary, alignment)
        if alignment.anatomical is not None:
            yield alignment.anatomical
        if auxiliary is not None and auxiliary.kind == "labels" and auxiliary.table is not None:
            yield auxiliary.table
    for space in plan.spaces:
        yield from space.files
    for regions in plan.regions:
        yield from regions.files
        if regions.alignment.anatomical is not None:
            yield regions.alignment.anatomical
    if settings.label_table is not None:
        yield settings.label_table


def _outputs(plan: Plan, settings: Settings) -> Iterator[Path]:
    """Yield the paths of all outputs that an acquisition may have, with their sidecars."""
    for output in OUTPUTS.values():
        for method in plan.methods if output.of_method else (None,):
            desc = None if method is None else METHODS[method].desc
            paths = list(output.paths(settings.output_dir, plan.acquisition, desc).values())
            if output.in_spaces:
                paths += [
                    output.path(settings.output_dir, plan.acquisition, desc, space.name)
                    for space in plan.spaces
                ]
            for path in paths:
                yield path
                yield sidecar_path(path)


def _decisions(plan: Plan) -> str:
    """Return all decisions of a plan, without the units and warnings from image values."""
    return repr(replace(plan, echoes=(), warnings=()))
