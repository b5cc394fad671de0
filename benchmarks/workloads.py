"""What is measured: the sizes of the models, the data, and who is compared with whom."""

from typing import NamedTuple

HIDDEN = (64, 64)  # tanh, in every network
LEARNING_RATE = 1e-3  # of Adam
COUPLINGS, MADES, SPLINES = 8, 5, 6  # layers of a RealNVP, a MAF, a spline flow
BINS, BOUND = 16, 5.0
NOISE = 0.1  # standard deviation of the VAE's likelihood
POINTS = 2**16  # of the data, drawn before the clock starts
BATCHES = (64, 256, 1024, 4096)


class Worker(NamedTuple):
    """One process: the name in the tables, the file in `implementations`, its function, and what that is told."""

    name: str
    file: str
    function: str
    dtype: str = "float32"
    fused_adam: bool = True  # PyTorch's fastest Adam; its default one is what most scripts use
    seed: int = 0


class Workload(NamedTuple):
    """Workers that run against each other; the first one is what the others are divided by."""

    title: str
    workers: tuple[Worker, ...]


def _workload(title, function, *peers):
    ours = (Worker("minigen", "minigen", function), Worker("minigen, float64", "minigen", function, "float64"))
    return Workload(title, ours + peers)


def _library(name, function):
    """Return the library twice: with PyTorch's fused Adam and with its default one."""
    return Worker(name, name, function), Worker(f"{name}, default Adam", name, function, fused_adam=False)


WORKLOADS = {
    "realnvp": _workload(
        f"RealNVP, {COUPLINGS} affine couplings",
        "realnvp",
        Worker("lean PyTorch", "pytorch", "realnvp"),
        *_library("zuko", "realnvp"),
        *_library("nflows", "realnvp"),
        *_library("normflows", "realnvp"),
        Worker("raw JAX, jit", "jax", "realnvp"),
    ),
    "maf": _workload(f"MAF, {MADES} MADEs", "maf", *_library("zuko", "maf"), *_library("nflows", "maf")),
    "vae": _workload("VAE, 2 latents", "vae", Worker("lean PyTorch", "pytorch", "vae")),
    "splines": _workload(
        f"{SPLINES} rational-quadratic spline couplings, {BINS} bins",
        "splines",
        *_library("nflows", "splines"),
        Worker("zuko, couplings", "zuko", "spline_couplings"),
        Worker("zuko NSF, passes=2", "zuko", "splines"),
        Worker("flowjax, jit", "flowjax", "splines"),
    ),
}

THROUGHPUT = tuple(Worker(name, name, "realnvp") for name in ("minigen", "zuko", "nflows", "normflows"))

_SPLINES = {  # three seeds for minigen and its nearest peer, one for those that come far behind
    Worker("minigen", "minigen", "relu_splines"): (0, 1, 2),
    Worker("flowjax, jit", "flowjax", "splines"): (0, 1, 2),
    Worker("nflows", "nflows", "splines"): (0,),
    Worker("zuko NSF, passes=2", "zuko", "splines"): (0,),
}
_HEAVY_TAILS = {Worker("minigen, affine first", "minigen", "affine_then_splines"): (0, 1, 2)}  # see `quality`
QUALITY = {  # toy -> who is trained on it, from which seeds
    "two moons": _SPLINES,
    "pinwheel": _SPLINES,
    "spirals": _SPLINES,
    "checkerboard": _SPLINES,
    "banana": _HEAVY_TAILS,
    "funnel": _HEAVY_TAILS,
}

IMPORTS = {  # what a training script imports
    "minigen": "minigen.flows.coupling, minigen.flows.flow, minigen.train",
    "PyTorch": "torch",
    "zuko": "zuko",
    "nflows": "nflows.flows, nflows.transforms",
    "normflows": "normflows",
    "JAX": "jax.numpy",
    "flowjax": "flowjax.flows, optax",
}


def two_moons(dtype):
    """Return the data, (POINTS, 2): Gaussians of standard deviation 0.1 along two arcs, the same in every process."""
    import numpy  # here, so that the parent process, which only keeps the time, stays light

    rng = numpy.random.default_rng(0)
    t, sign = numpy.pi * rng.random(POINTS), rng.choice([1, -1], POINTS)[:, None]  # the upper arc, or the lower one
    arcs = numpy.stack([numpy.cos(t), numpy.sin(t)], axis=1)
    points = sign * arcs + (sign < 0) * numpy.array([1.0, 0.5])
    return (points + 0.1 * rng.standard_normal(points.shape)).astype(dtype)
