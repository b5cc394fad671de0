"""The change of variables: maps with an inverse, and the densities that they push.

Forward takes data to latent, z = f(x), inverse takes latent to data, and each returns the log-determinant of the
map that it has just applied, one number per point. So a density adds `forward`'s: log p(x) = log p0(z) + log_det.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import autograd.numpy as np
import numpy
from autograd import elementwise_grad
from autograd.tracer import getval

from minigen.errors import NoInverseError, OutsideDomainError, check_batch, check_points, require
from minigen.foundations.distributions import Distribution
from minigen.numerics import logsumexp, sigmoid, softplus, sum_except_batch, tanh

__all__ = [
    "Affine",
    "Bijection",
    "Branches",
    "Chain",
    "Elementwise",
    "Exp",
    "Inverse",
    "Permute",
    "Pushforward",
    "Sigmoid",
    "SignedPower",
    "Softplus",
    "Tanh",
    "check_shape",
    "same_log_det",
]


def check_shape(who, name, array, wanted, x):
    """Raise ValueError unless the parameter `array` has the shape that the batch `x` asks for.

    >>> check_shape("Affine", "shift", numpy.zeros(3), (4,), numpy.zeros((256, 4)))
    Traceback (most recent call last):
    ...
    ValueError: Affine: shift is (3,) but x has 4 features (x.shape = (256, 4))
    """
    batch = "z" if who.endswith(".inverse") else "x"
    message = f"{who}: {name} is {np.shape(array)} but {batch} has {x.shape[-1]} features ({batch}.shape = {x.shape})"
    require(np.shape(array) == wanted, message)


def same_log_det(log_det, x):
    """Return the number `log_det` once for every point of the batch `x`, shape (N,).

    >>> same_log_det(0.5, numpy.zeros((3, 2)))
    array([0.5, 0.5, 0.5])
    """
    return log_det + np.zeros(x.shape[0], dtype=x.dtype)


class Bijection:
    """A differentiable map with an inverse: the contract of every layer of a flow.

    - Forward: `z = f(x)`, data to latent, with log|det dz/dx|.
    - Inverse: `x = f⁻¹(z)`, latent to data, with log|det dx/dz|, which is the other one's negative.

    The object holds structure (masks, permutations); the trainable numbers are `params`, a nested dict or list of
    arrays that is handed in. Batches are (N, ..., D) and log-determinants (N,), in nats. `context` is what a
    conditional map is conditioned on; every map accepts it, and those that take nothing from it ignore it.
    A map computes with each point alone: a row's result never depends on the other rows.

    >>> class Double(Bijection):
    ...     def forward(self, params, x, context=None):
    ...         return 2 * x, same_log_det(x.shape[1] * math.log(2), x)
    >>> z, log_det = Double().forward({}, numpy.array([[1.0, 3.0]]))
    >>> z, log_det.round(4)
    (array([[2., 6.]]), array([1.3863]))
    """

    # True for a layer whose start is computed from the example batch (actnorm's mean and spread).
    data_dependent_init = False

    def init(self, rng, x, context=None):
        """Return the starting `params`; `x` and `context` are an example batch, `rng` draws what is random."""
        return {}

    def init_inverse(self, rng, z, context=None):
        """Return the starting `params` where only an example batch `z` of the other side is known.

        This is what `Inverse` starts with. A layer with `data_dependent_init` must say how by overriding it.
        """
        name = type(self).__name__
        require(
            not self.data_dependent_init,
            f"Inverse({name}): the start of {name} depends on the data that it maps; override {name}.init_inverse "
            "to say how it starts from the other side",
        )
        return self.init(rng, z, context)

    def forward(self, params, x, context=None):
        """Return `(z, log_det)` with log|det dz/dx| of shape (N,)."""
        raise NotImplementedError(f"{type(self).__name__} does not define forward")

    def inverse(self, params, z, context=None):
        """Return `(x, log_det)` with log|det dx/dz| of shape (N,)."""
        raise NoInverseError(f"{type(self).__name__} has no inverse that can be computed")


@dataclass(frozen=True)
class Chain(Bijection):
    """Maps applied one after the other, from left to right.

    - Forward: `z = fₙ(… f₂(f₁(x)))`.
    - Log-determinant: log|det dz/dx| = Σₖ log|det dfₖ|, each at the point that reaches its map (the chain rule).
    - Inverse: `x = f₁⁻¹(f₂⁻¹(… fₙ⁻¹(z)))`, the maps in reverse order.
    - Inverse's log-determinant: the sum of the inverses' log-determinants.

    `params` is a list, one entry per map. `init` sends the example batch through the maps as they start, so that each
    sees what will reach it. No maps at all is the identity. Cost: the sum of the maps' costs.
    Raises ValueError if something in `maps` is no Bijection, or if `params` has not one entry per map.

    >>> chain = Chain([Affine(), Exp()])
    >>> x = numpy.array([[0.0, 1.0]])
    >>> params = chain.init(numpy.random.default_rng(0), x)
    >>> z, log_det = chain.forward(params, x)
    >>> z.round(4), log_det
    (array([[1.    , 2.7183]]), array([1.]))
    """

    maps: Sequence[Bijection]

    def __post_init__(self):
        object.__setattr__(self, "maps", tuple(self.maps))
        for position, map in enumerate(self.maps):
            require(isinstance(map, Bijection), f"Chain: expected Bijections, got {map!r} at position {position}")

    def init(self, rng, x, context=None):
        """Start every map on what the maps before it make of the example batch `x`."""
        params = []
        for map in self.maps:
            params.append(map.init(rng, x, context))
            x, _ = map.forward(params[-1], x, context)
        return params

    def init_inverse(self, rng, z, context=None):
        """Start every map, the last one first, on what the inverses before it make of the batch `z`."""
        return self._backwards().init(rng, z, context)[::-1]

    def forward(self, params, x, context=None):
        """Return the last map's output and the sum of all log-determinants."""
        x = check_batch("Chain", x)
        log_det = np.zeros(x.shape[0], dtype=x.dtype)
        for map, map_params in self.pairs(params):
            x, change = map.forward(map_params, x, context)
            log_det = log_det + change
        return x, log_det

    def inverse(self, params, z, context=None):
        """Undo the maps from the last to the first."""
        return self._backwards().forward(list(params)[::-1], z, context)

    def pairs(self, params):
        """Return the list of (map, its own params)."""
        wanted, found = len(self.maps), len(params)
        require(wanted == found, f"Chain: {wanted} maps but {found} entries in the list params")
        return list(zip(self.maps, params, strict=True))

    def _backwards(self):
        return Chain([Inverse(map) for map in reversed(self.maps)])


