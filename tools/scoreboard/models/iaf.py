"""The five layers of the MAF, each turned round: data to noise takes two passes a layer."""

from minigen.autoregressive.maf import MAF
from minigen.foundations.change_of_variables import Inverse
from tools.scoreboard.models import flow_model

TITLE, CHAPTER, LEARNING_RATE = "IAF", "book/autoregressive/iaf", 5e-3


def build(rng, x):
    """Return the model, ready to be trained."""
    return flow_model([Inverse(MAF(2, order=[k % 2, 1 - k % 2])) for k in range(5)], rng, x)
