"""What TensorBoard's own readers find in the files we write."""

import os
import subprocess
import sys
from io import BytesIO
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from jaxembed.tracking import TensorBoard, histogram

WRITE_EVERYTHING = """
import sys
import numpy as np, jax.numpy as jnp
from types import SimpleNamespace
from jaxembed.tracking import TensorBoard, histogram
board = TensorBoard(sys.argv[1])
board.start({"dim": 3})
board.log({"loss": 1.0, "text": "hello", "image": np.zeros((2, 2)), "table": histogram(jnp.arange(4.0))}, 1)
board.artifact("words", SimpleNamespace(vectors=np.ones((2, 3), np.float32), index_to_key=["a", "b"]))
board.finish({"score": 1.0})
assert not {"tensorflow", "torch"} & set(sys.modules), "TensorFlow or torch was imported"
"""


@pytest.fixture
def run(tmp_path):
    """A run's folder and its events by tag, each [(step, value), ...], read by TensorBoard."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    board = TensorBoard(tmp_path)
    board.start(
        {
            "dim": 100,
            "objective": "infonce",
            "hs": False,
            "optimizer": {"class": "Adagrad", "step": 0.3},
            "sizes": [1, 2],
        }
    )
    board.log({"train/loss": jnp.float32(0.75), "note": "**plain** text"}, step=10)
    board.log({"train/loss": np.float64(0.5), "table": histogram(jnp.asarray([0.0, 1.0, 1.0, 4.0]), 4)}, step=20)
    board.log({"grey": np.array([[0.0, 1.0, 0.5]]), "color": np.full((2, 2, 3), 9, np.uint8)}, step=20)
    board.finish({"similarity/wordsim353": 0.7})
    (path,) = tmp_path.glob("*tfevents*")
    tags = {}
    for event in EventFileLoader(str(path)).Load():
        for value in event.summary.value:
            tags.setdefault(value.tag, []).append((event.step, value))
    return SimpleNamespace(folder=tmp_path, tags=tags)


def array(value):
    from tensorboard.util import tensor_util

    return tensor_util.make_ndarray(value.tensor)


def test_scalars_text_and_summary(run):
    assert [(step, array(value).item()) for step, value in run.tags["train/loss"]] == [(10, 0.75), (20, 0.5)]
    ((step, value),) = run.tags["similarity/wordsim353"]
    assert (step, array(value).item()) == (20, pytest.approx(0.7))
    assert array(run.tags["note"][0][1]).item() == b"**plain** text"
    kinds = {tag: values[0][1].metadata.plugin_data.plugin_name for tag, values in run.tags.items()}
    assert (kinds["train/loss"], kinds["note"], kinds["table"], kinds["grey"]) == (
        "scalars",
        "text",
        "histograms",
        "images",
    )


def test_histogram_is_the_plugins_tensor(run):
    ((step, value),) = run.tags["table"]
    np.testing.assert_array_equal(array(value), [[0, 1, 1], [1, 2, 2], [2, 3, 0], [3, 4, 1]])
    assert (step, array(value).dtype) == (20, np.float64)


def test_images_are_pngs_with_their_size(run):
    from PIL import Image

    width, height, png = array(run.tags["grey"][0][1])
    assert (width, height) == (b"3", b"1")
    np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(png))), [[0, 255, 128]])
    np.testing.assert_array_equal(
        np.asarray(Image.open(BytesIO(array(run.tags["color"][0][1])[2]))), np.full((2, 2, 3), 9)
    )
    board = TensorBoard(run.folder)
    board.start({})
    with pytest.raises(ValueError, match=r"'bad' has shape \(5,\): log a number"):
        board.log({"bad": np.zeros(5)}, 1)
    board.finish({})


def test_hparams_of_the_session(run):
    from tensorboard.plugins.hparams import api_pb2, metadata

    start = metadata.parse_session_start_info_plugin_data(
        run.tags[metadata.SESSION_START_INFO_TAG][0][1].metadata.plugin_data.content
    )
    values = {name: getattr(value, value.WhichOneof("kind")) for name, value in start.hparams.items()}
    assert values == {
        "dim": 100,
        "objective": "infonce",
        "hs": False,
        "optimizer.class": "Adagrad",
        "optimizer.step": 0.3,
        "sizes": "[1, 2]",
    }
    assert start.group_name == ""
    end = metadata.parse_session_end_info_plugin_data(
        run.tags[metadata.SESSION_END_INFO_TAG][0][1].metadata.plugin_data.content
    )
    assert end.status == api_pb2.STATUS_SUCCESS


def test_the_hparams_tab_makes_one_table_of_different_runs(tmp_path):
    """Through TensorBoard's own backend: every run is a row, hparams and metrics are the union of the runs'."""
    from tensorboard import context
    from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
    from tensorboard.plugins import base_plugin
    from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups

    for name, settings, summary in (
        ("skipgram", {"seed": 1, "window": 5}, {"wordsim353": 0.7}),
        ("glove", {"seed": 1, "x_max": 10.0, "window": None}, {"wordsim353": 0.5, "google": 0.3}),
        ("failed", {"seed": 1, "window": 5}, None),
    ):
        board = TensorBoard(tmp_path / name)
        board.start(settings)
        board.log({"train/loss": 1.0}, 1)
        board.finish(summary)
    multiplexer = plugin_event_multiplexer.EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(tmp_path))
    multiplexer.Reload()
    provider = data_provider.MultiplexerDataProvider(multiplexer, str(tmp_path))
    backend = backend_context.Context(base_plugin.TBContext(data_provider=provider, logdir=str(tmp_path)))
    request = api_pb2.ListSessionGroupsRequest(
        allowed_statuses=[api_pb2.STATUS_SUCCESS, api_pb2.STATUS_FAILURE], slice_size=10
    )
    rows = list_session_groups.Handler(context.RequestContext(), backend, "", request).run().session_groups
    hparams = {row.name: {key: value.number_value for key, value in row.hparams.items()} for row in rows}
    assert hparams == {
        "skipgram": {"seed": 1, "window": 5},
        "glove": {"seed": 1, "x_max": 10},
        "failed": {"seed": 1, "window": 5},
    }
    metrics = {row.name: {metric.name.tag: metric.value for metric in row.metric_values} for row in rows}
    assert metrics["glove"] == {
        "wordsim353": pytest.approx(0.5),
        "google": pytest.approx(0.3),
        "train/loss": 1.0,
    }
    assert metrics["skipgram"]["wordsim353"] == pytest.approx(0.7)
    assert {row.name: row.sessions[0].status for row in rows}["failed"] == api_pb2.STATUS_FAILURE


def test_projector_files_hold_the_first_vectors_and_their_labels(tmp_path):
    from google.protobuf import text_format
    from tensorboard.plugins.projector import projector_plugin
    from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

    vectors = np.random.default_rng(0).normal(size=(50, 7)).astype(np.float32)
    keys = ["the", "New\tYork", "", *(f"word{i}" for i in range(47))]
    board = TensorBoard(tmp_path, points=40)
    board.artifact("words", SimpleNamespace(vectors=vectors, index_to_key=keys))
    board.artifact("contexts", SimpleNamespace(vectors=-vectors, index_to_key=keys))
    board.artifact("words", SimpleNamespace(vectors=vectors, index_to_key=keys))
    config = text_format.Parse((tmp_path / "projector_config.pbtxt").read_text(), ProjectorConfig())
    assert [embedding.tensor_name for embedding in config.embeddings] == ["contexts", "words"]
    words = config.embeddings[1]
    read = projector_plugin._read_tensor_tsv_file(str(tmp_path / words.tensor_path))
    assert list(words.tensor_shape) == [40, 7]
    np.testing.assert_allclose(read, vectors[:40], rtol=1e-5)
    labels = (tmp_path / words.metadata_path).read_text().splitlines()
    assert labels[:4] == ["the", "New York", "(empty)", "word0"]
    assert len(labels) == 40


def test_projector_shows_each_point_as_its_image(tmp_path):
    from google.protobuf import text_format
    from PIL import Image
    from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (7, 4, 6, 3), dtype=np.uint8)
    shown = SimpleNamespace(vectors=rng.normal(size=(7, 2)), index_to_key=list("abcdefg"), sprite=images)
    board = TensorBoard(tmp_path, points=5)
    board.artifact("clothes", shown)
    board.artifact("words", SimpleNamespace(vectors=shown.vectors, index_to_key=shown.index_to_key))
    config = text_format.Parse((tmp_path / "projector_config.pbtxt").read_text(), ProjectorConfig())
    clothes, words = config.embeddings
    assert not words.HasField("sprite")
    width, height = clothes.sprite.single_image_dim
    assert (width, height) == (6, 4)
    sheet = np.asarray(Image.open(tmp_path / clothes.sprite.image_path))
    assert sheet.shape == (3 * height, 3 * width, 3)  # the projector reckons with a square of places
    for point in range(9):
        top, left = height * (point // 3), width * (point % 3)
        expected = images[point] if point < 5 else 0
        np.testing.assert_array_equal(sheet[top : top + height, left : left + width], expected + np.zeros((4, 6, 3)))
    before = sorted(tmp_path.iterdir())
    shown.sprite = images[:3]
    with pytest.raises(ValueError, match="clothes2: 7 vectors need as many images in sprite, got 3"):
        board.artifact("clothes2", shown)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("installed", [False, True], ids=["not installed", "installed"])
def test_tensorflow_and_torch_are_never_imported(tmp_path, installed):
    environment = dict(os.environ, JAX_PLATFORMS="cpu")
    if installed:
        for package in ("tensorflow", "torch"):
            (tmp_path / package).mkdir()
            (tmp_path / package / "__init__.py").write_text("raise SystemError('must not be imported')\n")
        environment["PYTHONPATH"] = str(tmp_path)
    command = [sys.executable, "-W", "error", "-c", WRITE_EVERYTHING, str(tmp_path / "run")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
