import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jaxembed.data import load, read_corpus, resolve
from jaxembed.data.hub import BUILTIN, local_names
from tests.hub import COMMIT, playing, printed


def write(path: Path, **columns) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


# -- local folders


def test_shipped_data_is_what_its_readme_says():
    rows = {
        "rg65": 65,
        "simlex999": 999,
        "wordsim353": 353,
        "wordsim353-relatedness": 252,
        "wordsim353-similarity": 203,
    }
    for table, count in rows.items():
        pairs = load("word-similarity", table)
        assert (len(pairs), pairs.column_names) == (count, ["word1", "word2", "score"])
    questions = load("word-analogies")  # the only table needs no name
    assert questions.column_names == ["category", "kind", "a", "b", "c", "d"]
    kinds = questions["kind"]
    assert (len(questions), list(kinds).count("semantic")) == (19_544, 8_869)
    assert len(set(questions["category"])) == 14
    texts = load("enwik8-small", "train")["text"]
    assert len(texts) == 4_000
    assert {len(text.split()) for text in texts} == {1_000}
    assert texts[0].startswith("anarchism originated as a term of abuse")
    assert sum(path.stat().st_size for path in BUILTIN.rglob("*.parquet")) < 10e6


@pytest.mark.skipif(not os.environ.get("JAXEMBED_DATA"), reason="JAXEMBED_DATA is not set: needs enwik8-text")
def test_shipped_corpus_is_the_beginning_of_enwik8_text(monkeypatch, data_folder):
    small = load("enwik8-small", "train")["text"]
    monkeypatch.setenv("JAXEMBED_DATA", data_folder)
    assert list(load("enwik8-text", "train").select(range(4_000))["text"]) == list(small)


def test_the_folder_of_the_user_comes_before_the_shipped_data(tmp_path, monkeypatch):
    write(tmp_path / "data/word-similarity/rg65.parquet", mine=["yes"])
    assert resolve("word-similarity", "rg65").origin == "builtin"
    monkeypatch.setenv("JAXEMBED_DATA", str(tmp_path / "data"))
    assert resolve("word-similarity", "rg65").origin == "JAXEMBED_DATA"
    assert load("word-similarity", "rg65")["mine"][:] == ["yes"]
    assert len(load("word-similarity", "simlex999")) == 999  # what the folder lacks is still found


