"""Gradients of expectations: the score function, the pathwise trick, and relaxations of discrete variables."""
