"""Every map accepts a context: those that are made for one use it in both directions, the others let it pass."""

import importlib
import pkgutil

import numpy as np
import pytest

import minigen
from minigen.autoregressive.maf import MAF
from minigen.flows.coupling import AdditiveCoupling, AffineCoupling, Scale
from minigen.flows.glow import ActNorm, Invertible1x1, Invertible1x1LU
from minigen.flows.multiscale import Logit, MultiScale, Split, Squeeze
from minigen.flows.planar import Planar, Radial
from minigen.flows.splines import RationalQuadraticCoupling
from minigen.foundations import change_of_variables as cov
from minigen.foundations import linear
from minigen.nets import Conv2D
from minigen.tree import tree_map

MASK, C = [1, 0, 1], 2
ELEMENTWISE = (cov.Exp, cov.Sigmoid, cov.SignedPower, cov.Softplus, cov.Tanh)
USING = {  # the maps that are made for a context
    "AdditiveCoupling": lambda: AdditiveCoupling(MASK, (4,), C),
    "AffineCoupling": lambda: AffineCoupling(MASK, (4,), C),
    "AffineCoupling, plain": lambda: AffineCoupling(MASK, (4,), C, fused=False),
    "AffineCoupling of images": lambda: AffineCoupling([1, 0], net=Conv2D(1, 2, 3, C)),
    "RationalQuadraticCoupling": lambda: RationalQuadraticCoupling(MASK, (4,), C),
    "RationalQuadraticCoupling, plain": lambda: RationalQuadraticCoupling(MASK, (4,), C, fused=False),
    "Planar": lambda: Planar(C),
    "Radial": lambda: Radial(C),
    "MAF": lambda: MAF(3, (4,), context_features=C),
    "MAF, plain": lambda: MAF(3, (4,), context_features=C, fused=False),
    "Chain": lambda: cov.Chain([cov.Affine(), AffineCoupling(MASK, (4,), C), cov.Permute([1, 2, 0])]),
    "Inverse": lambda: cov.Inverse(MAF(3, (4,), context_features=C)),
    "Split": lambda: Split(AffineCoupling([1, 0], (4,), C), (4,)),
    "MultiScale": lambda: MultiScale((2, 2, 1), [Squeeze(), AffineCoupling([1, 0], net=Conv2D(1, 2, 1, C))]),
}
IGNORING = {
    "Affine": cov.Affine,
    "Permute": lambda: cov.Permute([2, 0, 1]),
    **{kind.__name__: lambda kind=kind: kind(3) if kind is cov.SignedPower else kind() for kind in ELEMENTWISE},
    "DenseLinear": linear.DenseLinear,
    "TriangularLinear": linear.TriangularLinear,
    "LULinear": linear.LULinear,
    "LowRankLinear": lambda: linear.LowRankLinear(1),
    "Scale": Scale,
    "ActNorm": ActNorm,
    "Invertible1x1": Invertible1x1,
    "Invertible1x1LU": lambda: Invertible1x1LU(np.diag([1.0, 2.0, 0.5]) + 0.1),
    "Logit": Logit,
    "Squeeze": Squeeze,
}


def public_maps():
    modules = [importlib.import_module(each.name) for each in pkgutil.walk_packages(minigen.__path__, "minigen.")]
    kinds = [kind for module in modules for kind in vars(module).values() if isinstance(kind, type)]
    return {kind.__name__ for kind in kinds if issubclass(kind, cov.Bijection) and kind.__name__[0] != "_"}


def test_every_map_is_here():
    here = {name.partition(",")[0].partition(" of ")[0] for name in USING | IGNORING}
    assert public_maps() - here == {"Bijection", "Elementwise"}  # contracts
    assert here <= public_maps()


def build(make, n=4):
    rng = np.random.default_rng(0)
    map = make()
    images = {"Squeeze": (2, 2, 1), "MultiScale": (2, 2, 1), "Split": (4,), "AffineCoupling": (2, 2, 2)}
    of_images = isinstance(map, Squeeze | MultiScale | Split) or getattr(map, "net", None) is not None
    x = rng.uniform(0.1, 0.9, size=(n, *(images[type(map).__name__] if of_images else (3,))))
    context = rng.normal(size=(n, C))
    params = tree_map(lambda leaf: leaf + 0.3 * rng.normal(size=leaf.shape), map.init(rng, x, context))
    return map, params, x, context


@pytest.mark.parametrize("name", USING)
def test_a_context_is_used_both_ways(name):
    map, params, x, context = build(USING[name])
    z, log_det = map.forward(params, x, context)
    back, back_log_det = map.inverse(params, z, context)
    np.testing.assert_allclose(back, x, atol=1e-10)
    np.testing.assert_allclose(back_log_det, -log_det, atol=1e-10)
    for way, point in ((map.forward, x), (map.inverse, z)):
        first, one_row = way(params, point, context), way(params, point, context[:1])
        assert all((first[0] != way(params, point, context + 1.0)[0]).reshape(len(x), -1).any(axis=1))
        repeated = way(params, point, np.repeat(context[:1], len(x), axis=0))
        for a, b in zip(one_row, repeated, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)  # one row for all
        for row in range(len(x)):  # each point has its own
            np.testing.assert_allclose(way(params, point[row : row + 1], context[row : row + 1])[0], first[0][[row]])


@pytest.mark.parametrize("name", USING)
def test_a_context_that_is_missing_or_does_not_fit_is_refused(name):
    map, params, x, context = build(USING[name])
    z, _ = map.forward(params, x, context)
    for way, point in ((map.forward, x), (map.inverse, z)):
        for wrong in (None, context[:2], context[:, :1], context[0]):
            with pytest.raises(ValueError, match="context: expected"):
                way(params, point, wrong)


@pytest.mark.parametrize("name", IGNORING)
def test_the_other_maps_let_a_context_pass(name):
    map, params, x, context = build(IGNORING[name])
    z, log_det = map.forward(params, x)
    for given in (context, context[:1]):
        np.testing.assert_array_equal(map.forward(params, x, given)[0], z)
        np.testing.assert_array_equal(map.forward(params, x, given)[1], log_det)
        np.testing.assert_array_equal(map.inverse(params, z, given)[0], map.inverse(params, z)[0])
