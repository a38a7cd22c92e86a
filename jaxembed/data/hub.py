"""One `load(name)` over Hugging Face datasets: a local folder, what the package ships, or the hub at a pinned revision.

Local folders hold `<name>/<split>.parquet`, or `<name>/<config>/<split>.parquet`; where a dataset has several tables
(the word-similarity sets, say), `split` names the table. Files may be cut and lie as they do in a repository of the hub:
`data/train-00000-of-00002.parquet`, `<config>/train-00000-of-00001.parquet`, `<config>/train/0000.parquet`.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from jaxembed.data.cache import content_digest, disk_errors, file_digest, writable_folder
from jaxembed.data.parquet import Rows
from jaxembed.naming import near_matches

if TYPE_CHECKING:
    import datasets

BUILTIN = Path(__file__).parent / "builtin"

REVISIONS = {  # commits of the hub, so that a run means the same later; other datasets are resolved once and recorded
    "Salesforce/wikitext": "b08601e04326c79dfdd32d625aee71d232d685c3",
    "fancyzhx/ag_news": "eb185aade064a813bc0b7f42de02595523103ca4",
    "nyu-mll/glue": "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c",
    "stanfordnlp/imdb": "e6281661ce1c48d982bc483cf8a173c1bbeb5d31",
}


#: Endings of the names of files, which no dataset's name has.
FILES = (
    ".parquet", ".txt", ".text", ".tsv", ".csv", ".jsonl", ".json", ".md", ".gz", ".bz2", ".xz", ".zst", ".zip",
)  # fmt: skip


def is_name(text: str) -> bool:
    """Returns whether `text` may name a dataset ("imdb", "Salesforce/wikitext"); ".text", "/text", "~/text", "a.txt" may not."""
    return re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", text) is not None and not text.lower().endswith(FILES)


def is_dataset(source: Any) -> "TypeGuard[str | os.PathLike]":
    """Returns whether this is a dataset: its name, or an existing folder of parquet files, or such a file."""
    if not isinstance(source, str | os.PathLike) or not os.fspath(source):
        return False
    named = isinstance(source, str) and is_name(source) and not os.path.isfile(source)
    return named or bool(_tables(Path(source)))


@dataclass(frozen=True)
class Source:
    """Where a split of a dataset comes from; it always loads the same content.

    origin: "JAXEMBED_DATA", "builtin", "path" (a folder or a file), "hub", or "hub cache" (an earlier download, without
    network). revision: the hub's commit, None for files. fingerprint: BLAKE2b of the files, or the hub's commit. paths:
    the files, parts of one table in order; none for the hub.
    """

    name: str
    split: str | None
    config: str | None
    origin: str
    fingerprint: str
    revision: str | None = None
    paths: tuple[Path, ...] = ()

    def record(self) -> dict[str, Any]:
        """Returns what a run's environment.json records, JSON-ready, without paths of this machine."""
        return {key: value for key, value in asdict(self).items() if key not in ("paths", "fingerprint")} | {
            "data_fingerprint": self.fingerprint
        }

    def load(self) -> "datasets.Dataset":
        """Loads the dataset, memory-mapped. Raises the errors of `jaxembed.data.load`."""
        return _read_parquet(self) if self.paths else _read_hub(self)

    def rows(self) -> Rows:
        """Returns the rows of a file on this machine without caching. Raises OSError for a damaged file."""
        import pyarrow as pa

        assert self.paths, "a dataset of the hub has no file here"
        try:
            return Rows.read(*self.paths)
        except pa.ArrowException as error:
            raise _damaged(self, error) from error


def load(
    name: str | os.PathLike, split: str | None = None, *, config: str | None = None, revision: str | None = None
) -> "datasets.Dataset":
    """Loads one split of a dataset by name, or by the path of a folder of parquet files or of one such file.

    Looked for in the folder that JAXEMBED_DATA names, then in what the package ships (`enwik8-small`,
    `word-similarity`, `word-analogies`), then on the Hugging Face hub, always at one commit: `revision`, or the one
    pinned in `REVISIONS`, or the newest. With a `revision` only the hub is used. Without `split` it is the only one there
    is, or `train`. `resolve` finds out which of these it is without loading.

    Raises FileNotFoundError for an unknown dataset (near matches are named) and for `folder/name` where there is such a
    folder here, so that a slip in a path is not looked for on the hub; ValueError for an unknown split, config or
    revision (those there are are named), ConnectionError without network, OSError for a file that cannot be read.
    """
    return resolve(name, split, config=config, revision=revision).load()


