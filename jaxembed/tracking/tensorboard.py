"""TensorBoard without TensorFlow: events, hparams and projector files, from the `tensorboard` package's own messages.

Only its message types and record checksum are used. `tensorboard.summary` (where its event writer lives) is never
imported, for that package imports TensorFlow wherever TensorFlow is installed.
"""

# protobuf makes its message classes when it is imported:
# pyright: reportAttributeAccessIssue=false

import json
import os
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from jaxembed.files import replacing, write_text
from jaxembed.tracking.appending import append
from jaxembed.tracking.histogram import Histogram
from jaxembed.tracking.thumbnails import columns_of, png, sprite

if TYPE_CHECKING:
    from jaxembed.vectors import KeyedVectors


class TensorBoard:
    """Writes one run's TensorBoard files into `folder`: `tensorboard --logdir` on it or above it shows the run.

    Tags are grouped by what stands before their first "/". Every run carries its own settings as hparams and its
    last scalars as metrics, so the HParams tab compares whichever runs lie under the log directory. No list of
    hparams is declared for the experiment on purpose: TensorBoard would take the first run's list for all runs,
    whereas without one it makes the union of theirs.
    """

    def __init__(self, folder: str | os.PathLike, points: int = 10_000) -> None:
        """Sets where to write and how many vectors the projector shows (the first `points`, the most frequent)."""
        self.folder = Path(folder)
        self.points = points
        self._file: BinaryIO | None = None
        self._step = 0

    def start(self, settings: Mapping[str, Any]) -> None:
        """Opens a new event file and writes the settings as hparams (nested ones as "optimizer.learning_rate")."""
        from tensorboard.compat.proto import event_pb2
        from tensorboard.plugins.hparams import summary_v2

        self.folder.mkdir(parents=True, exist_ok=True)
        now = time.time()
        # TensorBoard reads a folder's event files in the order of their names. The host's name is left out of it.
        name = f"events.out.tfevents.{time.time_ns():020d}.{os.getpid()}"
        self._file = open(self.folder / name, "wb", buffering=0)  # noqa: SIM115 (closed by finish)
        self._record(event_pb2.Event(wall_time=now, file_version="brain.Event:2"))
        # An empty group name makes each run a group of its own; the default would average equal settings.
        self._write(summary_v2.hparams_pb(_flat(settings), trial_id="", start_time_secs=now), step=0)

    def log(self, values: Mapping[str, Any], step: int) -> None:
        """Writes scalars, `Histogram`s, texts (str, Markdown) and images (arrays [h, w] or [h, w, 1, 3 or 4]).

        Images are uint8, or floats from 0 to 1. Raises ValueError for a value of another kind.
        """
        from tensorboard.compat.proto import summary_pb2
        from tensorboard.plugins.scalar import summary_v2 as scalar
        from tensorboard.plugins.text import summary_v2 as text

        together = summary_pb2.Summary()
        for name, value in values.items():
            if isinstance(value, Histogram):
                together.MergeFrom(_histogram(name, value))
            elif isinstance(value, str):
                together.MergeFrom(text.text_pb(name, value))
            elif np.size(value) == 1:
                together.MergeFrom(scalar.scalar_pb(name, np.float32(np.asarray(value).item())))
            else:
                together.MergeFrom(_image(name, np.asarray(value)))
        self._write(together, step)
        self._step = int(step)

    def artifact(self, name: str, value: "KeyedVectors") -> None:
        """Shows the first `points` vectors, with their keys as labels, in the embedding projector.

        Where `value` has an attribute `sprite`, uint8 [n, h, w, 1 or 3], a point is drawn as its image. Raises ValueError
        where there are not as many images as vectors.
        """
        from google.protobuf import text_format
        from tensorboard.plugins.projector import projector_config_pb2

        images = getattr(value, "sprite", None)
        if images is not None and len(images) != len(value.vectors):
            raise ValueError(f"{name}: {len(value.vectors)} vectors need as many images in sprite, got {len(images)}")
        vectors = np.asarray(value.vectors[: self.points], np.float32)
        labels = [" ".join(key.split()) or "(empty)" for key in value.index_to_key[: self.points]]
        tensor, metadata = f"projector-{name}.tsv", f"projector-{name}-labels.tsv"
        with replacing(self.folder / tensor) as part:
            np.savetxt(part, vectors, fmt="%.6g", delimiter="\t")
        write_text(self.folder / metadata, "".join(f"{label}\n" for label in labels))

        config = projector_config_pb2.ProjectorConfig()
        place = self.folder / "projector_config.pbtxt"
        if place.exists():
            text_format.Parse(place.read_text(encoding="utf-8"), config)
        others = [embedding for embedding in config.embeddings if embedding.tensor_name != name]
        del config.embeddings[:]
        config.embeddings.extend(others)
        entry = config.embeddings.add(
            tensor_name=name, tensor_path=tensor, metadata_path=metadata, tensor_shape=list(vectors.shape)
        )
        if images is not None:
            sheet, side = sprite(np.asarray(images[: self.points])), columns_of(len(vectors))
            entry.sprite.image_path = f"projector-{name}.png"
            entry.sprite.single_image_dim.extend([sheet.shape[1] // side, sheet.shape[0] // side])
            with replacing(self.folder / entry.sprite.image_path) as part:
                part.write_bytes(png(sheet))
        write_text(place, text_format.MessageToString(config))

    def finish(self, summary: Mapping[str, Any] | None) -> None:
        """Writes the summary's numbers as scalars at the last step and the run's status (None: it failed)."""
        from tensorboard.compat.proto import summary_pb2
        from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

        if self._file is None:
            return
        if summary:
            self.log(summary, self._step)
        status = api_pb2.STATUS_FAILURE if summary is None else api_pb2.STATUS_SUCCESS
        end = plugin_data_pb2.HParamsPluginData(
            session_end_info=plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=time.time())
        )
        value = summary_pb2.Summary.Value(
            tag=metadata.SESSION_END_INFO_TAG,
            metadata=metadata.create_summary_metadata(end),
            tensor=metadata.NULL_TENSOR,
        )
        self._write(summary_pb2.Summary(value=[value]), self._step)
        self._file.close()
        self._file = None

    def _write(self, summary: Any, step: int) -> None:
        from tensorboard.compat.proto import event_pb2

        self._record(event_pb2.Event(wall_time=time.time(), step=int(step), summary=summary))

    def _record(self, event: Any) -> None:
        """Appends one record: uint64 length, uint32 its checksum, the bytes, uint32 theirs (the TFRecord format)."""
        from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

        if self._file is None:
            raise RuntimeError("TensorBoard.log was called before start or after finish")
        data = event.SerializeToString()
        length = struct.pack("<Q", len(data))
        checks = struct.pack("<I", masked_crc32c(length)), struct.pack("<I", masked_crc32c(data))
        append(self._file, length + checks[0] + data + checks[1])


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, bool | int | float | str]:
    """Settings as the HParams plugin takes them: one level, and only bool, number and text.

    None is left out: as the text "null" it would make a column of texts of one of numbers, whose rows TensorBoard hides.
    """
    flat: dict[str, bool | int | float | str] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{name}."))
        elif value is None:
            continue
        elif isinstance(value, bool | int | float | str):
            flat[prefix + name] = value
        elif isinstance(value, np.generic):
            flat[prefix + name] = value.item()
        else:
            flat[prefix + name] = json.dumps(value, default=str)
    return flat


