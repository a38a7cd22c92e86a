"""Losses and gradients of a batch on one device and on eight: a script, for it needs its own devices.

python ring_runs.py FILE
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from jaxembed.objectives import Same, contrast, decorrelation, pairwise, ring_contrast, two_views
from jaxembed.training.mesh import make_mesh

B, D = 32, 8
# One of each kind: log-sum-exp without and with the positive, sums, a maximum, a mean.
RING = {
    "infonce": {"temperature": 0.2}, "softmax": {}, "negative_sampling": {}, "triplet": {"hardest": True}, "spectral": {},
}  # fmt: skip


def main(file):
    """All losses `[B]` and gradients, by name and by where they were made."""
    rng = np.random.default_rng(0)
    a, b = (jnp.float32(x) for x in rng.normal(size=(2, B, D)))
    queue = jnp.concatenate([b, jnp.float32(rng.normal(size=(16, D)))])
    ids, log_q = jnp.asarray(rng.integers(-1, 9, B)), jnp.log(jnp.float32(rng.uniform(0.01, 0.1, B + 16)))
    place = jnp.asarray(np.r_[-1, 40, rng.permutation(B)[2:]])
    options = {"alike": Same(ids, jnp.r_[ids, ids[:16]]), "exclude": Same(ids % 3, jnp.r_[ids, ids[:16]] + 5)}
    options |= {"positive": place, "log_q": log_q}
    mesh = make_mesh(8)
    spread = lambda *arrays: [jax.device_put(x, NamedSharding(mesh, P("data"))) for x in arrays]
    saved = {}

    def run(name, where, loss, a, b):
        def total(a, b, scale):
            losses = loss(a, b, scale)
            return jnp.sum(losses * jnp.arange(1, losses.size + 1)), losses

        step = jax.jit(jax.grad(total, (0, 1, 2), has_aux=True)).lower(a, b, 3.0).compile()
        gradients, losses = step(a, b, 3.0)
        for part, array in zip(("loss", "a", "b", "scale"), (losses, *gradients), strict=True):
            saved[f"{name}/{where}/{part}"] = np.asarray(array)
        return step.as_text()

    for name, settings in RING.items():
        objective = pairwise(name, **settings)
        plain = lambda a, b, scale, o=objective: contrast(o, a, b, scale=scale, bias=0.5, **options)
        ring = lambda a, b, scale, o=objective: ring_contrast(o, a, b, mesh, scale=scale, bias=0.5, **options)
        run(name, "one", plain, a, queue)
        text = run(name, "ring", ring, *spread(a, queue))
        # A device meets the scores of its own anchors with one block of candidates, and no others.
        assert f"f32[{B // 8},{(B + 16) // 8}]" in text, text
        assert not any(f"f32[{rows},{columns}]" in text for rows in (B, B // 8) for columns in (B + 16,)), text
    for name, loss in {
        "views": lambda a, b, scale: two_views(pairwise("infonce"), a, b, labels=ids, scale=scale),
        "supervised": lambda a, b, scale: two_views(
            pairwise("softmax"), a, b, labels=ids, supervised=True, scale=scale, chunk=8
        ),
        "vicreg": lambda a, b, scale: decorrelation("vicreg")(a + 0.1 * scale * b, b)[None],
        "barlow_twins": lambda a, b, scale: decorrelation("barlow_twins")(a + 0.1 * scale * b, b)[None],
    }.items():
        run(name, "one", loss, a, b)
        run(name, "ring", loss, *spread(a, b))
    np.savez(file, **saved)


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", 8)
    jax.config.update("jax_numpy_rank_promotion", "raise")
    main(sys.argv[1])
