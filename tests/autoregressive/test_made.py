"""MADE: who sees whom, by degrees, by paths and by the Jacobian; and the models that are made of it."""

import itertools

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad
from autograd.test_util import check_grads
from scipy import stats

from minigen import checks
from minigen.autoregressive.made import (
    MADE,
    BernoulliMADE,
    GaussianMADE,
    degrees,
    gaussian_conditionals,
    masks,
    path_counts,
)
from minigen.autoregressive.maf import MAF
from minigen.errors import OutsideDomainError
from minigen.foundations.change_of_variables import Pushforward
from minigen.foundations.distributions import Normal
from minigen.tree import ravel, tree_leaves, tree_map
from tests.counting import counted_nodes


def jitter(params, rng, scale=0.5):
    return tree_map(lambda leaf: leaf + scale * rng.normal(size=leaf.shape).astype(leaf.dtype), params)


def allowed(order, context_features=0):
    """Return what each feature's conditional may see: (D, D + C) of bool, from the definition."""
    place = {feature: k for k, feature in enumerate(order)}
    D = len(order)
    return np.array([[j >= D or place[j] < place[i] for j in range(D + context_features)] for i in range(D)])


def seen(made, params, rng, outputs):
    """Return what each output of a net depends on by its Jacobian: features, then context, (K·D, D + C)."""
    D, C = made.features, made.context_features
    x = rng.normal(size=(3, D + C))

    def flat(both):
        y = made(params, both[:, :D], both[:, D:] if C else None)
        return anp.reshape(y, (len(both), outputs * D))

    return checks.dependency_matrix(flat, x)


# ---------------------------------------------------------------- degrees and masks


def test_degrees_by_hand():
    inputs, hidden, outputs = degrees([2, 0, 1], (4,), context_features=2)
    np.testing.assert_array_equal(inputs, [2, 3, 1, 0, 0])
    np.testing.assert_array_equal(hidden, [0, 0, 1, 2])
    np.testing.assert_array_equal(outputs, [2, 3, 1])
    inputs, *hidden, outputs = degrees(range(4), (6, 3, 2))
    np.testing.assert_array_equal(inputs, outputs)
    assert [layer.tolist() for layer in hidden] == [[1, 1, 2, 2, 3, 3], [1, 2, 3], [1, 2]]
    assert [layer.tolist() for layer in degrees([0], (2,))] == [[1], [1, 1], [1]]
    assert [layer.tolist() for layer in degrees([0], (2,), 1)] == [[1, 0], [0, 0], [1]]
    assert len(degrees([0, 1], ())) == 2


@pytest.mark.parametrize("context_features", [0, 1])
@pytest.mark.parametrize("D", [1, 2, 3, 7])
def test_degrees_are_used_equally_often(D, context_features):
    for width in range(1, 20):
        hidden = degrees(range(D), (width,), context_features)[1]
        lowest = 0 if context_features else 1
        counts = np.bincount(hidden, minlength=max(D, 2))[lowest:]
        assert hidden.min() == lowest
        assert hidden.max() <= max(D - 1, lowest)
        assert counts.sum() == width
        assert (np.diff(hidden) >= 0).all()
        if width >= max(D - lowest, 1):
            assert counts[: max(D - lowest, 1)].max() - counts[: max(D - lowest, 1)].min() <= 1


@pytest.mark.parametrize("context_features", [0, 2])
@pytest.mark.parametrize("D", [1, 2, 3, 5, 10])
@pytest.mark.parametrize("extra", [(0,), (0, 0), (3, 0, 7)])
def test_no_allowed_connection_is_lost_and_no_other_made(D, context_features, extra):
    hidden = tuple(max(D, 1) + more for more in extra)
    for order in (range(D), range(D)[::-1], np.random.default_rng(D).permutation(D)):
        paths = path_counts(masks(degrees(order, hidden, context_features)))
        np.testing.assert_array_equal(paths > 0, allowed(order, context_features))


def test_widths_of_d_minus_1_are_enough_without_a_context():
    paths = path_counts(masks(degrees(range(6), (5, 5, 5))))
    np.testing.assert_array_equal(paths > 0, np.tri(6, k=-1, dtype=bool))


