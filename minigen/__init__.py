"""The engine of *Generative Models from Scratch*: generative models in NumPy and autograd."""

__version__ = "0.1.0"
