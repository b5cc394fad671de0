"""What all PyTorch implementations share: networks, and a step with Adam, in the form that the worker asks for."""

import torch
from torch import nn

from benchmarks import workloads as sizes

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


def trainer(module, loss, worker):
    """Return the step that minimises ``loss(x)``, and the number of parameters."""
    module.to(getattr(torch, worker.dtype))
    parameters = list(module.parameters())
    optimizer = torch.optim.Adam(parameters, lr=sizes.LEARNING_RATE, fused=worker.fused_adam or None)

    def step(batch):
        optimizer.zero_grad(set_to_none=True)
        value = loss(torch.from_numpy(batch))
        value.backward()
        optimizer.step()
        return value.detach()

    return step, sum(parameter.numel() for parameter in parameters)
