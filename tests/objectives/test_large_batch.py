import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxembed.objectives import Same, contrast, pairwise, ring_contrast, two_towers
from jaxembed.training.mesh import make_mesh

from . import ring_runs

CASES = [*ring_runs.RING, "views", "supervised", "vicreg", "barlow_twins"]


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
    """All losses and gradients, made by one process of eight devices."""
    file = tmp_path_factory.mktemp("ring") / "made.npz"
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    command = [sys.executable, "-W", "error", ring_runs.__file__, str(file)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return dict(np.load(file))


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_eight_devices_give_what_one_gives(arrays, name):
    # A ring of candidates, or plain code over a batch that is cut by row: negatives are the whole batch's.
    for part in ("loss", "a", "b", "scale"):
        one, eight = (arrays[f"{name}/{where}/{part}"] for where in ("one", "ring"))
        np.testing.assert_allclose(eight, one, rtol=1e-5, atol=1e-5 * np.abs(one).max(), err_msg=part)
        assert np.abs(one).max() > 0.01


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "settings", "options"),
    [("infonce", {"temperature": 0.05}, {}), ("negative_sampling", {}, {"scale": 10.0, "bias": -10.0})],
    ids=["InfoNCE", "SigLIP"],
)
def test_memory_of_chunks_at_16384(name, settings, options):
    batch, chunk = 16_384, 1024
    vectors = jax.ShapeDtypeStruct((batch, 256), jnp.float32)

    def temporary(chunk):
        loss = lambda a, b: jnp.mean(two_towers(pairwise(name, **settings), a, b, chunk=chunk, **options))
        program = jax.jit(jax.grad(loss, (0, 1))).lower(vectors, vectors).compile()
        return program.memory_analysis().temp_size_in_bytes

    whole = temporary(0)
    assert whole > 4 * batch**2  # all scores at once
    assert temporary(chunk) < whole / 14


@pytest.mark.slow
def test_a_ring_of_one_is_plain():
    rng = np.random.default_rng(0)
    a, b = (jnp.float32(x) for x in rng.normal(size=(2, 5, 3)))
    objective, mesh = pairwise("infonce"), make_mesh(1)
    ring = jax.jit(lambda a, b: ring_contrast(objective, a, b, mesh))(a, b)
    np.testing.assert_allclose(ring, contrast(objective, a, b), rtol=1e-6)


def test_bad_rings():
    a, objective, mesh = jnp.ones((4, 3)), pairwise("infonce"), make_mesh(1)
    with pytest.raises(ValueError, match="at most one positive an anchor"):
        ring_contrast(objective, a, a, mesh, positive=Same(jnp.ones(4, int), jnp.ones(4, int)))
    with pytest.raises(ValueError, match="Same for exclude"):
        ring_contrast(objective, a, a, mesh, exclude=jnp.eye(4, dtype=bool))
    with pytest.raises(ValueError, match="no negatives"):
        ring_contrast(objective, a[:1], a[:1], mesh)
