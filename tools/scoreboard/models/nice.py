"""Eight additive couplings with two hidden layers of 64, and one trainable scale a feature."""

from minigen.flows.coupling import AdditiveCoupling, Scale, alternating_mask
from tools.scoreboard.models import flow_model

TITLE, CHAPTER, LEARNING_RATE = "NICE", "book/flows/nice", 5e-3


def build(rng, x):
    """Return the model, ready to be trained."""
    couplings = [AdditiveCoupling(alternating_mask(2, k % 2)) for k in range(8)]
    return flow_model([*couplings, Scale()], rng, x)