def _histogram(name: str, value: Histogram) -> Any:
    """The histogram plugin's tensor [bins, 3] of (left edge, right edge, count) in float64."""
    from tensorboard.compat.proto import summary_pb2
    from tensorboard.plugins.histogram import metadata
    from tensorboard.util import tensor_util

    edges = np.asarray(value.edges, np.float64)
    rows = np.stack([edges[:-1], edges[1:], np.asarray(value.counts, np.float64)], axis=1)
    about = metadata.create_summary_metadata(display_name=None, description=None)
    tensor = tensor_util.make_tensor_proto(rows, dtype=np.float64)
    return summary_pb2.Summary(value=[summary_pb2.Summary.Value(tag=name, metadata=about, tensor=tensor)])


def _image(name: str, pixels: np.ndarray) -> Any:
    """The image plugin's tensor of strings: width, height, PNG."""
    from tensorboard.compat.proto import summary_pb2
    from tensorboard.plugins.image import metadata
    from tensorboard.util import tensor_util

    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (1, 3, 4)):
        raise ValueError(
            f"{name!r} has shape {pixels.shape}: log a number, a Histogram, a str or an image [h, w] or [h, w, 1|3|4]"
        )
    if pixels.dtype != np.uint8:
        pixels = np.rint(np.clip(np.nan_to_num(pixels.astype(np.float64)), 0, 1) * 255).astype(np.uint8)
    height, width = pixels.shape[:2]
    content = [str(width).encode(), str(height).encode(), png(pixels)]
    about = metadata.create_summary_metadata(display_name=None, description=None)
    tensor = tensor_util.make_tensor_proto(content)
    return summary_pb2.Summary(value=[summary_pb2.Summary.Value(tag=name, metadata=about, tensor=tensor)])
