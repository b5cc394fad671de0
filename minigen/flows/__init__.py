"""Normalizing flows: invertible layers whose log-determinants are cheap, and the density and sampler made of them."""
