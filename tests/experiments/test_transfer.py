"""What pretrained vectors save: the rows of the table against scikit-learn and NumPy, and the whole on made-up texts."""

import json
import shlex
from dataclasses import replace

import datasets
import numpy as np
import pytest
import tyro

from experiments import transfer
from experiments.representations import Bag, encoder_of
from experiments.transfer_tables import reached, table
from jaxembed import FastText, load
from jaxembed.cli.train import command
from jaxembed.data.tokens import train_tokenizer
from jaxembed.vectors import KeyedVectors

from ..pretrained import checkpoints as tiny

GOOD, BAD, OTHERS = ("fine", "lovely", "bright"), ("dull", "awful", "grey"), ("film", "plot", "the", "a", "music")
SMALL = transfer.Settings(preset="smoke", rows=("one-hot", "tf-idf"), sts="", labels=(10, 30), draws=2, seeds=(1, 2))


def made_up(n, seed):
    """Texts whose words tell their class."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, n)
    words = [[*random.choice(OTHERS, 4), random.choice(GOOD if label else BAD)] for label in labels]
    return [" ".join(random.permutation(one)) for one in words], labels.tolist()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A dataset, pairs with scores, word vectors that know what is good, and a tiny BERT."""
    root = tmp_path_factory.mktemp("transfer")
    (root / "films").mkdir()
    for seed, (split, n) in enumerate({"train": 60, "test": 40}.items()):
        texts, labels = made_up(n, seed)
        datasets.Dataset.from_dict({"text": texts, "label": labels}).to_parquet(
            str(root / "films" / f"{split}.parquet")
        )
    words = [*GOOD, *BAD, *OTHERS]
    vectors = np.random.default_rng(0).normal(0, 0.1, (len(words), 4)).astype(np.float32)
    vectors[:3, 0] += 1
    KeyedVectors(words, vectors).save(str(root / "words.safetensors"))
    core = train_tokenizer(made_up(60, 0)[0], vocab_size=80, min_count=1, cache=False).core
    config, tensors = tiny.bert(core.get_vocab_size())
    tiny.write(root / "bert", config, tensors, core, tokenizer_config={"pad_token": "[PAD]", "model_max_length": 12})
    return root


def test_bags_are_those_of_scikit_learn():
    text = pytest.importorskip("sklearn.feature_extraction.text")
    texts, new = made_up(50, 0)[0], ["the the dull and unknown music", "nothing known"]
    options = {"token_pattern": r"\S+"}
    for kind, theirs in (
        ("one-hot", text.CountVectorizer(binary=True, **options)),
        ("tf-idf", text.TfidfVectorizer(**options)),
    ):
        theirs.fit(texts)
        ours = Bag.of([*texts[:-1], texts[-1].upper()], kind)
        order = [theirs.vocabulary_[word] for word in ours.words.vocabulary.words]
        for some in (texts, new):
            np.testing.assert_allclose(ours(some).toarray(), theirs.transform(some).toarray()[:, order], atol=1e-12)


def test_fasttext_has_vectors_of_words_that_it_has_not_met_and_cased_vectors_keep_their_case(tmp_path):
    model = FastText(
        [["dull", "lovely", "film"]] * 30, min_count=1, vector_size=4, bucket=100, epochs=1, sample=0, seed=1
    )
    model.wv.save(str(tmp_path / "grams.safetensors"))
    vectors = load(str(tmp_path / "grams.safetensors"))
    found = encoder_of(str(tmp_path / "grams.safetensors"))(["Dullest film"])
    np.testing.assert_allclose(found[0], (vectors["dullest"] + vectors["film"]) / 2, atol=1e-6)
    KeyedVectors(["Film", "film"], np.eye(2, dtype=np.float32)).save(str(tmp_path / "cased.safetensors"))
    np.testing.assert_array_equal(encoder_of(str(tmp_path / "cased.safetensors"))(["Film", "film"]), np.eye(2))


def test_word_vectors_are_averaged_over_the_words_that_have_one(folder):
    vectors = KeyedVectors.load(str(folder / "words.safetensors"))
    found = encoder_of(str(folder / "words.safetensors"))(["Fine, fine film", "never heard"])
    np.testing.assert_allclose(found[0], (2 * vectors["fine"] + vectors["film"]) / 3, rtol=1e-6)
    np.testing.assert_array_equal(found[1], 0)
    with pytest.raises(ValueError, match="leave :last out"):
        encoder_of(str(folder / "words.safetensors"), "last")


def test_a_transformers_tokens_are_pooled_as_the_row_says(folder):
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer

    core = Tokenizer.from_file(str(folder / "bert" / "tokenizer.json"))
    config, tensors = (
        json.loads((folder / "bert" / "config.json").read_text()),
        load_file(folder / "bert" / "model.safetensors"),
    )
    texts = ["fine film", "the dull plot a music"]
    states = [tiny.run_bert(config, tensors, core.encode(text).ids) for text in texts]
    for pooling, pool in (("", lambda x: x.mean(0)), ("last", lambda x: x[-1]), ("cls", lambda x: x[0])):
        found = encoder_of(str(folder / "bert"), pooling)(texts)
        np.testing.assert_allclose(found, [pool(x) for x in states], atol=2e-6)


