from bids_qcm.recon import METHODS
from bids_qcm.recon.methods import PUBLISHED as NAMES

# The table of the source abstract: name, desc, fit radius, integral radius.
PUBLISHED = [
    ("laplacian-fd", "laplacianFD", None, None),
    ("laplacian", "laplacian", 9, None),
    ("laplacian-mag", "laplacianMag", 11, None),
    ("laplacian-seg", "laplacianSeg", 11, None),
    ("laplacian-magseg", "laplacianMagSeg", 13, None),
    ("integral-fd", "integralFD", None, 2),
    ("integral", "integral", 5, 6),
    ("integral-mag", "integralMag", 10, 14),
    ("integral-seg", "integralSeg", 9, 10),
    ("integral-magseg", "integralMagSeg", 10, 20),
]


def test_the_table_agrees_with_the_publication():
    published = [METHODS[name] for name in NAMES]
    rows = [(m.name, m.desc, m.fit_radius, m.integral_radius) for m in published]
    assert rows == PUBLISHED


def test_names_contain_the_type_of_edge_preservation():
    for name, method in METHODS.items():
        assert method.uses_magnitude == ("mag" in name)
        assert method.uses_labels == ("seg" in name)
        assert method.form == name.split("-")[0]
        assert (method.derivative == "finite-difference") == name.endswith("-fd")
        assert method.weighs_pairs == name.endswith("-ivw")


def test_descs_are_valid_and_distinct_bids_labels():
    descs = [method.desc for method in METHODS.values()]
    assert len(set(descs)) == len(descs)
    assert all(desc.isalnum() for desc in descs)