@dataclass(frozen=True)
class Inverse(Bijection):
    """A map turned round: its inverse is the forward direction.

    - Forward: `z = f⁻¹(x)`.
    - Log-determinant: log|det df⁻¹/dx|.
    - Inverse: `x = f(z)`.
    - Inverse's log-determinant: log|det df/dz|.

    The logarithm is `Inverse(Exp())`, the logit `Inverse(Sigmoid())`, IAF `Inverse(MAF)`. `params` are the map's own.
    Raises ValueError in `init` for a layer whose start depends on data, unless the layer defines `init_inverse`.

    >>> z, log_det = Inverse(Exp()).forward({}, numpy.array([[1.0, math.e]]))
    >>> z, log_det
    (array([[0., 1.]]), array([-1.]))
    """

    map: Bijection

    def __post_init__(self):
        require(isinstance(self.map, Bijection), f"Inverse: expected a Bijection, got {self.map!r}")

    def init(self, rng, x, context=None):
        """Start the map from its output side."""
        return self.map.init_inverse(rng, x, context)

    def init_inverse(self, rng, z, context=None):
        """Start the map from its own input side: twice inverted is not inverted."""
        return self.map.init(rng, z, context)

    def forward(self, params, x, context=None):
        """Apply the map's inverse."""
        return self.map.inverse(params, x, context)

    def inverse(self, params, z, context=None):
        """Apply the map's forward."""
        return self.map.forward(params, z, context)