def resolve(
    name: str | os.PathLike, split: str | None = None, *, config: str | None = None, revision: str | None = None
) -> Source:
    """Finds a dataset as `load` does, without loading it; the result can be recorded, so that a run can be repeated."""
    name = os.fspath(name)
    if not name or not (is_name(name) or _tables(Path(name))):
        raise ValueError(
            f"{name!r} cannot name a dataset: expected a name such as 'enwik8-small' or 'user/dataset', a parquet file, or a "
            "folder of parquet files"
        )
    if revision is None or not is_name(name):
        tables: list[str] = []
        # Local folders come first, so that a run means the same without a network. Naming a revision asks for the hub.
        for origin, folder in _places(name):
            found = _tables(folder)
            wanted = _choose(found, config, split)
            if wanted is not None:
                title = folder.resolve().name if origin == "path" else name
                paths = _whole(found[wanted]) if folder.is_dir() else (folder,)
                digests = [file_digest(path) for path in paths]
                fingerprint = digests[0] if len(digests) == 1 else content_digest(*digests)
                return Source(title, wanted.split("/")[-1], config, origin, fingerprint, paths=paths)
            tables += found
        if tables:
            missing = "/".join(part for part in (config, split) if part) or None
            problem = f"has no split {missing!r}" if missing else "has several splits: choose one"
            raise ValueError(f"dataset {name!r} {problem}; it has {', '.join(sorted(set(tables)))}")
        folder, separator, file = name.rpartition("/")
        if separator and Path(folder).is_dir():
            raise FileNotFoundError(
                f"the folder {folder} has no file {file}. If {name!r} is meant as a dataset of the hub, "
                "say which revision: main, a tag or a commit"
            )
    return _resolve_on_hub(name, split, config, revision)


def splits_of(name: str | os.PathLike, config: str | None = None, revision: str | None = None) -> tuple[str, ...]:
    """Returns the names of a dataset's splits, `train` first. Raises as `load` does."""
    name = os.fspath(name)
    if revision is None or not is_name(name):
        for _, folder in _places(name):
            tables = [table.split("/") for table in _tables(folder)]
            if found := {table[-1] for table in tables if config is None or table[:-1] == [config]}:
                return tuple(sorted(found, key=lambda split: (split != "train", split)))
    source = resolve(name, None, config=config, revision=revision)
    with _network(name):
        splits = list(_builder(source).info.splits or ["train"])
    return tuple(sorted(splits, key=lambda split: (split != "train", split)))


def has_part(data: str | os.PathLike, split: str, usual: str, there: Sequence[str]) -> bool:
    """Returns whether the splits `there` of a dataset have one to judge on; if not, a part of its training split serves.

    Raises ValueError where the split that is missing is not called by its usual name: "" stands for a part that is set apart.
    """
    if split not in (*there, usual, ""):
        raise ValueError(
            f"{data} has no split {split!r}: it has {', '.join(map(repr, there))}; '' sets a share of the training split apart"
        )
    return split in there


def _places(name: str) -> Iterator[tuple[str, Path]]:
    """Returns the folders of this machine that a dataset may be in, in the order in which they are searched."""
    if is_name(name):
        yield from ((origin, root / name) for origin, root in _roots())
    yield "path", Path(name)


def _roots() -> Iterator[tuple[str, Path]]:
    if folder := os.environ.get("JAXEMBED_DATA"):
        if not Path(folder).is_dir():
            raise FileNotFoundError(f"JAXEMBED_DATA names {folder}, which is not a folder")
        yield "JAXEMBED_DATA", Path(folder)
    yield "builtin", BUILTIN


_PART = re.compile(r"(.+?)-(\d{5})-of-(\d{5})(?:-[0-9a-f]+)?")  # a table that the hub stores in several files
_NUMBER = re.compile(r"0\d{3}")  # the same in the hub's own copies, with one folder for each table


