"""RealNVP from normflows' own parts; its MAF is the slow way round in density, so it is no peer there."""

import normflows

from benchmarks import workloads as sizes
from benchmarks.implementations.torch_training import mlp, trainer


def realnvp(worker):
    """Return the trainer of affine couplings with the features swapped between them."""
    layers = []
    for _ in range(sizes.COUPLINGS):
        layers += [normflows.flows.AffineCouplingBlock(mlp(1, 2, zero=True)), normflows.flows.Permute(2, mode="swap")]
    flow = normflows.NormalizingFlow(normflows.distributions.base.DiagGaussian(2, trainable=False), layers[:-1])
    return trainer(flow, flow.forward_kld, worker, flow.log_prob, lambda n: flow.sample(n)[0])
