import errno
import os
import resource
import signal
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxembed.training.checkpoints import Checkpoints
from jaxembed.training.loop import Interrupted, fit
from jaxembed.training.settings import Training

from .toy import Pull

TOKENS = np.random.default_rng(0).integers(0, 5, 96)
HELD = TOKENS[:8]
TRAINING = Training(epochs=3, learning_rate=0.05, reports=20)


class Killed(Exception):
    """Stands for SIGKILL: nothing is cleaned up after it."""


def method(**settings):
    return Pull(noise=1.0, net=True, **{"pieces": 2, **settings})


def trained(folder=None, *, die_at=None, training=TRAINING, make=method, begin=None, act=None, **settings):
    """A run, and the steps of its reports; it dies or acts at its report number `die_at`."""
    noted = []

    def report(progress, vectors):
        noted.append((progress.step, progress.loss.tolist(), np.asarray(vectors()).tobytes()))
        if len(noted) == die_at:
            if act is None:
                raise Killed
            act()

    checkpoints = Checkpoints(folder, seconds=0, begin=begin or (lambda extra: None)) if folder else None
    try:
        first = lambda epoch, progress, vectors: (
            -epoch * np.arange(1, 1 + len(settings["seeds"])) if training.best_pass else None
        )
        result = fit(
            make(), TOKENS, training, held_out=HELD, report=report, on_epoch=first, checkpoints=checkpoints, **settings
        )
    except Killed:
        result = None
    finally:
        if checkpoints:
            checkpoints.close()
    return result, noted


@pytest.mark.parametrize(
    ("training", "settings"),
    [
        (TRAINING, {"seeds": (1,)}),
        pytest.param(
            TRAINING,
            {"seeds": (1, 2), "seeds_by": "threads", "vary": {"learning_rate": (0.05, 0.1)}},
            marks=pytest.mark.slow,
        ),
        pytest.param(TRAINING, {"seeds": (1, 2), "seeds_by": "vmap"}, marks=pytest.mark.slow),
        pytest.param(
            Training(epochs=3, learning_rate=0.05, reports=20, replicas=2, merge_steps=2),
            {"seeds": (1, 2)},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            Training(epochs=3, learning_rate=0.05, optimizer="lazy_adam", reports=20),
            {"seeds": (1,)},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            replace(TRAINING, best_pass=True), {"seeds": (1, 2), "seeds_by": "threads"}, marks=pytest.mark.slow
        ),
    ],
    ids=["one", "threads", "vmap", "replicas", "lazy_adam", "best"],
)
@pytest.mark.parametrize("die_at", [1, pytest.param(11, marks=pytest.mark.slow)])
def test_a_killed_run_ends_as_if_it_had_never_stopped(tmp_path, monkeypatch, training, settings, die_at):
    monkeypatch.setattr("jaxembed.training.program.ENOUGH", 1)  # replicas, few as the steps are
    whole, reports = trained(training=training, **settings)
    _, before = trained(tmp_path, die_at=die_at, training=training, **settings)
    resumed, after = trained(tmp_path, training=training, **settings)
    np.testing.assert_array_equal(resumed.vectors, whole.vectors)
    np.testing.assert_array_equal(resumed.losses, whole.losses)
    np.testing.assert_array_equal(resumed.held_out, whole.held_out)
    assert resumed.steps == whole.steps
    assert before == reports[:die_at]
    assert after == reports[-len(after) :]
    # Nothing was saved since the report at which it died; the one before that is not trained again.
    assert len(after) == len(reports) - die_at + (1 if die_at > 1 or after[0] == reports[0] else 0)


def test_what_was_told_at_a_checkpoint_is_told_again_at_the_start(tmp_path):
    seen = []
    lines = iter(range(100))
    checkpoints = Checkpoints(tmp_path, seconds=0, extra=lambda: {"lines": next(lines)}, begin=seen.append)
    count = [0]

    def report(progress, vectors):
        count[0] += 1
        if count[0] == 5:
            raise Killed

    with pytest.raises(Killed):
        fit(method(), TOKENS, TRAINING, report=report, checkpoints=checkpoints)
    checkpoints.close()
    fit(method(), TOKENS, TRAINING, checkpoints=Checkpoints(tmp_path, begin=seen.append))
    assert seen == [{}, {"lines": 3}]


def damage(step: Path):
    for path in step.rglob("*"):
        if path.is_file() and path.stat().st_size:
            path.write_bytes(os.urandom(path.stat().st_size))


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path):
    whole, reports = trained()
    trained(tmp_path, die_at=8)
    steps = sorted((int(path.name), path) for path in tmp_path.iterdir() if path.name.isdigit())
    assert len(steps) == 2
    damage(steps[-1][1])
    with pytest.warns(UserWarning, match="is damaged .* going on from the one before it"):
        resumed, after = trained(tmp_path)
    np.testing.assert_array_equal(resumed.vectors, whole.vectors)
    assert after[0] == reports[6]
    assert reports[5][0] == steps[0][0]


@pytest.mark.slow
def test_where_all_are_damaged_training_starts_anew(tmp_path):
    whole, reports = trained()
    trained(tmp_path, die_at=8)
    for path in tmp_path.iterdir():
        damage(path)
    with pytest.warns(UserWarning, match="is damaged"):
        resumed, after = trained(tmp_path)
    np.testing.assert_array_equal(resumed.vectors, whole.vectors)
    assert after == reports


def steps_of(folder):
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())