@dataclass(frozen=True)
class Affine(Bijection):
    """A trainable scale and shift of every feature.

    - Forward: `z = exp(log_scale)·x + shift`.
    - Log-determinant: Σᵢ log_scaleᵢ, the same for every point.
    - Inverse: `x = (z − shift)·exp(−log_scale)`.
    - Inverse's log-determinant: −Σᵢ log_scaleᵢ.

    Parameters: `log_scale` and `shift`, each of the shape of one point; zero at the start, which is the identity.
    Cost O(D) a point. NaN in x gives NaN in z. Raises ValueError if the shapes do not fit the batch.

    >>> params = {"log_scale": numpy.log([2.0, 0.5]), "shift": numpy.array([1.0, 0.0])}
    >>> z, log_det = Affine().forward(params, numpy.array([[1.0, 4.0]]))
    >>> z, log_det
    (array([[3., 2.]]), array([0.]))
    """

    def init(self, rng, x, context=None):
        """Return zeros of the shape and dtype of one point."""
        x = check_batch("Affine", x)
        return {name: numpy.zeros(x.shape[1:], dtype=x.dtype) for name in ("log_scale", "shift")}

    def forward(self, params, x, context=None):
        """Scale, then shift."""
        x, log_scale, shift = self._check("Affine", params, x)
        return np.exp(log_scale) * x + shift, same_log_det(np.sum(log_scale), x)

    def inverse(self, params, z, context=None):
        """Shift back, then scale back."""
        z, log_scale, shift = self._check("Affine.inverse", params, z)
        return (z - shift) * np.exp(-log_scale), same_log_det(-np.sum(log_scale), z)

    def _check(self, who, params, x):
        x = check_batch(who, x)
        for name in ("log_scale", "shift"):
            check_shape(who, name, params[name], x.shape[1:], x)
        return x, params["log_scale"], params["shift"]


@dataclass(frozen=True, eq=False)
class Permute(Bijection):
    """Features in another order.

    - Forward: `zᵢ = x_permutation[i]`.
    - Log-determinant: 0, since a permutation matrix has determinant ±1.
    - Inverse: `x_permutation[i] = zᵢ`.
    - Inverse's log-determinant: 0.

    The reversal is `Permute(range(D)[::-1])`, a random order `Permute(rng.permutation(D))`. Cost O(D) a point.
    Raises ValueError if `permutation` is none, or has not one entry per feature.

    >>> z, log_det = Permute([2, 0, 1]).forward({}, numpy.array([[1.0, 2.0, 3.0]]))
    >>> z, log_det
    (array([[3., 1., 2.]]), array([0.]))
    """

    permutation: Sequence[int]

    def __post_init__(self):
        object.__setattr__(self, "permutation", check_permutation("Permute", self.permutation))

    def forward(self, params, x, context=None):
        """Reorder the last axis."""
        return self._reorder("Permute", x, self.permutation)

    def inverse(self, params, z, context=None):
        """Put the last axis back in order."""
        return self._reorder("Permute.inverse", z, numpy.argsort(self.permutation))

    def _reorder(self, who, x, order):
        x = check_batch(who, x)
        check_shape(who, "permutation", order, x.shape[-1:], x)
        return x[..., order], same_log_det(0.0, x)


def check_permutation(who, permutation):
    """Return `permutation` as an integer array, or raise ValueError if it is not one of 0, 1, ..., D - 1.

    >>> check_permutation("Permute", [1, 0])
    array([1, 0])
    """
    order = numpy.array(permutation)
    require(
        order.ndim == 1 and order.dtype.kind in "iu" and numpy.array_equal(numpy.sort(order), numpy.arange(order.size)),
        f"{who}: expected a permutation of 0, 1, ..., D - 1, got {permutation}",
    )
    return order


