"""The command line: it parses, calls, and prints. `jaxembed --help` is its manual."""

import signal
import sys
from collections.abc import Sequence

from jaxembed.cli.interrupt import interruptible, leave


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line `argv`, by default that of the process, and returns the exit status: 0, 1, 2 or 130.

    If the command line is that of the process, Ctrl-C ends the process with 130.
    """
    with interruptible("jaxembed"):
        try:
            from jaxembed.cli.commands import run  # this takes a while, during which Ctrl-C may come

            status = run(list(sys.argv[1:] if argv is None else argv))
        except KeyboardInterrupt as stopped:  # Interrupted says how to continue
            return leave("jaxembed", str(stopped), end=argv is None)
        if argv is None:  # nothing is left to interrupt
            signal.signal(signal.SIGINT, signal.SIG_IGN)
    return status
