"""Subsampling of voxels for comparisons of smooth images."""

# Number of voxels along an axis above which only every second voxel is compared. A head at 1 mm
# has far more voxels than a comparison needs.
_LONG_AXIS = 64


def thinned(shape: tuple[int, ...]) -> tuple[slice, ...]:
    """Return slices that select every second voxel along long axes and all voxels along others."""
    return tuple(slice(None, None, 2 if n > _LONG_AXIS else 1) for n in shape)
