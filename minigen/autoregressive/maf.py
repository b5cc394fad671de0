"""Masked autoregressive flow: a layer that turns data into noise in one pass, and noise into data feature by feature.

Turned round it is the inverse autoregressive flow: IAF = ``Inverse(MAF(...))``, fast where MAF is slow.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import autograd.numpy as np
import numpy

from minigen.autoregressive.fused import masked_affine, masked_affine_plain
from minigen.autoregressive.made import MADE, gaussian_conditionals
from minigen.errors import check_points, check_positive
from minigen.foundations.change_of_variables import Bijection
from minigen.nets import check_context, check_params

__all__ = ["MAF"]


@dataclass(frozen=True, eq=False)
class MAF(Bijection):
    """A layer of a masked autoregressive flow: each feature standardised by what the features before it say.

    - Forward: `zᵢ = (xᵢ − mᵢ)·exp(−sᵢ)`, where the mean mᵢ and the log-scale sᵢ are functions of the features of x that
      stand before i, all computed by one `MADE` in one pass; `sᵢ = bound·tanh(·/bound)` lies within ±bound.
    - Log-determinant: −Σᵢ sᵢ, since the Jacobian is triangular in the order, with exp(−sᵢ) on its diagonal.
    - Inverse: `xᵢ = zᵢ·exp(sᵢ) + mᵢ`, feature after feature, as mᵢ and sᵢ want those that are found before: D passes.
    - Inverse's log-determinant: Σᵢ sᵢ.

    ``Inverse(MAF(...))`` is the inverse autoregressive flow (IAF): there sampling is the one pass and density takes D.
    Layers are best stacked with the order turned round each time: ``Chain([MAF(D), MAF(D, order=range(D)[::-1])])``.

    `features` = D >= 1, `order`, `hidden`, `context_features`, `activation` and parameters are those of `MADE`; it
    starts as the identity. With `fused` the forward direction is one autograd node
    (`minigen.autoregressive.fused.masked_affine`): same values, same gradients, faster. Cost a point: O(number of
    weights) forward, D times that in inverse. NaN or inf in a point gives NaN in that point.
    Raises ValueError as `MADE` does, for a bound that is not positive and finite, or for x and context of another
    shape.

    Reference: Papamakarios, Pavlakou, Murray (2017), arXiv:1705.07057; Kingma, Salimans, Jozefowicz, Chen, Sutskever,
    Welling (2016), arXiv:1606.04934, for the inverse.

    >>> maf, x = MAF(2, (8,)), numpy.array([[1.0, 2.0]])
    >>> params = maf.init(numpy.random.default_rng(0), x)
    >>> params[-1]["bias"] = numpy.array([0.0, 1.0, 0.0, 0.5])  # two means, two log-scales
    >>> z, log_det = maf.forward(params, x)
    >>> z.round(4), log_det.round(4), maf.inverse(params, z)[0].round(4)
    (array([[1.    , 0.6127]]), array([-0.4898]), array([[1., 2.]]))
    """

    features: int
    hidden: Sequence[int] = (64, 64)
    order: Sequence[int] | None = None
    context_features: int = 0
    activation: str = "tanh"
    bound: float = 2.0
    fused: bool = True
    made: MADE = field(init=False, repr=False)

    def __post_init__(self):
        check_positive("MAF", "bound", self.bound)
        options = {"context_features": self.context_features, "activation": self.activation, "fused": self.fused}
        object.__setattr__(self, "made", MADE(self.features, self.hidden, 2, self.order, **options))

    def init(self, rng, x, context=None):
        """Draw the network's parameters in the dtype of `x`; the last layer's weights are 0, which is the identity."""
        return self.made.init(rng, check_points("MAF", x, self.features).dtype)

    def forward(self, params, x, context=None):
        """Standardise every feature at once."""
        node, arrays, structure = self._call(params, x, context)
        return node(check_points("MAF", x, self.features), *arrays, **structure)

    def _call(self, params, x, context):
        x = check_points("MAF", x, self.features)
        context = check_context(self, context, x.shape[0])
        masks = self.made.net.masks
        check_params(self, params, len(masks))
        layers = [layer[name] for layer in params for name in ("weight", "bias")]
        node = masked_affine if self.fused else masked_affine_plain
        return node, (context, *layers), {"activation": self.activation, "masks": masks, "bound": self.bound}

    def fused_node(self, params, x, context, inverse):
        """Return (node, arrays, structure), the call `node(x, *arrays, **structure)` that this layer is, or None."""
        return self._call(params, x, context) if self.fused and not inverse else None

    def inverse(self, params, z, context=None):
        """Find one feature after the other."""
        *_, (x, log_scale) = self.passes(params, z, context)
        return x, np.sum(log_scale, axis=1)

    def passes(self, params, z, context=None):
        """Yield `(x, log_scale)` after each of the D passes that the inverse takes.

        After pass k the first k features of the order are what they should be, and the others still 0; the log-scales
        are right for one feature more than the pass was given. Where there is no context, the first pass costs
        nothing: the first conditional is a constant, the network's last bias.

        >>> maf, z = MAF(3, (8,), order=[1, 2, 0]), numpy.array([[1.0, 2.0, 3.0]])
        >>> for x, _ in maf.passes(maf.init(numpy.random.default_rng(0), z), z):
        ...     print(x)
        [[0. 2. 0.]]
        [[0. 2. 3.]]
        [[1. 2. 3.]]
        """
        z = check_points("MAF.inverse", z, self.features)
        context = check_context(self, context, z.shape[0])
        place = numpy.argsort(self.made.order)
        x = np.zeros(z.shape, dtype=z.dtype)
        for k in range(self.features):
            if k == 0 and self.context_features == 0:
                constant = np.zeros((z.shape[0], 1), dtype=z.dtype) + params[-1]["bias"]
                y = np.reshape(constant, (z.shape[0], 2, self.features))
            else:
                y = self.made(params, x, context)
            mean, log_scale = gaussian_conditionals(y, self.bound)
            x = (place <= k) * (z * np.exp(log_scale) + mean)
            yield x, log_scale