def _tables(place: Path) -> dict[str, list[Path]]:
    """Returns the parquet files of a dataset's folder by "split" or "config/split"; a single file is the split train."""
    if place.suffix == ".parquet" and place.is_file():
        return {"train": [place]}
    found: dict[str, list[Path]] = {}
    for path in sorted(path for depth in ("*", "*/*", "*/*/*") for path in place.glob(f"{depth}.parquet")):
        *above, last = path.relative_to(place).with_suffix("").parts
        if part := _PART.fullmatch(last):
            last = part[1]
        elif above and _NUMBER.fullmatch(last):
            last = above.pop()
        if above[:1] == ["data"]:
            above = above[1:]
        if len(above) < 2:
            found.setdefault("/".join([*above, last]), []).append(path)
    return found


def _whole(paths: list[Path]) -> tuple[Path, ...]:
    """Returns the files of a table. Raises FileNotFoundError if one of them is missing."""
    parts = [part for path in paths if (part := _PART.fullmatch(path.stem))]
    if parts and (missing := int(parts[0][3]) - len(parts)):
        raise FileNotFoundError(
            f"{paths[0].parent} has {len(parts)} of the {int(parts[0][3])} files {parts[0][1]}-…-of-{parts[0][3]}.parquet: "
            + ("fetch the others" if missing > 0 else "leave one copy of each")
        )
    return tuple(paths)


def _choose(tables: dict[str, list[Path]], config: str | None, split: str | None) -> str | None:
    prefix = f"{config}/" if config else ""
    inside = [table for table in tables if table.startswith(prefix)]
    if split is None and len(inside) == 1:
        return inside[0]
    wanted = split or "train"
    if prefix + wanted in tables:
        return prefix + wanted
    in_configs = [table for table in tables if table.endswith(f"/{wanted}")] if not config else []
    return in_configs[0] if len(in_configs) == 1 else None  # a single configuration need not be named


def local_names() -> list[str]:
    """Returns the datasets that can be loaded without a network: those under JAXEMBED_DATA and those in the package."""
    files = (path.relative_to(root) for _, root in _roots() for path in root.glob("*/*.parquet"))
    of_hub = (path.relative_to(root).parent for _, root in _roots() for path in root.glob("*/data/*.parquet"))
    return sorted({path.parent.as_posix() for path in (*files, *of_hub)})


def installed() -> Any:
    """Returns the `datasets` library, or None if it is not installed. Then `jaxembed.data.parquet` reads local files."""
    try:
        import datasets
    except ImportError:
        return None
    return datasets if hasattr(datasets, "Dataset") else None  # a folder called `datasets` is none


def is_split(thing: Any) -> "TypeGuard[datasets.Dataset]":
    """Returns whether this is one split of a dataset, as `load` returns it."""
    return isinstance(thing, Rows) or (installed() is not None and isinstance(thing, installed().Dataset))


def _read_parquet(source: Source) -> "datasets.Dataset":
    if installed() is None:
        return source.rows()  # pyright: ignore[reportReturnType]
    import datasets
    import pyarrow as pa
    import pyarrow.parquet as pq
    from datasets.exceptions import DatasetGenerationError

    folder = writable_folder("datasets") / source.fingerprint
    split = datasets.NamedSplit(re.sub(r"\W", "_", source.split or "train"))  # its own rule for names of splits
    hidden = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()  # a local file takes a moment; a bar would break into those of a run
    try:
        with disk_errors(folder, f"table {source.name}", "JAXEMBED_CACHE"):
            try:
                files: list[Any] = list(map(str, source.paths))
                if not any(pq.read_metadata(file).num_rows for file in files):  # which `datasets` takes for damage
                    raise ValueError(f"{source.name}/{source.split} has no rows")
                loaded = datasets.Dataset.from_parquet(files, split=split, cache_dir=str(folder))
            except (pa.ArrowException, DatasetGenerationError) as error:
                # the fault of the disk, not of the file
                if isinstance(error.__cause__, OSError) and error.__cause__.errno:
                    raise error.__cause__ from None
                raise _damaged(source, error) from error
    finally:
        if not hidden:
            datasets.enable_progress_bars()
    assert isinstance(loaded, datasets.Dataset)
    return loaded


def _damaged(source: Source, error: Exception) -> OSError:
    cause = str(error.__cause__ or error).rstrip(".")
    return OSError(f"{source.paths[0]} cannot be read as parquet: {cause}. Put back a whole copy of it")


