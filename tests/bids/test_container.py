import pytest

from bids_qcm.bids.container import TAG_VARIABLE, describe_container
from bids_qcm.bids.sidecar_schema import Container

SINGULARITY = {"SINGULARITY_CONTAINER": "/x.sif"}
APPTAINER = SINGULARITY | {"APPTAINER_CONTAINER": "/x.sif"}


@pytest.mark.parametrize(
    ("environment", "engine"),
    [({}, "docker"), (SINGULARITY, "singularity"), (APPTAINER, "apptainer")],
)
def test_the_container_is_described_by_its_tag_and_engine(environment, engine):
    found = describe_container({TAG_VARIABLE: "bids-qcm:1.0"} | environment)
    assert found == Container(type=engine, tag="bids-qcm:1.0")


@pytest.mark.parametrize("environment", [{}, {TAG_VARIABLE: ""}, APPTAINER])
def test_the_description_is_missing_outside_a_container(environment):
    assert describe_container(environment) is None
