"""The product of a run: keys and their vectors, under gensim's names.

NumPy alone, so that reading a file of vectors does not wait for JAX; what needs it is imported where it is used.
"""

from jaxembed.vectors.keyed import KeyedVectors, load_vectors
from jaxembed.vectors.subwords import SubwordVectors

__all__ = ["KeyedVectors", "SubwordVectors", "load_vectors"]
