import numpy as np
import pytest
from scipy import stats

from jaxembed.evaluation import load_pairs, select
from jaxembed.methods.fasttext import FastText
from jaxembed.study.recorded import rebuilt
from jaxembed.study.values import as_json
from jaxembed.tasks.words import RareWords


def test_rare_pairs_are_those_whose_rarer_word_occurs_that_often(tmp_path):
    words = sorted({word for name in ("wordsim353", "simlex999") for pair in load_pairs(name) for word in pair[:2]})
    rng = np.random.default_rng(0)
    counts = dict(zip(words, rng.integers(3, 40, len(words)).tolist(), strict=True))
    text = [word for word, count in counts.items() for _ in range(count)]
    (tmp_path / "text.txt").write_text("\n".join(" ".join(text[i : i + 50]) for i in range(0, len(text), 50)))
    task = RareWords(str(tmp_path / "text.txt"), min_count=1, least=6, most=12)
    vocabulary = task.found.train.vocabulary
    vectors = rng.normal(size=(len(vocabulary), 5)).astype(np.float32)
    found = task.judge({"": vectors})
    for name in ("wordsim353", "simlex999"):
        for half in ("dev", "test"):
            cosines, scores = [], []
            for one, other, score in select(load_pairs(name), half):
                # Of words that differ by case the more frequent stands for both, as in all benchmarks.
                rows = [min(vocabulary[w] for w in words if w.upper() == word.upper()) for word in (one, other)]
                if 6 <= min(counts[vocabulary.words[row]] for row in rows) <= 12:
                    a, b = vectors[rows].astype(np.float64)
                    cosines.append(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
                    scores.append(score)
            assert found[f"pairs/{name}-rare-{half}"] == len(scores) > 10
            assert found[f"similarity/{name}-rare-{half}"] == pytest.approx(
                stats.spearmanr(cosines, scores)[0], abs=1e-4
            )
    assert set(task.columns.values()) <= set(found)
    assert task.half("similarity/wordsim353-rare-dev") == "dev"
    assert task.half("similarity/wordsim353-rare-test") == "test"


def test_its_settings():
    with pytest.raises(ValueError, match="least must not be above most"):
        RareWords("enwik8-small", least=30)
    for one in (RareWords("enwik8-small", most=9), FastText(min_n=2)):
        assert rebuilt(as_json(one, "x")) == one