@pytest.mark.parametrize(
    "error",
    [
        PermissionError(errno.EACCES, "Permission denied"),
        OSError(errno.EIO, "Input/output error"),
        MemoryError("no memory"),
        ValueError("RESOURCE_EXHAUSTED: out of memory"),
        ValueError('PERMISSION_DENIED: Error opening "manifest.ocdbt"'),
        ValueError("UNKNOWN: reading failed: Too many open files"),
    ],
    ids=repr,
)
def test_a_checkpoint_that_cannot_be_read_just_now_is_not_removed(tmp_path, monkeypatch, error):
    trained(tmp_path, die_at=8)
    before = steps_of(tmp_path)

    def fail(*arguments, **settings):
        raise error

    monkeypatch.setattr("orbax.checkpoint.CheckpointManager.restore", fail)
    with pytest.raises(type(error), match=str(error.args[-1])[:20]):
        trained(tmp_path)
    assert steps_of(tmp_path) == before


def test_a_checkpoint_of_which_a_file_cannot_be_read_is_not_removed(tmp_path, monkeypatch):
    trained(tmp_path, die_at=8)
    before = steps_of(tmp_path)
    damage(tmp_path / str(before[-1]))

    def refuse(path, *mode):
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr("jaxembed.training.checkpoints.open", refuse, raising=False)
    with pytest.raises(PermissionError):
        trained(tmp_path)
    assert steps_of(tmp_path) == before


def test_a_checkpoint_of_other_shapes_is_refused_and_kept(tmp_path):
    trained(tmp_path, die_at=8)
    before = steps_of(tmp_path)
    with pytest.raises(ValueError, match=r"does not fit: .*rows.* is \[\[5, 16\], 'float32'\] there and \[\[7, 16\]"):
        trained(tmp_path, make=lambda: method(size=7))
    assert steps_of(tmp_path) == before


@pytest.mark.slow
def test_random_numbers_do_not_depend_on_how_jax_makes_them_by_default(tmp_path):
    """Neither from the start nor from a checkpoint, and a seed is the same alone and beside others."""
    whole, _ = trained(seeds=(1, 2), seeds_by="vmap")
    with jax.default_prng_impl("rbg"):
        alone, _ = trained(tmp_path, die_at=8, seeds=(2,))
        alone, _ = trained(tmp_path, seeds=(2,))
    np.testing.assert_allclose(alone.vectors[0], whole.vectors[1], rtol=1e-5, atol=1e-6)


def test_half_a_checkpoint_is_none(tmp_path):
    """What a kill leaves while one is written has another name, and is swept away."""
    trained(tmp_path, die_at=8)
    part = tmp_path / "999.orbax-checkpoint-tmp-1"
    part.mkdir()
    (part / "state").write_text("half")
    resumed, _ = trained(tmp_path)
    np.testing.assert_array_equal(resumed.vectors, trained()[0].vectors)


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # orbax leaves its failed writes to asyncio
def test_a_full_disk_costs_no_more_than_the_checkpoint(tmp_path):
    """A limit on the size of files stands for the full disk: what is written beyond it fails."""
    big = lambda: method(size=30_000)
    whole, _ = trained(make=big)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill():
        # Checkpoints are written beside training: one is to stand before the disk is full.
        late = time.monotonic() + 60
        while not any(path.name.isdigit() for path in tmp_path.iterdir()) and time.monotonic() < late:
            time.sleep(0.01)
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))

    try:
        with pytest.warns(UserWarning, match=r"could not be written to .*; the one before it stands") as noted:
            result, _ = trained(tmp_path, die_at=3, act=fill, make=big)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sum("could not be written" in str(one.message) for one in noted) == 1
    assert not [path for path in tmp_path.iterdir() if not path.name.isdigit()]  # no pieces
    np.testing.assert_array_equal(result.vectors, whole.vectors)
    resumed, after = trained(tmp_path, make=big)  # from before the disk was full
    assert len(after) > 10
    np.testing.assert_array_equal(resumed.vectors, whole.vectors)


def test_a_checkpoint_that_would_leave_no_room_for_the_result_is_not_begun(tmp_path, monkeypatch):
    usage = SimpleNamespace(free=5 * 16 * 4)
    monkeypatch.setattr("jaxembed.training.checkpoints.shutil.disk_usage", lambda folder: usage)
    with pytest.warns(UserWarning, match="no room left for the result") as noted:
        result, _ = trained(tmp_path)
    assert len(noted) == 1
    assert not list(tmp_path.iterdir())
    np.testing.assert_array_equal(result.vectors, trained()[0].vectors)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path, number):
    before = signal.getsignal(signal.SIGINT)
    whole, reports = trained()
    with pytest.raises(Interrupted, match="saved: the same command goes on"):
        trained(tmp_path, die_at=9, act=lambda: os.kill(os.getpid(), number))
    assert signal.getsignal(signal.SIGINT) is before
    resumed, after = trained(tmp_path)
    np.testing.assert_array_equal(resumed.vectors, whole.vectors)
    assert after == reports[9:]


def test_the_last_two_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path, seconds=0)
    fit(method(), TOKENS, TRAINING, checkpoints=checkpoints)
    checkpoints.close()
    steps = sorted(int(path.name) for path in tmp_path.iterdir() if path.name.isdigit())
    assert len(steps) == 2
    assert steps[-1] == 3 * 24


def test_a_checkpoint_does_not_change_with_the_training_that_goes_on(tmp_path):
    checkpoints = Checkpoints(tmp_path, seconds=0)
    state = {"table": jnp.arange(1e6)}
    copy = {"table": jnp.copy(state["table"])}
    checkpoints.save(1, copy, {})
    checkpoints.wait()
    found = checkpoints.restore(lambda: state, None)
    np.testing.assert_array_equal(found[0]["table"], np.arange(1e6, dtype=np.float32))
    checkpoints.close()


def test_bad_settings(tmp_path):
    with pytest.raises(ValueError, match="at least 0"):
        Checkpoints(tmp_path, seconds=-1)
