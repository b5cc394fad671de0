"""The same flows from zuko's own parts."""

import torch
import zuko

from benchmarks import workloads as sizes
from benchmarks.implementations.torch_training import trainer

NETS = {"hidden_features": sizes.HIDDEN, "activation": torch.nn.Tanh}


def _flow(flow, worker):
    return trainer(
        flow,
        lambda x: -flow().log_prob(x).mean(),
        worker,
        lambda x: flow().log_prob(x),
        lambda n: flow().sample((n,)),
    )


def realnvp(worker):
    """Return the trainer of affine couplings."""
    return _flow(zuko.flows.RealNVP(2, transforms=sizes.COUPLINGS, **NETS), worker)


def maf(worker):
    """Return the trainer of MADEs."""
    return _flow(zuko.flows.MAF(2, transforms=sizes.MADES, **NETS), worker)


def splines(worker):
    """Return the trainer of zuko's NSF with passes=2: in two dimensions both features go through splines."""
    return _flow(zuko.flows.NSF(2, bins=sizes.BINS, transforms=sizes.SPLINES, passes=2, **NETS), worker)


def spline_couplings(worker):
    """Return the trainer of spline couplings, zuko's RealNVP with a spline for its affine map."""
    shapes = [(sizes.BINS,), (sizes.BINS,), (sizes.BINS - 1,)]
    spline = {"univariate": zuko.transforms.MonotonicRQSTransform, "shapes": shapes}
    return _flow(zuko.flows.RealNVP(2, transforms=sizes.SPLINES, **spline, **NETS), worker)