@dataclass(frozen=True)
class Elementwise(Bijection):
    """One function of one number, applied to every entry: the base of the maps below.

    - Forward: `zᵢ = f(xᵢ)`.
    - Log-determinant: Σᵢ log|f'(xᵢ)|, since the Jacobian is diagonal.
    - Inverse: `xᵢ = f⁻¹(zᵢ)`.
    - Inverse's log-determinant: Σᵢ log|(f⁻¹)'(zᵢ)| = −Σᵢ log|f'(xᵢ)|.

    A subclass gives `_forward(x) -> (z, log_slope)`, `_inverse(z) -> (x, log_slope)`, both elementwise, and the open
    interval `(low, high)` of f's values. No parameters; any batch shape. Cost O(D) a point. NaN in gives NaN out.
    Raises OutsideDomainError in `inverse` where z is not strictly between `low` and `high`. In floating point f itself
    may reach these limits: tanh(20) is 1, and has no way back.
    """

    low = -math.inf
    high = math.inf

    def forward(self, params, x, context=None):
        """Apply f to every entry."""
        z, log_slope = self._forward(check_batch(type(self).__name__, x))
        return z, sum_except_batch(log_slope)

    def inverse(self, params, z, context=None):
        """Apply f's inverse to every entry."""
        who = f"{type(self).__name__}.inverse"
        z = check_batch(who, z)
        outside = (z <= self.low) | (z >= self.high)  # false for NaN, which goes through
        if outside.any():
            index = tuple(int(i) for i in numpy.argwhere(outside)[0])
            raise OutsideDomainError(f"{who}: expected {self.low} < z < {self.high}, got {getval(z)[index]} at {index}")
        x, log_slope = self._inverse(z)
        return x, sum_except_batch(log_slope)


@dataclass(frozen=True)
class Exp(Elementwise):
    """The exponential function, onto the positive numbers.

    - Forward: `z = exp(x)`.
    - Log-determinant: Σᵢ xᵢ.
    - Inverse: `x = log z`, for z > 0.
    - Inverse's log-determinant: −Σᵢ log zᵢ.

    Raises OutsideDomainError in `inverse` where z <= 0. In float64 exp overflows above x = 709.

    >>> Exp().forward({}, numpy.array([[0.0, 1.0]]))[1]
    array([1.])
    >>> Exp().inverse({}, numpy.array([[1.0, -2.0]]))
    Traceback (most recent call last):
    ...
    minigen.errors.OutsideDomainError: Exp.inverse: expected 0.0 < z < inf, got -2.0 at (0, 1)
    """

    low = 0.0

    def _forward(self, x):
        return np.exp(x), x

    def _inverse(self, z):
        x = np.log(z)
        return x, -x


@dataclass(frozen=True)
class Tanh(Elementwise):
    """The hyperbolic tangent, onto (−1, 1).

    - Forward: `z = tanh(x)`.
    - Log-determinant: Σᵢ log(1 − tanh² xᵢ) = Σᵢ 2·(log 2 − xᵢ − softplus(−2xᵢ)), right at any size of x.
    - Inverse: `x = artanh(z) = ½·(log(1 + z) − log(1 − z))`, for −1 < z < 1.
    - Inverse's log-determinant: −Σᵢ (log(1 + zᵢ) + log(1 − zᵢ)).

    Raises OutsideDomainError in `inverse` where z <= -1 or z >= 1. In float64 tanh(x) is 1 from x = 19 or so.

    >>> Tanh().forward({}, numpy.array([[1000.0]]))[1].round(4)
    array([-1998.6137])
    """

    low = -1.0
    high = 1.0

    def _forward(self, x):
        return tanh(x), 2 * (math.log(2) - x - softplus(-2 * x))

    def _inverse(self, z):
        above, below = np.log1p(z), np.log1p(-z)
        return 0.5 * (above - below), -(above + below)


@dataclass(frozen=True)
class Sigmoid(Elementwise):
    """The logistic function, onto (0, 1). Its inverse is the logit.

    - Forward: `z = 1/(1 + exp(−x))`.
    - Log-determinant: Σᵢ log(zᵢ·(1 − zᵢ)) = Σᵢ (xᵢ − 2·softplus(xᵢ)), right at any size of x.
    - Inverse: `x = log z − log(1 − z)`, for 0 < z < 1.
    - Inverse's log-determinant: −Σᵢ (log zᵢ + log(1 − zᵢ)).

    Raises OutsideDomainError in `inverse` where z <= 0 or z >= 1. In float64 the forward value is 1 from x = 37 or so.

    >>> Sigmoid().forward({}, numpy.array([[0.0, 1000.0]]))
    (array([[0.5, 1. ]]), array([-1001.38629436]))
    """

    low = 0.0
    high = 1.0

    def _forward(self, x):
        return sigmoid(x), x - 2 * softplus(x)

    def _inverse(self, z):
        log_z, log_rest = np.log(z), np.log1p(-z)
        return log_z - log_rest, -(log_z + log_rest)


