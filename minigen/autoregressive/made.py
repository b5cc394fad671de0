"""MADE: one network that gives all D conditionals of an autoregressive model at once, by masks.

Every unit has a *degree*: the features that it may see are the first so many of the order, and a unit sees another only
if that one sees no more. So the parameters of the conditional of a feature depend on the features before it alone:
p(x) = Π p(xᵢ | features before i). Degrees run from 1 to D for the features, in their order; a context has degree 0,
since it comes before all of them.
"""

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import autograd.numpy as np
import numpy

from minigen.errors import OutsideDomainError, check_integer, check_points, check_positive, require
from minigen.foundations.change_of_variables import check_permutation
from minigen.foundations.distributions import log_normal
from minigen.nets import MaskedMLP, Net, check_context, check_hidden
from minigen.numerics import sigmoid, softplus, tanh

__all__ = ["MADE", "BernoulliMADE", "GaussianMADE", "degrees", "gaussian_conditionals", "masks", "path_counts"]


def degrees(order, hidden, context_features=0, rng=None):
    """Return the degree of every unit, one integer array a layer: inputs (the context's last), hidden ones, outputs.

    - the feature that comes k-th in `order`, k = 1, …, D, has degree k, as input and as output
    - a context has degree 0
    - hidden unit j of H has degree `l + ⌊j·(D − l)/H⌋`, where `l` = 0 with a context and 1 without

    `order` is a permutation of 0, …, D − 1: the features as they are generated. Spread evenly like this, the degrees
    from l to D − 1 all occur wherever H >= D − l, and no connection that is allowed gets lost; a narrower layer must
    lose some. They start at l = 0 under a context because only a unit of degree 0 can tell the first output of it.

    With `rng` they are drawn, uniform from the least degree of the layer before to D − 1, as in the paper: every unit
    has something to see, but connections get lost. Cost: O(number of units).
    Raises ValueError if `order` is no permutation or holds nothing, or for sizes below 1 (`context_features` below 0).

    Reference: Germain, Gregor, Murray, Larochelle (2015), arXiv:1502.03509.

    >>> for layer in degrees([2, 0, 1], hidden=(4,), context_features=1):
    ...     print(layer)
    [2 3 1 0]
    [0 0 1 2]
    [2 3 1]
    """
    order = check_permutation("degrees", order)
    require(order.size > 0, "degrees: expected at least one feature, got none")
    check_integer("degrees", "context_features", context_features, 0)
    features, lowest = order.size, 0 if context_features else 1
    own = numpy.argsort(order) + 1
    layers = [numpy.concatenate([own, numpy.zeros(context_features, dtype=int)])]
    for width in check_hidden("degrees", hidden):
        if rng is None:
            layers.append(lowest + numpy.arange(width) * (features - lowest) // width)
        else:
            least = layers[-1].min()
            layers.append(rng.integers(least, max(features, least + 1), width))
    return [*layers, own]


def masks(degrees, outputs=1):
    """Return the masks of a network whose layers have these degrees: who may see whom, (outputs, inputs) each.

    - hidden layers: unit i sees j where `degreeᵢ >= degreeⱼ`
    - the last layer: `degreeᵢ > degreeⱼ`, strictly, or feature i would be told itself

    `outputs` is how many numbers each feature's conditional takes, such as 2 for a mean and a log-scale; the last mask
    has that many blocks of D rows. Arrays of bool, True passes. Cost: O(number of weights).
    Raises ValueError for less than two layers of degrees.

    >>> for mask in masks(degrees([0, 1, 2], hidden=(2,))):
    ...     print(mask.astype(int))
    [[1 0 0]
     [1 1 0]]
    [[0 0]
     [1 0]
     [1 1]]
    """
    require(len(degrees) > 1, f"masks: expected the degrees of at least two layers, got {len(degrees)}")
    check_integer("masks", "outputs", outputs, 1)
    *inner, (below, last) = zip(degrees[:-1], degrees[1:], strict=True)
    hidden = [numpy.greater_equal.outer(above, under) for under, above in inner]
    return [*hidden, numpy.tile(numpy.greater.outer(last, below), (outputs, 1))]


def path_counts(masks):
    """Return how many paths lead from each input to each output: the product `M_L ⋯ M₁` of the masks, as integers.

    Entry (i, j) sums, over every choice of one unit a hidden layer, the product of the masks' entries on the way from
    j to i, which is 1 if no step is cut. Where it is 0, output i cannot depend on input j, whatever the weights.
    Shape (outputs, inputs). Cost: that of multiplying the masks. Counts beyond 2⁶³ wrap around.
    Raises ValueError for masks that do not fit together, or none.

    >>> path_counts(masks(degrees([0, 1, 2], hidden=(4, 4))))
    array([[ 0,  0,  0],
           [ 4,  0,  0],
           [12,  4,  0]])
    """
    masks = [numpy.asarray(mask, dtype=int) for mask in masks]
    shapes = [mask.shape for mask in masks]
    fits = all(len(shape) == 2 for shape in shapes) and all(a[0] == b[1] for a, b in itertools.pairwise(shapes))
    require(len(masks) > 0 and fits, f"path_counts: expected masks (outputs, inputs) that fit together, got {shapes}")
    return functools.reduce(lambda paths, mask: mask @ paths, masks)


@dataclass(frozen=True, eq=False)
class MADE(Net):
    """Masked autoencoder for distribution estimation: a masked MLP whose k-th output sees the features before k only.

    `hₗ = f((Mₗ ∘ Wₗ) hₗ₋₁ + bₗ)`, with the masks Mₗ of `degrees` and `masks`.

    x (N, D) gives y (N, K, D): the K = `outputs` numbers y[:, :, i] that the conditional of feature i has for
    parameters depend on the features that stand before i in `order`, and on the context, which reaches all of them. The
    Jacobian dy/dx is strictly lower triangular once rows and columns stand in that order. Without a context the first
    feature's numbers are constants: the last biases.

    `order` is a permutation of 0, …, D − 1, by default that one. Parameters are those of `MaskedMLP` and have the same
    shapes for every order, so that one set of them can be trained under several orders, each a MADE of its own; `init`
    sets to 0 what its own order's masks cut. They start at y = 0, unless `output_scale` is positive. Any D >= 1;
    `hidden`, `activation` and `fused` as for `MLP`.
    Cost O(number of weights) a point, for all D conditionals together.
    Raises ValueError as `degrees` and `MaskedMLP` do, or for x and context of another shape.

    Reference: Germain, Gregor, Murray, Larochelle (2015), arXiv:1502.03509.

    >>> made = MADE(3, (16, 16), outputs=2, output_scale=1.0)
    >>> params = made.init(numpy.random.default_rng(0))
    >>> y = made(params, numpy.array([[1.0, 2.0, 3.0], [1.0, 2.0, 4.0], [1.0, 5.0, 3.0]]))
    >>> y.shape, bool((y[0] == y[1]).all()), (y[0] == y[2]).all(axis=0)
    ((3, 2, 3), True, array([ True,  True, False]))
    """

    features: int
    hidden: Sequence[int] = (64, 64)
    outputs: int = 1
    order: Sequence[int] | None = None
    context_features: int = 0
    activation: str = "tanh"
    output_scale: float = 0.0
    fused: bool = True
    net: MaskedMLP = field(init=False, repr=False)

    def __post_init__(self):
        check_integer("MADE", "features", self.features, 1)
        order = check_permutation("MADE", range(self.features) if self.order is None else self.order)
        require(order.size == self.features, f"MADE: {self.features} features but {order.size} entries in the order")
        object.__setattr__(self, "order", order)
        options = (self.context_features, self.activation, self.output_scale, self.fused)
        object.__setattr__(self, "net", MaskedMLP(self._masks(), *options))

    def _masks(self):
        return masks(degrees(self.order, self.hidden, self.context_features), self.outputs)

    def init(self, rng, dtype=float):
        """Draw the layers from the first to the last."""
        return self.net.init(rng, dtype)

    def __call__(self, params, x, context=None):
        """Return the numbers of all conditionals, (N, K, D)."""
        x = check_points("MADE", x, self.features)
        y = self.net(params, x, check_context(self, context, x.shape[0]))
        return np.reshape(y, (x.shape[0], self.outputs, self.features))


def gaussian_conditionals(y, bound):
    """Return mean and log-scale (N, D) from a network's output (N, 2, D): `y₀` and `bound·tanh(y₁/bound)`.

    So a scale lies strictly between exp(−bound) and exp(bound), smoothly, and for small y₁ is exp(y₁). Raises
    ValueError for another shape.

    >>> mean, log_scale = gaussian_conditionals(numpy.array([[[3.0], [100.0]]]), bound=2.0)
    >>> mean, log_scale
    (array([[3.]]), array([[2.]]))
    """
    found = np.shape(y)
    require(len(found) == 3 and found[1] == 2, f"gaussian_conditionals: expected shape (N, 2, D), got {found}")
    return y[:, 0], bound * tanh(y[:, 1] / bound)


@dataclass(frozen=True, eq=False)
class _ConditionalModel:
    """What the models made of a MADE share; a subclass says how many numbers a conditional takes, and what it is."""

    made: MADE

    def __post_init__(self):
        who, wanted = type(self).__name__, self._outputs
        require(isinstance(self.made, MADE), f"{who}: expected a MADE, got {self.made!r}")
        found = self.made.outputs
        require(found == wanted, f"{who}: expected a MADE with outputs={wanted}, got outputs={found}")

    def init(self, rng, x, context=None):
        """Draw the network's parameters, in the dtype of the example batch `x`."""
        return self.made.init(rng, check_points(type(self).__name__, x, self.made.features).dtype)

    def log_prob(self, params, x, context=None):
        """Return log p(x | context), shape (N,): one pass of the network."""
        x = check_points(type(self).__name__, x, self.made.features)
        return self._log_prob(self.made(params, x, context), x)

    def sample(self, params, rng, n, context=None):
        """Draw n points, shape (n, D): D passes, one for each feature in the order."""
        check_integer(type(self).__name__, "n", n, 0)
        x = numpy.zeros((n, self.made.features), dtype=params[-1]["bias"].dtype)
        for feature in self.made.order:
            x[:, feature] = self._draw(rng, self.made(params, x, context)[:, :, [feature]])[:, 0]
        return x


class BernoulliMADE(_ConditionalModel):
    """A distribution over bits, x in {0, 1}^D, from a MADE with one output a feature: its log-odds `y`.

    - `p(xᵢ = 1 | features before i) = σ(yᵢ)`
    - `log p(x) = Σᵢ xᵢ yᵢ − log(1 + exp(yᵢ))`

    Cost: one pass of the network for log p, D passes for samples. It starts as D fair coins. Raises ValueError for
    another MADE or wrong shapes, OutsideDomainError for values other than 0 and 1.

    Reference: Germain, Gregor, Murray, Larochelle (2015), arXiv:1502.03509.

    >>> model = BernoulliMADE(MADE(2, (8,)))
    >>> bits = numpy.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    >>> model.log_prob(model.init(numpy.random.default_rng(0), bits), bits).round(4)
    array([-1.3863, -1.3863, -1.3863, -1.3863])
    """

    _outputs = 1

    def _log_prob(self, y, x):
        strange = int(np.sum((x != 0) & (x != 1)))
        if strange:
            raise OutsideDomainError(f"BernoulliMADE: expected values 0 and 1, got {strange} others")
        return np.sum(x * y[:, 0] - softplus(y[:, 0]), axis=1)

    def _draw(self, rng, y):
        return rng.random(y[:, 0].shape) < sigmoid(y[:, 0])


@dataclass(frozen=True, eq=False)
class GaussianMADE(_ConditionalModel):
    """A density on R^D with Gaussian conditionals, from a MADE with two outputs a feature: mean and log-scale.

    - `p(xᵢ | features before i) = N(xᵢ; meanᵢ, exp(log_scaleᵢ)²)`, bounded as in `gaussian_conditionals`

    Each conditional has one peak, and p is not Gaussian all the same. It is what one `MAF` layer makes of N(0, I).
    Cost: one pass of the network for log p, D passes for samples. It starts as N(0, I). Raises ValueError for another
    MADE, wrong shapes, or a bound that is not positive and finite.

    Reference: Germain, Gregor, Murray, Larochelle (2015), arXiv:1502.03509; Papamakarios, Pavlakou, Murray (2017),
    arXiv:1705.07057.

    >>> model = GaussianMADE(MADE(2, (8,), outputs=2))
    >>> x = numpy.array([[0.0, 0.0], [1.0, 1.0]])
    >>> model.log_prob(model.init(numpy.random.default_rng(0), x), x).round(4)
    array([-1.8379, -2.8379])
    """

    bound: float = 2.0
    _outputs = 2

    def __post_init__(self):
        super().__post_init__()
        check_positive("GaussianMADE", "bound", self.bound)

    def _log_prob(self, y, x):
        return log_normal(x, *gaussian_conditionals(y, self.bound))

    def _draw(self, rng, y):
        mean, log_scale = gaussian_conditionals(y, self.bound)
        return mean + numpy.exp(log_scale) * rng.standard_normal(mean.shape)
