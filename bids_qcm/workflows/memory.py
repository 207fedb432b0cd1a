"""How much memory a node needs."""

# Interpreter, libraries and compiled code of a worker.
_BASE_GB = 0.35

# Peaks measured on a 1 mm head whose mask is two fifths of the volume, at published radii, rounded
# up.
_PHI0_BYTES_PER_VOXEL = 80
_PHI0_BYTES_PER_VOXEL_AND_ECHO = 30
_RECONSTRUCTION_BYTES_PER_VOXEL = 110
_REPLICATES_BYTES_PER_VOXEL = 500
_STATISTICS_BYTES_PER_VOXEL = 60
_COPY_BYTES_PER_VOXEL = 30

# The same on a 1 mm T1w image of a whole head, of as many voxels as the phase, with fifteen labels.
_IMPORT_BYTES_PER_VOXEL = 150
_IMPORT_BYTES_PER_SOURCE_VOXEL = 40
_REGISTRATION_BYTES_PER_VOXEL = 30
_TISSUE_CLASSES_BYTES_PER_VOXEL = 110


def phi0_gb(n_voxels: int, n_echoes: int) -> float:
    """Peak memory in GB of computing phi0 from `n_echoes` volumes of `n_voxels` voxels."""
    per_voxel = _PHI0_BYTES_PER_VOXEL + _PHI0_BYTES_PER_VOXEL_AND_ECHO * n_echoes
    return _BASE_GB + n_voxels * per_voxel / 1e9


def reconstruction_gb(n_voxels: int, *, replicates: bool = False) -> float:
    """Peak memory in GB of computing a map of `n_voxels` voxels, with noise replicates or not."""
    per_voxel = _REPLICATES_BYTES_PER_VOXEL if replicates else _RECONSTRUCTION_BYTES_PER_VOXEL
    return _BASE_GB + n_voxels * per_voxel / 1e9


def statistics_gb(n_voxels: int) -> float:
    """Peak memory in GB of the statistics of a map of `n_voxels` voxels."""
    return _BASE_GB + n_voxels * _STATISTICS_BYTES_PER_VOXEL / 1e9


def volume_gb(n_voxels: int) -> float:
    """Peak memory in GB of reading a volume and writing it again."""
    return _BASE_GB + n_voxels * _COPY_BYTES_PER_VOXEL / 1e9


def import_gb(n_voxels: int, n_source: int) -> float:
    """Peak memory in GB of bringing a segmentation of `n_source` voxels to `n_voxels` others."""
    per_voxels = _IMPORT_BYTES_PER_VOXEL * n_voxels + _IMPORT_BYTES_PER_SOURCE_VOXEL * n_source
    return _BASE_GB + per_voxels / 1e9


def registration_gb(n_voxels: int, n_anatomical: int) -> float:
    """Peak memory in GB of registering an image of `n_anatomical` voxels to one of `n_voxels`."""
    return _BASE_GB + _REGISTRATION_BYTES_PER_VOXEL * (n_voxels + n_anatomical) / 1e9


def tissue_classes_gb(n_voxels: int) -> float:
    """Peak memory in GB of finding the tissue classes of an image of `n_voxels` voxels."""
    return _BASE_GB + _TISSUE_CLASSES_BYTES_PER_VOXEL * n_voxels / 1e9
