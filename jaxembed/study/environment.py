"""The environment in which a result was made: what a reader needs to judge it or to make it again."""

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGES = ("jaxembed", "jax", "jaxlib", "flax", "optax", "numpy")


def environment() -> dict[str, Any]:
    """Returns the commit, versions, device, machine, command and start time of this process, as JSON values.

    `commit` is the one of the repository that holds this package's source (None when the package is installed), and
    `dirty` says whether its code (jaxembed/ and experiments/) differs from that commit. Memory is in bytes,
    `peak_memory` the largest resident size so far. The host's name and private paths are left out.
    """
    import jax

    commit, dirty = _commit(Path(__file__).resolve().parents[1])
    device = jax.devices()[0]
    return {
        "command": command(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit,
        "dirty": dirty,
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in _PACKAGES},
        "device": {
            "platform": device.platform,
            "kind": device.device_kind,
            "count": jax.device_count(),
            "processes": jax.process_count(),
        },
        "machine": {
            "platform": f"{platform.system()}-{platform.machine()}",
            "cpu": _cpu(),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "memory": _memory(),
        },
        "xla_flags": _without_private_paths(os.environ.get("XLA_FLAGS", "").split()),
        "peak_memory": peak_memory(),
    }


def command(argv: list[str] | None = None) -> str:
    """Returns the command line as one would type it: `python -m experiments.compare --preset smoke`.

    Absolute paths become relative where they lie under the working folder, else only their name is kept.
    """
    argv = list(sys.orig_argv if argv is None else argv)
    if len(argv) > 1 and Path(argv[1]).parent.name in ("bin", "Scripts"):  # an installed command, by its own name
        return _without_private_paths([Path(argv[1]).name, *argv[2:]])
    return _without_private_paths(["python", *argv[1:]])


def peak_memory() -> int | None:
    """Returns the largest resident size of this process so far, in bytes (None where the system does not report it)."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def described(about: Mapping[str, Any]) -> str:
    """Returns the command, device (if known), commit and versions of an `environment()`, as one line under a table."""
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    return f"`{about['command']}`; {place(about)}; commit {revision(about, 9)}; {versions}."


def place(about: Mapping[str, Any]) -> str:
    """Returns the device (if known) and the machine of an `environment()`: `1 x NVIDIA H200, AMD EPYC, 16 cores`."""
    device, machine = about.get("device"), about.get("machine", {})
    text = f"{machine.get('cpu')}, {machine.get('cores')} cores"
    return f"{device['count']} x {device['kind']}, {text}" if device else text


def revision(about: Mapping[str, Any], digits: int = 40) -> str:
    """Returns the first digits of the commit of an `environment()`, and whether there were uncommitted changes."""
    commit = (about.get("commit") or "unknown")[:digits]
    return f"{commit} with uncommitted changes" if about.get("dirty") else commit


class Energy:
    """The energy used since this object was made, if a device reports it: NVIDIA's library, else the CPU package's counter."""

    def __init__(self) -> None:
        self._read = _gpu_energy() or _cpu_energy()
        self._start = self._read() if self._read else 0.0

    def joules(self) -> float | None:
        """Returns the joules so far of all devices of the machine; None if no device reports them."""
        used = self._read() - self._start if self._read else -1.0
        return used if used >= 0 else None  # counters of CPUs wrap around


def _gpu_energy() -> Callable[[], float] | None:
    try:
        import pynvml  # pyright: ignore[reportMissingImports]

        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        read = lambda: sum(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) for handle in handles) / 1e3
        read()
    except Exception:  # no library, no driver, or a device that does not report it
        return None
    return read if handles else None


def _cpu_energy() -> Callable[[], float] | None:
    counters = sorted(Path("/sys/class/powercap").glob("intel-rapl:[0-9]/energy_uj"))
    read = lambda: sum(int(path.read_text()) for path in counters) / 1e6
    try:
        read()
    except (OSError, ValueError):
        return None
    return read if counters else None


def _commit(package: Path) -> tuple[str | None, bool | None]:
    """Returns the commit and state of the repository that tracks `package`, not of one that only contains its environment."""
    source = package / "__init__.py"
    commit = _git(package, "ls-files", "--error-unmatch", source.name) and _git(package, "rev-parse", "HEAD")
    if not commit:
        return None, None
    changes = _git(package.parent, "status", "--porcelain", "--", package.name, "experiments")
    return commit, bool(changes)


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        run = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return run.stdout.strip() if run.returncode == 0 else None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _without_private_paths(arguments: list[str]) -> str:
    return shlex.join(_public(argument) for argument in arguments)


def _public(argument: str) -> str:
    name, sign, value = argument.rpartition("=") if argument.startswith("-") else ("", "", argument)
    path = Path(value)
    if path.is_absolute():
        inside = path.is_relative_to(Path.cwd())
        value = str(path.relative_to(Path.cwd()) if inside else Path(path.name))
    return f"{name}{sign}{value}"
