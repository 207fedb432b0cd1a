import numpy as np
import pandas as pd
import pytest

from bids_qcm.bids.anatomy.label_tables import write_names
from bids_qcm.bids.images import save_array
from bids_qcm.bids.tables import CONDREGIONS, CONDSTATS
from bids_qcm.interfaces.statistics import ComputeRegionStatistics, ComputeStatistics


@pytest.fixture
def condmap(ball):
    """A map with 0.5 S/m in label 1, 1.5 S/m in label 2, and an invalid voxel in label 2."""
    values = np.where(ball.mask, np.where(ball.labels == 1, 0.5, 1.5), 0).astype(np.float32)
    values[-2, 1, 1] = np.nan
    path = ball.folder / "condmap.nii.gz"
    save_array(path, values, np.eye(4))
    return str(path)


def run(make_node, **inputs):
    node = make_node(ComputeStatistics(**inputs))
    return pd.read_csv(node.run().outputs.table_file, sep="\t")


def test_the_table_contains_the_mask_and_its_tissues(ball, condmap, make_node):
    write_names(ball.folder / "names.tsv", {1: "White Matter", 2: "NA"})
    found = run(
        make_node,
        condmap_file=condmap,
        mask_file=ball.files["mask"],
        labels_file=ball.files["labels"],
        names_file=str(ball.folder / "names.tsv"),
    )
    assert list(found.columns) == list(CONDSTATS)
    whole = found[found.erosion == 0].set_index("label")
    sizes = [np.count_nonzero(ball.mask & (ball.labels == label)) for label in (1, 2)]
    assert whole.n.to_list() == [ball.mask.sum(), *sizes]
    assert whole["mean"].to_list()[1:] == [0.5, 1.5]
    assert whole.invalid_fraction[1] == 0
    assert whole.invalid_fraction[2] == pytest.approx(1 / sizes[1], rel=1e-5)


def test_the_table_contains_only_the_mask_if_there_are_no_labels(ball, condmap, make_node):
    found = run(make_node, condmap_file=condmap, mask_file=ball.files["mask"])
    assert found.tissue.to_list() == ["whole mask"]
    assert found.n.to_list() == [ball.mask.sum()]


def test_the_region_table_contains_regions_and_tissues(ball, condmap, make_node):
    write_names(ball.folder / "names.tsv", {1: "Thalamus", 2: "Pons"})
    noise = np.ones((16, ball.mask.sum()), np.float32)
    np.save(ball.folder / "noise.npy", 0.02 * noise)
    names = str(ball.folder / "names.tsv")
    inputs = {
        "condmap_file": condmap,
        "mask_file": ball.files["mask"],
        "atlases": ["aseg"],
        "labels_files": [ball.files["labels"]],
        "table_files": [names],
        "tissues_file": ball.files["labels"],
        "names_file": names,
    }

    def table(**more):
        node = make_node(ComputeRegionStatistics(**inputs, **more))
        return pd.read_csv(node.run().outputs.table_file, sep="\t")

    found = table(noise_maps_file=str(ball.folder / "noise.npy"))
    assert list(found.columns) == list(CONDREGIONS)
    assert found.atlas.to_list() == ["aseg"] * 4 + ["tissues"] * 4
    assert found.region.to_list() == ["Thalamus", "Thalamus", "Pons", "Pons"] * 2
    assert found.erosion.to_list() == [0, 1] * 4
    np.testing.assert_allclose(found["mean"][:4], [0.5, 0.5, 1.5, 1.5])
    np.testing.assert_allclose(found.standard_error, 0.02, rtol=1e-5)
    assert table().standard_error.isna().all()
