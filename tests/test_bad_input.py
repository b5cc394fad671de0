"""What a reader gets for a wrong call: one table over the public functions and classes of the ground floor and foundations.

Each row names the function, what was tried, the error that must come and words that its message must hold. A public name
without a row fails, so that the table stays complete. `python tests/test_bad_input.py` prints the table.
"""

import importlib

import numpy as np
import pytest

from minigen import checks, display, fused, nets, numerics, plot, train, tree
from minigen.errors import (
    OutsideDomainError,
    SingularMatrixError,
    as_float,
    check_batch,
    check_integer,
    check_points,
    check_real,
)
from minigen.foundations import change_of_variables as cov
from minigen.foundations import determinants as det
from minigen.foundations import distributions as dist
from minigen.foundations import jacobians, linear, toys

MODULES = [
    "errors", "numerics", "tree", "nets", "fused", "train", "checks", "plot", "display", "foundations.jacobians",
    "foundations.distributions", "foundations.toys", "foundations.determinants", "foundations.change_of_variables",
    "foundations.linear",
]  # fmt: skip
# Errors and contracts, constants, and formulas that take any number that NumPy can add up.
WITHOUT_A_DOOR = {
    "NoInverseError", "NonFiniteError", "OutsideDomainError", "SingularMatrixError", "IllConditionedWarning", "require",
    "CARD", "COLOURS", "DENSITY", "LINE", "SIGNED", "TOYS", "LARGEST_EXPANSION", "ACTIVATIONS", "Activation", "Toy",
    "Elementwise", "Net", "stop_gradient", "constant", "fuse", "dense_stack", "dense_stack_plain", "same_log_det",
    "log_normal", "tree_leaves", "count_params", "Scrubber", "check_shape",
}  # fmt: skip

rng = np.random.default_rng(0)
ones, square = np.ones((4, 2)), np.eye(2)
normal = dist.Normal(np.zeros(2), np.eye(2))
strings = np.array([["a", "b"]])
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
    ("check_points", "shape (2,)", lambda: check_points("me", np.ones(2)), ValueError, "got shape \\(2,\\)"),
    ("check_points", "booleans", lambda: check_points("me", ones > 0), TypeError, "got dtype bool"),
    *((f, "strings", lambda f=f: getattr(numerics, f)(["a"]), TypeError, "Cannot cast")
      for f in ("log_sigmoid", "sigmoid", "softplus", "tanh", "logsumexp", "log_mean_exp")),
    ("logsumexp", "an empty axis", lambda: numerics.logsumexp(np.ones((2, 0))), ValueError, "zero-size"),
    ("sum_except_batch", "a scalar", lambda: numerics.sum_except_batch(1.0), ValueError, "got a scalar"),
    ("ravel", "an integer leaf", lambda: tree.ravel({"a": np.ones(2, dtype=int)}), TypeError, "params\\['a'\\]"),
    ("tree_map", "trees that differ", lambda: tree.tree_map(max, {"a": 1.0}, {"b": 1.0}), ValueError, "as in the first tree"),
    ("Dense", "no outputs", lambda: nets.Dense(2, 0), ValueError, "outputs"),
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
