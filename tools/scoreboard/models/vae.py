"""Two latents, encoder and decoder of two hidden layers of 64, Gaussian noise of one learned size."""

import numpy as np

from minigen.vae.vae import VAE, Decoder, Encoder, LearnedGaussian
from tools.scoreboard.models import Model

TITLE, CHAPTER, LEARNING_RATE = "VAE", "book/vae/vae", 5e-3
DRAWS, BLOCK = 500, 1_000  # of the encoder for the log-likelihood of a point, and the points at a time


def build(rng, x):
    """Return the model, ready to be trained."""
    vae = VAE(Encoder(2, 2), Decoder(2, 2, noise=LearnedGaussian(floor=0.02, shared=True)))

    def log_prob(params, rng, x):
        blocks = [x[start : start + BLOCK] for start in range(0, len(x), BLOCK)]
        return np.concatenate([vae.log_likelihood(params, rng, block, DRAWS)[0] for block in blocks])

    return Model(vae.init(rng, x), vae.loss, log_prob, vae.sample, vae.elbo)
