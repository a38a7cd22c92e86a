"""jaxembed: a research kit for embeddings in JAX. One engine, interchangeable parts, numbers to trust."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxembed.data.documents import TaggedDocument
    from jaxembed.data.lines import LineSentence, PathLineSentences
    from jaxembed.exported import export
    from jaxembed.models import Doc2Vec, FastText, GloVe, Word2Vec
    from jaxembed.recommender import ClickModel, Recommender
    from jaxembed.trained import Model, load
    from jaxembed.trained_documents import DocumentModel
    from jaxembed.trained_graph import KnowledgeModel, NodeModel
    from jaxembed.vectors import KeyedVectors, load_vectors

__version__ = "0.1.0"
__all__ = [
    "ClickModel",
    "Doc2Vec",
    "DocumentModel",
    "FastText",
    "GloVe",
    "KeyedVectors",
    "KnowledgeModel",
    "LineSentence",
    "Model",
    "NodeModel",
    "PathLineSentences",
    "Recommender",
    "TaggedDocument",
    "Word2Vec",
    "export",
    "load",
    "load_vectors",
]

_HOMES = {
    "ClickModel": "jaxembed.recommender",
    "Doc2Vec": "jaxembed.models",
    "DocumentModel": "jaxembed.trained_documents",
    "FastText": "jaxembed.models",
    "GloVe": "jaxembed.models",
    "LineSentence": "jaxembed.data.lines",
    "PathLineSentences": "jaxembed.data.lines",
    "Recommender": "jaxembed.recommender",
    "TaggedDocument": "jaxembed.data.documents",
    "Word2Vec": "jaxembed.models",
    "Model": "jaxembed.trained",
    "export": "jaxembed.exported",
    "load": "jaxembed.trained",
    "KeyedVectors": "jaxembed.vectors",
    "KnowledgeModel": "jaxembed.trained_graph",
    "NodeModel": "jaxembed.trained_graph",
    "load_vectors": "jaxembed.vectors",
}


def __getattr__(name: str) -> Any:  # so that reading a vector file does not wait for the compiler's start
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'jaxembed' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
