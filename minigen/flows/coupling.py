"""Coupling layers: half of the numbers pass through, and say how the other half is moved (NICE, RealNVP).

The half that passes is there on both sides of the map, so what was done to the other half can be computed again and
undone; a network of any shape may compute it, since it is never inverted itself. The Jacobian is triangular.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import autograd.numpy as np
import numpy

from minigen.errors import check_batch, check_integer, check_positive, require
from minigen.flows.fused import affine_coupling
from minigen.foundations.change_of_variables import Bijection, check_shape, same_log_det
from minigen.nets import MLP, Net, check_context, check_params
from minigen.numerics import sum_except_batch, tanh

__all__ = ["AdditiveCoupling", "AffineCoupling", "Scale", "alternating_mask", "checkerboard_mask", "half_mask"]


def alternating_mask(features, parity=0):
    """Return the mask 1, 0, 1, 0, … (parity 0) or 0, 1, 0, 1, … (parity 1), shape (features,). 1 passes through.

    Raises ValueError unless features >= 2: of a single number nothing would be left to move, or to move it by.

    >>> alternating_mask(5), alternating_mask(5, parity=1)
    (array([1, 0, 1, 0, 1]), array([0, 1, 0, 1, 0]))
    """
    _check_features("alternating_mask", features, parity)
    return (numpy.arange(features) + parity + 1) % 2


def half_mask(features, parity=0):
    """Return the mask whose first half is 1 and second half 0 (parity 0), or the other way round (parity 1).

    An odd number in the middle belongs to the second half. Raises ValueError unless features >= 2.

    >>> half_mask(5), half_mask(5, parity=1)
    (array([1, 1, 0, 0, 0]), array([0, 0, 1, 1, 1]))
    """
    _check_features("half_mask", features, parity)
    return ((numpy.arange(features) < features // 2) != parity).astype(int)


def checkerboard_mask(height, width, parity=0):
    """Return the mask of an image in black and white squares, shape (height, width, 1): all channels alike.

    Raises ValueError for sizes below 1, or a single pixel.

    >>> checkerboard_mask(2, 4)[..., 0]
    array([[1, 0, 1, 0],
           [0, 1, 0, 1]])
    """
    check_integer("checkerboard_mask", "height", height, 1)
    check_integer("checkerboard_mask", "width", width, 1)
    _check_features("checkerboard_mask", height * width, parity)
    return (numpy.indices((height, width)).sum(axis=0)[..., None] + parity + 1) % 2


def _evenly(indices):
    """Return `indices`, or the slice that picks the same."""
    first, last = int(indices[0]), int(indices[-1])
    step = max(1, int(indices[1]) - first) if len(indices) > 1 else 1
    return slice(first, last + 1, step) if numpy.array_equal(indices, range(first, last + 1, step)) else indices


def _check_features(who, features, parity):
    check_integer(who, "features", features, 1)
    require(features > 1, f"{who}: a coupling moves some features by what others are, so it needs 2 or more, got 1")
    require(parity in (0, 1), f"{who}: expected parity 0 or 1, got {parity!r}")


@dataclass(frozen=True, eq=False)
class _Coupling(Bijection):
    """What the couplings share: the mask, and a conditioner that sees only what passes through."""

    mask: numpy.ndarray
    hidden: Sequence[int] = (64, 64)
    context_features: int = 0
    activation: str = "tanh"
    net: Net | None = None
    fused: bool = True
    kept: numpy.ndarray = field(init=False, repr=False)  # where a vector mask is 1
    moved: numpy.ndarray = field(init=False, repr=False)  # where it is 0
    conditioner: Net = field(init=False, repr=False)  # `net`, or the default one for this mask
    per_feature: ClassVar[int]  # how many numbers the conditioner gives for each number that is moved

    def __post_init__(self):
        who, mask = type(self).__name__, numpy.asarray(self.mask)
        binary = mask.dtype.kind in "fiub" and bool(((mask == 0) | (mask == 1)).all())
        require(mask.ndim > 0 and binary, f"{who}: expected a mask of zeros and ones, got {self.mask!r}")
        both = bool(mask.any()) and not mask.all()
        require(both, f"{who}: expected a mask with ones (pass) and zeros (moved), got {mask.tolist()}; D = 1 has none")
        mask = mask.astype(bool)  # as bool it widens no float32
        kept, moved = numpy.flatnonzero(mask), numpy.flatnonzero(~mask)
        net = self.net
        if net is None:
            require(mask.ndim == 1, f"{who}: a mask of shape {mask.shape} needs a net; the default one takes vectors")
            sizes = len(kept), self.hidden, self.per_feature * len(moved), self.context_features, self.activation
            net = MLP(*sizes, output_scale=0.0, fused=self.fused)
        require(isinstance(net, Net), f"{who}: expected a Net, got {net!r}")
        if type(net) is MLP and mask.ndim == 1:
            found, wanted = (net.inputs, net.outputs), (len(kept), self.per_feature * len(moved))
            require(found == wanted, f"{who}: expected a net of {wanted} inputs and outputs for this mask, got {found}")
        for name, value in (("mask", mask), ("kept", kept), ("moved", moved), ("conditioner", net)):
            object.__setattr__(self, name, value)

    @functools.cached_property
    def rows(self):
        """`kept` and `moved` as slices where their entries are evenly spaced: a slice of an array is no copy."""
        return tuple(map(_evenly, (self.kept, self.moved)))

    def init(self, rng, x, context=None):
        """Return the conditioner's starting parameters."""
        return self.conditioner.init(rng, self._check("", x).dtype)

    def _check(self, direction, x):
        who, mask = type(self).__name__ + direction, self.mask
        x = check_batch(who, x)
        if mask.ndim == 1:
            fits = x.shape[-1:] == mask.shape
        else:
            pairs = zip(mask.shape, x.shape[1:], strict=False)
            fits = mask.ndim == x.ndim - 1 and all(size in (1, whole) for size, whole in pairs)
        if not fits:
            name, one = "z" if direction else "x", mask.ndim == 1
            found = f"{mask.size} entries" if one else f"shape {mask.shape}"
            wanted = f"{x.shape[-1]} features" if one else f"points of shape {x.shape[1:]}"
            raise ValueError(f"{who}: mask has {found} but {name} has {wanted} ({name}.shape = {x.shape})")
        return x

    def _numbers(self, params, x, context):
        """Return the conditioner's `per_feature` arrays, each of x's shape, with 0 for whatever passes through."""
        vector = self.mask.ndim == 1
        y = self.conditioner(params, x[..., self.kept] if vector else x * self.mask, context)
        width = len(self.moved) if vector else x.shape[-1]
        wanted, who = (*x.shape[:-1], self.per_feature * width), type(self).__name__
        require(y.shape == wanted, f"{who}: expected the net to return shape {wanted}, got {y.shape}")
        parts = [y[..., i * width : (i + 1) * width] for i in range(self.per_feature)]
        if not vector:
            return [part * ~self.mask for part in parts]
        nothing = numpy.zeros((*x.shape[:-1], len(self.kept)), dtype=x.dtype)
        places = numpy.argsort(numpy.concatenate([self.kept, self.moved]))  # where each feature stands in [kept, moved]
        return [np.concatenate([nothing, part], axis=-1)[..., places] for part in parts]


