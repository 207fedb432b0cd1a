import pytest

from bids_qcm.bids.container import TAG_VARIABLE, describe_container

SINGULARITY = {"SINGULARITY_CONTAINER": "/x.sif"}
APPTAINER = SINGULARITY | {"APPTAINER_CONTAINER": "/x.sif"}


@pytest.mark.parametrize(
    ("environment", "engine"),
    [({}, "docker"), (SINGULARITY, "singularity"), (APPTAINER, "apptainer")],
)
def test_the_image_tells_its_tag_and_the_engine_itself(environment, engine):
    found = describe_container({TAG_VARIABLE: "bids-qcm:1.0"} | environment)
    assert found == {"Container": {"Type": engine, "Tag": "bids-qcm:1.0"}}


@pytest.mark.parametrize("environment", [{}, {TAG_VARIABLE: ""}, APPTAINER])
def test_outside_our_image_there_is_nothing_to_tell(environment):
    assert describe_container(environment) == {}
