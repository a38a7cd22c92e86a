import jax
import pytest

from jaxembed.training.mesh import Layout, make_mesh
from jaxembed.training.method import share_of
from jaxembed.training.processes import initialize, tell


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
