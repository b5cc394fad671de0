"""What all PyTorch implementations share: networks, and a step with Adam, in the form that the worker asks for."""

import torch
from torch import nn

from benchmarks import workloads as sizes
from benchmarks.implementations import Trainer

torch.set_num_threads(1)
torch.manual_seed(0)


def mlp(inputs, outputs, zero=False):
    """Return a network with the workloads' hidden layers; with `zero` the last layer starts at 0, as minigen's do."""
    widths = (inputs, *sizes.HIDDEN)
    layers = [part for i, o in zip(widths, sizes.HIDDEN, strict=False) for part in (nn.Linear(i, o), nn.Tanh())]
    last = nn.Linear(widths[-1], outputs)
    if zero:
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
    return nn.Sequential(*layers, last)


def trainer(module, loss, worker, log_prob=None, sample=None):
    """Return the `Trainer` that minimises ``loss(x)``; `log_prob` and `sample` take and return PyTorch's tensors."""
    module.to(getattr(torch, worker.dtype))
    parameters = list(module.parameters())
    optimizer = torch.optim.Adam(parameters, lr=sizes.LEARNING_RATE, fused=worker.fused_adam or None)

    def step(batch, rate):
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad(set_to_none=True)
        value = loss(torch.from_numpy(batch))
        value.backward()
        optimizer.step()
        return value.detach()

    def density(x):
        with torch.no_grad():
            return log_prob(torch.from_numpy(x)).numpy()

    def draw(n):
        with torch.no_grad():
            return sample(n).numpy()

    return Trainer(step, sum(parameter.numel() for parameter in parameters), density, draw)
