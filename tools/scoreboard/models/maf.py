"""Five MAF layers of two masked hidden layers of 64, the order turned round each time."""

from minigen.autoregressive.maf import MAF
from tools.scoreboard.models import flow_model

TITLE, CHAPTER, LEARNING_RATE = "MAF", "book/autoregressive/maf", 5e-3


def build(rng, x):
    """Return the model, ready to be trained."""
    return flow_model([MAF(2, order=[k % 2, 1 - k % 2]) for k in range(5)], rng, x)
