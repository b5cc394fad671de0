"""Eight planar maps, from data to noise."""

from minigen.flows.planar import Planar
from tools.scoreboard.models import flow_model

TITLE, CHAPTER, LEARNING_RATE = "Planar flow", "book/flows/normalizing-flows", 5e-3


def build(rng, x):
    """Return the model, ready to be trained."""
    return flow_model([Planar() for _ in range(8)], rng, x)