def test_a_replaced_file_is_read_anew(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXEMBED_DATA", str(tmp_path))
    write(tmp_path / "mine/train.parquet", text=["old"])
    before = resolve("mine")
    assert before.load()["text"][:] == ["old"]
    stat = (tmp_path / "mine/train.parquet").stat()
    write(tmp_path / "mine/train.parquet", text=["new"])
    os.utime(tmp_path / "mine/train.parquet", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    after = resolve("mine")
    assert after.load()["text"][:] == ["new"]
    assert before.record()["data_fingerprint"] != after.record()["data_fingerprint"]
    assert str(tmp_path) not in json.dumps(after.record())


def test_configs_are_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXEMBED_DATA", str(tmp_path))
    write(tmp_path / "someone/wiki/tiny/train.parquet", text=["a"])
    write(tmp_path / "someone/wiki/large/train.parquet", text=["b"])
    assert load("someone/wiki", "train", config="large")["text"][:] == ["b"]
    assert load("someone/wiki", config="tiny")["text"][:] == ["a"]
    with pytest.raises(ValueError, match="no split 'huge'; it has large/train, tiny/train"):
        load("someone/wiki", config="huge")


def test_train_is_the_split_that_is_meant_where_none_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXEMBED_DATA", str(tmp_path))
    for split in ("test", "train"):
        write(tmp_path / f"someone/wiki/{split}.parquet", text=[split])
        write(tmp_path / f"someone/books/small/{split}.parquet", text=[split])
    assert load("someone/wiki")["text"][:] == ["train"]
    assert load("someone/books", config="small")["text"][:] == ["train"]


LAYOUTS = {
    "data": ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"],
    "root": ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"],
    "hashes": ["data/train-00000-of-00002-0a1b2c3d.parquet", "data/train-00001-of-00002-4d5e6f70.parquet"],
    "config": ["plain_text/train-00000-of-00002.parquet", "plain_text/train-00001-of-00002.parquet"],
    "copies": ["default/train/0000.parquet", "default/train/0001.parquet"],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("library", [True, False])
def test_files_that_lie_as_on_the_hub(tmp_path, monkeypatch, layout, library):
    if not library:
        monkeypatch.setattr("jaxembed.data.hub.installed", lambda: None)
    for name, text in zip(LAYOUTS[layout], ("one", "two"), strict=True):
        write(tmp_path / "mine" / name, text=[text])
        write(tmp_path / "mine" / name.replace("train", "test"), text=["test"])
    monkeypatch.setenv("JAXEMBED_DATA", str(tmp_path))
    assert list(load("mine")["text"]) == ["one", "two"]
    assert list(load("mine", "test")["text"]) == ["test", "test"]
    by_path = resolve(tmp_path / "mine", "train")
    assert by_path.fingerprint == resolve("mine").fingerprint
    record = by_path.record()
    assert (record["name"], record["origin"], record["split"]) == ("mine", "path", "train")
    assert str(tmp_path) not in json.dumps(record)
    with pytest.raises(ValueError, match=r"no split 'dev'; it has .*train"):
        load("mine", "dev")
    assert read_corpus(str(tmp_path / "mine"), min_count=1).vocabulary.words == ["one", "two"]
    (tmp_path / "mine" / LAYOUTS[layout][1]).unlink()
    if layout != "copies":  # which do not say how many they are
        with pytest.raises(FileNotFoundError, match=r"has 1 of the 2 files train-…-of-00002.parquet: fetch the others"):
            load("mine")


def test_a_file_or_a_folder_by_its_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "sub/mine.parquet", text=["a a b"], other=["c"])
    write(tmp_path / "sub/train-00000-of-00007.parquet", text=["d"])
    for path in (tmp_path / "sub/mine.parquet", str(tmp_path / "sub/mine.parquet"), "sub/mine.parquet"):
        assert list(load(path)["text"]) == ["a a b"]
        assert read_corpus(path, min_count=1).vocabulary.words == ["a", "b"]
        assert read_corpus(path, "other", min_count=1).vocabulary.words == ["c"]
    assert list(load("sub/train-00000-of-00007.parquet", "train")["text"]) == ["d"]  # this one is meant
    for path in ("./sub", "sub", Path("sub")):
        assert list(load(path, "mine")["text"]) == ["a a b"]
    with pytest.raises(ValueError, match=r"'nowhere.parquet' cannot name a dataset: .*a parquet file, or a folder"):
        load("nowhere.parquet")
    with pytest.raises(FileNotFoundError, match=r"no text file nowhere.parquet"):
        read_corpus("nowhere.parquet")
    (tmp_path / "imdb").write_text("a file that is called like a dataset")
    write(tmp_path / "data/imdb/train.parquet", text=["one"])
    monkeypatch.setenv("JAXEMBED_DATA", str(tmp_path / "data"))
    assert list(load("imdb")["text"]) == ["one"]


def test_names_are_listed_whatever_their_layout(tmp_path, monkeypatch):
    write(tmp_path / "flat/train.parquet", text=["a"])
    write(tmp_path / "cut/data/train-00000-of-00001.parquet", text=["a"])
    monkeypatch.setenv("JAXEMBED_DATA", str(tmp_path))
    assert {"cut", "flat", "word-similarity"} <= set(local_names())


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("word-similarity", "simlex"), ValueError, "no split 'simlex'; it has rg65, simlex999, wordsim353"),
        (("word-similarity",), ValueError, "has several splits: choose one; it has rg65"),
        (("../secrets", "train"), ValueError, "cannot name a dataset"),
        (("", "train"), ValueError, "cannot name a dataset"),
    ],
)
def test_wrong_names(arguments, error, message):
    with pytest.raises(error, match=message):
        load(*arguments)


