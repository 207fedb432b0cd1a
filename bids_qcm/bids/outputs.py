"""Derivative files of an acquisition, and names of folders in a derivative dataset."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from bids_qcm.bids.acquisitions import Acquisition
from bids_qcm.bids.anatomy.auxiliary import NATIVE
from bids_qcm.bids.files import visible
from bids_qcm.bids.names import join_name, parse_name
from bids_qcm.bids.sidecar_schema import (
    B1Sidecar,
    CondmapSidecar,
    CondstdSidecar,
    Fields,
    LesionsSidecar,
    MagnitudeSidecar,
    MaskSidecar,
    Phi0Sidecar,
    SegmentationSidecar,
    Warned,
)
from bids_qcm.settings import SHIPPED_TEMPLATE

LOGS = "logs"
"""Folder of a derivative dataset with run records, crash reports and the methods text."""

FIGURES = "figures"
"""Folder with the figures of a participant, in the participant's folder."""


@dataclass(frozen=True, kw_only=True)
class Output:
    """A derivative: its file name, sidecar, and the workflow node that computes it.

    Attributes
    ----------
    content : str
        Description of the values, in Markdown.
    node, source : str
        Workflow node, and the output of the node that is written. If each method has this output,
        the name of the method is appended to the name of the node.
    suffix : str or None
        BIDS suffix; None for the suffix of the acquisition.
    schema : type of Fields or None
        Schema of the JSON sidecar; None if the output has no sidecar with a schema.
    of_method : bool
        Whether each method has this output. The ``desc`` entity is then the label of the method.
    variants : mapping of str to str
        Possible labels of the ``desc`` entity, each with a description that is added to `content`.
        The app writes only one variant. Empty for an output without variants.
    variant : str or None
        Output of the node `completed_by` that selects the variant; None without variants.
    completed_by : str or None
        Node that completes the sidecar with its output ``provenance``, or with its output
        ``metadata`` if there are variants. None if the sidecar is known before the computation.
    entities : mapping of str to str
        Entities in addition to the entities of the acquisition. ``{phase}`` stands for the label of
        the phase's space in transforms.
    extension, folder : str
        File extension and data type folder.
    of_uncertainty : bool
        Whether the output is only written if the uncertainty is computed.
    in_bids : bool
        Whether BIDS defines such files, so that the validator accepts them.
    in_spaces : bool
        Whether the output is also written in each space of ``--output-spaces``. Its name then has
        the entity ``space``, and the node ``resample_SPACE`` writes it.
    """

    content: str
    node: str
    source: str
    suffix: str | None
    schema: type[Fields] | None = None
    of_method: bool = False
    variants: Mapping[str, str] = field(default_factory=dict)
    variant: str | None = None
    completed_by: str | None = None
    entities: Mapping[str, str] = field(default_factory=dict)
    extension: str = ".nii.gz"
    folder: str = "anat"
    of_uncertainty: bool = False
    in_bids: bool = False
    in_spaces: bool = False

    def file_name(
        self, start: str, desc: str | None = None, suffix: str = "*", space: str | None = None
    ) -> str:
        """Return the file name.

        Parameters
        ----------
        start : str
            Prefix that the file names of all derivatives of the acquisition share.
        desc : str, optional
            Label of the method or variant.
        suffix : str
            Suffix of the acquisition, for an output that has this suffix.
        space : str, optional
            Space of the output; None for the grid of the phase.
        """
        entities = {
            **({} if space is None else {"space": space}),
            **{key: label.format(phase=_space_of(suffix)) for key, label in self.entities.items()},
            **({} if desc is None else {"desc": desc}),
        }
        return "_".join(filter(None, [start, join_name(entities, self.suffix or suffix)])) + (
            self.extension
        )

    def path(
        self,
        output_dir: Path,
        acquisition: Acquisition,
        desc: str | None = None,
        space: str | None = None,
    ) -> Path:
        """Return the path of the output of an acquisition; arguments as in :meth:`file_name`."""
        folders = [f"sub-{acquisition.subject}"]
        if acquisition.session is not None:
            folders.append(f"ses-{acquisition.session}")
        name = self.file_name(
            join_name(acquisition.output_entities), desc, acquisition.suffix, space
        )
        return output_dir.joinpath(*folders, self.folder, name)

    def paths(
        self, output_dir: Path, acquisition: Acquisition, desc: str | None = None
    ) -> dict[str, Path]:
        """Return the path of each variant; an output without variants has only the key ``""``.

        Parameters
        ----------
        output_dir : Path
        acquisition : Acquisition
        desc : str, optional
            Label of the method, for an output of a method.
        """
        labels: dict[str, str | None] = {one: one for one in self.variants} or {"": desc}
        return {one: self.path(output_dir, acquisition, label) for one, label in labels.items()}

    def beside(self, folder: Path, start: str, desc: str | None = None) -> Path:
        """Return the path of the output for the maps in a folder."""
        own = folder if self.folder == "anat" else folder.with_name(self.folder)
        return own / self.file_name(start, desc)

    def in_all_spaces(self, folder: Path, start: str, desc: str | None = None) -> dict[str, Path]:
        """Return the existing files of the output in all spaces except the grid of the phase.

        Parameters
        ----------
        folder : Path
            Folder of the output.
        start, desc
            As in :meth:`file_name`.

        Returns
        -------
        dict of str to Path
            Files, keyed by the label of their space.
        """
        found = sorted(visible(folder, self.file_name(start, desc, space="*")))
        return {parse_name(path.name)[0]["space"]: path for path in found}

    @property
    def ignored(self) -> str:
        """Pattern for ``.bidsignore`` that matches all files of this output."""
        # the validator does not match a pattern that ends with "_*.*" in folders of sessions
        return f"*_{self.suffix}.*" if self.suffix else f"*_{join_name(self.entities)}_*"


