"""Results of the image checks."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """Contradiction in the images of an acquisition.

    Attributes
    ----------
    echo : int
        Index of the echo with the contradictory image.
    part : {0, 1}
        0 for the magnitude or real part, 1 for the phase or imaginary part.
    problem : str
        Description of the evidence, as a predicate of the file: "has negative values ...".
    remedy : str
        Action that the user can take.
    fatal : bool
        Whether a map computed from these images would be wrong.
    """

    echo: int
    part: int
    problem: str
    remedy: str
    fatal: bool = True
