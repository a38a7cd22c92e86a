"""Names of gensim 1 to 3 that `Word2Vec` does not have: each raises an error that names its successor."""

from collections.abc import Iterable
from typing import Any, NoReturn

from jaxembed.naming import Renamed, unknown

_ARGUMENTS = {"size": "vector_size", "iter": "epochs"}


class Gone:
    """The attributes and methods that are gone."""

    accuracy = Renamed("model.wv.evaluate_word_analogies()")
    clear_sims = Renamed("nothing: searches follow every change of the vectors")
    delete_temporary_training_data = Renamed("nothing: the corpus is not part of what is saved")
    evaluate_word_analogies = Renamed("model.wv.evaluate_word_analogies()")
    evaluate_word_pairs = Renamed("model.wv.evaluate_word_pairs()")
    wmdistance = Renamed("model.wv.wmdistance()")
    doesnt_match = Renamed("model.wv.doesnt_match()")
    index2word = Renamed("model.wv.index_to_key")
    init_sims = Renamed("nothing: vectors need no preparation before a search")
    iter = Renamed("epochs")
    most_similar = Renamed("model.wv.most_similar()")
    most_similar_cosmul = Renamed("model.wv.most_similar_cosmul()")
    n_similarity = Renamed("model.wv.n_similarity()")
    save_word2vec_format = Renamed("model.wv.save_word2vec_format()")
    similar_by_vector = Renamed("model.wv.similar_by_vector()")
    similar_by_word = Renamed("model.wv.similar_by_word()")
    similarity = Renamed("model.wv.similarity()")
    size = Renamed("vector_size")
    syn0 = Renamed("model.wv.vectors")
    vocab = Renamed("model.wv.key_to_index, or model.wv.get_vecattr(key, 'count') for how often a word occurs")

    def __getitem__(self, words: Any) -> NoReturn:
        raise TypeError(f"a model has no vectors by itself: model.wv[{words!r}] gives them")

    @classmethod
    def load_word2vec_format(cls, *arguments: Any, **named: Any) -> NoReturn:
        """A name of gensim 1, which raises AttributeError."""
        raise AttributeError("Word2Vec.load_word2vec_format is gone: use KeyedVectors.load_word2vec_format()")


def refuse(given: Iterable[str], known: Iterable[str]) -> None:
    """Raises TypeError for the first of some arguments that a model does not take, where there is one."""
    for name in given:
        if name in _ARGUMENTS:
            raise TypeError(f"{name}= is a name of gensim 3: use {_ARGUMENTS[name]}=")
        raise TypeError(str(unknown("argument", name, sorted(known))))