@dataclass(frozen=True)
class Softplus(Elementwise):
    """The smooth positive part, onto the positive numbers.

    - Forward: `z = log(1 + exp(x))`.
    - Log-determinant: Σᵢ log sigmoid(xᵢ) = −Σᵢ softplus(−xᵢ).
    - Inverse: `x = z + log(1 − exp(−z))`, for z > 0.
    - Inverse's log-determinant: −Σᵢ log(1 − exp(−zᵢ)).

    Raises OutsideDomainError in `inverse` where z <= 0.

    >>> Softplus().inverse({}, Softplus().forward({}, numpy.array([[-3.0, 1000.0]]))[0])[0].round(12)
    array([[  -3., 1000.]])
    """

    low = 0.0

    def _forward(self, x):
        return softplus(x), -softplus(-x)

    def _inverse(self, z):
        log_slope = np.log(-np.expm1(-z))
        return z + log_slope, -log_slope


@dataclass(frozen=True)
class SignedPower(Elementwise):
    """A power that keeps the sign, onto all numbers: exponent 3 is the cube, exponent 1/3 the cube root.

    - Forward: `z = sign(x)·|x|^a`.
    - Log-determinant: Σᵢ (log a + (a − 1)·log|xᵢ|).
    - Inverse: `x = sign(z)·|z|^(1/a)`.
    - Inverse's log-determinant: Σᵢ (−log a + (1/a − 1)·log|zᵢ|).

    At x = 0 the slope is 0 for a > 1 and infinite for a < 1, and the log-determinant there is −inf or +inf: the map has
    an inverse, but one of the two is not differentiable (the inverse function theorem asks for f' ≠ 0), and gradients
    at 0 are not defined. Raises ValueError unless the exponent is positive and finite.

    >>> SignedPower(3).forward({}, numpy.array([[-2.0], [0.0]]))
    (array([[-8.],
           [ 0.]]), array([2.48490665,       -inf]))
    """

    exponent: float

    def __post_init__(self):
        require(0 < self.exponent < math.inf, f"SignedPower: expected a positive, finite exponent, got {self.exponent}")

    def _forward(self, x):
        return _signed_power(x, float(self.exponent))

    def _inverse(self, z):
        return _signed_power(z, 1.0 / self.exponent)


def _signed_power(x, exponent):
    size = np.abs(x)
    if exponent == 1.0:  # 0·log 0 would be NaN
        return x, 0.0 * x
    with numpy.errstate(divide="ignore"):  # the infinities at 0 are meant
        log_slope = math.log(exponent) + (exponent - 1.0) * np.log(size)
    return np.sign(x) * size**exponent, log_slope


@dataclass(frozen=True, eq=False)
class Pushforward(Distribution):
    """The distribution of x = f⁻¹(z), where z is drawn from `base` and f is the `map`.

    - Log-density: log p(x) = log p0(f(x)) + log|det df/dx|.
    - Sample: z ~ p0, then x = f⁻¹(z).

    Points are (N, D), log-densities (N,) in nats. `params` are fixed numbers here; a `Flow` trains them.
    Raises OutsideDomainError in `log_prob` if the map refuses a point (it lies off the support); ValueError if `base`
    is no Distribution or `map` no Bijection.

    >>> from minigen.foundations.distributions import Normal
    >>> log_normal = Pushforward(Normal([0.0], [1.0]), Inverse(Exp()))
    >>> log_normal.log_prob(numpy.array([[1.0], [2.0]])).round(4)
    array([-0.9189, -1.8523])
    >>> log_normal.sample(numpy.random.default_rng(0), 2).shape
    (2, 1)
    """

    base: Distribution
    map: Bijection
    params: Any = field(default_factory=dict)

    def __post_init__(self):
        require(isinstance(self.base, Distribution), f"Pushforward: expected a Distribution as base, got {self.base!r}")
        require(isinstance(self.map, Bijection), f"Pushforward: expected a Bijection as map, got {self.map!r}")

    @property
    def features(self):
        """D."""
        return self.base.features

    def log_prob(self, x):
        """Return log p(x), shape (N,)."""
        z, log_det = self.map.forward(self.params, x)
        return self.base.log_prob(z) + log_det

    def sample(self, rng, n):
        """Draw n points."""
        x, _ = self.map.inverse(self.params, self.base.sample(rng, n))
        return x