def test_rows_are_measured_tuned_and_kept_where_others_are_measured_later(folder, tmp_path, capsys):
    words, bert = f"words={folder / 'words.safetensors'}", f"bert, first={folder / 'bert'}:cls"
    settings = replace(SMALL, data=(str(folder / "films"),), results=tmp_path)
    first = transfer.main(replace(settings, rows=("one-hot", "tf-idf", words)))
    of = lambda rows, name, **more: next(
        row for row in rows if row["row"] == name and all(row[key] == value for key, value in more.items())
    )
    whole = of(first, "words", how="frozen")
    assert (whole["labels"], whole["dimensions"]) == (60, 4)  # what was set apart for dev is trained on in the end
    assert whole["accuracy"] > 0.9
    assert len(of(first, "words", how="labels", labels=30)["accuracies"]) == 2
    assert of(first, "words", how="labels", labels=10)["mean"] > of(first, "one-hot", how="labels", labels=10)["mean"]
    rows = transfer.main(
        replace(
            settings,
            rows=(bert,),
            tune=("bert, first", "bert, first:scratch"),
            tune_options=("epochs=2", "batch_size=20"),
        )
    )
    options = " (epochs=2, batch_size=20)"
    assert of(rows, "words", how="frozen")["accuracy"] == whole["accuracy"]
    assert len(of(rows, f"bert, first{options}", how="tuned")["accuracies"]) == 2
    method = json.loads(
        (tmp_path / "tuned" / "bert-first-epochs-2-batch_size-20-films" / "seed-1" / "settings.json").read_text()
    )["method"]
    assert method["start"] == str(folder / "bert")
    assert dict(method["encoder"]["settings"])["pooling"] == "cls"
    scratch = next((tmp_path / "tuned").glob("*scratch*")) / "seed-2" / "settings.json"
    assert json.loads(scratch.read_text())["method"]["start"] is None
    page = (tmp_path / "table.md").read_text()
    assert page in capsys.readouterr().out
    assert all(
        f"| {name} |" in page for name in ("one-hot", "words", "bert, first", f"bert, first, from scratch{options}")
    )
    assert (tmp_path / "labels.png").stat().st_size > 1000


def test_the_labels_to_one_hots_accuracy_are_told_for_every_row():
    about = {"command": "x", "versions": {}, "device": None, "machine": {}, "commit": None, "dirty": False}
    curves = {"one-hot": (0.5, 0.6, 0.7), "good": (0.6, 0.8, 0.9), "bad": (0.5, 0.5, 0.6), "best": (0.8, 0.9, 0.9)}
    rows = [
        {"data": "d", "row": name, "how": "labels", "labels": size, "accuracies": [value - 0.01, value + 0.01]} | about
        for name, curve in curves.items()
        for size, value in zip((10, 100, 1000), curve, strict=True)
    ]
    found = {name: reached(rows, "d", name) for name in curves}
    assert found == {"one-hot": "1,000", "good": "32", "bad": "not reached", "best": "10 or fewer"}
    frozen = [
        {"data": "d", "row": name, "how": "frozen", "labels": 5000, "accuracy": 0.95, "dimensions": 3} | about
        for name in curves
    ]
    page = table(rows + frozen)
    assert "labels to 0.700 on d" in page
    assert "| bad | 3 | 0.950 | 1,584 |" in page  # between 1,000 and all


def test_what_presets_train_are_lines_of_jaxembed_train():
    for preset in transfer.PRESETS.values():
        sources = {transfer.Line.of(row).source for row in preset.rows}
        for text in preset.train:
            name, _, words = text.partition("=")
            line = shlex.split(words)
            asked = tyro.cli(command(line[0], line[1:]), args=line[1:], config=(tyro.conf.FlagCreatePairsOff,))
            assert asked.recipe_name == line[0]
            assert name in sources  # no line is idle


def test_what_cannot_be_compared_is_refused_before_anything_is_trained(folder):
    films = (str(folder / "films"),)
    for rows, more, why in (
        (("one-hot", "skipgram"), {}, "the row 'skipgram' names nothing that is there"),
        (("one-hot", "one-hot"), {}, "two rows are called 'one-hot'"),
        (("one-hot",), {"tune": ("one-hot",)}, "must be one of --rows"),
        (("one-hot",), {"data": ("a:b:c:d",)}, "--data takes NAME:TEXT:LABEL"),
    ):
        with pytest.raises(ValueError, match=why):
            transfer.main(replace(SMALL, **{"rows": rows, "data": films} | more))
    with pytest.raises(ValueError, match="--tune-options takes NAME=VALUE"):
        transfer.options_of(("epochs",))
    assert transfer.options_of(("train-layers=2", "schedule=cosine")) == {"train_layers": 2, "schedule": "cosine"}
