"""Describe the container that the app runs in, if any."""

import os
from collections.abc import Mapping

from bids_qcm.bids.sidecar_schema import Container

TAG_VARIABLE = "BIDS_QCM_CONTAINER_TAG"
"""Environment variable that the container image sets to its own tag."""

# Environment variables of container engines other than Docker. Apptainer comes first, because it
# also sets the variable of Singularity.
_ENGINES = {"APPTAINER_CONTAINER": "apptainer", "SINGULARITY_CONTAINER": "singularity"}


def describe_container(environment: Mapping[str, str] = os.environ) -> Container | None:
    """Return the container that the app runs in; None outside a container.

    Parameters
    ----------
    environment : mapping of str to str
        Environment variables.

    Returns
    -------
    Container or None

    Examples
    --------
    >>> describe_container({"BIDS_QCM_CONTAINER_TAG": "bids-qcm:0.2.0"})
    Container(type='docker', tag='bids-qcm:0.2.0')
    """
    if not environment.get(TAG_VARIABLE):
        return None
    engine = next((name for key, name in _ENGINES.items() if key in environment), "docker")
    return Container(type=engine, tag=environment[TAG_VARIABLE])
