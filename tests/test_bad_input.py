"""What a reader gets for a wrong call: one table over the public functions and classes of minigen.

Each row names the function, what was tried, the error that must come and words that its message must hold. A public name
without a row fails, so that the table stays complete. `python tests/test_bad_input.py` prints the table.
"""

import importlib

import numpy as np
import pytest

from minigen import checks, display, fused, nets, numerics, plot, train, tree
from minigen.autoregressive import made, maf
from minigen.errors import (
    OutsideDomainError,
    SingularMatrixError,
    as_float,
    check_batch,
    check_integer,
    check_points,
    check_positive,
    check_real,
)
from minigen.flows import coupling, flow, glow, multiscale, planar, splines
from minigen.foundations import change_of_variables as cov
from minigen.foundations import determinants as det
from minigen.foundations import distributions as dist
from minigen.foundations import energy, jacobians, linear, toys
from minigen.reparameterization import estimators, relaxations
from minigen.vae import elbo, vae

MODULES = [
    "errors",
    "numerics",
    "tree",
    "nets",
    "fused",
    "train",
    "checks",
    "plot",
    "display",
    "foundations.jacobians",
    "foundations.digits",
    "foundations.distributions",
    "foundations.toys",
    "foundations.determinants",
    "foundations.change_of_variables",
    "foundations.linear",
    "foundations.energy",
    "reparameterization.estimators",
    "reparameterization.relaxations",
    "flows.coupling",
    "flows.flow",
    "flows.glow",
    "flows.multiscale",
    "flows.planar",
    "flows.splines",
    "autoregressive.made",
    "autoregressive.maf",
    "vae.elbo",
    "vae.vae",
]  # fmt: skip  (the parts' own fused nodes stand behind the doors of their layers)
# Errors and contracts, constants, and formulas that take any number that NumPy can add up.
WITHOUT_A_DOOR = {
    "NoInverseError", "NonFiniteError", "OutsideDomainError", "SingularMatrixError", "IllConditionedWarning", "require",
    "CARD", "COLOURS", "DENSITY", "LINE", "SIGNED", "TOYS", "LARGEST_EXPANSION", "ACTIVATIONS", "Activation", "Toy",
    "Elementwise", "Net", "stop_gradient", "constant", "fuse", "fuse_mean", "dense_stack", "dense_stack_plain", "same_log_det",
    "load_digits", "log_normal", "tree_leaves", "count_params", "Scrubber", "check_shape", "solve_monotone",
}  # fmt: skip

rng = np.random.default_rng(0)
ones, square = np.ones((4, 2)), np.eye(2)
normal = dist.Normal(np.zeros(2), np.eye(2))
strings = np.array([["a", "b"]])
bits = made.BernoulliMADE(made.MADE(2, (4,)))
likelihood = elbo.LinearGaussian(np.ones((3, 2)), np.zeros(3), 1.0)
diagonal, of_draw = estimators.DiagonalGaussian(), {"mean": np.zeros(2), "log_std": np.zeros(2)}
full, of_full = estimators.CholeskyGaussian(), {"mean": np.zeros(2), "log_diag": np.zeros(2), "lower": np.zeros(1)}
posterior = {"mean": np.zeros((4, 2)), "log_std": np.zeros((4, 2))}
model = flow.Flow(flow.standard_normal(2), coupling.AffineCoupling([1, 0], hidden=(4,)))
trained = model.init(rng, ones)
autoencoder = vae.VAE(vae.Encoder(2, 1, (4,)), vae.Decoder(1, 2, (4,)))
_, axes = plot.panels()


class Shear(cov.Bijection):
    """A sound map, so that only the points are wrong."""

    def forward(self, params, x, context=None):
        return x + 1.0, np.zeros(len(x))

    def inverse(self, params, z, context=None):
        return z - 1.0, np.zeros(len(z))


def loss(params, rng, batch):
    return np.sum(params["a"] ** 2)


