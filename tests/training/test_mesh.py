import json
import os
import subprocess
import sys

import numpy as np
import pytest

from . import mesh_runs

QUICK = ("skipgram-sgd",)  # what is always tested
LABELS = {kind: [f"{data}x{model}" for data, model in meshes] for kind, meshes in mesh_runs.MESHES.items()}
# Sums in another order: rounding, carried on by a few dozen steps. Entries of vectors are about 1.
CLOSE = {"rtol": 1e-5, "atol": 2e-6}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The runs of one family, made when they are first asked for, in a process of eight devices."""
    folder = tmp_path_factory.mktemp("mesh")
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}

    def of(name):
        if not (folder / f"{name}.json").exists():
            command = [sys.executable, "-W", "error", mesh_runs.__file__, str(folder), name]
            done = subprocess.run(command, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr[-4000:]
        return folder, json.loads((folder / f"{name}.json").read_text())

    return of


def several(*names):
    """Names as parameters, all but the quick ones marked as slow."""
    return pytest.mark.parametrize(
        "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in names]
    )


def assert_same(folder, name, label, against="one", **close):
    one, other = (np.load(folder / f"{name} {which}.npz") for which in (against, label))
    for figure in ("vectors", "losses", "held_out"):
        np.testing.assert_allclose(other[figure], one[figure], err_msg=f"{name} {label}: {figure}", **(close or CLOSE))
    assert np.ptp(one["vectors"]) > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("label", LABELS["nets"])
def test_a_batch_that_is_spread_contrasts_with_all_of_it(written, label):
    assert_same(written("simclr")[0], "simclr", label, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("label", range(2))
@several(*mesh_runs.TABLES, "dense")
def test_a_mesh_gives_what_one_device_gives(written, name, label):
    (folder, facts), label = written(name), LABELS["nets" if name == "dense" else "tables"][label]
    assert_same(folder, name, label)
    model = int(label.split("x")[1])
    for whole, parts in facts[label]["tables"]:
        assert parts == [[whole[0], whole[1] // model]]  # no device holds more than its columns


@pytest.mark.parametrize("label", LABELS["tables"])
@several(*mesh_runs.RECOMMENDERS)
def test_recommenders_on_a_mesh_give_what_one_device_gives(written, name, label):
    # The graph of LightGCN stays whole, whatever cuts the batch.
    assert_same(written(name)[0], name, label, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_seeds_of_one_program_share_a_mesh(written):
    folder, facts = written("seeds")
    assert_same(folder, "seeds", "4x2")
    assert np.load(folder / "seeds 4x2.npz")["vectors"].shape[0] == 3
    assert all(parts == [[3, whole[1], whole[2] // 2]] for whole, parts in facts["4x2"]["tables"])
    alone, company = np.load(folder / "skipgram 4x2.npz"), np.load(folder / "seeds 4x2.npz")
    np.testing.assert_allclose(company["vectors"][0], alone["vectors"][0], **CLOSE)


@pytest.mark.slow
@pytest.mark.parametrize("label", LABELS["nets"])
def test_a_net_may_be_cut_too(written, label):
    folder, facts = written("dense")
    assert_same(folder, "dense", f"sharded-{label}", against=label)
    size, cut = int(label[0]), facts[f"sharded-{label}"]["net"]
    assert len(cut) == 3 * 4  # weights, and both moments of Adam
    assert all(np.prod(part) * size == np.prod(whole) for whole, (part,) in cut)
    assert all(part == whole for whole, (part,) in facts[label]["net"])


def test_a_step_of_skipgram_reduces_its_scores_and_nothing_else(written):
    # 16 blocks of 32 tokens: their scores with 16 negatives, and of the 32 tiles of 16 with each other; in one operation.
    assert written("skipgram-sgd")[1]["1x8"]["collectives"] == [["all-reduce", [[16, 32, 16], [32, 16, 16]]]]


@pytest.mark.slow
def test_adagrad_adds_the_squared_length_of_each_row_that_moves(written):
    plain, adagrad = (written(name)[1]["1x8"]["collectives"] for name in ("skipgram-sgd", "skipgram"))
    # 512 centres and 768 candidates.
    assert [one for one in adagrad if one not in plain] == [["all-reduce", [[512], [768]]]]


@pytest.mark.parametrize("label", LABELS["tables"])
@several(*mesh_runs.TABLES)
def test_no_table_travels(written, name, label):
    fact = written(name)[1][label]
    moved = [np.prod(shape) for _, shapes in fact["collectives"] for shape in shapes]
    (rows, _), batch = fact["tables"][0][0], 2048 * 32  # the most rows that a batch touches
    assert max(moved) <= batch
    assert max(moved) < rows * 32 / 8  # even an eighth of a table is more


@pytest.mark.slow
@pytest.mark.parametrize("label", ["1x2", "alone"])
def test_a_checkpoint_is_restored_onto_other_devices(written, label):
    folder, facts = written("moved")
    fact = facts[label]
    assert fact["same"]
    assert 0 < fact["steps"][0] == fact["steps"][1]
    size = 2 if label == "1x2" else 1
    assert all(parts == [[whole[0], whole[1] // size]] for whole, parts in fact["lies"])
    one, other = np.load(folder / "skipgram one.npz"), np.load(folder / f"skipgram moved-{label}.npz")
    np.testing.assert_allclose(other["vectors"], one["vectors"], **CLOSE)
    np.testing.assert_allclose(other["losses"], one["losses"], **CLOSE)
