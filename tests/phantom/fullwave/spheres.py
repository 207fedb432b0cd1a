"""Analytic fields of layered spheres in incident fields of order l = 1.

Phasors vary with exp(+i omega t). Let f be a radial function, m a constant vector and e the radial
unit vector. One field (E or B) is `f(r) m x e`, and the other field is proportional to its curl.
Both fields satisfy Maxwell's equations in a layer of wavenumber k if f is a linear combination of
the spherical Bessel functions j1(kr) and y1(kr).
"""

import math

import numpy as np

from bids_qcm.physics import VACUUM_PERMEABILITY, VACUUM_PERMITTIVITY

CLOCKWISE = np.array([1, -1j, 0])
"""Vector m of a field that rotates from x to y. Its B1+ is 1 and its B1- is 0."""


def wavenumber(frequency, permittivity=1.0):
    speed = 1 / math.sqrt(VACUUM_PERMEABILITY * VACUUM_PERMITTIVITY)
    return 2 * math.pi * frequency / speed * np.sqrt(permittivity)


def complex_permittivity(relative, conductivity, frequency):
    return relative - 1j * conductivity / (2 * math.pi * frequency * VACUUM_PERMITTIVITY)


def j0(z):
    return np.sin(z) / z


def j1(z):
    return np.sin(z) / z**2 - np.cos(z) / z


def j2(z):
    return 3 * j1(z) / z - j0(z)


def y1(z):
    return -np.cos(z) / z**2 - np.sin(z) / z


def outgoing(z):
    return j1(z) - 1j * y1(z)


def slope(function, z):
    """Return the derivative of z f(z), by the recurrence relation of spherical Bessel functions."""
    zeroth = {j1: j0, y1: lambda z: -np.cos(z) / z}
    if function is outgoing:
        return slope(j1, z) - 1j * slope(y1, z)
    return z * zeroth[function](z) - function(z)


def cross(position, radial, m):
    """Return `radial m x r`, (3, ...), where radial is f(r) / r."""
    x, y, z = position
    return radial * np.stack([m[1] * z - m[2] * y, m[2] * x - m[0] * z, m[0] * y - m[1] * x])


def curl(position, k, a, b, m):
    """Return the curl of `(a j1(kr) + b y1(kr)) m x e`."""
    r = np.sqrt(sum(u**2 for u in position))
    f = a * j1(k * r) + b * y1(k * r)
    transverse = (a * slope(j1, k * r) + b * slope(y1, k * r)) / r  # (r f)' / r
    along = sum(component * u for component, u in zip(m, position, strict=True)) / r
    return np.stack(
        [
            component * transverse + u / r * along * (2 * f / r - transverse)
            for component, u in zip(m, position, strict=True)
        ]
    )


class Sphere:
    """Layered sphere, with outer radii (m) and complex permittivities from inside to outside."""

    def __init__(self, radii, permittivities, frequency, *, magnetic):
        self.radii, self.magnetic = radii, magnetic
        self.permittivities = permittivities
        self.omega = 2 * math.pi * frequency
        self.outside = wavenumber(frequency)
        self.wavenumbers = [wavenumber(frequency, one) for one in permittivities]
        self.amplitudes = self._match()

    def _match(self):
        """Return the amplitudes of j1 and y1 in each layer from the continuity conditions.

        f and (r f)' are continuous for a magnetic incident field. For an electric incident field, f
        and (r f)' / k^2 are continuous.
        """
        layers = [(k, (j1, y1)) for k in self.wavenumbers]
        layers[0] = (self.wavenumbers[0], (j1,))
        layers.append((self.outside, (outgoing,)))
        size = 2 * len(self.radii)
        matrix, right = np.zeros((size, size), complex), np.zeros(size, complex)
        first = 0
        for row, (r, below, above) in enumerate(
            zip(self.radii, layers[:-1], layers[1:], strict=True)
        ):
            column = first
            for sign, (k, functions) in ((1, below), (-1, above)):
                for function in functions:
                    values = self._continuous(function, k, r)
                    matrix[2 * row : 2 * row + 2, column] = np.multiply(sign, values)
                    column += 1
            first += len(below[1])
        right[-2:] = self._continuous(j1, self.outside, self.radii[-1])
        found = list(np.linalg.solve(matrix, right))
        return [(found[0], 0), *zip(found[1:-1:2], found[2:-1:2], strict=True)]

    def _continuous(self, function, k, r):
        scale = 1 if self.magnetic else 1 / k**2
        return function(k * r), scale * slope(function, k * r)

    def incident_potential(self, position):
        """Return the vector potential of the incident field."""
        r = np.sqrt(sum(u**2 for u in position))
        if self.magnetic:
            electric = cross(position, j1(self.outside * r) / r, CLOCKWISE)
        else:
            electric = curl(position, self.outside, 1, 0, CLOCKWISE)
            electric /= 1j * self.omega * VACUUM_PERMEABILITY * VACUUM_PERMITTIVITY
        return electric / (-1j * self.omega)

    def magnetic_field(self, position):
        """Return B inside the sphere; 0 outside."""
        r = np.sqrt(sum(u**2 for u in position))
        layer = np.digitize(r, self.radii)
        total = np.zeros((3, *r.shape), complex)
        for number, (k, (a, b)) in enumerate(zip(self.wavenumbers, self.amplitudes, strict=True)):
            if self.magnetic:
                field = 1j / self.omega * curl(position, k, a, b, CLOCKWISE)
            else:
                field = cross(position, (a * j1(k * r) + b * y1(k * r)) / r, CLOCKWISE)
            total = np.where(layer == number, field, total)
        return total


class Lattice:
    """Lattice of cells around a sphere. No point of the lattice is at the origin."""

    def __init__(self, radius, spacing):
        count = math.ceil(radius / spacing) + 2
        self.spacing = spacing
        self.axis = (np.arange(-count, count + 1) + 1e-3) * spacing
        self.centres = np.meshgrid(*[self.axis] * 3, indexing="ij")
        self.r = np.sqrt(sum(u**2 for u in self.centres))

    def edges(self, component):
        axes = [self.axis - self.spacing / 2] * 3
        axes[component] = self.axis
        return np.meshgrid(*axes, indexing="ij")

    def potential(self, sphere):
        return np.stack([sphere.incident_potential(self.edges(a))[a] for a in range(3)])

    def permittivity(self, sphere, subcells=4):
        """Return the mean permittivity of each cell."""
        offsets = ((np.arange(subcells) + 0.5) / subcells - 0.5) * self.spacing
        squares = ((self.axis[:, None] + offsets) ** 2).ravel()
        r2 = sum(np.ix_(squares, squares, squares))
        total, n = np.ones(self.r.shape, complex), len(self.axis)
        values = (*sphere.permittivities, 1)
        for radius, inner, outer in zip(sphere.radii, values[:-1], values[1:], strict=True):
            inside = (r2 <= radius**2).reshape(n, subcells, n, subcells, n, subcells)
            total += (inner - outer) * inside.mean(axis=(1, 3, 5))
        return total
