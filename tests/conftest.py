import jax

jax.config.update("jax_numpy_rank_promotion", "raise")  # a missing axis is an error, not a broadcast
