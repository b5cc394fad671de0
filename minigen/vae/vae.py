"""The variational autoencoder: an encoder that guesses the posterior, a decoder that is the likelihood, one loss.

- Model: `z ~ N(0, I)`, `x ~ p(x|z)`, whose parameters the decoder computes from z.
- Posterior's guess: `q(z|x)`, a Gaussian whose parameters the encoder computes from x.
- Loss: minus the ELBO, `E_q[log p(x|z)] − KL(q‖N(0, I))`, averaged over points and summed over features, in nats.

The noise of the likelihood is a model of its own, and says what the network's numbers mean:

=====================  ==========================  ================================================
noise                  network's output            log p(x|z), up to a constant and a factor
=====================  ==========================  ================================================
`GaussianNoise`        mean (D)                    minus the squared error
`LearnedGaussian`      mean (D), raw scale (D)     the same in units of the scale
`BernoulliNoise`       logits (D)                  minus the cross-entropy
=====================  ==========================  ================================================
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import autograd.numpy as np
import numpy

from minigen.errors import OutsideDomainError, check_integer, check_points, require
from minigen.foundations.distributions import log_normal
from minigen.nets import MLP, check_hidden
from minigen.numerics import sigmoid
from minigen.reparameterization.estimators import DiagonalGaussian, log_standard_normal
from minigen.tree import tree_leaves
from minigen.vae import elbo as bounds
from minigen.vae import fused as nodes

__all__ = ["VAE", "BernoulliNoise", "Decoder", "Encoder", "GaussianNoise", "LearnedGaussian", "Noise"]

_BLOCK = 2**14  # draws at a time in `VAE.log_likelihood`


class Noise:
    """The contract of a noise model p(x|z), given the decoder network's output y (N, outputs(D)) at z.

    `params` are the noise's own, {} for most. `mean(params, y)` is E[x|z] and `sample(params, rng, y)` a draw of x,
    both (N, D); `log_prob(params, y, x)` is log p(x|z), (N,), in nats, traced, one autograd node where `fused`.
    `node` names the noise in `minigen.vae.fused.LIKELIHOODS`, with its constants, if it has no parameters.

    >>> Noise().outputs(3), Noise().init(numpy.zeros((1, 3)))
    (3, {})
    """

    node: tuple[str, dict[str, float]] | None = None

    def outputs(self, features):
        """Return how many numbers the network has to give for D features."""
        return features

    def init(self, x):
        """Return the starting params, in x's dtype."""
        return {}

    def check(self, x):
        """Raise OutsideDomainError where x has no probability: called where values may be looked at."""

    def log_prob(self, params, y, x, fused=True):
        """Return log p(x|z), shape (N,)."""
        if self.node is None:
            raise NotImplementedError(f"{type(self).__name__} does not define log_prob")
        name, constants = self.node
        return (nodes.LIKELIHOODS[name].node if fused else nodes.LIKELIHOODS[name].plain)(y, x, **constants)

    def mean(self, params, y):
        """Return E[x|z]."""
        return y

    def sample(self, params, rng, y):
        """Draw x ~ p(x|z), one for each row of y."""
        raise NotImplementedError(f"{type(self).__name__} does not define sample")


@dataclass(frozen=True)
class GaussianNoise(Noise):
    """Gaussian noise of one given size: `p(x|z) = N(mean(z), std² I)`.

    A squared error is this likelihood: `log p(x|z) = −|x − mean|²/(2·std²) − D·log std − D/2·log 2π`, where std weighs
    the error against the KL, and the last term is what makes an ELBO comparable with log p(x).
    Raises ValueError unless std > 0.

    >>> GaussianNoise(0.5).log_prob({}, numpy.zeros((1, 2)), numpy.zeros((1, 2))).round(4)
    array([-0.4516])
    """

    std: float = 1.0

    def __post_init__(self):
        require(0 < self.std < math.inf, f"GaussianNoise: expected std > 0 and finite, got {self.std!r}")

    @property
    def node(self):
        """The name of its node, and the constants."""
        return "gaussian", {"std": float(self.std)}

    def sample(self, params, rng, y):
        """Draw x."""
        return y + float(self.std) * rng.standard_normal(y.shape).astype(y.dtype)