def _resolve_on_hub(name: str, split: str | None, config: str | None, revision: str | None) -> Source:
    if installed() is None:
        raise FileNotFoundError(
            f"dataset {name!r} is not on this machine, and the hub needs a package: pip install datasets. "
            f"{_alternatives(name)}"
        )
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    revision = revision or REVISIONS.get(name)
    try:
        with _network(name):
            commit = HfApi().dataset_info(name, revision=revision, timeout=10).sha
    except GatedRepoError as error:
        raise FileNotFoundError(
            f"dataset {name!r} asks to accept its terms on the hub, then `hf auth login`"
        ) from error
    except RevisionNotFoundError as error:
        raise ValueError(f"dataset {name!r} has no revision {revision!r} on the hub: name a commit or a tag") from error
    except RepositoryNotFoundError as error:
        raise FileNotFoundError(f"there is no dataset {name!r} here or on the hub. {_alternatives(name)}") from error
    except ConnectionError:
        builder = _cached_builder(name, config, revision)
        if builder is None:
            raise
        return Source(name, split, config, "hub cache", str(builder.hash), str(builder.hash))
    assert commit is not None
    return Source(name, split, config, "hub", commit, commit)


def _cached_builder(name: str, config: str | None, revision: str | None) -> "datasets.DatasetBuilder | None":
    """Returns the builder of an earlier download of that revision, if there is one."""
    from datasets.packaged_modules.cache.cache import Cache

    try:
        builder = Cache(repo_id=name, dataset_name=name.split("/")[-1], config_name=config, version="auto", hash="auto")
    except ValueError:
        return None
    return builder if revision in (None, builder.hash) else None


def _read_hub(source: Source) -> "datasets.Dataset":
    import datasets

    with _network(source.name):
        builder = _builder(source)
        _check_split(source, builder)  # before a long download where the card lists the splits, after it otherwise
        builder.download_and_prepare()
        _check_split(source, builder)
        splits = list(builder.info.splits or ["train"])
        loaded = builder.as_dataset(split=source.split or ("train" if "train" in splits else splits[0]))
    assert isinstance(loaded, datasets.Dataset)
    return loaded


def _builder(source: Source) -> "datasets.DatasetBuilder":
    import datasets

    if source.origin == "hub cache":
        builder = _cached_builder(source.name, source.config, source.revision)
    else:
        builder = datasets.load_dataset_builder(source.name, source.config, revision=source.revision)
    if builder is None or builder.hash != source.revision:  # without a network the library takes what it has
        raise ConnectionError(f"revision {source.revision} could not be fetched")
    return builder


def _check_split(source: Source, builder: "datasets.DatasetBuilder") -> None:
    splits = list(builder.info.splits or [])
    if source.split is None and len(splits) > 1 and "train" not in splits:
        raise ValueError(f"dataset {source.name!r} has several splits: choose one of {', '.join(splits)}")
    if splits and source.split is not None and source.split not in splits:
        raise ValueError(f"dataset {source.name!r} has no split {source.split!r}; it has {', '.join(splits)}")


def _network(name: str) -> AbstractContextManager[None]:
    advice = f"set JAXEMBED_DATA to a folder with {name}/<split>.parquet. "
    return network(f"dataset {name!r}", lambda: advice + _alternatives(name))


@contextmanager
def network(what: str, advice: Callable[[], str]) -> Iterator[None]:
    """Turns the errors of the HTTP libraries, when the hub cannot be reached, into one ConnectionError, with advice."""
    try:
        yield
    except Exception as error:
        if not is_network_failure(error):
            raise
        raise ConnectionError(
            f"{what} is not on this machine and the hub could not be reached ({type(error).__name__}: "
            f"{str(error) or 'no answer'}). You seem to be offline: {advice()}"
        ) from error


def is_network_failure(error: BaseException) -> bool:
    """Returns whether an error means that the hub could not be reached, and no answer of it."""
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    # An answer of the hub (no such dataset, no access) is not a failure of the network; a server that is down or busy is.
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code >= 500 or error.response.status_code == 429
    if isinstance(error, ConnectionError | TimeoutError | LocalEntryNotFoundError):
        return True
    # depends on the version of the hub's client
    if type(error).__module__.partition(".")[0] in ("httpx", "httpx2", "requests"):
        return True
    return error.__cause__ is not None and is_network_failure(error.__cause__)


def _alternatives(name: str) -> str:
    """Returns the datasets that can be loaded instead, the most similar name first."""
    local = local_names()
    near = near_matches(name, local)
    return (f"Did you mean {' or '.join(near)}? " if near else "") + f"On this machine: {', '.join(local)}"