@pytest.mark.parametrize("hidden", [(1,), (3,), (3, 2), (2, 5)])
def test_a_narrow_layer_loses_connections_but_never_the_context_nor_the_rule(hidden):
    for D in (2, 5, 30):
        paths = path_counts(masks(degrees(range(D), hidden, 1)))
        assert (paths[:, -1] > 0).all()
        assert not (paths > 0)[~allowed(range(D), 1)].any()
        without = path_counts(masks(degrees(range(D), hidden)))
        assert (without[1:, 0] > 0).all()


def test_random_degrees_see_something_and_lose_something():
    rng = np.random.default_rng(0)
    lost = []
    for _ in range(200):
        layers = degrees(range(10), (10, 10), rng=rng)
        for below, above in zip(layers[:-2], layers[1:-1], strict=True):
            assert above.min() >= below.min()
            assert above.max() <= 9
        paths = path_counts(masks(layers))
        assert not np.triu(paths).any()
        lost.append(1 - (paths > 0).sum() / 45)
    assert 0.02 < np.mean(lost) < 0.3
    assert degrees([0], (3,), rng=rng)[1].tolist() == [1, 1, 1]


def test_masks_by_hand_and_blocks():
    layers = [np.array([1, 2, 0]), np.array([0, 1]), np.array([1, 2])]
    first, last = masks(layers, outputs=3)
    np.testing.assert_array_equal(first, [[0, 0, 1], [1, 0, 1]])
    np.testing.assert_array_equal(last, [[1, 0], [1, 1]] * 3)
    assert first.dtype == last.dtype == bool
    (only,) = masks(degrees(range(3), ()))
    np.testing.assert_array_equal(only, np.tri(3, k=-1))


def test_paths_are_counted():
    rng = np.random.default_rng(0)
    some = [rng.random(shape) < 0.8 for shape in ((4, 3), (5, 4), (2, 5))]
    counted = np.zeros((2, 3), dtype=int)
    for i, a, b, j in itertools.product(range(2), range(5), range(4), range(3)):
        counted[i, j] += some[2][i, a] and some[1][a, b] and some[0][b, j]
    np.testing.assert_array_equal(path_counts(some), counted)
    np.testing.assert_array_equal(path_counts(some[:1]), some[0])
    assert path_counts(some).dtype.kind == "i"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: degrees([0, 0], (2,)), "degrees: expected a permutation"),
        (lambda: degrees([], (2,)), "degrees: expected"),
        (lambda: degrees(range(0), (2,)), "degrees: expected"),
        (lambda: degrees([0.5], (2,)), "degrees: expected a permutation"),
        (lambda: degrees([0, 1], (2, 0)), r"degrees: expected hidden\[1\] to be an integer >= 1, got 0"),
        (lambda: degrees([0, 1], (2,), -1), "degrees: expected context_features to be an integer >= 0, got -1"),
        (lambda: masks([np.array([1])]), "masks: expected the degrees of at least two layers, got 1"),
        (lambda: masks(degrees([0], (2,)), 0), "masks: expected outputs to be an integer >= 1, got 0"),
    ],
)
def test_bad_structure(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# ---------------------------------------------------------------- the net


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("context_features", [0, 2])
@pytest.mark.parametrize("outputs", [1, 2, 3])
@pytest.mark.parametrize("D", [1, 2, 3, 5])
def test_the_jacobian_is_strictly_triangular_in_the_order(D, outputs, context_features, fused):
    rng = np.random.default_rng(D)
    for order in (None, range(D)[::-1], rng.permutation(D)):
        made = MADE(D, (7, 6), outputs, order, context_features, fused=fused)
        params = jitter(made.init(rng), rng)
        wanted = allowed(range(D) if order is None else order, context_features)
        np.testing.assert_array_equal(seen(made, params, rng, outputs), np.tile(wanted, (outputs, 1)))
        turned = wanted[np.ix_(made.order, made.order)]
        np.testing.assert_array_equal(turned, np.tri(D, k=-1, dtype=bool))


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1]])
def test_the_first_conditional_is_the_last_bias_unless_there_is_a_context(order):
    rng = np.random.default_rng(0)
    made = MADE(3, (5,), 2, order)
    params = jitter(made.init(rng), rng)
    y = made(params, rng.normal(size=(4, 3)))
    first = params[-1]["bias"].reshape(2, 3)[:, order[0]]
    np.testing.assert_array_equal(y[:, :, order[0]], np.tile(first, (4, 1)))


