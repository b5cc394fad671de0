"""Bugs of hand-written gradients, of losses and of causal nets, where there is an exact answer to compare with."""

import warnings

import autograd.numpy as np
import numpy
from autograd import grad
from autograd.extend import defvjp, primitive

from minigen import checks
from minigen.foundations.jacobians import jacobian_finite
from minigen.nets import CausalConv1D
from minigen.numerics import log_sigmoid, stop_gradient
from tests.mutants.exhibit import Exhibit, failing


def draw(*shape):
    return numpy.random.default_rng(0).normal(size=shape)


class Quantization:
    """The loss of a vector-quantized code, `|sg(z) − e|² + β·|z − sg(e)|²`, and the code that goes on."""

    BETA = 0.25

    def terms(self, z, e):
        return np.sum((stop_gradient(z) - e) ** 2), self.BETA * np.sum((z - stop_gradient(e)) ** 2)

    def loss(self, z, e):
        return sum(self.terms(z, e))

    def code(self, z, e):
        return z + stop_gradient(e - z)


class BetaOnTheWrongTerm(Quantization):
    """β weighs the codebook's term, where it should weigh the encoder's."""

    def terms(self, z, e):
        codebook, commitment = super().terms(z, e)
        return self.BETA * codebook, commitment / self.BETA


class LossAfterStraightThrough(Quantization):
    """The loss is computed from the code after the straight-through line, which has e's value and z's gradient."""

    def terms(self, z, e):
        return super().terms(z, self.code(z, e))


class Discriminator:
    """The classifier's loss by its logit h: `−E_p[log σ(h)] − E_q[log(1 − σ(h))]`."""

    def loss(self, h, p, q):
        return -np.sum(p * log_sigmoid(h) + q * log_sigmoid(-h))


class NoBottom(Discriminator):
    """The loss is `E_q[log σ(h)] − E_p[log σ(h)]`: log(1 − D) is replaced by −log D."""

    def loss(self, h, p, q):
        return -np.sum(p * log_sigmoid(h) - q * log_sigmoid(h))


class SymmetricPadding(CausalConv1D):
    """Zeros are added on both sides, as for an image: each step sees steps that come later."""

    @property
    def _padding(self):
        ((before, _),) = super()._padding
        return [(before - before // 2, before // 2)]


class ReceptiveFieldOffByOne(CausalConv1D):
    """The oldest tap starts one step too late: its input is not seen, and the next tap's is seen twice."""

    def _window(self, tap):
        (start,) = super()._window(tap)
        return (max(start, 1),)


def quadratic(matrix):
    """The sound one: the gradient of `vᵀ A v` by A is `v vᵀ`, and by v it is `(A + Aᵀ) v`."""

    @primitive
    def form(v):
        return v @ matrix @ v

    defvjp(form, lambda y, v: lambda g: g * ((matrix + matrix.T) @ v))
    return form


def vjp_sign(matrix):
    """A hand-written gradient has the wrong sign, and the test that should see it never runs."""

    @primitive
    def form(v):
        return v @ matrix @ v

    defvjp(form, lambda y, v: lambda g: -g * ((matrix + matrix.T) @ v))
    return form


def codebook_error(loss):
    """Is the codebook's gradient 2(e − z), and the encoder's 2β(z − e)?"""
    if not isinstance(loss, Quantization):
        return 0.0
    z, e = draw(2, 3)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Output seems independent")  # a gradient of 0 is what is looked for
        found = grad(loss.loss, 0)(z, e), grad(loss.loss, 1)(z, e)
    return max(abs(found[0] - 2 * loss.BETA * (z - e)).max(), abs(found[1] - 2 * (e - z)).max())


def optimum_error(loss):
    """Is the gradient 0 at the best classifier, h = log p/q?"""
    if not isinstance(loss, Discriminator):
        return 0.0
    p, q = abs(draw(2, 4))
    return abs(grad(loss.loss)(numpy.log(p / q), p, q)).max()


def time_matrix(net):
    x, params = draw(1, 7, 1), net.init(numpy.random.default_rng(0))
    flat = lambda x: np.reshape(net(params, np.reshape(x, (-1, 7, 1))), (-1, 7))  # noqa: E731
    return checks.dependency_matrix(flat, x[..., 0])


def future_error(net):
    """Does any step see a later one?"""
    return numpy.triu(time_matrix(net), 1).sum() if isinstance(net, CausalConv1D) else 0.0


def lost_error(net):
    """Does each step see itself and the two before it?"""
    return (numpy.tri(7, 7) - numpy.tri(7, 7, -3) > time_matrix(net)).sum() if isinstance(net, CausalConv1D) else 0.0


def finite_error(form):
    """Is the gradient by hand that of finite differences?"""
    if not callable(form) or isinstance(form, CausalConv1D):
        return 0.0
    v = draw(3)
    return max(abs(grad(form)(v) - jacobian_finite(lambda v: numpy.atleast_1d(form(v)), v).ravel()).max() - 1e-6, 0.0)


CHECKS = {
    "codes": codebook_error,
    "best classifier": optimum_error,
    "leak": future_error,
    "lost": lost_error,
    "finite differences": finite_error,
}


def sound():
    """Return what the mutants spoil."""
    return [Quantization, Discriminator, CausalConv1D, quadratic]


def verdicts(kind):
    """Return the checks that find something wrong."""
    if not isinstance(kind, type):
        broken = kind(draw(3, 3))
    else:
        broken = kind(1, 1, kernel_size=3) if issubclass(kind, CausalConv1D) else kind()
    return failing(CHECKS, broken)


EXHIBITS = [
    Exhibit(
        BetaOnTheWrongTerm,
        "an image tokenizer, and others after it (CompVis/taming-transformers#57)",
        "at β = 1/4 the codebook learns four times slower than was meant, the encoder is bound four times tighter",
        {"codes"},
        12,
    ),
    Exhibit(
        LossAfterStraightThrough,
        "several repositories (bytedance/1d-tokenizer PR#120, andylolu2/jax-vqvae-gpt#2)",
        "the loss has the right value; the codebook gets no gradient and stays as it was drawn",
        {"codes"},
        12,
    ),
    Exhibit(
        SymmetricPadding,
        "several WaveNets (golbin/WaveNet#5, ibab/tensorflow-wavenet#29)",
        "a loss too good to be true, and noise when it samples",
        {"leak", "lost"},
        15,
    ),
    Exhibit(
        ReceptiveFieldOffByOne,
        "several WaveNets (ibab/tensorflow-wavenet#346, PR#191)",
        "a loss slightly too high",
        {"lost"},
        15,
    ),
    Exhibit(
        NoBottom,
        "an example of an autodiff library, which says that it always collapses (HIPS/autograd)",
        "the discriminator's loss falls without end, and there is no equilibrium to collapse from",
        {"best classifier"},
        16,
    ),
    Exhibit(
        vjp_sign,
        "a release of an autodiff library (HIPS/autograd PR#412): a typing error had switched the test off",
        "values are right, and descent climbs",
        {"finite differences"},
        17,
    ),
]
