"""How tests run: programs are small and run for a moment, so that compiling them is most of the time."""

import os

# Before JAX is imported, and for the processes that tests start. XLA leaves out most optimisations, of which tests of
# correctness need none; what checks how well a program is compiled asks for them (`optimised`).
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

import jax

jax.config.update("jax_numpy_rank_promotion", "raise")  # a missing axis is an error, not a broadcast
