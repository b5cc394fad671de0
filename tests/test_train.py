import math

import autograd.numpy as anp
import numpy as np
import pytest
import tqdm
from autograd import value_and_grad
from autograd.extend import defvjp, primitive

from minigen.errors import NonFiniteError
from minigen.nets import MLP
from minigen.train import SGD, Adam, FlatGradient, Momentum, constant, cosine, fit, minibatches, warm_up
from minigen.tree import ravel, tree_leaves, tree_map
from tests.counting import counted_nodes, peak_memory

OPTIMIZERS = {"SGD": SGD(0.1), "Momentum": Momentum(0.02), "Adam": Adam(0.02)}
NET = MLP(2, (8,), 1)


def regression(n=64, dtype=float):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 2)).astype(dtype)
    return x, np.sin(x[:, :1])


def squared_error(params, rng, batch):
    x, y = batch
    return anp.sum((NET(params, x) - y) ** 2) / len(x)


def run(seed=1, **options):
    options = {"steps": 20, "batch_size": 16, "data": regression(), "params": start(), "loss": squared_error, **options}
    loss, params, data = (options.pop(name) for name in ("loss", "params", "data"))
    return fit(loss, params, data, rng=np.random.default_rng(seed), **options)


def start(dtype=float):
    return NET.init(np.random.default_rng(0), dtype)


def mean(params, rng, batch):
    """Return a quadratic loss whose minimum is the mean of the data; `params["scale"]` multiplies it."""
    return anp.sum((params["mean"] - batch) ** 2) / len(batch)


def quadratic(n=100):
    return {"mean": np.zeros(3)}, np.random.default_rng(0).normal(2.0, 1.0, (n, 3))


# FlatGradient: the same as autograd's own drive, at a lower price.


def trees():
    rng = np.random.default_rng(0)
    return {"W": rng.normal(size=(2, 3)), "list": [rng.normal(size=2), {"unused": np.ones(4)}], "t": (np.array(0.5),)}


def tree_loss(tree, shift=0.0):
    W, b, t = tree["W"], tree["list"][0], tree["t"][0]
    return anp.sum(anp.tanh(W) * t) ** 2 + anp.sum(b * b * W[:, 0]) + shift * t


def test_flat_gradient_is_autograds():
    objective = FlatGradient(tree_loss, trees())
    for shift in (0.0, 2.0):
        value = objective(shift)
        wanted, gradient = value_and_grad(tree_loss)(trees(), shift)
        assert type(value) is float
        np.testing.assert_allclose(value, wanted, rtol=1e-15)
        np.testing.assert_allclose(objective.gradient, ravel(gradient)[0], rtol=1e-13, atol=1e-15)


def test_flat_gradient_copies_and_its_params_follow_the_vector():
    tree = trees()
    objective = FlatGradient(tree_loss, tree)
    objective.vector += 1.0
    np.testing.assert_array_equal(objective.params["W"], tree["W"] + 1.0)
    np.testing.assert_array_equal(ravel(trees())[0], ravel(tree)[0])
    assert type(objective.params["t"]) is tuple
    np.testing.assert_allclose(objective(), tree_loss(objective.params), rtol=1e-15)


def test_flat_gradient_spends_no_nodes_on_containers():
    data = regression()
    objective = FlatGradient(squared_error, start())
    with counted_nodes() as nodes:
        objective(None, data)
    assert nodes[:4] == ["dense_stack_plain", "subtract", "power", "sum"]
    assert len(nodes) == 5  # and the division
    with counted_nodes() as nested:
        value_and_grad(squared_error)(start(), None, data)
    assert len(nested) == len(nodes) + 6  # two layers, two leaves each


def test_a_leaf_used_twice_and_a_loss_that_is_a_leaf():
    objective = FlatGradient(lambda p: p["a"] * p["a"] + p["a"], {"a": np.array(3.0)})
    assert objective() == 12.0
    assert objective.gradient == 7.0
    objective = FlatGradient(lambda p: p["a"], {"a": np.array(3.0), "b": np.ones(2)})
    assert objective() == 3.0
    np.testing.assert_array_equal(objective.gradient, [1.0, 0.0, 0.0])