@dataclass(frozen=True)
class LearnedGaussian(Noise):
    """Gaussian noise of a learned size, `std = floor·(1 + exp(raw + a))`, 1 at raw = 0 and never below `floor`.

    The network gives a raw scale for each feature at each z; with `shared`, one trained number serves all (as in
    probabilistic PCA). Without a floor the likelihood has no maximum: where the mean meets a point, std → 0 lets the
    density grow without end. Raises ValueError unless 0 < floor < 1.
    Reference: Rybkin, Daniilidis and Levine (2021), arXiv:2006.13202 (shared); Mattei and Frellsen (2018),
    arXiv:1802.04826 (no maximum).

    >>> noise = LearnedGaussian(floor=0.1)
    >>> noise.log_prob({}, numpy.array([[0.0, -1000.0]]), numpy.zeros((1, 1))).round(4)  # at the floor
    array([1.3836])
    """

    floor: float = 0.01
    shared: bool = False

    def __post_init__(self):
        require(0 < self.floor < 1, f"LearnedGaussian: expected 0 < floor < 1, got {self.floor!r}")

    @property
    def node(self):
        """The name of its node, and the constants; none if a parameter is shared."""
        return None if self.shared else ("learned", {"floor": float(self.floor)})

    def outputs(self, features):
        """Return 2D, a mean and a raw scale for each feature, or D if the scale is shared."""
        return features if self.shared else 2 * features

    def init(self, x):
        """Return the raw scale, 0, if it is shared."""
        return {"raw_scale": numpy.zeros((), dtype=x.dtype)} if self.shared else {}

    def log_std(self, params, y):
        """Return log std: (N, D), or one number if it is shared."""
        raw = params["raw_scale"] if self.shared else y[:, y.shape[1] // 2 :]
        return nodes.floored_log_std(raw, float(self.floor))

    def log_prob(self, params, y, x, fused=True):
        """Return log p(x|z), shape (N,)."""
        return log_normal(x, y, self.log_std(params, y)) if self.shared else super().log_prob(params, y, x, fused)

    def mean(self, params, y):
        """Return E[x|z]."""
        return y if self.shared else y[:, : y.shape[1] // 2]

    def sample(self, params, rng, y):
        """Draw x."""
        mean = self.mean(params, y)
        return mean + np.exp(self.log_std(params, y)) * rng.standard_normal(mean.shape).astype(y.dtype)


@dataclass(frozen=True)
class BernoulliNoise(Noise):
    """Bits: x_d is 1 with probability `sigmoid(logit_d(z))`, and `log p(x|z) = Σ x·logit − softplus(logit)`.

    The likelihood of 0 and 1 only. Grey values give a number too, but not the logarithm of a density: round them, or
    draw bits from them. `VAE.init` and `VAE.log_likelihood` look, and raise OutsideDomainError.

    >>> BernoulliNoise().log_prob({}, numpy.zeros((1, 2)), numpy.array([[0.0, 1.0]])).round(4)
    array([-1.3863])
    """

    node = ("bernoulli", {})

    def check(self, x):
        """Raise OutsideDomainError unless all x are 0 or 1."""
        strange = int(numpy.sum((x != 0) & (x != 1)))
        if strange:
            raise OutsideDomainError(f"BernoulliNoise: expected values 0 and 1, got {strange} others")

    def mean(self, params, y):
        """Return E[x|z], the probabilities."""
        return sigmoid(y)

    def sample(self, params, rng, y):
        """Draw x."""
        return (rng.random(y.shape) < sigmoid(y)).astype(y.dtype)


@dataclass(frozen=True)
class Encoder:
    """The posterior's guess q(z|x): a network from x to the parameters of a Gaussian family, its rows the points.

    `posterior` is the family, `DiagonalGaussian()` or `CholeskyGaussian()`. The network's last layer starts at 0, so q
    starts as the prior and the KL as 0. With no `hidden` widths the mean is linear in x.
    x (N, inputs) gives params for the family, leaves (N, ...). Raises ValueError for sizes below 1.

    >>> encoder = Encoder(inputs=3, latent=2)
    >>> encoder(encoder.init(numpy.random.default_rng(0)), numpy.ones((1, 3)))
    {'mean': array([[0., 0.]]), 'log_std': array([[0., 0.]])}
    """

    inputs: int
    latent: int
    hidden: Sequence[int] = (64, 64)
    posterior: Any = DiagonalGaussian()
    activation: str = "tanh"
    fused: bool = True

    def __post_init__(self):
        check_integer("Encoder", "latent", self.latent, 1)
        object.__setattr__(self, "hidden", check_hidden("Encoder", self.hidden))
        _ = self.net  # its own checks

    @functools.cached_property
    def net(self):
        """The network, an `MLP`."""
        outputs = self.posterior.outputs(self.latent)
        return MLP(self.inputs, self.hidden, outputs, activation=self.activation, output_scale=0.0, fused=self.fused)

    def init(self, rng, dtype=float):
        """Draw the network's parameters."""
        return self.net.init(rng, dtype)

    def __call__(self, params, x):
        """Return q's params."""
        return self.posterior.from_outputs(self.net(params, x))

    def sample_and_kl(self, params, x, eps):
        """Return `z = z(x, ε)`, one draw for each point, and KL(q‖N(0, I)), (N,)."""
        if self.fused and isinstance(self.posterior, DiagonalGaussian):
            y = self.net(params, x)
            return nodes.sample(y, eps), nodes.kl(y)
        q = self(params, x)
        return self.posterior.from_noise(q, eps), self.posterior.kl_standard_normal(q)


@dataclass(frozen=True)
class Decoder:
    """The likelihood p(x|z): a network from z to what the `noise` model wants to know.

    Parameters: `net` and `noise`. z (N, latent), x (N, outputs). With no `hidden` widths the mean is linear in z.
    Raises ValueError for sizes below 1.

    >>> decoder = Decoder(latent=2, outputs=3, noise=GaussianNoise(0.1))
    >>> params = decoder.init(numpy.random.default_rng(0), numpy.zeros((1, 3)))
    >>> decoder.log_likelihood(params, numpy.zeros((5, 3)), numpy.zeros((5, 2))).shape
    (5,)
    """

    latent: int
    outputs: int
    hidden: Sequence[int] = (64, 64)
    noise: Any = GaussianNoise()
    activation: str = "tanh"
    fused: bool = True

    def __post_init__(self):
        check_integer("Decoder", "outputs", self.outputs, 1)
        object.__setattr__(self, "hidden", check_hidden("Decoder", self.hidden))
        _ = self.net  # its own checks

    @functools.cached_property
    def net(self):
        """The network, an `MLP`."""
        outputs = self.noise.outputs(self.outputs)
        return MLP(self.latent, self.hidden, outputs, activation=self.activation, fused=self.fused)

    def init(self, rng, x):
        """Draw the network's parameters, and start the noise's."""
        return {"net": self.net.init(rng, x.dtype), "noise": self.noise.init(x)}

    def log_likelihood(self, params, x, z):
        """Return log p(x|z), shape (N,)."""
        x = check_points("Decoder", x, self.outputs)
        return self.noise.log_prob(params["noise"], self.net(params["net"], z), x, self.fused)

    def mean(self, params, z):
        """Return E[x|z], shape (N, outputs)."""
        return self.noise.mean(params["noise"], self.net(params["net"], z))

    def sample(self, params, rng, z):
        """Draw x ~ p(x|z), one for each z."""
        return self.noise.sample(params["noise"], rng, self.net(params["net"], z))


@dataclass(frozen=True)
class VAE:
    """The variational autoencoder: an `Encoder` and a `Decoder`, trained together on the ELBO.

    Params: `encoder` and `decoder`. Points x (N, D), latents (N, D_z), everything else (N,), in nats. Cost of a step:
    both networks once forward and once backward. NaN in x gives NaN. Params, noise and results have the dtype of the x
    that `init` saw; in float32 the ELBO of a point is right to about 1e-6 of the largest term in it.
    Raises ValueError if the two do not fit together, or points them.
    Reference: Kingma and Welling (2014), arXiv:1312.6114; Rezende, Mohamed and Wierstra (2014), arXiv:1401.4082.

    >>> from minigen.train import Adam, fit
    >>> vae = VAE(Encoder(2, 1, hidden=(16,)), Decoder(1, 2, hidden=(16,), noise=GaussianNoise(0.2)))
    >>> rng = numpy.random.default_rng(0)
    >>> t = rng.standard_normal((1000, 1))
    >>> data = numpy.concatenate([t, numpy.sin(t)], axis=1) + 0.2 * rng.standard_normal((1000, 2))
    >>> params = vae.init(rng, data)
    >>> params, history = fit(vae.loss, params, data, rng=rng, steps=500, batch_size=100, optimizer=Adam(0.01))
    >>> log_likelihood, error = vae.log_likelihood(params, rng, data, 100)
    >>> bool(-2.0 < log_likelihood.mean() < -1.0), bool(vae.elbo(params, rng, data).mean() < log_likelihood.mean())
    (True, True)
    >>> vae.sample(params, rng, 3).shape
    (3, 2)
    """

    encoder: Encoder
    decoder: Decoder

    def __post_init__(self):
        for name, kind, article in (("encoder", Encoder, "an Encoder"), ("decoder", Decoder, "a Decoder")):
            part = getattr(self, name)
            require(isinstance(part, kind), f"VAE: expected {article} as {name}, got {part!r}")
        inner, outer = (self.encoder.latent, self.decoder.latent), (self.encoder.inputs, self.decoder.outputs)
        require(inner[0] == inner[1], f"VAE: the encoder has {inner[0]} latents but the decoder {inner[1]}")
        require(outer[0] == outer[1], f"VAE: the encoder takes {outer[0]} features but the decoder gives {outer[1]}")

    def init(self, rng, x):
        """Return the starting params, in the dtype of the example batch x."""
        x = check_points("VAE", x, self.encoder.inputs)
        self.decoder.noise.check(x)
        return {"encoder": self.encoder.init(rng, x.dtype), "decoder": self.decoder.init(rng, x)}

    def elbo(self, params, rng, x):
        """Return an unbiased estimate of the ELBO at each point, from one draw: `log p(x|z) − KL(q‖N(0, I))`."""
        x = check_points("VAE", x, self.encoder.inputs)
        return self.elbo_from_noise(params, x, self._noise(rng, x))

    def elbo_from_noise(self, params, x, eps):
        """Return the estimate that the noise eps (N, D_z) gives."""
        x = check_points("VAE", x, self.encoder.inputs)
        wanted, found = (x.shape[0], self.encoder.latent), np.shape(eps)
        require(found == wanted, f"VAE: expected noise of shape {wanted}, got shape {found}")
        z, kl = self.encoder.sample_and_kl(params["encoder"], x, eps)
        return self.decoder.log_likelihood(params["decoder"], x, z) - kl

    def loss(self, params, rng, batch):
        """Return minus the mean ELBO of the batch, one draw for each point: what `minigen.train.fit` minimises."""
        x = check_points("VAE", batch, self.encoder.inputs)
        eps = self._noise(rng, x)
        if not self._one_node:
            return np.sum(self.elbo_from_noise(params, x, eps)) * (-1 / len(x))
        networks = (params["encoder"], params["decoder"]["net"])
        layers = [layer[name] for network in networks for layer in network for name in ("weight", "bias")]
        likelihood, constants = self.decoder.noise.node
        return nodes.negative_elbo(
            *(x, eps, *layers),
            depth=len(self.encoder.hidden) + 1,
            activations=(self.encoder.activation, self.decoder.activation),
            likelihood=likelihood,
            constants=constants,
        )

    @property
    def _one_node(self):
        """Whether all parts of the loss have fused passes: it is one autograd node then."""
        diagonal = isinstance(self.encoder.posterior, DiagonalGaussian)
        return self.encoder.fused and self.decoder.fused and diagonal and self.decoder.noise.node is not None

    def encode(self, params, x):
        """Return q(z|x): the params of the encoder's family, such as `mean` and `log_std`, (N, D_z)."""
        return self.encoder(params["encoder"], x)

    def decode(self, params, z):
        """Return E[x|z], shape (N, D), without the noise."""
        return self.decoder.mean(params["decoder"], z)

    def sample(self, params, rng, n):
        """Draw n points, shape (n, D): z from the prior, then x from the likelihood, noise included."""
        check_integer("VAE.sample", "n", n, 0)
        dtype = tree_leaves(params["decoder"])[0].dtype
        z = rng.standard_normal((n, self.decoder.latent)).astype(dtype)
        return self.decoder.sample(params["decoder"], rng, z)

    def log_joint(self, params, x, z):
        """Return log p(x, z) = log N(z; 0, I) + log p(x|z), shape (N,)."""
        return log_standard_normal(z) + self.decoder.log_likelihood(params["decoder"], x, z)

    def log_weights(self, params, x, eps):
        """Return the log importance weights `log p(x, z) − log q(z|x)`, (K, N), for noise (K, N, D_z)."""
        x = check_points("VAE", x, self.encoder.inputs)
        log_joint = functools.partial(self.log_joint, params)
        return bounds.log_weights(self.encoder.posterior, self.encode(params, x), log_joint, x, eps)

    def log_likelihood(self, params, rng, x, draws):
        """Return the importance-sampled log p(x) and its standard error, both (N,): `elbo.importance_sampled`.

        `draws` (K >= 2) of q for each point, some 16,384 at a time, so that memory is bounded by that and by N and K N
        numbers. Raises OutsideDomainError for points that the noise model gives no probability.
        """
        check_integer("VAE.log_likelihood", "draws", draws, 2)
        x = check_points("VAE", x, self.encoder.inputs)
        self.decoder.noise.check(x)
        size = max(1, _BLOCK // max(1, len(x)))
        sizes = [min(size, draws - start) for start in range(0, draws, size)]
        weights = [self.log_weights(params, x, self._noise(rng, x, block)) for block in sizes]
        return bounds.importance_sampled(numpy.concatenate(weights))

    def _noise(self, rng, x, *draws):
        return rng.standard_normal((*draws, len(x), self.encoder.latent)).astype(x.dtype, copy=False)