def test_one_feature():
    rng = np.random.default_rng(0)
    made = MADE(1, (4,), 2)
    params = jitter(made.init(rng), rng)
    np.testing.assert_array_equal(made(params, rng.normal(size=(3, 1)))[:, :, 0], np.tile(params[-1]["bias"], (3, 1)))
    conditional = MADE(1, (4,), 2, context_features=1)
    params, context = jitter(conditional.init(rng), rng), rng.normal(size=(3, 1))
    y = conditional(params, np.zeros((3, 1)), context)
    np.testing.assert_array_equal(y, conditional(params, np.ones((3, 1)), context))
    assert np.ptp(y, axis=0).min() > 1e-3


def test_a_thousand_features_are_one_pass():
    rng = np.random.default_rng(0)
    counts = []
    for D in (2, 1000):
        made = MADE(D, (64,), 2)
        params = made.init(rng)
        x = rng.normal(size=(4, D))
        with counted_nodes() as nodes:
            grad(lambda params, made=made, x=x: anp.sum(made(params, x)))(params)
        counts.append(len(nodes))
        assert made(params, x).shape == (4, 2, D)
    assert counts[0] == counts[1]


def test_fused_is_one_node():
    def names(fused):
        made = MADE(3, (5, 4), fused=fused)
        with counted_nodes() as nodes:
            grad(lambda params: anp.sum(made(params, np.ones((2, 3)))))(made.init(np.random.default_rng(0)))
        return nodes

    assert "dense_stack_plain" in names(True)
    assert names(False).count("dot") == 3


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("fused", [True, False])
def test_dtypes_and_shapes_of_values_and_gradients(fused, dtype):
    rng = np.random.default_rng(0)
    made = MADE(3, (5, 4), 2, context_features=2, fused=fused)
    params = jitter(made.init(rng, dtype), rng)
    x, context = rng.normal(size=(4, 3)).astype(dtype), rng.normal(size=(1, 2)).astype(dtype)
    y = made(params, x, context)
    assert y.dtype == dtype
    assert y.shape == (4, 2, 3)
    gradients = grad(lambda *a: anp.sum(made(*a) ** 2), (0, 1, 2))(params, x, context)
    for got, leaf in zip(tree_leaves(gradients), tree_leaves((params, x, context)), strict=True):
        assert got.shape == leaf.shape
        assert got.dtype == dtype
    np.testing.assert_allclose(made(params, x, np.repeat(context, 4, 0)), y, rtol=1e-5)
    check = ravel(tree_map(lambda leaf: leaf.astype(float), params))
    check_grads(lambda v: made(check[1](v), x.astype(float), context.astype(float)), modes=["rev"], order=1)(check[0])


def test_one_set_of_parameters_serves_several_orders():
    rng = np.random.default_rng(0)
    orders = [(0, 1, 2), (2, 1, 0), (1, 2, 0)]
    models = [BernoulliMADE(MADE(3, (6,), order=order)) for order in orders]
    bits = np.array(list(itertools.product([0, 1], repeat=3)))
    params = jitter(models[0].init(rng, bits), rng, scale=1.0)
    log_probs = np.array([model.log_prob(params, bits) for model in models])
    np.testing.assert_allclose(np.exp(log_probs).sum(axis=1), 1, atol=1e-12)
    assert np.abs(log_probs[0] - log_probs[1]).max() > 1e-2
    gradient = grad(lambda params: anp.sum(sum(model.log_prob(params, bits) for model in models)))(params)
    last_only = grad(lambda params: anp.sum(models[0].log_prob(params, bits)))(params)
    opened = (gradient[0]["weight"] != 0) & (last_only[0]["weight"] == 0)
    assert opened.any()


