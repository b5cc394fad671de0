"""One network of two masked hidden layers of 64, with Gaussian conditionals, the first feature first."""

from minigen.autoregressive.made import MADE, GaussianMADE
from tools.scoreboard.models import density_model

TITLE, CHAPTER, LEARNING_RATE = "MADE", "book/autoregressive/made", 5e-3


def build(rng, x):
    """Return the model, ready to be trained."""
    return density_model(GaussianMADE(MADE(2, outputs=2)), rng, x)
