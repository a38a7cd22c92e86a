"""The product of a run: keys and their vectors, under gensim's names.

NumPy alone, so that reading a file of vectors does not wait for JAX; what needs it is imported where it is used.
"""

from jaxembed.vectors.keyed import KeyedVectors, load_vectors

__all__ = ["KeyedVectors", "load_vectors"]