def _space_of(suffix: str) -> str:
    """Return the label of the phase's space in transforms.

    The label is the suffix of the acquisition. The space ``T1w`` is the space of the anatomical
    image, so the label of a T1w acquisition is ``orig``, as in sMRIPrep.
    """
    return "orig" if suffix == NATIVE else suffix


OUTPUTS: Mapping[str, Output] = MappingProxyType(
    {
        "condmap": Output(
            content="conductivity, S/m, float32; NaN in invalid voxels, 0 outside the mask",
            node="reconstruct",
            source="condmap_file",
            suffix="condmap",
            schema=CondmapSidecar,
            of_method=True,
            completed_by="judge",
            in_spaces=True,
        ),
        "condstd": Output(
            content="noise standard deviation of the conductivity, S/m; not written with "
            "`--no-uncertainty`",
            node="reconstruct",
            source="condstd_file",
            suffix="condstd",
            schema=CondstdSidecar,
            of_method=True,
            completed_by="reconstruct",
            of_uncertainty=True,
            in_spaces=True,
        ),
        "condstats": Output(
            content="conductivity statistics for the mask and for each tissue",
            node="statistics",
            source="table_file",
            suffix="condstats",
            of_method=True,
            extension=".tsv",
        ),
        "condregions": Output(
            content="conductivity statistics for each region of a segmentation or atlas; written "
            "if there are regions",
            node="region_statistics",
            source="table_file",
            suffix="condregions",
            schema=Warned,
            of_method=True,
            completed_by="region_statistics",
            extension=".tsv",
        ),
        "phi0": Output(
            content="phase at echo time zero, rad, unwrapped, with the sign applied",
            node="sign",
            source="phi0_file",
            suffix="phi0map",
            schema=Phi0Sidecar,
            completed_by="sign",
        ),
        "b1": Output(
            content="\\|B1+\\| that the methods used, divided by its median in the mask; 0 "
            "outside the mask",
            node="b1",
            source="b1_file",
            suffix="TB1map",
            schema=B1Sidecar,
            variants={
                "measured": "from a measured map, smoothed",
                "model": "modelled, written instead of the measured map",
            },
            variant="origin",
            completed_by="b1",
            folder="fmap",
        ),
        "magnitude": Output(
            content="magnitude that corresponds to phi0: root sum of squares over the echoes",
            node="phi0",
            source="magnitude_file",
            suffix=None,
            schema=MagnitudeSidecar,
            entities={"part": "mag", "desc": "preproc"},
        ),
        "mask": Output(
            content="mask on the grid of the phase",
            node="phi0",
            source="mask_file",
            suffix="mask",
            schema=MaskSidecar,
            variants={
                "brain": "brain mask, imported or made by the app",
                "signal": "mask of the reliable signal, written if there is no brain mask",
            },
            variant="mask_type",
            completed_by="mask",
            in_bids=True,
        ),
        "dseg": Output(
            content="tissue labels that the methods used",
            node="segmentation",
            source="labels_file",
            suffix="dseg",
            schema=SegmentationSidecar,
            completed_by="segmentation",
            entities={"seg": "tissue"},
            in_bids=True,
            in_spaces=True,
        ),
        "labels": Output(
            content="names of the tissue labels",
            node="segmentation",
            source="table_file",
            suffix="dseg",
            entities={"seg": "tissue"},
            extension=".tsv",
            in_bids=True,
        ),
        "lesions": Output(
            content="lesion numbers on the grid of the phase, 0 outside lesions; written if there "
            "are lesion masks",
            node="lesions",
            source="lesions_file",
            suffix="dseg",
            schema=LesionsSidecar,
            completed_by="lesions",
            entities={"seg": "lesions"},
            in_bids=True,
        ),
        "condlesions": Output(
            content="conductivity of each lesion, compared with the mirrored region and with "
            "normal-appearing tissue; written if there are lesion masks",
            node="lesion_statistics",
            source="table_file",
            suffix="condlesions",
            of_method=True,
            extension=".tsv",
        ),
        "xfm_to_t1w": Output(
            content="ITK transform that resamples images from the phase to the T1w image; written "
            "if the app aligned the T1w image",
            node="transform",
            source="to_t1w_file",
            suffix="xfm",
            entities={"from": "{phase}", "to": NATIVE, "mode": "image"},
            extension=".txt",
        ),
        "xfm_from_t1w": Output(
            content="inverse of the transform to the T1w image",
            node="transform",
            source="from_t1w_file",
            suffix="xfm",
            entities={"from": NATIVE, "to": "{phase}", "mode": "image"},
            extension=".txt",
        ),
        "xfm_to_template": Output(
            content="ITK transform that resamples images from the T1w image to the template; "
            "written if the app registered the T1w image to the template",
            node="register_template",
            source="to_template_file",
            suffix="xfm",
            entities={"from": NATIVE, "to": SHIPPED_TEMPLATE, "mode": "image"},
            extension=".h5",
        ),
        "xfm_from_template": Output(
            content="inverse of the transform to the template",
            node="register_template",
            source="from_template_file",
            suffix="xfm",
            entities={"from": SHIPPED_TEMPLATE, "to": NATIVE, "mode": "image"},
            extension=".h5",
        ),
    }
)
"""All derivatives of an acquisition, keyed by the name of the workflow node that writes them."""