def test_a_leaf_that_is_used_only_at_times():
    objective = FlatGradient(
        lambda p, both: p["a"] + (2.0 * p["b"] if both else 0.0), {"a": np.ones(()), "b": np.ones(())}
    )
    for both, wanted in ((True, [1.0, 2.0]), (False, [1.0, 0.0])):
        objective(both)
        np.testing.assert_array_equal(objective.gradient, wanted)


def test_gradients_inside_the_loss():
    def loss(params):  # the gradient penalty of a critic
        slope = value_and_grad(lambda x: anp.sum(NET(params, x)))(np.ones((3, 2)))[1]
        return anp.sum(slope**2)

    objective = FlatGradient(loss, start())
    objective()
    np.testing.assert_allclose(objective.gradient, ravel(value_and_grad(loss)(start())[1])[0], rtol=0, atol=1e-12)


def test_a_loss_may_change_its_own_containers():
    def loss(params):
        params["a"] = params["a"] * 2.0
        return anp.sum(params["a"] ** 2)

    objective = FlatGradient(loss, {"a": np.ones(2)})
    assert [objective(), objective()] == [8.0, 8.0]
    np.testing.assert_array_equal(objective.gradient, [8.0, 8.0])


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda p: p["a"] * 2, r"the loss should be one number, got shape \(3,\)"),
        (lambda p: anp.sum(p["a"], keepdims=True), r"the loss should be one number, got shape \(1,\)"),
        (lambda p: 1.0, "the loss should depend on params, got a constant"),
        (lambda p: np.ones(2), r"the loss should be one number, got shape \(2,\)"),
        (
            lambda p: anp.sum(anp.where(np.ones((3, 3)) > 0, p["a"], 0.0)),
            r"FlatGradient: a parameter of shape \(3,\) got a gradient of shape \(3, 3\); .*broadcasting",
        ),
    ],
)
def test_bad_losses(loss, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        FlatGradient(loss, {"a": np.ones(3)})()


@pytest.mark.parametrize("params", [{}, [], {"a": np.zeros((0, 2))}])
def test_no_parameters(params):
    with pytest.raises(ValueError, match="^FlatGradient: expected parameters, got none$"):
        FlatGradient(tree_loss, params)


# Optimizers against their formulas.


def formulas(name, gradients):
    """Return the parameters after each gradient, by the textbook's formulas, starting from 0."""
    theta, v, m, path = 0.0, 0.0, 0.0, []
    for t, g in enumerate(gradients, start=1):
        if name == "SGD":
            theta = theta - 0.1 * g
        elif name == "Momentum":
            v = 0.9 * v + g
            theta = theta - 0.02 * v
        else:
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            theta = theta - 0.02 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        path.append(theta)
    return path


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_optimizers_follow_their_formulas_in_place(name, dtype):
    gradients = np.random.default_rng(0).normal(size=(30, 5)) * np.array([1e-9, 1e-3, 1.0, 1e3, 0.0])
    vector = np.zeros(5, dtype)
    state = OPTIMIZERS[name].init(vector)
    tolerance = 1e-12 if dtype == np.float64 else 2e-6
    for g, wanted in zip(gradients.astype(dtype), formulas(name, gradients), strict=True):
        before = g.copy()
        assert OPTIMIZERS[name].update(state, vector, g) is None
        np.testing.assert_allclose(vector, wanted, rtol=max(tolerance, 1e-12) * 50, atol=tolerance)
        np.testing.assert_array_equal(g, before)
    assert vector.dtype == dtype
    assert {array.dtype for array in state.values() if isinstance(array, np.ndarray)} == {np.dtype(dtype)}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_factor_scales_the_step(name):
    g = np.array([1.0, -2.0])
    steps = []
    for factor in (1.0, 0.25, 0.0):
        vector = np.zeros(2)
        OPTIMIZERS[name].update(OPTIMIZERS[name].init(vector), vector, g, factor)
        steps.append(vector)
    np.testing.assert_allclose(steps[1], 0.25 * steps[0], rtol=1e-12)
    assert not steps[2].any()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_update_allocates_nothing_of_the_size_of_the_vector(name):
    vector, gradient = np.ones(50_000), np.ones(50_000)
    state = OPTIMIZERS[name].init(vector)
    assert peak_memory(lambda: OPTIMIZERS[name].update(state, vector, gradient)) < 4096


@pytest.mark.parametrize("make", [SGD, Momentum, Adam])
@pytest.mark.parametrize("rate", [0.0, -1.0, math.inf, math.nan])
def test_bad_learning_rates(make, rate):
    with pytest.raises(ValueError, match=f"^{make.__name__}: expected a positive, finite learning_rate, got {rate}$"):
        make(rate)


def test_bad_optimizer_options():
    for make, name in ((Momentum, "momentum"), (Adam, "beta1"), (Adam, "beta2")):
        for decay in (-0.1, 1.0, math.nan):
            with pytest.raises(ValueError, match=f"^{make.__name__}: expected 0 <= {name} < 1, got {decay}$"):
                make(**{name: decay})
    with pytest.raises(ValueError, match="^Adam: expected a positive, finite epsilon, got 0$"):
        Adam(epsilon=0)


# Schedules and minibatches.


def test_schedules():
    assert [constant(step) for step in (0, 7)] == [1.0, 1.0]
    np.testing.assert_allclose(
        [cosine(4)(s) for s in range(6)], [1, 0.5 + 0.25 * 2**0.5, 0.5, 0.5 - 0.25 * 2**0.5, 0, 0], atol=1e-15
    )
    assert cosine(10, final=0.1)(99) == pytest.approx(0.1)
    assert [warm_up(2)(step) for step in range(4)] == [0.5, 1.0, 1.0, 1.0]
    assert warm_up(2, then=cosine(4))(4) == cosine(4)(2)
    for make in (cosine, warm_up):
        with pytest.raises(ValueError, match=f"^{make.__name__}: expected steps >= 1, got 0$"):
            make(0)


def test_minibatches_pass_over_the_data_in_new_orders():
    data = np.arange(7)
    batches = minibatches(np.random.default_rng(0), data, 3)
    passes = [np.concatenate([next(batches), next(batches)]) for _ in range(200)]
    assert all(len(set(rows.tolist())) == 6 for rows in passes)
    counts = np.bincount(np.concatenate(passes), minlength=7)
    assert counts.min() > 150  # 200 · 6/7 = 171 expected
    assert len({tuple(rows) for rows in passes}) > 190


def test_minibatches_keep_the_rows_of_a_tuple_together_and_are_copies():
    x = np.arange(10.0)
    batches = minibatches(np.random.default_rng(0), (x, 2 * x[:, None]), 10)
    for _ in range(3):
        a, b = next(batches)
        np.testing.assert_array_equal(2 * a[:, None], b)
        a[:] = 0
    np.testing.assert_array_equal(x, np.arange(10.0))


@pytest.mark.parametrize(
    ("data", "batch_size", "error", "message"),
    [
        (np.zeros((0, 2)), 1, ValueError, "minibatches: expected at least one point, got none"),
        (np.zeros((3, 2)), 4, ValueError, "minibatches: expected batch_size <= 3, the number of points, got 4"),
        (np.zeros((3, 2)), 0, ValueError, "minibatches: expected batch_size to be an integer >= 1, got 0"),
        (np.zeros((3, 2)), 1.0, ValueError, "minibatches: expected batch_size to be an integer >= 1, got 1.0"),
        (
            (np.zeros(3), np.zeros(2)),
            1,
            ValueError,
            r"minibatches: expected arrays of equal length, got lengths \[3, 2\]",
        ),
        (np.array(["a", "b"]), 1, TypeError, "minibatches: expected numbers, got dtype <U1"),
        (np.array([1j]), 1, TypeError, "minibatches: expected numbers, got dtype complex128"),
        (3.0, 1, ValueError, "minibatches: expected an array with a first axis of points, got a scalar"),
        (None, 1, TypeError, "minibatches: expected numbers, got dtype object"),
    ],
)
def test_bad_data_is_refused_at_once(data, batch_size, error, message):
    with pytest.raises(error, match=f"^{message}$"):
        minibatches(np.random.default_rng(0), data, batch_size)
    if isinstance(batch_size, int) and batch_size > 0:
        with pytest.raises(error, match=f"^{message}$"):
            run(data=data, batch_size=batch_size)


# fit.


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_fit_finds_the_minimum(name):
    params, data = quadratic()
    found, history = fit(
        mean,
        params,
        data,
        rng=np.random.default_rng(0),
        steps=400,
        batch_size=50,
        optimizer={**OPTIMIZERS, "Adam": Adam(0.1)}[name],
        schedule=cosine(400),
    )
    np.testing.assert_allclose(found["mean"], data.mean(axis=0), atol=0.02)
    assert history["step"] == list(range(400))
    assert history["loss"][-1] < history["loss"][0]


def test_fit_takes_the_steps_that_a_loop_by_hand_takes():
    data = regression()
    found, history = run(optimizer=SGD(0.05), schedule=warm_up(5), data=data)
    rng, params = np.random.default_rng(1), start()
    batches = minibatches(rng, data, 16)
    for step in range(20):
        value, gradient = value_and_grad(squared_error)(params, rng, next(batches))
        assert history["loss"][step] == pytest.approx(value, rel=1e-12)
        assert history["gradient_norm"][step] == pytest.approx(np.linalg.norm(ravel(gradient)[0]), rel=1e-12)
        params = tree_map(lambda leaf, g, step=step: leaf - 0.05 * min(1, (step + 1) / 5) * g, params, gradient)
    np.testing.assert_allclose(ravel(found)[0], ravel(params)[0], rtol=1e-12)


def test_same_seed_same_bits():
    options = {"validation": regression(), "validate_every": 5, "snapshots": 3, "loss": noisy}
    (first, history), (second, again) = run(**options), run(**options)
    np.testing.assert_array_equal(ravel(first)[0], ravel(second)[0])
    assert all(history[key] == again[key] for key in history if key != "snapshots")
    assert not np.array_equal(ravel(run(2, **options)[0])[0], ravel(first)[0])


def noisy(params, rng, batch):
    x, y = batch
    return squared_error(params, rng, (x + 0.1 * rng.standard_normal(x.shape), y))


def test_nothing_of_the_callers_is_changed():
    params, data = start(), regression()
    before = [leaf.copy() for leaf in tree_leaves([params, *data])]

    def greedy(params, rng, batch):
        value = squared_error(params, rng, batch)
        batch[0][:] = 0.0
        return value

    found, _ = run(params=params, data=data, loss=greedy, validation=data)
    for leaf, copy in zip(tree_leaves([params, *data]), before, strict=True):
        np.testing.assert_array_equal(leaf, copy)
    assert not any(np.shares_memory(a, b) for a, b in zip(tree_leaves(found), tree_leaves(params), strict=True))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_data_and_noise_come_in_the_dtype_of_the_parameters(dtype):
    seen = []

    def loss(params, rng, batch):
        x, y, labels = batch
        noise = [rng.standard_normal(3), rng.normal(0.0, 1.0, (2, 2)), rng.uniform(size=2), rng.spawn(1)[0].random(2)]
        seen.extend(array.dtype for array in (x, y, labels, *noise))
        assert rng.permutation(4).dtype.kind == "i"
        assert type(rng.normal()) is float
        return squared_error(params, rng, (x, y))

    x, y = regression(dtype=np.float32)
    data = (x, y.astype(float), np.arange(len(x)))
    found, history = run(loss=loss, params=start(dtype), data=data, validation=data, steps=3)
    assert set(seen) == {np.dtype(dtype)}
    assert {leaf.dtype for leaf in tree_leaves(found)} == {np.dtype(dtype)}
    assert all(type(value) is float for key in ("loss", "gradient_norm", "validation") for value in history[key])


def test_float32_draws_of_numbers_next_to_1_stay_in_range():
    class NextToOne(np.random.Generator):
        def random(self, *args, **keywords):
            return super().random(*args, **keywords) * 0 + (1 - 1e-12)  # float32's nearest number is 1

    seen = {}

    def draws(rng, n):
        seen.update(random=rng.random(n), choice=rng.choice(3, size=n, p=[0.2, 0.3, 0.5]))
        return regression(n, np.float32)

    rng = NextToOne(np.random.PCG64(0))
    fit(squared_error, start(np.float32), draws, rng=rng, steps=1, batch_size=8)
    assert seen["random"].dtype == np.float32
    assert (seen["random"] < 1).all()
    assert (seen["choice"] == 2).all()


def test_float32_training_stays_near_float64():
    (narrow, _), (wide, _) = (
        run(params=start(dtype), loss=noisy, optimizer=SGD(0.05)) for dtype in (np.float32, np.float64)
    )
    np.testing.assert_allclose(ravel(narrow)[0], ravel(wide)[0], atol=1e-5)


def test_data_from_a_function():
    calls = []

    def draw(rng, n):
        calls.append(n)
        x = rng.normal(size=(n, 2))
        return x, np.sin(x[:, :1])

    _, history = run(data=draw, batch_size=8, steps=7)
    assert calls == [8] * 7
    assert len(history["loss"]) == 7


def test_clipping():
    params, data = quadratic()
    seen = []

    class Spy(SGD):
        def update(self, state, vector, gradient, factor=1.0):
            seen.append(np.linalg.norm(gradient))
            super().update(state, vector, gradient, factor)

    options = {"rng": np.random.default_rng(0), "steps": 60, "batch_size": 100, "optimizer": Spy(0.5)}
    _, history = fit(mean, params, data, clip=0.5, **options)
    assert history["gradient_norm"][0] > 1.0
    assert history["gradient_norm"][-1] < 0.5
    np.testing.assert_allclose(seen, np.minimum(history["gradient_norm"], 0.5), rtol=1e-12)


def test_the_gradient_norm_may_be_larger_than_a_float32_squared():
    loss = lambda params, rng, batch: anp.sum(params["a"]) * 1e30  # noqa: E731
    _, history = fit(
        loss,
        {"a": np.zeros(4, np.float32)},
        np.zeros(2),
        rng=np.random.default_rng(0),
        steps=1,
        batch_size=1,
        optimizer=SGD(1e-30),
    )
    assert history["gradient_norm"][0] == pytest.approx(2e30, rel=1e-6)


def test_validation_keeps_the_best_and_patience_stops():
    # Training goes to 2, the validation set wants 1: the best is passed on the way.
    params, data = {"mean": np.zeros(1)}, np.full((10, 1), 2.0)
    options = {"rng": np.random.default_rng(0), "steps": 100, "batch_size": 10, "optimizer": SGD(0.05)}
    validation = {"validation": np.full((4, 1), 1.0), "validate_every": 2}
    found, history = fit(mean, params, data, **options, **validation)
    values = history["validation"]
    best = history["validation_step"][int(np.argmin(values))]
    assert history["validation_step"] == list(range(0, 101, 2))
    np.testing.assert_allclose(found["mean"], 2 * (1 - 0.9**best), rtol=1e-12)
    assert 0 < best < 20
    stopped, short = fit(mean, params, data, patience=3, **options, **validation)
    np.testing.assert_array_equal(stopped["mean"], found["mean"])
    assert short["validation_step"][-1] == best + 6
    assert len(short["loss"]) == best + 6


def test_the_last_parameters_are_validated_too():
    _, history = run(steps=7, validation=regression(), validate_every=5)
    assert history["validation_step"] == [0, 5, 7]


def test_validation_does_not_change_training_and_sees_the_same_noise_each_time():
    seen = []

    def loss(params, rng, batch):
        if len(batch[0]) == 5:
            seen.append(rng.standard_normal(3))
        return noisy(params, rng, batch)

    _, with_it = run(loss=loss, validation=tuple(part[:5] for part in regression()), validate_every=5)
    _, without = run(loss=noisy)
    assert with_it["loss"] == without["loss"]
    assert len(seen) == 5
    assert all(np.array_equal(noise, seen[0]) for noise in seen)


def test_snapshots():
    found, history = run(steps=10, snapshots=3)
    assert history["snapshot_step"] == [0, 5, 10]
    vectors = [ravel(tree)[0] for tree in history["snapshots"]]
    np.testing.assert_array_equal(vectors[0], ravel(start())[0])
    np.testing.assert_array_equal(vectors[2], ravel(found)[0])
    assert not np.array_equal(vectors[1], vectors[2])
    assert run(steps=2, snapshots=9)[1]["snapshot_step"] == [0, 1, 2]
    assert run()[1]["snapshots"] == []


def test_a_loss_of_another_shape_is_told_by_the_validation_too():
    with pytest.raises(ValueError, match=r"^the loss should be one number, got shape \(64, 1\)$"):
        run(loss=lambda params, rng, batch: NET(params, batch[0]), validation=regression())


def test_no_steps():
    found, history = run(steps=0)
    np.testing.assert_array_equal(ravel(found)[0], ravel(start())[0])
    assert history["loss"] == []


@primitive
def no_slope(x):
    """Return 0, and a gradient that is not a number."""
    return 0.0


defvjp(no_slope, lambda y, x: lambda g: np.full(x.shape, np.nan))


@pytest.mark.parametrize(("what", "path"), [("value", "params['a'][0]"), ("gradient", "params['b']")])
def test_non_finite(what, path):
    calls = []

    def loss(params, rng, batch):
        calls.append(None)
        value = anp.sum(params["a"][0] ** 2) + anp.sum(params["b"] ** 2)
        if len(calls) <= 3:
            return value
        return value * np.inf if what == "value" else value + no_slope(params["b"])

    params = {"a": [np.ones(2)], "b": np.ones(3)}
    with pytest.raises(NonFiniteError) as caught:
        fit(loss, params, np.zeros(4), rng=np.random.default_rng(0), steps=9, batch_size=2, optimizer=SGD(0.1))
    error = caught.value
    assert isinstance(error, FloatingPointError)
    assert (error.step, error.path) == (3, path)
    assert str(error).startswith("fit: at step 3, the loss (")
    assert f"first in {path}; a lower learning rate" in str(error)
    assert error.history["step"] == [0, 1, 2]
    np.testing.assert_allclose(error.params["b"], np.full(3, 0.8**2))  # as they were at step 2


def test_a_loss_that_is_infinite_with_a_finite_gradient():
    loss = lambda params, rng, batch: anp.sum(params["a"]) + np.inf  # noqa: E731
    with pytest.raises(NonFiniteError, match=r"the loss \(inf\) or its gradient is not finite; a lower") as caught:
        fit(loss, {"a": np.ones(2)}, np.zeros(4), rng=np.random.default_rng(0), steps=1, batch_size=2)
    assert caught.value.path is None


def test_non_finite_at_the_first_step_and_in_validation_and_after_the_last_update():
    options = {"rng": np.random.default_rng(0), "batch_size": 2, "optimizer": SGD(1.0)}
    with pytest.raises(
        NonFiniteError, match=r"^fit: at step 0, the loss \(nan\) or its gradient is not finite"
    ) as caught:
        fit(mean, {"mean": np.zeros(1)}, np.full((2, 1), np.nan), steps=3, **options)
    assert caught.value.params is None
    with pytest.raises(NonFiniteError, match=r"^fit: at step 0, the validation loss \(nan\) is not finite; ") as caught:
        fit(mean, {"mean": np.zeros(1)}, np.ones((2, 1)), steps=3, validation=np.full((2, 1), np.nan), **options)
    assert caught.value.path is None
    far = lambda params, rng, batch: 1e200 * anp.sum(params["mean"])  # noqa: E731
    with (
        pytest.raises(
            NonFiniteError, match=r"^fit: at step 1, the last update is not finite, first in params\['mean'\]"
        ),
        np.errstate(over="ignore"),
    ):
        fit(far, {"mean": np.zeros(1)}, np.ones(2), steps=1, **{**options, "optimizer": SGD(1e200)})


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"steps": -1}, ValueError, "fit: expected steps to be an integer >= 0, got -1"),
        ({"steps": 2.0}, ValueError, "fit: expected steps to be an integer >= 0, got 2.0"),
        ({"batch_size": 0}, ValueError, "fit: expected batch_size to be an integer >= 1, got 0"),
        ({"batch_size": 65}, ValueError, "minibatches: expected batch_size <= 64, the number of points, got 65"),
        ({"validate_every": 0}, ValueError, "fit: expected validate_every to be an integer >= 1, got 0"),
        ({"snapshots": -1}, ValueError, "fit: expected snapshots to be an integer >= 0, got -1"),
        ({"clip": 0.0}, ValueError, "fit: expected clip > 0 or None, got 0.0"),
        ({"patience": 2}, ValueError, "fit: patience needs a validation set, got none"),
        (
            {"patience": 0, "validation": regression()},
            ValueError,
            "fit: expected patience to be an integer >= 1, got 0",
        ),
        ({"validation": np.zeros((0, 2))}, ValueError, "fit: validation: expected at least one point, got none"),
        ({"params": {"a": np.arange(3)}}, TypeError, r"params\['a'\]: expected a float array, got int64"),
        ({"params": {}}, ValueError, "FlatGradient: expected parameters, got none"),
        (
            {"loss": lambda params, rng, batch: params[0]["bias"]},
            ValueError,
            r"the loss should be one number, got shape \(8,\)",
        ),
    ],
)
def test_bad_arguments(options, error, message):
    with pytest.raises(error, match=f"^{message}$"):
        run(**options)


