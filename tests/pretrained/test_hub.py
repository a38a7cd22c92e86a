"""Models of the Hugging Face hub, which a server on this machine plays: pinned, fetched once, and not there without network."""

import json

import numpy as np
import pytest
from safetensors.numpy import save

from jaxembed.data.tokens import train_tokenizer
from jaxembed.pretrained.files import REVISIONS, on_hub
from tests.hub import COMMIT, playing, printed

from . import checkpoints as tiny


@pytest.fixture
def hub(tmp_path):
    core = train_tokenizer(["a dog runs", "rain"], vocab_size=60, min_count=1, cache=False).core
    folder = tiny.write(tmp_path / "tiny", *tiny.bert(core.get_vocab_size()), core)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    files |= {"pytorch_model.bin": b"a pickle", "onnx/model.safetensors": b"another"}
    with playing("models", files) as server:
        yield server


def in_a_fresh_process(names, tmp_path, endpoint, **environment):
    """What becomes of names: the folder's commit and files, or the error."""
    program = f"""
import json
from jaxembed.pretrained import find
def attempt(name):
    try:
        found = find(name)
        return [found.name, found.revision, len(found.tensors)]
    except Exception as error:
        return [type(error).__name__, str(error)]
print(json.dumps([attempt(name) for name in {names!r}]))
"""
    return printed(program, tmp_path, endpoint, **environment)


def test_a_model_of_the_hub_is_fetched_at_one_commit_without_its_pickles(hub, tmp_path):
    endpoint, requested = hub
    names = ["someone/tiny", "someone/tiny@v1", "someone/tiny@v2", "someone/other"]
    newest, tagged, absent, unknown = in_a_fresh_process(names, tmp_path, endpoint)
    assert newest == tagged == ["someone/tiny", COMMIT, len(tiny.bert(9)[1])]
    assert {one.partition("/")[0] for one in requested} == {COMMIT}  # never a branch or a tag, which may move
    assert {one.partition("/")[2] for one in requested} - {""} == {"config.json", "model.safetensors", "tokenizer.json"}
    assert absent[0] == "ValueError"
    assert "no revision 'v2'" in absent[1]
    assert unknown[0] == "FileNotFoundError"
    assert "no model 'someone/other' on the hub" in unknown[1]
    # afterwards, without network: what was fetched before at that commit, and nothing else
    for environment in ({"HF_ENDPOINT": "http://127.0.0.1:9"}, {"HF_HUB_OFFLINE": "1"}):
        again, lost = in_a_fresh_process([f"someone/tiny@{COMMIT}", "someone/other"], tmp_path, endpoint, **environment)
        assert again == newest
        assert lost[0] == "ConnectionError"
        assert "You seem to be offline: name a folder" in lost[1]


def test_what_has_pickles_alone_is_refused_before_anything_is_fetched(tmp_path):
    files = {"config.json": b"{}", "pytorch_model.bin": b"a pickle", "tokenizer.json": b"{}"}
    with playing("models", files) as (endpoint, requested):
        kind, message = in_a_fresh_process(["someone/tiny"], tmp_path, endpoint)[0]
    assert kind == "ValueError"
    assert "has its weights in pytorch_model.bin only" in message
    assert "from_pretrained('someone/tiny')" in message
    assert not [one for one in requested if one.endswith((".json", ".bin"))]


def test_modules_in_folders_of_their_own_are_fetched_with_their_weights(tmp_path):
    core = train_tokenizer(["a dog runs", "rain"], vocab_size=60, min_count=1, cache=False).core
    vectors = np.random.default_rng(0).normal(size=(core.get_vocab_size(), 3)).astype(np.float32)
    kind = "sentence_transformers.models.StaticEmbedding"
    modules = [{"idx": 0, "name": "0", "path": "0_StaticEmbedding", "type": kind}]
    at = "0_StaticEmbedding/"
    files = {
        "modules.json": json.dumps(modules).encode(), "config_sentence_transformers.json": b"{}",
        f"{at}tokenizer.json": core.to_str().encode(), f"{at}model.safetensors": save({"embedding.weight": vectors}),
        "onnx/model.safetensors": b"another",
    }  # fmt: skip
    program = """
import json
from jaxembed import load
print(json.dumps(load("someone/tiny").encode("a dog runs").tolist()))
"""
    with playing("models", files) as (endpoint, requested):
        found = printed(program, tmp_path, endpoint)
    expected = vectors[core.encode("a dog runs", add_special_tokens=False).ids].mean(0)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert not [one for one in requested if "onnx" in one]


def test_names_of_the_hub_are_told_from_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert on_hub("sentence-transformers/all-MiniLM-L6-v2")
    assert on_hub("someone/tiny@v1")
    (tmp_path / "runs").mkdir()
    for path in ("runs/simcse", "word.txt", "gpt2", "./gpt2", "a/b/c", "/tmp/x", "models/glove.txt"):
        assert not on_hub(path), path
    assert all(on_hub(name) and len(commit) == 40 for name, commit in REVISIONS.items())
