"""PyTorch, eager, written by hand for two features with nothing that is not needed: the same formulas as minigen's."""

import math

import torch
from torch import nn

from benchmarks import workloads as sizes
from benchmarks.implementations.torch_training import mlp, trainer


def realnvp(worker):
    """Return the trainer of affine couplings: the two columns take turns, and are never put together."""
    nets = nn.ModuleList([mlp(1, 2, zero=True) for _ in range(sizes.COUPLINGS)])

    def loss(x):
        kept, moved = x[:, :1], x[:, 1:]
        log_det = 0
        for net in nets:
            raw, shift = net(kept).unbind(1)
            log_scale = 2 * torch.tanh(raw / 2)
            log_det = log_det + log_scale
            kept, moved = torch.addcmul(shift[:, None], moved, torch.exp(log_scale)[:, None]), kept
        squares = (kept * kept + moved * moved)[:, 0]
        return (0.5 * squares - log_det).mean() + math.log(2 * math.pi)

    return trainer(nets, loss, worker)


def vae(worker):
    """Return the trainer of a VAE with two latents."""
    encoder, decoder = mlp(2, 4, zero=True), mlp(2, 2)
    constant = 2 * math.log(sizes.NOISE) + math.log(2 * math.pi)

    def loss(x):
        mean, raw = encoder(x).chunk(2, 1)
        log_std = 7 * torch.tanh(raw / 7)
        std = torch.exp(log_std)
        error = x - decoder(torch.addcmul(mean, std, torch.randn_like(mean)))
        kl = 0.5 * (mean * mean + std * std - 1).sum() - log_std.sum()
        return ((error * error).sum() * (0.5 / sizes.NOISE**2) + kl) / len(x) + constant

    return trainer(nn.ModuleList([encoder, decoder]), loss, worker)