@pytest.mark.parametrize("rng", [None, 0, np.random.RandomState(0)])
def test_the_generator_must_be_one(rng):
    with pytest.raises(TypeError, match="^fit: expected rng to be a numpy.random.Generator, got "):
        fit(mean, *quadratic(), rng=rng, steps=1, batch_size=1)


def test_the_progress_bar(monkeypatch, capsys):
    bars = []

    class Bar(tqdm.tqdm):
        def __init__(self, *args, **keywords):
            super().__init__(*args, **{**keywords, "disable": False})
            bars.append(self)

    monkeypatch.setattr(tqdm, "tqdm", Bar)
    run(steps=5)
    assert (bars[0].n, bars[0].total) == (5, 5)
    assert "loss=" in capsys.readouterr().err
    monkeypatch.undo()
    run(steps=5)
    assert capsys.readouterr().err == ""


# What a step costs must not rot unseen.


def gaussian_vae(encoder, decoder):
    def loss(params, rng, x):
        h = encoder(params["encoder"], x)
        mean, log_scale = h[:, :2], h[:, 2:]
        z = mean + anp.exp(log_scale) * rng.standard_normal(mean.shape)
        error = decoder(params["decoder"], z) - x
        return anp.sum(error**2) / len(x) + anp.sum(anp.exp(2 * log_scale) + mean**2 - 2 * log_scale) / len(x)

    return loss


@pytest.mark.parametrize(("fused", "most"), [(True, 20), (False, 40)])
def test_nodes_of_a_training_step(fused, most):
    nets = {name: MLP(2, (64, 64), outputs, fused=fused) for name, outputs in (("encoder", 4), ("decoder", 2))}
    params = {name: net.init(np.random.default_rng(0)) for name, net in nets.items()}
    objective = FlatGradient(gaussian_vae(**nets), params)
    rng = np.random.default_rng(0)
    with counted_nodes() as nodes:
        objective(rng, rng.normal(size=(256, 2)))
    assert nodes.count("dense_stack_plain") == 2 * fused
    assert len(nodes) <= most


def test_memory_of_a_training_step():
    net = MLP(2, (64, 64), 1)
    x, y = regression(256)
    objective = FlatGradient(lambda params: anp.sum((net(params, x) - y) ** 2), net.init(np.random.default_rng(0)))
    hidden = 256 * 64 * 8  # one hidden layer's values
    # Kept: two layers. In the backward pass: the gradient before and after a layer, or one and h².
    assert peak_memory(objective) < 4.5 * hidden
