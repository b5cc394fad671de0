"""Densities, Jacobians and determinants, and the change of variables: what every model of the book stands on."""
