"""Autoregressive models: p(x) as a product of conditionals, each of one feature given those before it."""
