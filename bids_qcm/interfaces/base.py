"""What this package's interfaces share."""

from typing import Any

from nipype.interfaces.base import File, SimpleInterface, traits


def optional_file() -> traits.Either:
    """Give a trait for a file that may be None."""
    return traits.Either(None, File(exists=True), default=None, usedefault=True)


class CheckedInterface(SimpleInterface):
    """A SimpleInterface that runs again when its cached outputs were deleted.

    nipype's own hands on undefined outputs without a word.
    """

    def _list_outputs(self) -> dict[str, Any]:
        if not self._results:
            raise FileNotFoundError("the cached outputs are gone")
        return self._results


def joined(metadata: dict[str, Any], provenance: dict[str, Any]) -> dict[str, Any]:
    """Put both together, the second one's entries winning; of warnings, neither's are lost."""
    both = {**metadata, **provenance}
    warnings = [*metadata.get("Warnings", ()), *provenance.get("Warnings", ())]
    return both | ({"Warnings": warnings} if "Warnings" in both else {})
