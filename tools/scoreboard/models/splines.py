"""Two affine couplings, which bring far points near, then four spline couplings of 16 bins; two hidden layers of 64."""

from minigen.flows.coupling import AffineCoupling, alternating_mask
from minigen.flows.splines import RationalQuadraticCoupling
from tools.scoreboard.models import flow_model

TITLE, CHAPTER, LEARNING_RATE = "Spline flow", "book/flows/splines-and-beyond", 5e-3


def build(rng, x):
    """Return the model, ready to be trained."""
    kinds = 2 * [AffineCoupling] + 4 * [RationalQuadraticCoupling]
    return flow_model([kind(alternating_mask(2, k % 2)) for k, kind in enumerate(kinds)], rng, x)
