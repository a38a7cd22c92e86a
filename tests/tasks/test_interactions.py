"""The tasks of interactions and clicks: what is judged, and what cannot be."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import jaxembed
from jaxembed.cli import main
from jaxembed.evaluation.top_k import Lists, by_vectors, ranking
from jaxembed.recipes import RECIPES
from jaxembed.study.judged import judged
from jaxembed.study.run import Run
from jaxembed.tasks.interactions import Interactions


def write(folder, **splits):
    folder.mkdir()
    for name, rows in splits.items():
        user, item = map(list, zip(*rows, strict=True))
        pq.write_table(pa.table({"user": user, "item": item}), folder / f"{name}.parquet")
    return str(folder)


TRAIN = [(u, i) for u in range(6) for i in range(12) if (u + i) % 3]


def test_figures_are_those_of_a_full_ranking_without_what_is_known(tmp_path):
    test = [(0, 0), (0, 3), (1, 2), (5, 1), (4, 99), (77, 3)]
    task = Interactions(write(tmp_path / "t", train=TRAIN, test=test), k=3, validation=0.25)
    parts = task.found.rest
    rng = np.random.default_rng(0)
    vectors = {"user": rng.normal(size=(7, 4)), "item": rng.normal(size=(13, 4))}
    found = task.judge(vectors)
    lists = lambda part: Lists(part.offsets, part.item)
    score, able = by_vectors(vectors["user"], vectors["item"]), parts.train.counts > 0
    assert not able[parts.train.items.index("99")]
    expected = ranking(score, np.array([0, 1, 4, 5]), lists(parts.test), lists(parts.known), able, 3)
    assert found["ranking/ndcg@3"] == pytest.approx(expected.ndcg.mean())
    assert found["ranking/served"] == pytest.approx(4 / 5)  # nothing is known of user 77
    assert expected.recall[2] == 0  # nobody has the item in training
    on_dev = ranking(score, np.arange(6), lists(parts.dev), lists(parts.train), able, 3)
    assert found["ranking/recall@3-dev"] == pytest.approx(on_dev.recall.mean())
    assert {task.half(name) for name in found} == {"dev", "test"}


def test_what_cannot_be_measured_is_told_before_training(tmp_path):
    strangers = Interactions(write(tmp_path / "s", train=TRAIN, test=[(88, 1)]), k=3)
    assert set(strangers.unmeasurable()) == set(strangers.columns.values())
    busy = [(u, i) for u in range(3) for i in range(20)]
    all_busy = Interactions(write(tmp_path / "b", train=busy, test=[(0, 30), (1, 31)]), k=3)
    assert list(all_busy.unmeasurable()) == ["ranking/few/recall@3"]


def test_what_is_known_of_users_and_items_stands_in_tables_beside(tmp_path):
    for name, text in {
        "train": "user,item\n007,x\n007,y\n8,x\n",
        "test": "user,item\n8,y\n",
        "users": "user,country,age\n8,Peru,\n007,Chad,40\n9,Peru,40\n",
        "items": "item,genre\ny,jazz\nx,\n",
    }.items():
        (tmp_path / f"{name}.csv").write_text(text)
    where = {"data": str(tmp_path), "validation": 0.0}
    known = {
        "user_split": "users",
        "user_features": ("country", "age"),
        "item_split": "items",
        "item_features": ("genre",),
    }
    rest = Interactions(**where, **known).found.rest
    for part in (rest.train, rest.test):
        assert [part.users, part.items] == [("007", "8"), ("x", "y")]
        assert part.user_feature_names == ("age=40", "country=Chad", "country=Peru")
        assert part.user_features.tolist() == [[1, 0], [2, -1]]
        assert (part.feature_names, part.features.tolist()) == (("genre=jazz",), [[-1], [0]])
    plain = Interactions(**where).found
    assert plain.rest.train.user_features is None
    with pytest.raises(ValueError, match=r"users\.csv has no column 'town'"):
        _ = Interactions(**where, user_split="users", user_features=("town",)).found
    with pytest.raises(ValueError, match=r"line 3 of .*train\.csv has the user 007 again"):
        _ = Interactions(**where, user_split="train", user_features=("item",)).found


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    assert (
        main(["train", "item_cosine", "--output", str(folder), "--vector-size", "8", "--checkpoint-seconds", "None"])
        == 0
    )
    return folder / "seed-1"


def test_recommendations_on_the_command_line(run, capsys):
    capsys.readouterr()
    assert main(["recommend", str(run), "reader-007", "-k", "4"]) == 0
    shown = capsys.readouterr().out
    expected = jaxembed.load(run).recommend("reader-007", 4)
    assert [line.split()[0] for line in shown.splitlines() if "book-" in line] == [item for item, _ in expected]
    assert main(["recommend", str(run), "--history", "book-010", "book-011", "-k", "3"]) == 0
    shown = capsys.readouterr().out.partition("score")[2]
    assert shown.count("book-") == 3
    assert "book-010" not in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["reader-0007"], "'reader-0007' is not among the 400 keys: did you mean 'reader-007'"),
        (["--history", "book-10"], "'book-10' is not among the 320 keys: did you mean"),
        ([], "give a user, or a history of items, and not both"),
        (["reader-007", "-k", "0"], "k must be at least 1, not 0"),
    ],
)
def test_bad_questions_get_one_clear_line(run, capsys, words, message):
    assert main(["recommend", str(run), *words]) == 1
    assert message in capsys.readouterr().err


def test_other_commands_know_what_a_recommender_is(run, capsys):
    assert main(["neighbors", str(run), "item/book-010", "--topn", "3"]) == 0
    assert capsys.readouterr().out.count("item/") >= 2
    assert main(["neighbors", str(run), "item/book-999"]) == 1
    assert "'item/book-999' is not among the 720 keys" in capsys.readouterr().err
    assert main(["embed", str(run), str(run / "settings.json")]) == 1
    assert "is a Recommender, which takes ids" in capsys.readouterr().err
    assert main(["evaluate", str(run), "--split", "dev"]) == 0
    assert "ranking/recall@20-dev" in capsys.readouterr().out


def test_a_run_is_judged_again_from_its_folder(run):
    summary = Run.open(run).summary
    again = judged(run, "test")
    assert again["ranking/ndcg@20"] == pytest.approx(summary["ranking/ndcg@20"], abs=1e-6)
    with pytest.raises(ValueError, match="a history is a list of items"):
        jaxembed.load(run).recommend(history="book-010")


def test_what_is_shipped_is_made_by_its_script():
    from experiments.make_interactions import clicks, interactions
    from jaxembed.data.hub import BUILTIN

    for name, made in (("made-interactions", interactions()), ("made-clicks", clicks())):
        for split, table in made.items():
            assert pq.read_table(BUILTIN / name / f"{split}.parquet").equals(table), f"{name}/{split}"
    assert RECIPES["mf"].task.data == "made-interactions"