def test_wrong_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("JAXEMBED_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match=r"JAXEMBED_DATA names .*nowhere, which is not a folder"):
        load("word-similarity", "rg65")


@pytest.mark.parametrize("damage", [lambda whole: whole[:-20], lambda whole: whole[:50] + b"x" * 100 + whole[150:]])
def test_damaged_file(tmp_path, monkeypatch, damage):
    monkeypatch.setenv("JAXEMBED_DATA", str(tmp_path))
    path = write(tmp_path / "mine/train.parquet", text=[str(i) for i in range(1000)])
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(OSError, match=r"train.parquet cannot be read as parquet: .* Put back a whole copy"):
        load("mine", "train")


@pytest.mark.parametrize("name", ["my.tsv", "corpus.text", "texts/corpus.JSONL", "texts/corpus", ".corpus", "~/corpus"])
def test_a_path_where_nothing_is_does_not_ask_the_hub(tmp_path, monkeypatch, name):
    monkeypatch.setattr("jaxembed.data.hub._resolve_on_hub", None)  # calling it would be another error
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no (text )?file .*" + Path(name).name):
        read_corpus(name)


def test_names_of_the_hub_still_ask_it(tmp_path, monkeypatch):
    requests = []

    def ask(*arguments):
        requests.append(arguments)
        raise ConnectionError

    monkeypatch.setattr("jaxembed.data.hub._resolve_on_hub", ask)
    monkeypatch.setenv("JAXEMBED_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "someone/wiki/train.parquet", text=["a a a a a"])
    names = ["Salesforce/wikitext", "fashion-mnist", "ag.news", "mteb/sts12.v1"]
    for name in names:
        with pytest.raises(ConnectionError):
            read_corpus(name, split="train")
    assert requests == [(name, "train", None, None) for name in names]
    assert read_corpus("someone/wiki").documents == 1  # a folder here, and a dataset of JAXEMBED_DATA
    with pytest.raises(FileNotFoundError, match=r"the folder someone has no file books\..*say which revision"):
        load("someone/books")
    with pytest.raises(ConnectionError):
        read_corpus("someone/books", config="small", revision="main")
    assert requests[-1] == ("someone/books", None, "small", "main")


# -- the hub, played by a server on this machine


@pytest.fixture
def hub(tmp_path):
    card = "---\nconfigs:\n- config_name: default\n  data_files:\n  - {split: train, path: train.parquet}\n"
    card += "  - {split: test, path: test.parquet}\n---\n"
    train = write(tmp_path / "train.parquet", text=["one two", "three"]).read_bytes()
    test = write(tmp_path / "test.parquet", text=["four"]).read_bytes()
    files = {"README.md": card.encode(), "train.parquet": train, "test.parquet": test}
    with playing("datasets", files) as server:
        yield server


def in_a_fresh_process(code: str, tmp_path: Path, endpoint: str, **environment: str) -> list:
    """What the expressions of `code` give."""
    program = f"""
import json
from jaxembed.data import load, resolve
def attempt(*arguments, **named):
    try:
        return load(*arguments, **named)["text"][:]
    except Exception as error:
        return [type(error).__name__, str(error)]
print(json.dumps({code}))
"""
    return printed(program, tmp_path, endpoint, **environment)


def test_hub(hub, tmp_path):
    endpoint, requested = hub
    code = """[
        resolve("someone/tiny", "train").record(), attempt("someone/tiny", "train"),
        attempt("someone/tiny", "test", revision="v1"), attempt("someone/tiny"), attempt("someone/tiny", "dev"),
        attempt("someone/tiny", "train", config="large"), attempt("someone/tiny", "train", revision="v2"),
        attempt("word-similarities", "rg65"),
    ]"""
    record, train, tagged, unnamed, split, config, revision, unknown = in_a_fresh_process(code, tmp_path, endpoint)
    assert record == {
        "name": "someone/tiny",
        "split": "train",
        "config": None,
        "origin": "hub",
        "revision": COMMIT,
        "data_fingerprint": COMMIT,
    }
    assert train == ["one two", "three"]
    assert tagged == ["four"]
    assert {one.partition("/")[0] for one in requested} == {COMMIT}  # never a branch or a tag, which may move
    assert unnamed == train
    assert split[0] == "ValueError"
    assert "no split 'dev'; it has train, test" in split[1]
    assert config[0] == "ValueError"
    assert "default" in config[1]
    assert revision[0] == "ValueError"
    assert "no revision 'v2'" in revision[1]
    assert unknown[0] == "FileNotFoundError"
    assert "Did you mean word-similarity?" in unknown[1]

    # afterwards, without network: the copy downloaded before, and nothing else
    code = """[
        resolve("someone/tiny", "train").record(), attempt("someone/tiny", "train"),
        attempt("someone/tiny", "train", revision="v1"), attempt("someone/other", "train"),
    ]"""
    for environment in ({"HF_ENDPOINT": "http://127.0.0.1:9"}, {"HF_HUB_OFFLINE": "1"}):
        record, train, *lost = in_a_fresh_process(code, tmp_path, endpoint, **environment)
        assert (record["origin"], record["revision"]) == ("hub cache", COMMIT)
        assert train == ["one two", "three"]
        for kind, message in lost:
            assert kind == "ConnectionError"
            assert "offline" in message
            assert "JAXEMBED_DATA" in message
            assert "enwik8-small" in message