def toy_rows():
    for name in (
        "Banana",
        "CorrelatedGaussian",
        "EightGaussians",
        "Funnel",
        "Pinwheel",
        "Rings",
        "SineWave",
        "Spirals",
    ):
        toy = getattr(toys, name)()
        yield (
            name,
            "log_prob of one point without its batch",
            lambda t=toy: t.log_prob(np.ones(2)),
            ValueError,
            "x\\[None",
        )
    yield "TwoMoons", "scale = 0", lambda: toys.TwoMoons(scale=0.0), ValueError, "expected scale > 0"
    yield "TwoMoons", "log_prob of strings", lambda: toys.TwoMoons().log_prob(strings), TypeError, "dtype"
    yield (
        "Checkerboard",
        "three features",
        lambda: toys.Checkerboard().log_prob(np.ones((4, 3))),
        ValueError,
        "\\(4, 3\\)",
    )


ROWS = [
    ("as_float", "strings", lambda: as_float(["a"]), TypeError, "Cannot cast"),
    ("check_batch", "a number", lambda: check_batch("me", 1.0), ValueError, "me: expected points"),
    ("check_integer", "2.5", lambda: check_integer("me", "n", 2.5, 1), ValueError, "n to be an integer >= 1, got 2.5"),
    ("check_real", "booleans", lambda: check_real("me", ones > 0, "A"), TypeError, "real numbers in A"),
    ("check_positive", "NaN", lambda: check_positive("me", "bound", np.nan), ValueError, "positive, finite bound, got nan"),
    ("check_points", "shape (2,)", lambda: check_points("me", np.ones(2)), ValueError, "got shape \\(2,\\)"),
    ("check_points", "booleans", lambda: check_points("me", ones > 0), TypeError, "got dtype bool"),
    *((f, "strings", lambda f=f: getattr(numerics, f)(["a"]), TypeError, "Cannot cast")
      for f in ("log_sigmoid", "sigmoid", "softplus", "tanh", "logsumexp", "log_mean_exp")),
    ("logsumexp", "an empty axis", lambda: numerics.logsumexp(np.ones((2, 0))), ValueError, "at least one entry along axis -1"),
    ("sum_except_batch", "a scalar", lambda: numerics.sum_except_batch(1.0), ValueError, "got a scalar"),
    ("ravel", "an integer leaf", lambda: tree.ravel({"a": np.ones(2, dtype=int)}), TypeError, "params\\['a'\\]"),
    ("tree_map", "trees that differ", lambda: tree.tree_map(max, {"a": 1.0}, {"b": 1.0}), ValueError, "as in the first tree"),
    ("Dense", "no outputs", lambda: nets.Dense(2, 0), ValueError, "outputs"),
    ("MLP", "one width for a sequence of them", lambda: nets.MLP(2, 3, 1), ValueError, "such as \\(64, 64\\) as hidden, got 3"),
    ("MLP", "an unknown activation", lambda: nets.MLP(2, (3,), 1, activation="sine"), ValueError, "sine"),
    ("MaskedMLP", "a mask of 2s", lambda: nets.MaskedMLP([2 * np.eye(2)]), ValueError, "0"),
    ("CausalConv1D", "a kernel of 0", lambda: nets.CausalConv1D(1, 1, 0), ValueError, "kernel_size"),
    ("Conv2D", "an even kernel", lambda: nets.Conv2D(1, 1, 2), ValueError, "odd"),
    ("relu", "strings", lambda: fused.relu(["a"]), TypeError, "Cannot cast"),
    ("SGD", "a negative rate", lambda: train.SGD(-1.0), ValueError, "learning_rate"),
    ("Momentum", "momentum = 1", lambda: train.Momentum(0.1, 1.0), ValueError, "momentum"),
    ("Adam", "beta1 = 1", lambda: train.Adam(beta1=1.0), ValueError, "beta1"),
    ("cosine", "no steps", lambda: train.cosine(0), ValueError, "steps"),
    ("warm_up", "no steps", lambda: train.warm_up(0), ValueError, "steps"),
    ("FlatGradient", "integers", lambda: train.FlatGradient(loss, {"a": np.ones(2, int)}), TypeError, "int64"),
    ("minibatches", "a batch too large", lambda: next(train.minibatches(rng, ones, 5)), ValueError, "5"),
    ("fit", "no data", lambda: train.fit(loss, {"a": np.ones(2)}, ones[:0], rng=rng, steps=1, batch_size=1),
     ValueError, "at least one point"),
    *((f, "no points", lambda f=f: getattr(checks, f)(Shear(), {}, ones[:0]), ValueError, "at least one point")
      for f in ("round_trip_error", "log_det_cancel_error", "log_det_error", "batch_dependence")),
    ("dependency_matrix", "one point without its batch", lambda: checks.dependency_matrix(abs, np.ones(2)), ValueError,
     "points of shape"),
    ("total_mass", "bounds upside down", lambda: checks.total_mass(normal.log_prob, ((1, 0), (0, 1))), ValueError, "low < high"),
    ("panels", "eight inches", lambda: plot.panels(figsize=(8, 3)), ValueError, "at most 7.2"),
    ("plane", "bounds upside down", lambda: plot.plane(axes, ((1, 0), (0, 1))), ValueError, "low < high"),
    ("density", "log_prob of shape (N, 1)", lambda: plot.density(axes, lambda x: x[:, :1], ((0, 1), (0, 1))),
     ValueError, "return shape"),
    ("contours", "no mass", lambda: plot.contours(axes, lambda x: np.full(len(x), -np.inf), ((0, 1), (0, 1))),
     ValueError, "mass inside"),
    ("samples", "three features", lambda: plot.samples(axes, np.ones((4, 3))), ValueError, "\\(4, 3\\)"),
    ("warped_grid", "a map to the line", lambda: plot.warped_grid(axes, lambda x: x[:, 0], ((0, 1), (0, 1))),
     ValueError, "return shape"),
    ("matrix", "a vector", lambda: plot.matrix(axes, np.ones(3), rows="i", columns="j"), ValueError, "matrix"),
    ("parallelogram", "3 by 3", lambda: plot.parallelogram(axes, np.eye(3)), ValueError, "2 by 2"),
    ("curves", "an unknown role", lambda: plot.curves(axes, {"a": [1.0]}, xlabel="", ylabel="", roles={"a": "b"}),
     ValueError, "b"),
    ("colour_bar", "no picture", lambda: plot.colour_bar(None, "x"), ValueError, "got None"),
    ("scrub", "one value", lambda: plot.scrub(print, [1], "x", alt=str), ValueError, "at least two"),
    ("source", "a number", lambda: display.source(1), TypeError, "written in Python"),
    *((f"jacobian_{mode}", "a batch", lambda mode=mode: getattr(jacobians, f"jacobian_{mode}")(abs, ones), ValueError,
       "one point x of shape") for mode in ("forward", "reverse", "finite")),
    ("jacobian_finite", "step 0", lambda: jacobians.jacobian_finite(abs, np.ones(2), step=0.0), ValueError, "positive"),
    ("Distribution", "the contract itself", lambda: dist.Distribution().entropy(), NotImplementedError, "entropy"),
    ("Normal", "a covariance that is not positive definite", lambda: dist.Normal(np.zeros(2), -square),
     SingularMatrixError, "positive"),
    ("Normal", "log_prob of three features", lambda: normal.log_prob(np.ones((4, 3))), ValueError, "\\(N, 2\\)"),
    ("Uniform", "high < low", lambda: dist.Uniform([1.0], [0.0]), ValueError, "low < high"),
    ("Logistic", "scale 0", lambda: dist.Logistic([0.0], [0.0]), ValueError, "scale"),
    ("Bernoulli", "a probability of 2", lambda: dist.Bernoulli([2.0]), ValueError, "prob"),
    ("Bernoulli", "log_prob of 0.5", lambda: dist.Bernoulli([0.5]).log_prob([[0.5]]), OutsideDomainError, "0"),
    ("Categorical", "weights that sum to 2", lambda: dist.Categorical([1.0, 1.0]), ValueError, "sum"),
    ("Mixture", "more weights than components", lambda: dist.Mixture([0.5, 0.5], [normal]), ValueError, "2 components"),
    ("kl_normal", "two dimensions against one", lambda: dist.kl_normal(normal, dist.Normal([0.0], [1.0])), ValueError, "q has 1"),
    *toy_rows(),
    ("energy_distance", "one point", lambda: energy.energy_distance(ones[:1], ones), ValueError, "two points"),
    ("kl_to", "a log_prob of the wrong shape", lambda: toys.kl_to(toys.Banana(), lambda x: x, rng, 10), ValueError, "shape \\(10,\\)"),
    *((f, "2 by 3", lambda f=f: getattr(det, f)(np.ones((2, 3))), ValueError, "square")
      for f in ("adjugate", "det_gradient", "det_laplace", "det_leibniz", "det_lu", "det_triangular", "log_abs_det", "lu")),
    *((f, "NaN", lambda f=f: getattr(det, f)([[np.nan]]), ValueError, "finite") for f in ("det_lu", "log_abs_det")),
    ("det_leibniz", "12 by 12", lambda: det.det_leibniz(np.eye(12)), ValueError, "12"),
    ("log_abs_det_gradient", "a singular matrix", lambda: det.log_abs_det_gradient([[1, 2], [2, 4]]),
     SingularMatrixError, "invertible"),
    *((f, "U and V that differ", lambda f=f: getattr(det, f)(np.ones(2), ones[:2], np.ones((2, 1))), ValueError, "one shape")
      for f in ("det_lemma", "log_abs_det_lemma")),
    ("woodbury_solve", "b of another length", lambda: det.woodbury_solve(np.ones(2), square, square, np.ones(3)),
     ValueError, "b of shape"),
    *((f"multiplications_{f}", "2.5", lambda f=f: getattr(det, f"multiplications_{f}")(2.5), ValueError, "integer")
      for f in ("laplace", "leibniz", "lu")),
    ("parity", "no permutation", lambda: det.parity([0, 0]), ValueError, "once"),
    ("Bijection", "the contract itself", lambda: cov.Bijection().forward({}, ones), NotImplementedError, "forward"),
    ("Affine", "a shift of another length", lambda: cov.Affine().forward(
        {"log_scale": np.zeros(2), "shift": np.zeros(3)}, ones), ValueError, "has 2 features"),
    ("Permute", "no permutation", lambda: cov.Permute([0, 0]), ValueError, "permutation"),
    ("Chain", "a function in place of a map", lambda: cov.Chain([abs]), ValueError, "position 0"),
    ("Inverse", "a function in place of a map", lambda: cov.Inverse(abs), ValueError, "Bijection"),
    ("Pushforward", "a function in place of a map", lambda: cov.Pushforward(normal, abs), ValueError, "Bijection"),
    ("Branches", "no branch", lambda: cov.Branches(dist.Normal([0.0], [1.0]), np.square, []), ValueError, "at least one"),
    ("SignedPower", "exponent 0", lambda: cov.SignedPower(0), ValueError, "positive"),
    *((f, "inverse of 2, outside its range" if f in ("Tanh", "Sigmoid") else "inverse of -2, outside its range",
       lambda f=f: getattr(cov, f)().inverse({}, np.full((1, 1), 2.0 if f in ("Tanh", "Sigmoid") else -2.0)),
       OutsideDomainError, "at \\(0, 0\\)") for f in ("Exp", "Tanh", "Sigmoid", "Softplus")),
    ("DenseLinear", "a singular weight", lambda: linear.DenseLinear().inverse({"weight": np.ones((2, 2))}, ones),
     SingularMatrixError, "invertible"),
    ("TriangularLinear", "three features for two", lambda: linear.TriangularLinear().forward(
        linear.TriangularLinear().init(rng, ones), np.ones((4, 3))), ValueError, "features"),
    ("LULinear", "signs of 2", lambda: linear.LULinear(signs=[2.0, 1.0]).init(rng, ones), ValueError, "sign"),
    ("LowRankLinear", "rank 0", lambda: linear.LowRankLinear(0), ValueError, "rank"),
    ("solve_triangular", "2 by 3", lambda: linear.solve_triangular(np.ones((2, 3)), ones), ValueError, "solve_triangular"),
    # reparameterization
    ("DiagonalGaussian", "noise of another D", lambda: diagonal.from_noise(of_draw, np.ones((4, 3))), ValueError, "\\(N, 2\\)"),
    ("DiagonalGaussian", "strings", lambda: diagonal.log_prob(of_draw, strings), TypeError, "Cannot cast"),
    ("DiagonalGaussian", "a network of 3 outputs", lambda: diagonal.from_outputs(np.ones((4, 3))), ValueError, "3 numbers"),
    ("CholeskyGaussian", "a network of 4 outputs", lambda: full.from_outputs(np.ones((4, 4))), ValueError, "4 numbers"),
    ("CholeskyGaussian", "two entries below the diagonal", lambda: full.factor(of_full | {"lower": np.zeros(2)}), ValueError,
     "expected 1 entries"),
    ("CholeskyGaussian", "log_prob of another D", lambda: full.log_prob(of_full, np.ones((4, 3))), ValueError, "\\(N, 2\\)"),
    ("bounded_log_scale", "strings", lambda: estimators.bounded_log_scale(strings), TypeError, "Cannot cast"),
    ("log_standard_normal", "a number", lambda: estimators.log_standard_normal(1.0), ValueError, "got a scalar"),
    ("leave_one_out", "one value", lambda: estimators.leave_one_out([1.0]), ValueError, "N >= 2"),
    ("mean_and_standard_error", "one draw", lambda: estimators.mean_and_standard_error(np.ones(1)), ValueError, "N >= 2"),
    ("per_sample_gradients", "two numbers a draw", lambda: estimators.per_sample_gradients(lambda p: p["mean"], of_draw, 4),
     ValueError, "one number for each draw"),
    *((f, "a function that returns (N, D)", lambda f=f: getattr(estimators, f)(diagonal, of_draw, lambda z: z, ones),
       ValueError, "one number for each draw")
      for f in ("optimal_baseline", "pathwise", "pathwise_elbo", "score_function", "sticking_the_landing")),
    ("score_function", "three baselines for four draws", lambda: estimators.score_function(
        diagonal, of_draw, lambda z: z[:, 0], ones, np.ones(3)), ValueError, "expected one baseline, or \\(4,\\)"),
    *((f, "noise of two for logits of three", lambda f=f, t=t: getattr(relaxations, f)(np.zeros(3), ones, *t), ValueError, "noise \\(N, K\\)")
      for f, t in (("gumbel_max", ()), ("gumbel_softmax", (1.0,)))),
    ("gumbel_softmax", "temperature 0", lambda: relaxations.gumbel_softmax(np.zeros(2), ones, 0.0), ValueError, "temperature > 0"),
    ("straight_through", "shapes that differ", lambda: relaxations.straight_through(ones, ones[:1]), ValueError, "soft has"),
    ("OneHotCategorical", "draws of two for logits of three", lambda: relaxations.OneHotCategorical().log_prob(
        {"logits": np.zeros(3)}, ones), ValueError, "\\(N, 3\\)"),
    ("GumbelSoftmax", "temperature 0", lambda: relaxations.GumbelSoftmax(0.0), ValueError, "temperature > 0"),
    ("enumerate_expectation", "a batch of logits", lambda: relaxations.enumerate_expectation(ones, abs), ValueError, "\\(K,\\)"),
    # flows
    ("alternating_mask", "one feature", lambda: coupling.alternating_mask(1), ValueError, "2 or more"),
    ("half_mask", "parity 2", lambda: coupling.half_mask(4, 2), ValueError, "parity"),
    ("checkerboard_mask", "height 2.5", lambda: coupling.checkerboard_mask(2.5, 2), ValueError, "height"),
    ("checkerboard_mask", "width 0", lambda: coupling.checkerboard_mask(2, 0), ValueError, "width"),
    ("AdditiveCoupling", "a mask of ones", lambda: coupling.AdditiveCoupling([1]), ValueError, "D = 1 has none"),
    ("AffineCoupling", "bound 0", lambda: coupling.AffineCoupling([1, 0], bound=0), ValueError, "bound"),
    ("AffineCoupling", "a mask of 3 for x of 2", lambda: coupling.AffineCoupling([1, 0, 1]).init(rng, ones), ValueError,
     "mask has 3 entries but x has 2 features"),
    ("Scale", "params of another D", lambda: coupling.Scale().forward({"log_scale": np.zeros(3)}, ones), ValueError, "has 2 features"),
    ("Flow", "a number as base", lambda: flow.Flow(1.0, cov.Affine()), ValueError, "expected a Distribution as base"),
    ("Flow", "one point without its batch", lambda: model.log_prob(trained, np.ones(2)), ValueError, "x\\[None"),
    ("Flow", "strings", lambda: model.log_prob(trained, strings), TypeError, "got dtype <U1"),
    ("Flow", "a context of another length", lambda: model.log_prob(trained, ones, ones[:3]), ValueError, "expected 4 rows"),
    ("Flow", "2.5 samples", lambda: model.sample(trained, rng, 2.5), ValueError, "n to be an integer"),
    ("standard_normal", "no features", lambda: flow.standard_normal(0), ValueError, "features"),
    ("ActNorm", "a start from nothing", lambda: glow.ActNorm().init(rng, ones[:0]), ValueError, "at least one point"),
    ("Invertible1x1", "a singular weight", lambda: glow.Invertible1x1().forward({"weight": np.zeros((2, 2))}, ones),
     SingularMatrixError, "determinant 0"),
    ("Invertible1x1LU", "a singular start", lambda: glow.Invertible1x1LU(np.zeros((2, 2))), SingularMatrixError, "determinant 0"),
    ("random_rotation", "no features", lambda: glow.random_rotation(rng, 0), ValueError, "features"),
    ("Logit", "2, outside its domain", lambda: multiscale.Logit().forward({}, 2 * ones), OutsideDomainError, "got 2.0"),
    ("MultiScale", "no levels", lambda: multiscale.MultiScale((4, 4, 1), []), ValueError, "at least one level"),
    ("Split", "one channel", lambda: multiscale.Split(cov.Affine(), (1,)), ValueError, "2 channels"),
    ("Squeeze", "an odd height", lambda: multiscale.Squeeze().forward({}, np.ones((1, 3, 4, 1))), ValueError, "divisible by 2"),
    ("bits_per_dimension", "no dimensions", lambda: multiscale.bits_per_dimension(ones, 0, 256), ValueError, "dimensions"),
    ("dequantize", "0.5, no whole number", lambda: multiscale.dequantize(rng, 0.5 * ones), OutsideDomainError, "got 0.5"),
    ("quantize", "NaN", lambda: multiscale.quantize(np.nan * ones), OutsideDomainError, "got NaN"),
    ("output_shape", "a function in place of a map", lambda: multiscale.output_shape(abs, (2,)), ValueError, "Bijection"),
    ("Planar", "-1 features of a context", lambda: planar.Planar(-1), ValueError, "context_features"),
    ("Radial", "points of another D", lambda: planar.Radial().forward(planar.Radial().init(rng, ones), np.ones((4, 3))),
     ValueError, "centre is \\(2,\\) but x has 3"),
    ("RationalQuadraticCoupling", "no bins", lambda: splines.RationalQuadraticCoupling([1, 0], bins=0), ValueError, "bins"),
    ("rational_quadratic_spline", "4 raw numbers", lambda: splines.rational_quadratic_spline(ones[0], np.ones((2, 4)), 1.0),
     ValueError, "3K - 1"),
    ("rational_quadratic_spline", "bound -1", lambda: splines.rational_quadratic_spline(ones[0], np.ones((2, 5)), -1.0),
     ValueError, "positive, finite bound"),
    # autoregressive
    ("degrees", "no permutation", lambda: made.degrees([0, 2], (3,)), ValueError, "permutation"),
    ("degrees", "one width", lambda: made.degrees([0, 1], 3), ValueError, "as hidden, got 3"),
    ("masks", "one layer", lambda: made.masks([np.arange(2)]), ValueError, "at least two layers"),
    ("path_counts", "masks that do not fit", lambda: made.path_counts([np.ones((2, 3)), np.ones((2, 3))]), ValueError, "fit together"),
    ("path_counts", "no masks", lambda: made.path_counts([]), ValueError, "fit together"),
    ("MADE", "an order of 3 for 2 features", lambda: made.MADE(2, order=[0, 1, 2]), ValueError, "3 entries in the order"),
    ("BernoulliMADE", "0.5", lambda: bits.log_prob(bits.init(rng, ones), 0.5 * ones), OutsideDomainError, "0 and 1"),
    ("GaussianMADE", "a MADE of one output", lambda: made.GaussianMADE(bits.made), ValueError, "outputs=2"),
    ("gaussian_conditionals", "shape (N, D)", lambda: made.gaussian_conditionals(ones, 2.0), ValueError, "\\(N, 2, D\\)"),
    ("MAF", "bound 0", lambda: maf.MAF(2, bound=0), ValueError, "bound"),
    # vae
    ("LinearGaussian", "b of another length", lambda: elbo.LinearGaussian(np.ones((3, 2)), np.zeros(2), 1.0), ValueError, "3 rows"),
    ("LinearGaussian", "latents of another D", lambda: likelihood.decode(np.ones((4, 3))), ValueError, "\\(N, 2\\)"),
    *((f, "noise without draws", lambda f=f: getattr(elbo, f)(diagonal, posterior, max, ones, ones), ValueError, "\\(K, 4, D_z\\)")
      for f in ("elbo_sampled", "elbo_split", "importance_weighted_bound", "log_weights")),
    ("log_weights", "noise of another D", lambda: elbo.log_weights(diagonal, posterior, max, ones, np.ones((1, 4, 3))),
     ValueError, "\\(N, 2\\)"),
    ("importance_sampled", "one draw", lambda: elbo.importance_sampled(np.ones((1, 4))), ValueError, "K >= 2"),
    ("VAE", "latents that differ", lambda: vae.VAE(vae.Encoder(2, 1), vae.Decoder(2, 2)), ValueError, "latents"),
    ("VAE", "no encoder", lambda: vae.VAE(None, autoencoder.decoder), ValueError, "expected an Encoder"),
    ("VAE", "noise of three for four points", lambda: autoencoder.elbo_from_noise(autoencoder.init(rng, ones), ones, ones[:3, :1]),
     ValueError, "noise of shape \\(4, 1\\)"),
    ("VAE", "-1 samples", lambda: autoencoder.sample(autoencoder.init(rng, ones), rng, -1), ValueError, "n to be an integer >= 0"),
    ("Encoder", "one width", lambda: vae.Encoder(2, 1, 64), ValueError, "Encoder: expected widths"),
    ("Encoder", "no latents", lambda: vae.Encoder(2, 0), ValueError, "latent"),
    ("Decoder", "one width", lambda: vae.Decoder(1, 2, 64), ValueError, "Decoder: expected widths"),
    ("Decoder", "no outputs", lambda: vae.Decoder(1, 0), ValueError, "outputs"),
    ("Noise", "the contract itself", lambda: vae.Noise().log_prob({}, ones, ones), NotImplementedError, "log_prob"),
    ("Noise", "the contract itself, samples", lambda: vae.Noise().sample({}, rng, ones), NotImplementedError, "sample"),
    ("GaussianNoise", "std 0", lambda: vae.GaussianNoise(0.0), ValueError, "std > 0"),
    ("LearnedGaussian", "floor 1", lambda: vae.LearnedGaussian(floor=1.0), ValueError, "floor < 1"),
    ("BernoulliNoise", "grey values", lambda: vae.BernoulliNoise().check(0.5 * ones), OutsideDomainError, "0 and 1"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "tried", "call", "error", "words"), ROWS, ids=[f"{r[0]}: {r[1]}" for r in ROWS])
def test_bad_input_is_refused(name, tried, call, error, words):
    with pytest.raises(error, match=words) as caught:
        call()
    assert str(caught.value).strip()


def test_every_public_name_has_a_row():
    named = {row[0] for row in ROWS} | WITHOUT_A_DOOR
    public = {name for module in MODULES for name in importlib.import_module(f"minigen.{module}").__all__}
    assert public - named == set()
    assert named - public == set()


if __name__ == "__main__":
    for name, tried, call, *_ in ROWS:
        try:
            call()
        except Exception as error:
            print(f"| `{name}` | {tried} | {type(error).__name__}: {error} |")
