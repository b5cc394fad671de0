"""Eight steps of actnorm, an invertible matrix by its LU factors, and an affine coupling of two hidden layers of 64."""

from minigen.flows.coupling import AffineCoupling, alternating_mask
from minigen.flows.glow import ActNorm, Invertible1x1LU, random_rotation
from tools.scoreboard.models import flow_model

TITLE, CHAPTER, LEARNING_RATE = "Glow", "book/flows/glow", 5e-3


def build(rng, x):
    """Return the model, ready to be trained."""
    mask = alternating_mask(2)  # the same in every step: the matrices do the mixing
    steps = [(ActNorm(), Invertible1x1LU(random_rotation(rng, 2)), AffineCoupling(mask)) for _ in range(8)]
    return flow_model([layer for step in steps for layer in step], rng, x)
