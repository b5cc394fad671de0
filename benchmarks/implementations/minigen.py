"""Minigen: what `minigen.train.fit` does in a step (loss, gradient, Adam), without its history and progress bar."""

import numpy

from benchmarks import workloads as sizes
from benchmarks.implementations import Trainer
from minigen.autoregressive.maf import MAF
from minigen.flows.coupling import AffineCoupling, alternating_mask
from minigen.flows.flow import Flow, standard_normal
from minigen.flows.splines import RationalQuadraticCoupling
from minigen.foundations.change_of_variables import Chain
from minigen.train import Adam, FlatGradient
from minigen.vae.vae import VAE, Decoder, Encoder, GaussianNoise


def _trainer(model, worker):
    rng = numpy.random.default_rng(worker.seed)
    objective = FlatGradient(model.loss, model.init(rng, numpy.zeros((1, 2), worker.dtype)))
    optimizer = Adam(1.0)  # times the rate of the step
    state = optimizer.init(objective.vector)

    def step(batch, rate):
        loss = objective(rng, batch)
        optimizer.update(state, objective.vector, objective.gradient, rate)
        return loss

    def params():
        return objective.unravel(objective.vector)

    return Trainer(
        step,
        objective.vector.size,
        lambda x: model.log_prob(params(), x),
        lambda n: model.sample(params(), rng, n),
    )


def _flow(layers, worker):
    return _trainer(Flow(standard_normal(2), Chain(layers)), worker)


def realnvp(worker):
    """Return the trainer of affine couplings that take turns."""
    return _flow([AffineCoupling(alternating_mask(2, k % 2), sizes.HIDDEN) for k in range(sizes.COUPLINGS)], worker)


def maf(worker):
    """Return the trainer of MADEs in orders that take turns."""
    orders = ([0, 1], [1, 0])
    return _flow([MAF(2, sizes.HIDDEN, order=orders[k % 2]) for k in range(sizes.MADES)], worker)


def splines(worker):
    """Return the trainer of spline couplings that take turns."""
    options = {"bins": sizes.BINS, "bound": sizes.BOUND}
    masks = [alternating_mask(2, k % 2) for k in range(sizes.SPLINES)]
    return _flow([RationalQuadraticCoupling(mask, sizes.HIDDEN, **options) for mask in masks], worker)


def _relu_splines():
    options = {"bins": sizes.BINS, "bound": sizes.BOUND, "activation": "relu"}
    masks = [alternating_mask(2, k % 2) for k in range(sizes.SPLINES)]
    return [RationalQuadraticCoupling(mask, sizes.HIDDEN, **options) for mask in masks]


def relu_splines(worker):
    """Return the trainer of spline couplings with relu, which bends more sharply than tanh."""
    return _flow(_relu_splines(), worker)


def affine_then_splines(worker):
    """Return the trainer of the same after two affine couplings, which reach as far as the data do."""
    affine = [AffineCoupling(alternating_mask(2, k), sizes.HIDDEN) for k in range(2)]
    return _flow([*affine, *_relu_splines()], worker)


def vae(worker):
    """Return the trainer of a VAE with two latents."""
    noise = GaussianNoise(sizes.NOISE)
    return _trainer(VAE(Encoder(2, 2, sizes.HIDDEN), Decoder(2, 2, sizes.HIDDEN, noise=noise)), worker)
