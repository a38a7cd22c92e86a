import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from jaxembed import KeyedVectors, __version__
from jaxembed.cli import main
from jaxembed.data.hub import BUILTIN
from jaxembed.evaluation import PAIRS, load_pairs, load_questions
from jaxembed.study.run import Run
from jaxembed.tracking import read_metrics

SMALL = ["--vector-size", "8", "--epochs", "2"]
FILES = {"settings.json", "environment.json", "metrics.jsonl", "vectors.safetensors", "summary.json"}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A text of 20,000 words, twenty documents."""
    import pyarrow.parquet as pq

    texts = pq.read_table(BUILTIN / "enwik8-small" / "train.parquet").column("text").to_pylist()[:20]
    path = tmp_path_factory.mktemp("corpus") / "small.txt"
    path.write_text("".join(" ".join(text.split()) + "\n" for text in texts))
    return path


@pytest.fixture(scope="module")
def trained(corpus, tmp_path_factory):
    """A folder with two runs of Skip-gram, and the words that made them."""
    folder = tmp_path_factory.mktemp("runs") / "infonce"
    argv = ["train", "skipgram", "--data", str(corpus), *SMALL, "--objective", "infonce", "--temperature", "0.5"]
    argv += ["--seeds", "1", "2", "--held-out", "0.1", "--output", str(folder)]
    assert main(argv) == 0
    return folder, argv


@pytest.fixture
def fails(capsys):
    """Runs a command line that must fail with one line on stderr, which it returns."""

    def run(*argv, status=1):
        capsys.readouterr()
        assert main([str(word) for word in argv]) == status
        errors = capsys.readouterr().err
        assert errors.count("\n") == 1
        assert errors.startswith("jaxembed: ")
        return errors

    return run


def test_version_and_manual(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"jaxembed {__version__}\n"
    for command in ([], ["train"], ["train", "skipgram"], ["train", "cbow"], ["train", "glove"]):
        assert main([*command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "jaxembed analogy glove.6B.100d.txt king - man + woman" in shown
    assert "--ns-exponent" in shown
    assert "--x-max" in shown
    assert main(["train", "skipgram", "--windows", "5"]) == 2
    assert "--window" in capsys.readouterr().err


def test_a_trained_run_has_its_files(trained, corpus):
    folder, _ = trained
    for seed in (1, 2):
        run = Run.open(folder / f"seed-{seed}")
        assert run.finished
        names = {path.name for path in run.folder.iterdir()}
        assert names >= FILES
        assert any(name.startswith("events.out.tfevents") for name in names)
        assert "projector_config.pbtxt" in names
        assert run.settings["seed"] == seed
        assert run.settings["method"]["objective"] == {"class": "InfoNCE", "temperature": 0.5}
        facts = run.environment
        assert facts["data"]["fingerprint"] == run.settings["data_fingerprint"]
        assert facts["data"]["file"] == corpus.name  # and not where it lies on this machine
        assert facts["compile_seconds"] > 0
        assert facts["wall_seconds"] > facts["train_seconds"] > 0
        assert facts["peak_memory"] > 0
        assert facts["seeds_at_once"] == 2


def test_metrics_say_how_the_run_went(trained):
    folder, _ = trained
    lines = read_metrics(folder / "seed-1" / "metrics.jsonl")
    losses = [line["train/loss"] for line in lines if "train/loss" in line]
    rates = [line["train/learning_rate"] for line in lines if "train/learning_rate" in line]
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    assert np.all(np.diff(rates) < 0)
    assert 15 <= sum("similarity/simlex999-dev" in line for line in lines) <= 25
    passes = [line for line in lines if "epoch/loss" in line]
    assert len(passes) == 2
    assert passes[1]["held_out/loss"] < passes[0]["held_out/loss"]
    assert passes[1]["tables/values"]["number"] == 8 * passes[1]["tables/lengths"]["number"]
    steps = [line["step"] for line in lines]
    assert steps == sorted(steps)
    summary = Run.open(folder / "seed-1").summary
    assert summary["final/loss"] == passes[1]["epoch/loss"]
    assert summary["final/held_out_loss"] == passes[1]["held_out/loss"]
    assert summary["final/loss"] != Run.open(folder / "seed-2").summary["final/loss"]


def test_words_that_no_benchmark_knows_are_shown_without_an_empty_table(tmp_path, capsys):
    (tmp_path / "text.txt").write_text("ein kleiner satz ohne bekannte wörter darin\n" * 60)
    assert (
        main(["train", "skipgram", "--data", str(tmp_path / "text.txt"), *SMALL, "--output", str(tmp_path / "runs")])
        == 0
    )
    shown = capsys.readouterr().out
    assert "No benchmark has enough words of this vocabulary" in shown
    assert "covered" not in shown
    assert "kleiner" in shown


def test_a_finished_run_is_kept(trained, capsys, fails):
    folder, argv = trained
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert main(argv) == 0
    assert "finished before and kept" in capsys.readouterr().out
    assert "other settings" in fails(*argv, "--window", 3)
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_killed_run_is_made_again_and_a_finished_one_beside_it_kept(trained, capsys):
    folder, argv = trained
    kept = (folder / "seed-1" / "vectors.safetensors").stat().st_mtime_ns
    vectors = Run.open(folder / "seed-2").vectors().vectors
    (folder / "seed-2" / "summary.json").unlink()
    (folder / "seed-2" / "vectors.safetensors").unlink()
    assert main(argv) == 0
    assert capsys.readouterr().out.count("finished before and kept") == 1
    assert (folder / "seed-1" / "vectors.safetensors").stat().st_mtime_ns == kept
    # Alone or beside another seed, a seed gives the same vectors.
    np.testing.assert_allclose(Run.open(folder / "seed-2").vectors().vectors, vectors, atol=1e-3)


def test_output_and_overwriting(corpus, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    argv = ["train", "glove", "--data", str(corpus), *SMALL]
    assert main(argv) == 0
    shown = capsys.readouterr()
    assert "runs/glove/seed-1/vectors.safetensors" in shown.out
    assert "tensorboard --logdir runs/glove" in shown.out
    assert "wordsim353" in shown.out
    assert "three" in shown.out
    assert "100%" in shown.err
    first = Run.open("runs/glove/seed-1").vectors()
    assert main([*argv, "--x-max", "5", "--overwrite"]) == 0
    second = Run.open("runs/glove/seed-1")
    assert second.finished
    assert second.settings["method"]["x_max"] == 5
    assert second.vectors().index_to_key == first.index_to_key
    assert not np.array_equal(second.vectors().vectors, first.vectors)


@pytest.fixture
def animals(tmp_path):
    """Six vectors in a file that gensim wrote: pairs of young and old."""
    import gensim

    words = ["dog", "puppy", "cat", "kitten", "stone", "-ness"]
    vectors = [[1, 0, 0, 0], [1, 0, 1, 0], [0, 1, 0, 0], [0, 1, 1, 0], [-1, -1, 0, 0], [0, 0, 0, 1]]
    keyed = gensim.models.KeyedVectors(4)
    keyed.add_vectors(words, np.array(vectors, np.float32))
    keyed.save_word2vec_format(str(tmp_path / "animals.bin"), binary=True)
    return tmp_path / "animals.bin"


def test_neighbors(animals, capsys):
    assert main(["neighbors", str(animals), "dog", "kitten", "--topn", "2"]) == 0
    shown = capsys.readouterr().out
    assert "puppy" in shown
    assert "0.707" in shown
    assert "stone" not in shown
    assert shown.index("cat ") > shown.index("dog")  # one table per word, in the order given


@pytest.mark.parametrize(
    ("terms", "answer"),
    [
        (["puppy", "-", "dog", "+", "cat"], "kitten"),
        (["puppy", "-dog", "+cat"], "kitten"),
        (["-", "dog", "+", "puppy", "+", "cat"], "kitten"),
        (["--", "dog", "+", "-ness", "-", "-ness"], "puppy"),
    ],
)
def test_analogy(animals, capsys, terms, answer):
    assert main(["analogy", "--topn", "1", str(animals), *terms]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert rows[-1][0] == answer


def test_evaluate_agrees_with_gensim(tmp_path, capsys):
    import gensim

    pairs = load_pairs("wordsim353")
    words = sorted({word for pair in pairs for word in pair[:2]})[10:]
    keyed = gensim.models.KeyedVectors(12)
    keyed.add_vectors(words, np.random.default_rng(0).normal(size=(len(words), 12)).astype(np.float32))
    keyed.save_word2vec_format(str(tmp_path / "vectors.txt"))
    (tmp_path / "pairs.tsv").write_text("".join(f"{a}\t{b}\t{score}\n" for a, b, score in pairs))
    spearman, oov = (keyed.evaluate_word_pairs(str(tmp_path / "pairs.tsv"))[i] for i in (1, 2))

    table = tmp_path / "figures.csv"
    assert main(["evaluate", str(tmp_path / "vectors.txt"), "--csv", str(table)]) == 0
    rows = {row["benchmark"]: row for row in csv.DictReader(table.read_text().splitlines())}
    row = rows["wordsim353"]
    assert float(row["value"]) == pytest.approx(spearman[0], abs=1e-5)
    assert 100 * int(row["oov"]) / len(pairs) == pytest.approx(oov)
    assert int(row["restrict_vocab"]) == len(words)
    assert set(rows) == {*PAIRS, "google", "google-semantic", "google-syntactic"}
    assert int(rows["google"]["items"]) + int(rows["google"]["oov"]) == len(load_questions("google"))
    shown = capsys.readouterr().out
    assert f"{spearman[0]:.3f}" in shown
    assert "category" not in shown
    assert not any(row["category"] for row in rows.values())


@pytest.mark.filterwarnings("ignore:Call to deprecated `init_sims`:DeprecationWarning")  # gensim's own
@pytest.mark.parametrize("method", ["3cosadd", "3cosmul"])
def test_evaluate_analogies_by_category(tmp_path, capsys, method):
    """gensim counts 3CosAdd by category; for 3CosMul its most_similar_cosmul is called for one question after the other."""
    import gensim

    kinds = ("family", "gram7-past-tense", "currency")
    questions = [question for question in load_questions("google") if question.category in kinds]
    random, vectors = np.random.default_rng(0), {}
    for _, _, *words in questions[:-300]:  # the last ones stay unknown
        for one, other in (words[:2], words[2:]):
            vectors.setdefault(one.lower(), random.normal(size=12))
            vectors.setdefault(other.lower(), vectors[one.lower()] + 0.8 + 0.5 * random.normal(size=12))
    keyed = gensim.models.KeyedVectors(12)
    keyed.add_vectors(list(vectors), np.array(list(vectors.values()), np.float32))
    keyed.save_word2vec_format(str(tmp_path / "vectors.bin"), binary=True)

    table = tmp_path / "figures.csv"
    argv = ["evaluate", str(tmp_path / "vectors.bin"), "--method", method, "--categories", "--csv", str(table)]
    assert main(argv) == 0
    rows = list(csv.DictReader(table.read_text().splitlines()))
    found = {row["category"]: row for row in rows if row["category"]}
    assert {row["benchmark"] for row in found.values()} == {"google"}
    assert {row["metric"] for row in found.values()} == {f"accuracy ({method})"}
    assert list(found) == list(dict.fromkeys(question.category for question in load_questions("google")))
    shown = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert shown["capital-world"] == ["0", "4,524", "–"]
    ask = {"3cosadd": keyed.most_similar, "3cosmul": keyed.most_similar_cosmul}[method]
    for kind in kinds:
        items = [[word.lower() for word in q[2:]] for q in questions if q.category == kind]
        known = [words for words in items if all(word in keyed for word in words)]
        right = [ask(positive=[b, c], negative=[a], topn=1)[0][0] == d for a, b, c, d in known]
        assert (int(found[kind]["items"]), int(found[kind]["oov"])) == (len(known), len(items) - len(known))
        assert float(found[kind]["value"]) == pytest.approx(np.mean(right), abs=1.5 / len(known))  # a tie may fall
        assert shown[kind] == [f"{len(known):,}", f"{len(items) - len(known):,}", f"{float(found[kind]['value']):.3f}"]
    assert 0.1 < float(found["family"]["value"]) < 1


def test_evaluate_a_run_and_halves(trained, capsys):
    folder, _ = trained
    counts = {}
    for split in ("all", "dev", "test"):
        assert main(["evaluate", str(folder / "seed-1"), "--split", split, "--restrict-vocab", "100"]) == 0
        row = next(line.split() for line in capsys.readouterr().out.splitlines() if " simlex999 " in line)
        counts[split] = int(row[-3]) + int(row[-2])
    assert counts["all"] == counts["dev"] + counts["test"] == 999


def test_errors_of_training(corpus, tmp_path, fails, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = ["--data", corpus]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "empty.txt").write_text(" \n\n")
    assert "no text file" in fails("train", "skipgram", "--data", "missing.txt")
    errors = fails("train", "skipgram", "--data", "enwik9-small")
    assert "On this machine: " in errors
    assert "enwik8-small" in errors
    assert "it has train" in fails("train", "skipgram", "--split", "valid")
    assert "'txt'" in fails("train", "skipgram", "--column", "txt")
    assert "is empty" in fails("train", "cbow", "--data", "empty.txt")
    assert "Pass min_count=" in fails("train", "cbow", *text, "--min-count", 1_000_000)
    assert "did you mean 'infonce'" in fails("train", "cbow", *text, "--objective", "infonse")
    assert "row_adagrad" in fails("train", "glove", *text, "--optimizer", "adamw")
    assert "has no temperature" in fails("train", "skipgram", *text, "--temperature", 2)
    assert "window must be at least 1" in fails("train", "skipgram", *text, "--window", 0)
    assert "window must be at least 1" in fails("train", "glove", *text, "--window", 0)
    assert "vector_size must be at least 1" in fails("train", "glove", *text, "--vector-size", 0)
    assert "epochs must be at least 1" in fails("train", "glove", *text, "--epochs", 0)
    assert "at most 0.5" in fails("train", "skipgram", *text, "--held-out", 0.9)
    assert "from 0 to 4294967295, not 4294967297" in fails("train", "skipgram", *text, "--seeds", 1, 4294967297)
    assert "from 0 to 4294967295, not -1" in fails("train", "skipgram", *text, "--seeds", -1)
    assert "folder of its own" in fails("train", "skipgram", *text, "--seeds", 1, 1)
    assert "at least one seed" in fails("train", "skipgram", *text, "--seeds")
    assert not (tmp_path / "runs").exists()


def test_a_revision_is_asked_of_the_hub(fails, monkeypatch):
    def ask(*arguments):
        raise ValueError(f"asked for {arguments}")

    monkeypatch.setattr("jaxembed.data.hub._resolve_on_hub", ask)
    errors = fails("train", "glove", "--data", "enwik8-small", "--config", "c", "--split", "s", "--revision", "v1")
    assert "asked for ('enwik8-small', 's', 'c', 'v1')" in errors


def test_divergence_is_told(corpus, tmp_path, capsys):
    argv = ["train", "cbow", "--data", str(corpus), *SMALL, "--optimizer", "sgd", "--learning-rate", "1e30"]
    assert main([*argv, "--output", str(tmp_path)]) == 1
    *_, errors = capsys.readouterr().err.splitlines()
    assert errors.startswith("jaxembed: training diverged")
    assert "Lower the learning rate" in errors
    assert not Run.open(tmp_path / "seed-1").finished


def test_errors_of_questions(animals, tmp_path, fails, capsys):
    (tmp_path / "cut.txt").write_text("3 2\na 1 2\nb 1\n")
    assert "nowhere.txt: No such file" in fails("neighbors", tmp_path / "nowhere.txt", "dog")
    assert "cut.txt, line 3" in fails("evaluate", tmp_path / "cut.txt")
    assert "did you mean 'kitten'" in fails("neighbors", animals, "kiten")
    assert "did you mean 'puppy'" in fails("analogy", animals, "dog", "-", "pupy")
    assert "at least one word" in fails("neighbors", animals)
    assert "ends with a sign" in fails("analogy", animals, "dog", "-")
    assert "there are no words" in fails("analogy", animals)
    assert "topn must be at least 1" in fails("neighbors", animals, "dog", "--topn", 0)
    assert "restrict_vocab must be at least 1" in fails("evaluate", animals, "--restrict-vocab", 0)
    assert main(["evaluate", str(animals), "--split", "half"]) == 2


def test_a_failure_shows_where_when_asked(animals, monkeypatch):
    monkeypatch.setenv("JAXEMBED_TRACEBACK", "1")
    with pytest.raises(KeyError):
        main(["neighbors", str(animals), "horse"])


def command(*argv, **options):
    code = "import sys; from jaxembed.cli import main; sys.exit(main())"
    return subprocess.Popen([sys.executable, "-c", code, *map(str, argv)], stderr=subprocess.PIPE, **options)


def test_interrupted_by_control_c(corpus, tmp_path):
    """In a process of its own: one line, no traceback, status 130, and the run is not marked as finished."""
    argv = ["train", "glove", "--data", corpus, "--vector-size", "8", "--epochs", "100000", "--output", tmp_path]
    process = command(*argv, stdout=subprocess.DEVNULL)
    metrics = tmp_path / "seed-1" / "metrics.jsonl"
    deadline = time.monotonic() + 100
    while not (metrics.exists() and metrics.stat().st_size) and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=180)  # on a machine that is busy with other things
    assert process.returncode == 130
    last = errors.decode().splitlines()[-1]
    assert last.startswith("jaxembed: stopped at step")
    assert last.endswith("saved: the same command goes on from there")
    assert b"Traceback" not in errors
    assert not (tmp_path / "seed-1" / "summary.json").exists()
    assert json.loads((tmp_path / "seed-1" / "settings.json").read_text())["seed"] == 1


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX pipe")
def test_a_reader_that_leaves_early_is_no_failure_to_shout_about(tmp_path):
    words = [f"word{i}" for i in range(200_00)]
    KeyedVectors(words, np.random.default_rng(0).normal(size=(len(words), 2))).save(tmp_path / "many.safetensors")
    reading, writing = os.pipe()
    os.close(reading)
    process = command("neighbors", tmp_path / "many.safetensors", "word1", "--topn", "9000", stdout=writing)
    os.close(writing)
    _, errors = process.communicate(timeout=60)
    assert errors == b""
    assert process.returncode == 1


def test_the_entry_point_is_this_function():
    text = (Path(__file__).parents[1] / "pyproject.toml").read_text()
    assert 'jaxembed = "jaxembed.cli:main"' in text


IMPORTING = """
import os, signal, sys, builtins
before = builtins.__import__
def interrupting(name, *arguments, **options):
    if name == {module!r}:
        builtins.__import__ = before
        os.kill(os.getpid(), signal.SIGINT)
    return before(name, *arguments, **options)
