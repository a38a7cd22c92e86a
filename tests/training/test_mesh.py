import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from jaxembed.training.mesh import Layout, make_mesh
from jaxembed.training.method import share_of
from jaxembed.training.processes import initialize, tell

from . import mesh_runs

pytestmark = pytest.mark.slow
LABELS = {kind: [f"{data}x{model}" for data, model in meshes] for kind, meshes in mesh_runs.MESHES.items()}
# Sums in another order: rounding, carried on by a few dozen steps. Entries of vectors are about 1.
CLOSE = {"rtol": 1e-5, "atol": 2e-6}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """All runs, in one process of eight devices."""
    folder = tmp_path_factory.mktemp("mesh")
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    command = [sys.executable, "-W", "error", mesh_runs.__file__, str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


@pytest.fixture(scope="module")
def facts(written):
    return json.loads((written / "facts.json").read_text())


def assert_same(written, name, label, against="one", **close):
    one, other = (np.load(written / f"{name} {which}.npz") for which in (against, label))
    for figure in ("vectors", "losses", "held_out"):
        np.testing.assert_allclose(other[figure], one[figure], err_msg=f"{name} {label}: {figure}", **(close or CLOSE))
    assert np.ptp(one["vectors"]) > 0.01


@pytest.mark.parametrize("label", LABELS["nets"])
def test_a_batch_that_is_spread_contrasts_with_all_of_it(written, label):
    assert_same(written, "simclr", label, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "label"),
    [*((name, label) for name in mesh_runs.TABLES for label in LABELS["tables"]),
     *(("dense", label) for label in LABELS["nets"])],
)  # fmt: skip
def test_a_mesh_gives_what_one_device_gives(written, facts, name, label):
    assert_same(written, name, label)
    model = int(label.split("x")[1])
    for whole, parts in facts[f"{name} {label}"]["tables"]:
        assert parts == [[whole[0], whole[1] // model]]  # no device holds more than its columns


@pytest.mark.parametrize("label", LABELS["tables"])
@pytest.mark.parametrize("name", mesh_runs.RECOMMENDERS)
def test_recommenders_on_a_mesh_give_what_one_device_gives(written, name, label):
    assert_same(
        written, name, label, rtol=1e-4, atol=1e-5
    )  # the graph of LightGCN stays whole, whatever cuts the batch


def test_seeds_of_one_program_share_a_mesh(written, facts):
    assert_same(written, "seeds", "4x2")
    assert np.load(written / "seeds 4x2.npz")["vectors"].shape[0] == 3
    assert all(parts == [[3, whole[1], whole[2] // 2]] for whole, parts in facts["seeds 4x2"]["tables"])
    alone, company = np.load(written / "skipgram 4x2.npz"), np.load(written / "seeds 4x2.npz")
    np.testing.assert_allclose(company["vectors"][0], alone["vectors"][0], **CLOSE)


@pytest.mark.parametrize("label", LABELS["nets"])
def test_a_net_may_be_cut_too(written, facts, label):
    assert_same(written, "dense", f"sharded-{label}", against=label)
    size, cut = int(label[0]), facts[f"dense sharded-{label}"]["net"]
    assert len(cut) == 3 * 4  # weights, and both moments of Adam
    assert all(np.prod(part) * size == np.prod(whole) for whole, (part,) in cut)
    assert all(part == whole for whole, (part,) in facts[f"dense {label}"]["net"])


def test_a_step_of_skipgram_reduces_its_scores_and_nothing_else(facts):
    # 16 blocks of 32 tokens: their scores with 16 negatives, and of the 32 tiles of 16 with each other; in one operation.
    assert facts["skipgram-sgd 1x8"]["collectives"] == [["all-reduce", [[16, 32, 16], [32, 16, 16]]]]
    # Adagrad adds one: the squared length of each row that moves, 512 centres and 768 candidates.
    added = [one for one in facts["skipgram 1x8"]["collectives"] if one not in facts["skipgram-sgd 1x8"]["collectives"]]
    assert added == [["all-reduce", [[512], [768]]]]


@pytest.mark.parametrize("label", LABELS["tables"])
@pytest.mark.parametrize("name", mesh_runs.TABLES)
def test_no_table_travels(facts, name, label):
    fact = facts[f"{name} {label}"]
    moved = [np.prod(shape) for _, shapes in fact["collectives"] for shape in shapes]
    (rows, _), batch = fact["tables"][0][0], 2048 * 32  # the most rows that a batch touches
    assert max(moved) <= batch
    assert max(moved) < rows * 32 / 8  # even an eighth of a table is more


@pytest.mark.parametrize("label", ["1x2", "alone"])
def test_a_checkpoint_is_restored_onto_other_devices(written, facts, label):
    fact = facts["moved"][label]
    assert fact["same"]
    assert 0 < fact["steps"][0] == fact["steps"][1]
    size = 2 if label == "1x2" else 1
    assert all(parts == [[whole[0], whole[1] // size]] for whole, parts in fact["lies"])
    one, other = np.load(written / "skipgram one.npz"), np.load(written / f"skipgram moved-{label}.npz")
    np.testing.assert_allclose(other["vectors"], one["vectors"], **CLOSE)
    np.testing.assert_allclose(other["losses"], one["losses"], **CLOSE)


def test_shares_cover_everything_once():
    for length in range(1, 40):
        for shares in range(1, 9):
            spans = [share_of(length, share, shares) for share in range(shares)]
            assert len({size for _, size in spans}) == 1
            assert [place for first, size in spans for place in range(first, first + size)][:length] == [*range(length)]
            assert spans[0][1] == -(-length // shares)


def test_one_process_needs_nobody():
    assert tell({"a": [1, None, "ü"]}) == {"a": [1, None, "ü"]}
    assert not Layout().several_processes
    array = jax.numpy.ones(3)
    assert Layout().local(array) is array


@pytest.mark.parametrize("shape", [(9999, 1), (1, 9999), (0, 1)])
def test_a_mesh_larger_than_the_machine(shape):
    with pytest.raises(ValueError, match=r"a mesh of \d+ x \d+ needs \d+ devices, and there"):
        make_mesh(*shape)


def test_bad_clusters(monkeypatch):
    with pytest.raises(ValueError, match="together, or none"):
        initialize("localhost:1234")
    monkeypatch.setenv("JAXEMBED_PROCESSES", "two")
    with pytest.raises(ValueError, match="JAXEMBED_PROCESSES must be a whole number, not 'two'"):
        initialize()


@pytest.mark.parametrize(
    ("environment", "called"),
    [
        ({}, None),
        ({"SLURM_JOB_ID": "7", "SLURM_STEP_NUM_TASKS": "1"}, None),  # a shell on a node is no step of several tasks
        ({"SLURM_JOB_ID": "7", "SLURM_STEP_NUM_TASKS": "32"}, ((), {})),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, ((), {})),
        ({"TPU_WORKER_HOSTNAMES": "t-0,t-1"}, ((), {})),
        ({"JAXEMBED_COORDINATOR": "auto"}, ((), {})),
        (
            {
                "JAXEMBED_COORDINATOR": "compare-worker-0-0.compare:9876",
                "JAXEMBED_PROCESSES": "4",
                "JAXEMBED_PROCESS": "0",
            },
            (("compare-worker-0-0.compare:9876", 4, 0), {"cluster_detection_method": "deactivate"}),
        ),
    ],
)
def test_clusters(monkeypatch, environment, called):
    seen = []
    for name in ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE", "TPU_WORKER_HOSTNAMES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(jax.distributed, "initialize", lambda *given, **named: seen.append((given, named)))
    monkeypatch.setattr("jaxembed.training.processes._say_more_on_abort", lambda: None)
    initialize()
    expected = [] if called is None else [(called[0], {"heartbeat_timeout_seconds": 100, **called[1]})]
    assert seen == expected