@dataclass(frozen=True, eq=False)
class Branches(Distribution):
    """The distribution of y = f(x) on the line, where f need not be one-to-one and x is drawn from `base`.

    - Log-density: `log p(y) = log Σₖ p(xₖ)/|f'(xₖ)|`, the sum over the roots of f(xₖ) = y, one on each branch.
    - Sample: x ~ base, then y = f(x).

    `function` works elementwise, written in `autograd.numpy` (autograd supplies f'). `branches` is a list of
    `(inverse, low, high)`: on its branch x = inverse(y) for low <= y <= high, and there is no root elsewhere. A branch
    that is left out takes its share of the mass with it. Points are (N, 1), log-densities (N,) in nats; −inf where no
    branch has a root. At a critical value, where some f'(xₖ) is 0, the formula gives +inf (there the inverse function
    theorem fails). Cost O(number of branches) a point. NaN in gives NaN out.
    Raises ValueError for a base that is not on the line, or if a branch is not `(inverse, low, high)` with low < high.

    >>> from minigen.foundations.distributions import Normal
    >>> roots = [(np.sqrt, 0.0, math.inf), (lambda y: -np.sqrt(y), 0.0, math.inf)]
    >>> chi_square = Branches(Normal([0.0], [1.0]), np.square, roots)
    >>> chi_square.log_prob(numpy.array([[1.0], [-1.0]])).round(4)
    array([-1.4189,    -inf])
    """

    base: Distribution
    function: Callable
    branches: Sequence[tuple[Callable, float, float]]

    def __post_init__(self):
        require(isinstance(self.base, Distribution), f"Branches: expected a Distribution as base, got {self.base!r}")
        require(self.base.features == 1, f"Branches: expected a base on the line, got {self.base.features} features")
        object.__setattr__(self, "branches", tuple(tuple(branch) for branch in self.branches))
        require(len(self.branches) > 0, "Branches: expected at least one branch, got none")
        for branch in self.branches:
            require(
                len(branch) == 3 and callable(branch[0]) and branch[1] < branch[2],
                f"Branches: expected (inverse, low, high) with low < high, got {branch}",
            )

    @property
    def features(self):
        """Return 1: these points lie on a line."""
        return 1

    def log_prob(self, y):
        """Return log p(y), shape (N,)."""
        y = check_points("Branches", y, 1)
        return logsumexp(np.stack([self._log_share(y, *branch) for branch in self.branches]), 0)

    def _log_share(self, y, inverse, low, high):
        outside = (y < low) | (y > high)
        nothing = numpy.full(y.shape[0], -math.inf, dtype=y.dtype)
        if outside.all():
            return np.where(outside[:, 0], nothing, y[:, 0])  # y only keeps it on autograd's tape
        # The inverse must not see points that it is not made for: they borrow one that lies inside.
        inside = getval(y)[~outside][0]
        x = inverse(np.where(outside, np.full(y.shape, inside), y))
        with numpy.errstate(divide="ignore"):  # +inf at a critical value is meant
            log_slope = np.log(np.abs(elementwise_grad(self.function)(x)))[:, 0]
        return np.where(outside[:, 0], nothing, self.base.log_prob(x) - log_slope)

    def sample(self, rng, n):
        """Draw n points."""
        return self.function(self.base.sample(rng, n))