builtins.__import__ = interrupting
from jaxembed.cli import main
sys.argv = ["jaxembed", "report", "nowhere"]
sys.exit(main())
"""


@pytest.mark.parametrize("module", ["tyro.conf", "jax"])
def test_interrupted_while_modules_are_imported(module):
    done = subprocess.run([sys.executable, "-c", IMPORTING.format(module=module)], capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (130, 1), done.stderr
    assert done.stderr.startswith("jaxembed: interrupted")


INTERRUPTED = """
import hashlib, os, signal, sys, threading
from jaxembed.cli.interrupt import interruptible
interrupt = lambda: os.kill(os.getpid(), signal.SIGINT)
with interruptible("jaxembed"):
    try:
        {code}
    finally:
        print("unwound")
"""


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
@pytest.mark.parametrize(
    "code",
    [
        # The compiler calls back into Python, through whose frames no exception may go.
        "exec('interrupt()', {**globals(), '__name__': 'jax._src.compiler'})",
        # Handlers of signals do not run before a call of C is over, here in minutes.
        "threading.Timer(0.3, interrupt).start(); hashlib.pbkdf2_hmac('sha256', b'', b'', 1_000_000_000)",
    ],
    ids=["jax", "C"],
)
def test_interrupted_where_no_exception_may_be_raised(code):
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED.format(code=code)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 130
    assert done.stderr == "jaxembed: interrupted; what was finished before stands as it was\n"
    assert done.stdout == ""


def test_interrupted_elsewhere_what_is_open_is_closed():
    code = INTERRUPTED.format(code="interrupt()")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "unwound\n"
    assert "KeyboardInterrupt" in done.stderr