@dataclass(frozen=True, eq=False)
class AdditiveCoupling(_Coupling):
    """Additive coupling (NICE): some features are shifted by a function of the others.

    - Forward: `z = x + (1 − b)∘t`, with `t = net(b∘x, context)`.
    - Log-determinant: 0, since the Jacobian is triangular with ones on its diagonal: volume is kept.
    - Inverse: `x = z − (1 − b)∘t`, with the same t, because b∘z = b∘x.
    - Inverse's log-determinant: 0.

    Everything else is as for `AffineCoupling`, but that the net returns one number for each that is moved.

    Reference: Dinh, Krueger and Bengio (2014), arXiv:1410.8516.

    >>> layer = AdditiveCoupling([1, 0], hidden=())
    >>> params = [{"weight": numpy.array([[2.0]]), "bias": numpy.array([0.5])}]  # t = 2 x₁ + 0.5
    >>> z, log_det = layer.forward(params, numpy.array([[1.0, 3.0]]))
    >>> z, log_det
    (array([[1. , 5.5]]), array([0.]))
    """

    per_feature = 1

    def forward(self, params, x, context=None):
        """Shift what is moved."""
        x = self._check("", x)
        (shift,) = self._numbers(params, x, context)
        return x + shift, same_log_det(0.0, x)

    def inverse(self, params, z, context=None):
        """Shift it back."""
        z = self._check(".inverse", z)
        (shift,) = self._numbers(params, z, context)
        return z - shift, same_log_det(0.0, z)


