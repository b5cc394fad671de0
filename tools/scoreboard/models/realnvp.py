"""Eight affine couplings with two hidden layers of 64."""

from minigen.flows.coupling import AffineCoupling, alternating_mask
from tools.scoreboard.models import flow_model

TITLE, CHAPTER, LEARNING_RATE = "RealNVP", "book/flows/realnvp", 5e-3


def build(rng, x):
    """Return the model, ready to be trained."""
    return flow_model([AffineCoupling(alternating_mask(2, k % 2)) for k in range(8)], rng, x)
