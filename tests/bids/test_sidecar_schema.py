import json

import pytest

from bids_qcm.bids import sidecar_schema
from bids_qcm.bids.sidecar_schema import (
    NULL,
    AlternatingPhase,
    CondmapSidecar,
    Container,
    DatasetDescription,
    Fields,
    GeneratedBy,
    Phi0Sidecar,
    SourceDataset,
    list_fields,
    merge,
)

SCHEMAS = [
    one
    for one in vars(sidecar_schema).values()
    if isinstance(one, type) and issubclass(one, Fields)
]


def test_only_given_fields_are_written_in_the_order_of_the_schema():
    sidecar = Phi0Sidecar(phase_sign="+", units="rad", warnings=[], phase_sign_of_manufacturer=NULL)
    assert list(sidecar.to_dict().items()) == [
        ("Units", "rad"),
        ("Warnings", []),
        ("PhaseSign", "+"),
        ("PhaseSignOfManufacturer", None),
    ]


def test_fields_of_other_versions_are_ignored():
    found = CondmapSidecar.from_dict({"Method": "integral", "Unknown": 1})
    assert found == CondmapSidecar(method="integral")
    assert found.invalid_fraction is None


@pytest.mark.parametrize(
    "written",
    [
        Phi0Sidecar(alternating_phase=AlternatingPhase(amplitude=0.1, gradient=[0.0, 1.0, 2.0])),
        DatasetDescription(
            bids_version="1.10.0",
            generated_by=[GeneratedBy(name="x", container=Container(type="docker", tag="x:1"))],
            source_datasets=[SourceDataset(url="../raw")],
        ),
    ],
)
def test_nested_objects_are_written_and_read(written):
    content = json.loads(json.dumps(written.to_dict()))
    assert type(written).from_dict(content) == written


def test_keys_preserve_acronyms():
    written = DatasetDescription(bids_version="1", source_datasets=[SourceDataset(url="x")])
    assert written.to_dict() == {"BIDSVersion": "1", "SourceDatasets": [{"URL": "x"}]}


@pytest.mark.parametrize("schema", SCHEMAS)
def test_every_field_is_described(schema):
    for field in list_fields(schema):
        assert len(field.description) > 5
        assert not field.description.endswith(".")


def test_merged_lists_have_no_duplicates():
    first = {"Sources": ["a", "b"], "Warnings": ["w"], "Transforms": ["x"], "Method": "m"}
    second = {"Sources": ["b", "c"], "Transforms": ["y"], "FailedImageChecks": ["f"]}
    assert merge(first, second) == {
        "Sources": ["a", "b", "c"],
        "Warnings": ["w"],
        "Transforms": ["y"],
        "Method": "m",
        "FailedImageChecks": ["f"],
    }