@dataclass(frozen=True, eq=False)
class AffineCoupling(_Coupling):
    """Affine coupling (RealNVP): some features are scaled and shifted by functions of the others.

    - Forward: `z = x∘exp(s) + t`, with `s = (1 − b)∘c·tanh(raw/c)`, `t = (1 − b)∘shift` and
      `(raw, shift) = net(b∘x, context)`.
    - Log-determinant: Σᵢ sᵢ, since the Jacobian is triangular with exp(s) on its diagonal.
    - Inverse: `x = (z − t)∘exp(−s)`, with the same s and t, because b∘z = b∘x.
    - Inverse's log-determinant: −Σᵢ sᵢ.

    `mask` b is 1 where numbers pass through. A vector (D,) splits the last axis of x, whatever axes come before it; a
    mask of more axes, such as `checkerboard_mask`, has those of one point, (H, W, C) or (H, W, 1). c is `bound`: no
    factor leaves (exp(−c), exp(c)), yet its gradient never vanishes at once, as that of a clipped one would.

    The conditioner is an `MLP` with the widths `hidden`, its `activation`, and `context_features`, that sees the
    features that pass and starts at 0, so that the layer starts as the identity. A `net` of your own replaces these
    three: under a vector mask it gets x's last axis without the moved features, else b∘x; it returns twice as many
    numbers as it is to move (vector) or as x has channels, first all raw scales, then all shifts.

    Parameters: the conditioner's. Cost: one call of the conditioner a direction. NaN in gives NaN out. With `fused` and
    an `MLP` the layer is one autograd node (`minigen.flows.fused`): same values and gradients, several times faster.
    Raises ValueError for a mask that is not of zeros and ones or has not both (so D = 1 has no coupling), for a mask of
    more axes without a net, for a bound that is not positive, or if mask, net or context do not fit x.

    Reference: Dinh, Sohl-Dickstein and Bengio (2017), arXiv:1605.08803.

    >>> layer = AffineCoupling([1, 0], hidden=())
    >>> params = [{"weight": numpy.array([[1.0], [0.0]]), "bias": numpy.array([0.0, 0.5])}]  # raw = x₁, shift = 0.5
    >>> z, log_det = layer.forward(params, numpy.array([[1.0, 3.0]]))
    >>> z.round(4), log_det.round(4)  # 3·exp(2·tanh(1/2)) + 0.5
    (array([[1.    , 8.0598]]), array([0.9242]))
    """

    bound: float = 2.0
    per_feature = 2

    def __post_init__(self):
        super().__post_init__()
        check_positive("AffineCoupling", "bound", self.bound)
        object.__setattr__(self, "bound", float(self.bound))  # a NumPy scalar would widen float32

    def forward(self, params, x, context=None):
        """Scale and shift what is moved."""
        x = self._check("", x)
        if self._is_one_node:
            return affine_coupling(x, *self._arrays(params, x, context), layer=self, inverse=False)
        log_scale, shift = self._log_scale_and_shift(params, x, context)
        return x * np.exp(log_scale) + shift, sum_except_batch(log_scale)

    def inverse(self, params, z, context=None):
        """Shift back, then scale back."""
        z = self._check(".inverse", z)
        if self._is_one_node:
            return affine_coupling(z, *self._arrays(params, z, context), layer=self, inverse=True)
        log_scale, shift = self._log_scale_and_shift(params, z, context)
        return (z - shift) * np.exp(-log_scale), -sum_except_batch(log_scale)

    def _log_scale_and_shift(self, params, x, context):
        raw, shift = self._numbers(params, x, context)
        return self.bound * tanh(raw / self.bound), shift

    @property
    def _is_one_node(self):
        return self.fused and type(self.conditioner) is MLP

    def _arrays(self, params, x, context):
        """Return what the fused node takes besides x: the context and every layer's weight and bias."""
        if x.ndim != 2:
            raise ValueError(f"AffineCoupling: the MLP takes points (N, D), got shape {x.shape}; give a net for other")
        check_params(self.conditioner, params, len(self.conditioner.hidden) + 1)
        layers = [layer[name] for layer in params for name in ("weight", "bias")]
        return [check_context(self.conditioner, context, x.shape[0]), *layers]

    def fused_node(self, params, x, context, inverse):
        """Return (node, arrays, structure), the call `node(x, *arrays, **structure)` that this layer is, or None."""
        if not self._is_one_node:
            return None
        x = self._check(".inverse" if inverse else "", x)
        return affine_coupling, self._arrays(params, x, context), {"layer": self, "inverse": inverse}


@dataclass(frozen=True)
class Scale(Bijection):
    """A trainable factor for every feature: the last layer of NICE, whose couplings cannot change a volume.

    - Forward: `z = exp(log_scale)∘x`.
    - Log-determinant: Σᵢ log_scaleᵢ, the same for every point.
    - Inverse: `x = exp(−log_scale)∘z`.
    - Inverse's log-determinant: −Σᵢ log_scaleᵢ.

    Parameters: `log_scale`, of the shape of one point; zero at the start, which is the identity. Cost O(D) a point.
    The larger a factor, the less the data vary in its direction: NICE reads the factors as the spectrum of a PCA. NaN
    in gives NaN out. Raises ValueError if the shapes do not fit the batch.

    Reference: Dinh, Krueger and Bengio (2014), arXiv:1410.8516, section 3.3.

    >>> Scale().forward({"log_scale": numpy.log([2.0, 0.5])}, numpy.array([[1.0, 4.0]]))
    (array([[2., 2.]]), array([0.]))
    """

    def init(self, rng, x, context=None):
        """Return zeros of the shape and dtype of one point."""
        x = check_batch("Scale", x)
        return {"log_scale": numpy.zeros(x.shape[1:], dtype=x.dtype)}

    def forward(self, params, x, context=None):
        """Multiply."""
        return self._multiply("Scale", x, params["log_scale"])

    def inverse(self, params, z, context=None):
        """Divide."""
        return self._multiply("Scale.inverse", z, -params["log_scale"])

    def _multiply(self, who, x, log_scale):
        x = check_batch(who, x)
        check_shape(who, "log_scale", log_scale, x.shape[1:], x)
        return np.exp(log_scale) * x, same_log_det(np.sum(log_scale), x)