def test_start_at_zero_unless_told_otherwise():
    x = np.random.default_rng(1).normal(size=(3, 2))
    made, started = MADE(2), MADE(2, output_scale=1.0)
    assert not made(made.init(np.random.default_rng(0)), x).any()
    assert np.abs(started(started.init(np.random.default_rng(0)), x)).max() > 1e-2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MADE(0), "MADE: expected features to be an integer >= 1, got 0"),
        (lambda: MADE(2.0), "MADE: expected features to be an integer >= 1, got 2.0"),
        (lambda: MADE(2, order=[0, 1, 2]), "MADE: 2 features but 3 entries in the order"),
        (lambda: MADE(2, order=[0, 2]), "MADE: expected a permutation"),
        (lambda: MADE(2, (3, -1)), r"degrees: expected hidden\[1\] to be an integer >= 1, got -1"),
        (lambda: MADE(2, outputs=0), "masks: expected outputs to be an integer >= 1, got 0"),
        (lambda: MADE(2, context_features=0.5), "degrees: expected context_features to be an integer >= 0, got 0.5"),
        (lambda: MADE(2, activation="sine"), "expected an activation out of"),
        (lambda: BernoulliMADE(MADE(2, outputs=2)), "BernoulliMADE: expected a MADE with outputs=1, got outputs=2"),
        (lambda: GaussianMADE(MADE(2)), "GaussianMADE: expected a MADE with outputs=2, got outputs=1"),
        (lambda: GaussianMADE(MAF(2)), r"GaussianMADE: expected a MADE, got MAF\("),
        (lambda: GaussianMADE(MADE(2, outputs=2), bound=0.0), "GaussianMADE: expected a positive, finite bound, got 0"),
        (lambda: GaussianMADE(MADE(2, outputs=2), np.nan), "GaussianMADE: expected a positive, finite bound, got nan"),
    ],
)
def test_bad_constructors(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_batches_good_and_bad():
    rng = np.random.default_rng(0)
    made = MADE(3, (5,), 2, context_features=1)
    params, context = jitter(made.init(rng), rng), np.ones((1, 1))
    assert made(params, np.zeros((0, 3)), context).shape == (0, 2, 3)
    whole = np.ones((2, 3), dtype=int)
    np.testing.assert_array_equal(made(params, whole, context), made(params, whole.astype(float).tolist(), context))
    x = rng.normal(size=(3, 3))
    x[1, 0] = np.nan
    np.testing.assert_array_equal(np.isnan(made(params, x, context)).any(axis=(1, 2)), [False, True, False])
    for bad in (np.ones(3), np.ones((2, 4)), np.ones((1, 2, 3))):
        with pytest.raises(ValueError, match="^MADE: expected points of shape"):
            made(params, bad, context)
    for bad in ("text", None, np.ones((2, 3)) + 1j, [["a", "b", "c"]]):
        with pytest.raises(TypeError, match="^MADE: expected real numbers"):
            made(params, bad, context)
    with pytest.raises(ValueError, match=r"^MADE: context: expected shape \(2, 1\), got none$"):
        made(params, whole)
    with pytest.raises(ValueError, match="^MADE: context: expected 2 rows as x has, or one, got 3$"):
        made(params, whole, np.ones((3, 1)))
    with pytest.raises(ValueError, match="2 layers but 1 entries in the list params"):
        made(params[:1], whole, context)


# ---------------------------------------------------------------- models of bits


@pytest.mark.parametrize("context_features", [0, 2])
@pytest.mark.parametrize("D", [1, 2, 3, 5])
def test_probabilities_of_all_bits_sum_to_one(D, context_features):
    rng = np.random.default_rng(D)
    model = BernoulliMADE(MADE(D, (8, 8), order=rng.permutation(D), context_features=context_features))
    bits = np.array(list(itertools.product([0, 1], repeat=D)))
    context = rng.normal(size=(1, 2)) if context_features else None
    params = jitter(model.init(rng, bits, context), rng, scale=1.0)
    assert abs(np.exp(model.log_prob(params, bits, context)).sum() - 1) <= 1e-12
    fair = model.log_prob(model.init(rng, bits), bits, context)
    np.testing.assert_allclose(fair, np.full(2**D, -D * np.log(2)))


def test_log_prob_is_the_product_of_the_conditionals():
    rng = np.random.default_rng(0)
    model = BernoulliMADE(MADE(3, (6,), order=[1, 2, 0]))
    bits = rng.integers(0, 2, (5, 3))
    params = jitter(model.init(rng, bits), rng, scale=1.0)
    odds = model.made(params, bits)[:, 0]
    probs = 1 / (1 + np.exp(-odds))
    product = np.prod(bits * probs + (1 - bits) * (1 - probs), axis=1)
    np.testing.assert_allclose(model.log_prob(params, bits), np.log(product), rtol=1e-12)


def test_bits_are_drawn_as_often_as_they_are_probable():
    rng = np.random.default_rng(0)
    model = BernoulliMADE(MADE(3, (6,), order=[1, 2, 0], context_features=1))
    bits = np.array(list(itertools.product([0, 1], repeat=3)))
    context = np.array([[0.7]])
    params = jitter(model.init(rng, bits), rng, scale=0.7)
    drawn = model.sample(params, rng, 8000, context)
    assert drawn.shape == (8000, 3)
    counts = np.bincount((drawn @ [4, 2, 1]).astype(int), minlength=8)
    assert stats.chisquare(counts, 8000 * np.exp(model.log_prob(params, bits, context))).pvalue > 0.01
    assert model.sample(params, rng, 0, context).shape == (0, 3)
    np.testing.assert_array_equal(
        model.sample(params, np.random.default_rng(5), 9, context),
        model.sample(params, np.random.default_rng(5), 9, np.repeat(context, 9, 0)),
    )


def test_grey_pixels_are_no_bits():
    model = BernoulliMADE(MADE(2, (4,)))
    params = model.init(np.random.default_rng(0), np.zeros((1, 2)))
    for strange in (0.5, -1.0, np.nan):
        with pytest.raises(OutsideDomainError, match="BernoulliMADE: expected values 0 and 1, got 1 others"):
            model.log_prob(params, [[0.0, strange]])
    assert model.log_prob(params, np.zeros((0, 2))).shape == (0,)
    with pytest.raises(ValueError, match="^BernoulliMADE: expected points of shape"):
        model.log_prob(params, np.zeros((1, 3)))
    with pytest.raises(ValueError, match="BernoulliMADE: expected n to be an integer >= 0, got -1"):
        model.sample(params, np.random.default_rng(0), -1)


def test_extreme_odds_stay_finite():
    model = BernoulliMADE(MADE(1, (2,)))
    params = model.init(np.random.default_rng(0), np.zeros((1, 1)))
    params[-1]["bias"][:] = 1e3
    np.testing.assert_array_equal(model.log_prob(params, [[1], [0]]), [0.0, -1e3])
    np.testing.assert_array_equal(model.sample(params, np.random.default_rng(0), 3), np.ones((3, 1)))


# ---------------------------------------------------------------- Gaussian conditionals


def gaussian(D, context_features=0, order=None):
    rng = np.random.default_rng(D)
    model = GaussianMADE(MADE(D, (8, 8), 2, order, context_features))
    return model, jitter(model.init(rng, np.zeros((1, D))), rng), rng


def test_gaussian_conditionals_are_bounded_smoothly():
    y = np.zeros((3, 2, 1))
    y[:, 1, 0] = [-1e3, 1e-3, 1e3]
    mean, log_scale = gaussian_conditionals(y, 2.0)
    np.testing.assert_allclose(log_scale[:, 0], [-2.0, 1e-3, 2.0], rtol=1e-6)
    assert not mean.any()


def test_the_gaussian_model_has_mass_one():
    model, params, _ = gaussian(2, order=[1, 0])
    assert abs(checks.total_mass(lambda x: model.log_prob(params, x), ((-40, 40), (-40, 40)), n=500) - 1) < 1e-4


@pytest.mark.parametrize("context_features", [0, 1])
@pytest.mark.parametrize("D", [1, 2, 5])
def test_the_gaussian_model_is_one_layer_of_maf(D, context_features):
    order = np.random.default_rng(1).permutation(D)
    model, params, rng = gaussian(D, context_features, order)
    maf = MAF(D, (8, 8), order, context_features)
    x, context = rng.normal(size=(6, D)), rng.normal(size=(6, 1)) if context_features else None
    z, log_det = maf.forward(params, x, context)
    base = Normal(np.zeros(D), np.ones(D))
    np.testing.assert_allclose(model.log_prob(params, x, context), base.log_prob(z) + log_det, atol=1e-12)
    if not context_features:
        np.testing.assert_allclose(model.log_prob(params, x), Pushforward(base, maf, params).log_prob(x), atol=1e-12)
    drawn = model.sample(params, rng, 3000, context if context is None else context[:1])
    white = maf.forward(params, drawn, context if context is None else context[:1])[0]
    assert stats.kstest(white.ravel(), stats.norm.cdf).pvalue > 0.01


def test_float32_models_stay_float32():
    rng = np.random.default_rng(0)
    for model, x in (
        (BernoulliMADE(MADE(2, (4,))), np.ones((3, 2), np.float32)),
        (GaussianMADE(MADE(2, (4,), 2)), rng.normal(size=(3, 2)).astype(np.float32)),
    ):
        params = jitter(model.init(rng, x), rng)
        assert model.log_prob(params, x).dtype == np.float32
        assert model.sample(params, rng, 3).dtype == np.float32
        gradient = grad(lambda params, m=model, x=x: anp.sum(m.log_prob(params, x)))(params)
        assert {leaf.dtype for leaf in tree_leaves(gradient)} == {np.dtype(np.float32)}
