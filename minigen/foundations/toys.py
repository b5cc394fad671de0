"""Ten toy densities on the plane, each with an exact log-density: the truth that every model is measured against.

A model's error is a number, KL(toy || model) in nats (`kl_to`), and the entropy of the toy is the floor under every
negative log-likelihood. The densities come from four recipes, all of them the book's own formulas:

- a bijection of Gaussian noise (banana, funnel, sine wave, correlated Gaussian): the change of variables;
- polar coordinates (rings) and a rotation whose angle depends on the radius (pinwheel): the change of variables again;
- a Gaussian smeared along a curve (two moons, spirals): an integral over the curve, done by Gauss-Legendre quadrature;
- constants and finite mixtures (checkerboard, eight Gaussians).

`log_prob` is traced by autograd through the points; for a gradient at very many points go in batches, because the tape
keeps every intermediate array. Points are finite; NaN gives NaN. The parameters are fields, fixed at creation.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import autograd.numpy as np
import numpy

from minigen.errors import check_points, require
from minigen.foundations.distributions import LOG_2PI, constant_density, log_normal
from minigen.foundations.toy_base import Toy, gaussians_log_prob, kl_to, midpoints, smeared_curve
from minigen.numerics import logsumexp

__all__ = [
    "TOYS",
    "Banana",
    "Checkerboard",
    "CorrelatedGaussian",
    "EightGaussians",
    "Funnel",
    "Pinwheel",
    "Rings",
    "SineWave",
    "Spirals",
    "Toy",
    "TwoMoons",
    "kl_to",
]

MARGIN = 5.0  # standard deviations between a toy's skeleton and its bounds


class PushedNoise(Toy):
    """A toy that is standard Gaussian noise z pushed through a bijection: x = from_noise(z).

    ``log p(x) = log N(z; 0, I) + log|det dz/dx|,  (z, log|det dz/dx|) = to_noise(x)``

    All of these are triangular: the first coordinate comes from z_1 alone and the second from z_2 given the first, so
    the determinant is the product of dz_1/dx_1 and dz_2/dx_2. Entropy: ``log 2 pi e - E[log|det dz/dx|]``, in
    closed form.
    """

    def log_prob(self, x):
        """Return log p(x), shape (N,)."""
        z, log_det = self.to_noise(check_points(type(self).__name__, x, 2))
        return -0.5 * np.sum(z**2, axis=1) - LOG_2PI + log_det

    def sample(self, rng, n):
        """Draw n points, shape (n, 2)."""
        return self.from_noise(rng.standard_normal((n, 2)))


@dataclass(frozen=True)
class TwoMoons(Toy):
    """Two half circles that hook into each other, smeared by a Gaussian of standard deviation `scale`.

    The arcs are (cos t, sin t) and (1 - cos t, 1/2 - sin t), t uniform on [0, pi].

    ``p(x) = 1/(2 pi) sum over the arcs of the integral over t of N(x; arc(t), scale^2 I)``

    The integral is a Gauss-Legendre sum (see `smeared_curve`), so the density is that of the continuous family, not of
    a fine mixture. Entropy: by quadrature, 1.0076 nats. Cost: O(1 / scale) for a point.

    >>> moons = TwoMoons()
    >>> moons.sample(numpy.random.default_rng(0), 2).round(3), moons.log_prob([[0.0, 1.0]]).round(4)
    (array([[-0.407,  0.855],
           [ 0.698,  0.88 ]]), array([-0.453]))
    >>> round(moons.entropy(), 4)
    1.0076
    """

    name: ClassVar[str] = "two moons"
    scale: float = 0.1

    @staticmethod
    def arcs(t):
        """Return the points of both arcs at t (T,), shape (2, T, 2)."""
        upper = numpy.stack([numpy.cos(t), numpy.sin(t)], axis=-1)
        return numpy.stack([upper, [1.0, 0.5] - upper])

    @property
    def bounds(self):
        """The arcs and five standard deviations around them."""
        margin = MARGIN * self.scale
        return (-1 - margin, 2 + margin), (-0.5 - margin, 1 + margin)

    @cached_property
    def _nodes(self):
        return smeared_curve(self.arcs, 0.0, math.pi, self.scale)

    def log_prob(self, x):
        """Return log p(x), shape (N,)."""
        return gaussians_log_prob(check_points("TwoMoons", x, 2), *self._nodes, self.scale)

    def sample(self, rng, n):
        """Draw n points, shape (n, 2): an arc, a place on it, the noise."""
        centres = self.arcs(rng.uniform(0, math.pi, n))[rng.integers(2, size=n), numpy.arange(n)]
        return centres + self.scale * rng.standard_normal((n, 2))


@dataclass(frozen=True)
class EightGaussians(Toy):
    """Equal Gaussians of standard deviation `scale`, evenly spaced on a circle: modes that a model may miss.

    ``p(x) = 1/8 sum over k of N(x; radius (cos 2 pi k/8, sin 2 pi k/8), scale^2 I)``

    Entropy: by quadrature, 2.8341 nats.

    >>> toy = EightGaussians()
    >>> toy.log_prob(toy.centres[:1]).round(4), round(toy.entropy(), 4)
    (array([-1.8404]), 2.8341)
    """

    name: ClassVar[str] = "eight gaussians"
    scale: float = 0.354
    radius: float = 2.83
    modes: int = 8

    @cached_property
    def centres(self):
        """The centres of the modes, shape (modes, 2)."""
        angle = 2 * math.pi * numpy.arange(self.modes) / self.modes
        return self.radius * numpy.stack([numpy.cos(angle), numpy.sin(angle)], axis=1)

    @property
    def bounds(self):
        """The circle and five standard deviations around it."""
        reach = self.radius + MARGIN * self.scale
        return (-reach, reach), (-reach, reach)

    def log_prob(self, x):
        """Return log p(x), shape (N,)."""
        log_weights = numpy.full(self.modes, -math.log(self.modes))
        return gaussians_log_prob(check_points("EightGaussians", x, 2), self.centres, log_weights, self.scale)

    def sample(self, rng, n):
        """Draw n points, shape (n, 2)."""
        return self.centres[rng.integers(self.modes, size=n)] + self.scale * rng.standard_normal((n, 2))


@dataclass(frozen=True)
class Rings(Toy):
    """Rings around the origin: radius ``r = |s|``, s from a mixture of Gaussians around `radii`, and a uniform angle.

    ``p(x) = p(r) / (2 pi r)``: polar coordinates (r, angle) have the volume element r

    The weights of the rings are proportional to their radii. Folding by the absolute value gives
    ``p(r) = q(r) + q(-r)`` for the density q of s. At the very centre the density has a pole, 1/r, but with no mass
    to speak of (1e-16). Entropy: by quadrature, 2.9260 nats (good while the radii are at least 5 `scale`, away from
    the pole).

    >>> rings = Rings()
    >>> rings.log_prob([[1.0, 0.0], [0.0, 1.5]]).round(4), round(rings.entropy(), 4)
    (array([ -2.4283, -10.4157]), 2.926)
    """

    name: ClassVar[str] = "rings"
    radii: tuple = (1.0, 2.0, 3.0)
    scale: float = 0.12

    @cached_property
    def _weights(self):
        return numpy.array(self.radii) / sum(self.radii)

    @property
    def bounds(self):
        """The outermost ring and five standard deviations around it."""
        reach = max(self.radii) + MARGIN * self.scale
        return (-reach, reach), (-reach, reach)

    def log_prob(self, x):
        """Return log p(x), shape (N,)."""
        x = check_points("Rings", x, 2)
        r = _radius(x)
        radii, log_weights = numpy.array(self.radii, dtype=x.dtype), numpy.log(self._weights).astype(x.dtype)
        folded = np.stack([r, -r], axis=1)[:, :, None]
        log_terms = log_weights - 0.5 * ((folded - radii) / self.scale) ** 2
        log_p_r = (
            logsumexp(np.reshape(log_terms, (len(x), 2 * radii.size)), axis=1) - math.log(self.scale) - 0.5 * LOG_2PI
        )
        return log_p_r - np.log(2 * math.pi * r)

    def sample(self, rng, n):
        """Draw n points, shape (n, 2)."""
        r = rng.choice(self.radii, size=n, p=self._weights) + self.scale * rng.standard_normal(n)
        angle = rng.uniform(0, 2 * math.pi, n)
        return r[:, None] * numpy.stack([numpy.cos(angle), numpy.sin(angle)], axis=1)


@dataclass(frozen=True)
class Pinwheel(Toy):
    """Curved arms: Gaussians around the origin, every point turned by an angle that grows with its radius, doubled.

    ``x = 2 T(y)``, where T turns y by ``rate * exp(|y|)``, and y comes from equal Gaussians: the k-th one is
    ``(1 + radial eps_1, tangential eps_2)`` turned by ``2 pi k / arms``.

    ``log p(x) = log p_y(T^-1(x / 2)) - log 4``

    T keeps every circle and turns it as a whole: in polar coordinates it is a shear, so its determinant is 1 and its
    inverse turns back. Doubling the plane makes areas 4 times as large. Beyond radius 10 of y, some 30 standard
    deviations out, the angle no longer grows (exp would overflow). Entropy: by quadrature, 2.3206 nats.
    Reference: Johnson, Duvenaud, Wiltschko, Datta, Adams (2016), arXiv:1603.06277.

    >>> pinwheel = Pinwheel()
    >>> pinwheel.log_prob([[1.0, 1.5], [4.0, 0.0]]).round(4), round(pinwheel.entropy(), 4)
    (array([ -6.6984, -51.5637]), 2.3206)
    """

    name: ClassVar[str] = "pinwheel"
    arms: int = 5
    radial: float = 0.3
    tangential: float = 0.1
    rate: float = 0.25

    @property
    def bounds(self):
        """Five standard deviations along an arm."""
        reach = 2 * (1 + MARGIN * self.radial)
        return (-reach, reach), (-reach, reach)

    def _twist(self, y):
        return self.rate * np.exp(np.minimum(_radius(y), 10.0))

    def log_prob(self, x):
        """Return log p(x), shape (N,)."""
        y = check_points("Pinwheel", x, 2) / 2
        twist = self._twist(y)
        log_std = numpy.log([self.radial, self.tangential]).astype(y.dtype)
        mean = numpy.array([1, 0], dtype=y.dtype)
        arms = [log_normal(_turn(y, -twist - 2 * math.pi * k / self.arms), mean, log_std) for k in range(self.arms)]
        return logsumexp(np.stack(arms, axis=1), axis=1) - math.log(self.arms) - math.log(4)

    def sample(self, rng, n):
        """Draw n points, shape (n, 2)."""
        y = [1.0, 0.0] + [self.radial, self.tangential] * rng.standard_normal((n, 2))
        return 2 * _turn(y, self._twist(y) + 2 * math.pi * rng.integers(self.arms, size=n) / self.arms)


@dataclass(frozen=True)
class Spirals(Toy):
    """Two spiral arms wound into each other, smeared by a Gaussian of standard deviation `scale`.

    The arms are ``+-(-t cos t, t sin t) / 3`` with ``t = 3 pi sqrt(u)``, u uniform on [0.02, 1]: nearly uniform in
    arc length.

    ``p(x) = 1/2 sum over the arms of the mean over u of N(x; arm(u), scale^2 I)``

    The mean is a Gauss-Legendre sum (see `smeared_curve`). Entropy: by quadrature, 2.5157 nats. Cost: O(1 / scale)
    for a point: this is the dearest of the toys.

    >>> spirals = Spirals()
    >>> spirals.log_prob([[math.pi, 0.0], [0.0, 0.0]]).round(4), round(spirals.entropy(), 4)
    (array([ -2.6829, -13.2836]), 2.5157)
    """

    name: ClassVar[str] = "spirals"
    scale: float = 0.1

    @staticmethod
    def arms(u):
        """Return the points of both arms at u (U,), shape (2, U, 2)."""
        t = 3 * math.pi * numpy.sqrt(u)
        arm = numpy.stack([-t * numpy.cos(t), t * numpy.sin(t)], axis=-1) / 3
        return numpy.stack([arm, -arm])

    @property
    def bounds(self):
        """The ends of the arms, at radius pi, and five standard deviations around them."""
        reach = math.pi + MARGIN * self.scale
        return (-reach, reach), (-reach, reach)

    @cached_property
    def _nodes(self):
        return smeared_curve(self.arms, 0.02, 1.0, self.scale)

    def log_prob(self, x):
        """Return log p(x), shape (N,)."""
        return gaussians_log_prob(check_points("Spirals", x, 2), *self._nodes, self.scale)

    def sample(self, rng, n):
        """Draw n points, shape (n, 2): an arm, a place on it, the noise."""
        centres = self.arms(rng.uniform(0.02, 1.0, n))[rng.integers(2, size=n), numpy.arange(n)]
        return centres + self.scale * rng.standard_normal((n, 2))


@dataclass(frozen=True)
class Banana(PushedNoise):
    """A Gaussian bent into a parabola, by a shear: ``x_1 = z_1``, ``x_2 = x_1^2 - 1 + width z_2``.

    ``log p(x) = log N(x_1; 0, 1) + log N((x_2 - x_1^2 + 1) / width; 0, 1) - log width``

    A shear moves points along one axis by an amount that depends on the other axis: its determinant is 1, so only the
    width counts. Entropy: log 2 pi e + log width, 1.6339 nats.

    >>> banana = Banana()
    >>> banana.log_prob([[0.0, -1.0], [2.0, 3.0]]).round(4), round(banana.entropy(), 4)
    (array([-0.6339, -2.6339]), 1.6339)
    """

    name: ClassVar[str] = "banana"
    width: float = 0.3

    @property
    def bounds(self):
        """Four standard deviations of the noise."""
        return (-4.0, 4.0), (-1 - 4 * self.width, 15 + 4 * self.width)

    def to_noise(self, x):
        """Return z and log|det dz/dx| = -log width."""
        z_2 = (x[:, 1] - x[:, 0] ** 2 + 1) / self.width
        return np.stack([x[:, 0], z_2], axis=1), _constant(x, -math.log(self.width))

    def from_noise(self, z):
        """Return x."""
        return np.stack([z[:, 0], z[:, 0] ** 2 - 1 + self.width * z[:, 1]], axis=1)

    def entropy(self):
        """Return log 2 pi e + log width."""
        return 1 + LOG_2PI + math.log(self.width)


@dataclass(frozen=True)
class Checkerboard(Toy):
    """Uniform on every other square of a board of `cells` x `cells` squares: edges that no smooth model can make.

    ``log p(x) = -log(cells^2 / 2 * size^2)`` on those squares, -inf off them

    Entropy: ``log(cells^2 / 2 * size^2)``, log 8 for unit squares on [-2, 2]^2. Raises ValueError for an odd `cells`.

    >>> board = Checkerboard()
    >>> board.log_prob([[-1.5, -1.5], [-0.5, -1.5]]).round(4), round(board.entropy(), 4)
    (array([-2.0794,    -inf]), 2.0794)
    """

    name: ClassVar[str] = "checkerboard"
    cells: int = 4
    size: float = 1.0

    def __post_init__(self):
        super().__post_init__()
        require(self.cells % 2 == 0, f"Checkerboard: expected an even number of cells, got {self.cells}")

    @property
    def bounds(self):
        """The board, with all of the mass."""
        reach = self.cells * self.size / 2
        return (-reach, reach), (-reach, reach)

    def log_prob(self, x):
        """Return log p(x), shape (N,); its gradient is 0."""
        x = check_points("Checkerboard", x, 2)
        reach = self.cells * self.size / 2
        square = np.floor((np.clip(x, -reach, reach) + reach) / self.size)
        outside = np.any(abs(x) > reach, axis=1) | (np.sum(square, axis=1) % 2 == 1)
        return constant_density(x, -reach, reach, outside, -self.entropy())

    def sample(self, rng, n):
        """Draw n points, shape (n, 2): a column, every other row in it, a place in the square."""
        column = rng.integers(self.cells, size=n)
        row = 2 * rng.integers(self.cells // 2, size=n) + column % 2
        square = numpy.stack([column, row], axis=1)
        return (square + rng.random((n, 2)) - self.cells / 2) * self.size

    def entropy(self):
        """Return ``log(cells^2 / 2 * size^2)``."""
        return math.log(self.cells**2 / 2 * self.size**2)


@dataclass(frozen=True)
class Funnel(PushedNoise):
    """Neal's funnel in two dimensions: ``x_1 = spread z_1`` is the log-variance of ``x_2 = exp(x_1 / 2) z_2``.

    ``log p(x) = log N(x_1; 0, spread^2) + log N(x_2; 0, exp(x_1))``

    The width of x_2 ranges over orders of magnitude and its tails are heavy, so `quadrature` works in (x_1, z_2).
    Entropy: log 2 pi e + log spread (the mean of x_1 / 2 is 0), 3.2433 nats.
    Reference: Neal (2003), Slice sampling, doi:10.1214/aos/1056562461.

    >>> funnel = Funnel()
    >>> funnel.log_prob([[0.0, 0.0], [3.0, 10.0]]).round(4), round(funnel.entropy(), 4)
    (array([-2.2433, -8.2327]), 3.2433)
    """

    name: ClassVar[str] = "funnel"
    spread: float = 1.5

    @property
    def bounds(self):
        """4.5 standard deviations of x_1, and as much of x_2 as that needs."""
        reach = 4 * math.exp(1.5 * self.spread)  # by the exact tail: enough for every spread up to 3
        return (-4.5 * self.spread, 4.5 * self.spread), (-reach, reach)

    def quadrature(self, n=192):
        """Return points (n^2, 2) and weights (n^2,) of the midpoint rule in (x_1, z_2); dx_2 = exp(x_1 / 2) dz_2."""
        points, weights = midpoints(-8 * self.spread, 8 * self.spread, -8.0, 8.0, n)
        stretch = numpy.exp(points[:, 0] / 2)
        return numpy.stack([points[:, 0], stretch * points[:, 1]], axis=1), weights * stretch

    def to_noise(self, x):
        """Return z and log|det dz/dx| = -log spread - x_1 / 2."""
        z = np.stack([x[:, 0] / self.spread, x[:, 1] * np.exp(-x[:, 0] / 2)], axis=1)
        return z, -math.log(self.spread) - x[:, 0] / 2

    def from_noise(self, z):
        """Return x."""
        x_1 = self.spread * z[:, 0]
        return np.stack([x_1, np.exp(x_1 / 2) * z[:, 1]], axis=1)

    def entropy(self):
        """Return log 2 pi e + log spread."""
        return 1 + LOG_2PI + math.log(self.spread)


@dataclass(frozen=True)
class SineWave(PushedNoise):
    """A Gaussian sheared along a sine: ``x_1 = spread z_1``, ``x_2 = sin(frequency x_1) + width z_2``.

    ``log p(x) = log N(x_1; 0, spread^2) + log N(x_2; sin(frequency x_1), width^2)``

    Entropy: log 2 pi e + log(spread width), 1.8570 nats.

    >>> wave = SineWave()
    >>> wave.log_prob([[0.0, 0.0], [1.0, 0.0]]).round(4), round(wave.entropy(), 4)
    (array([-0.857 , -7.6938]), 1.857)
    """

    name: ClassVar[str] = "sine wave"
    frequency: float = 2.0
    spread: float = 1.5
    width: float = 0.25

    @property
    def bounds(self):
        """Five standard deviations around the wave."""
        height = 1 + MARGIN * self.width
        return (-MARGIN * self.spread, MARGIN * self.spread), (-height, height)

    def to_noise(self, x):
        """Return z and log|det dz/dx| = -log(spread width)."""
        z_2 = (x[:, 1] - np.sin(self.frequency * x[:, 0])) / self.width
        return np.stack([x[:, 0] / self.spread, z_2], axis=1), _constant(x, -math.log(self.spread * self.width))

    def from_noise(self, z):
        """Return x."""
        x_1 = self.spread * z[:, 0]
        return np.stack([x_1, np.sin(self.frequency * x_1) + self.width * z[:, 1]], axis=1)

    def entropy(self):
        """Return log 2 pi e + log(spread width)."""
        return 1 + LOG_2PI + math.log(self.spread * self.width)


@dataclass(frozen=True)
class CorrelatedGaussian(PushedNoise):
    """A Gaussian with unit variances and the given correlation: ``x_1 = z_1``, ``x_2 = correlation x_1 + rest z_2``.

    ``log p(x) = log N(x_1; 0, 1) + log N(x_2; correlation x_1, rest^2),  rest = sqrt(1 - correlation^2)``

    Entropy: log 2 pi e + log rest, 2.0075 nats. Raises ValueError unless the correlation lies between -1 and 1.

    >>> toy = CorrelatedGaussian()
    >>> toy.log_prob([[0.0, 0.0], [1.0, -1.0]]).round(4), round(toy.entropy(), 4)
    (array([ -1.0075, -11.0075]), 2.0075)
    """

    name: ClassVar[str] = "correlated gaussian"
    correlation: float = 0.9

    def __post_init__(self):
        require(abs(self.correlation) < 1, f"CorrelatedGaussian: expected |correlation| < 1, got {self.correlation}")

    @property
    def _rest(self):
        return math.sqrt(1 - self.correlation**2)

    @property
    def bounds(self):
        """Five standard deviations of each coordinate."""
        return (-MARGIN, MARGIN), (-MARGIN, MARGIN)

    def to_noise(self, x):
        """Return z and log|det dz/dx| = -log rest."""
        z_2 = (x[:, 1] - self.correlation * x[:, 0]) / self._rest
        return np.stack([x[:, 0], z_2], axis=1), _constant(x, -math.log(self._rest))

    def from_noise(self, z):
        """Return x."""
        return np.stack([z[:, 0], self.correlation * z[:, 0] + self._rest * z[:, 1]], axis=1)

    def entropy(self):
        """Return log 2 pi e + log rest."""
        return 1 + LOG_2PI + math.log(self._rest)


def _radius(x):
    """Return the norm of each row; the tiny number keeps the root's gradient finite at the origin."""
    return np.sqrt(np.sum(x**2, axis=1) + 1e-30)


def _turn(x, angle):
    """Return the rows of x, each turned by its angle about the origin."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([cos * x[:, 0] - sin * x[:, 1], sin * x[:, 0] + cos * x[:, 1]], axis=1)


def _constant(x, value):
    return numpy.full(len(x), value, dtype=x.dtype)


TOYS = {
    kind.name: kind()
    for kind in (TwoMoons, EightGaussians, Rings, Pinwheel, Spirals)
    + (Banana, Checkerboard, Funnel, SineWave, CorrelatedGaussian)
}
