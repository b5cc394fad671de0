"""Latent-variable models: the evidence lower bound, and the variational autoencoder that maximises it."""
