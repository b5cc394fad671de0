"""The same flows from nflows' own parts."""

import warnings

import torch
from nflows.distributions.normal import StandardNormal
from nflows.flows.base import Flow
from nflows.transforms.autoregressive import MaskedAffineAutoregressiveTransform
from nflows.transforms.base import CompositeTransform
from nflows.transforms.coupling import AffineCouplingTransform, PiecewiseRationalQuadraticCouplingTransform
from nflows.transforms.permutations import ReversePermutation

from benchmarks import workloads as sizes
from benchmarks.implementations.torch_training import mlp, trainer

# Without the scaling that this is about nflows starts a little worse, and takes a little less time.
warnings.filterwarnings("ignore", message="Inputs to the softmax are not scaled down")


class Conditioner(torch.nn.Module):
    """A plain network with the call that nflows wants; its own MLP does not take the context that couplings hand on."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.net = mlp(inputs, outputs)

    def forward(self, x, context=None):
        """Ignore the context."""
        return self.net(x)


def _flow(layers, worker):
    flow = Flow(CompositeTransform(layers), StandardNormal([2]))
    return trainer(flow, lambda x: -flow.log_prob(x).mean(), worker, flow.log_prob, flow.sample)


def _masks(count):
    return [[k % 2, 1 - k % 2] for k in range(count)]


def realnvp(worker):
    """Return the trainer of affine couplings."""
    return _flow([AffineCouplingTransform(mask, Conditioner) for mask in _masks(sizes.COUPLINGS)], worker)


def maf(worker):
    """Return the trainer of MADEs with the features turned round between them."""
    options = {"num_blocks": len(sizes.HIDDEN) - 1, "use_residual_blocks": False, "activation": torch.tanh}
    layers = []
    for _ in range(sizes.MADES):
        layers += [MaskedAffineAutoregressiveTransform(2, sizes.HIDDEN[0], **options), ReversePermutation(2)]
    return _flow(layers[:-1], worker)


def splines(worker):
    """Return the trainer of spline couplings."""
    options = {"num_bins": sizes.BINS, "tails": "linear", "tail_bound": sizes.BOUND}
    masks = _masks(sizes.SPLINES)
    return _flow([PiecewiseRationalQuadraticCouplingTransform(mask, Conditioner, **options) for mask in masks], worker)
