"""jaxembed: a research kit for embeddings in JAX. One engine, interchangeable parts, numbers to trust."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxembed.data.lines import LineSentence, PathLineSentences
    from jaxembed.models import FastText, GloVe, Word2Vec
    from jaxembed.recommender import ClickModel, Recommender
    from jaxembed.trained import Model, load
    from jaxembed.trained_graph import KnowledgeModel
    from jaxembed.vectors import KeyedVectors, load_vectors

__version__ = "0.1.0"
__all__ = [
    "ClickModel",
    "FastText",
    "GloVe",
    "KeyedVectors",
    "KnowledgeModel",
    "LineSentence",
    "Model",
    "PathLineSentences",
    "Recommender",
    "Word2Vec",
    "load",
    "load_vectors",
]

_HOMES = {
    "ClickModel": "jaxembed.recommender",
    "FastText": "jaxembed.models",
    "GloVe": "jaxembed.models",
    "LineSentence": "jaxembed.data.lines",
    "PathLineSentences": "jaxembed.data.lines",
    "Recommender": "jaxembed.recommender",
    "Word2Vec": "jaxembed.models",
    "Model": "jaxembed.trained",
    "load": "jaxembed.trained",
    "KeyedVectors": "jaxembed.vectors",
    "KnowledgeModel": "jaxembed.trained_graph",
    "load_vectors": "jaxembed.vectors",
}


def __getattr__(name: str) -> Any:  # so that reading a vector file does not wait for the compiler's start
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'jaxembed' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
