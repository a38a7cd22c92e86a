"""The command line: parse, call, print. `jaxembed --help` is its manual."""

import signal
import sys
from collections.abc import Sequence

from jaxembed.cli.interrupt import interruptible, leave


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line `argv`, by default the process' own: the exit status, 0, 1, 2 or 130.

    After Ctrl-C the process ends with 130 where the command line is its own.
    """
    with interruptible("jaxembed"):
        try:
            from jaxembed.cli.commands import run  # it takes a while, in which Ctrl-C may come

            status = run(list(sys.argv[1:] if argv is None else argv))
        except KeyboardInterrupt as stopped:  # Interrupted says how to go on
            return leave("jaxembed", str(stopped), end=argv is None)
        if argv is None:  # nothing is left to be interrupted
            signal.signal(signal.SIGINT, signal.SIG_IGN)
    return status
