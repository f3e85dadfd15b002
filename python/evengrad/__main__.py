"""The command line: `python -m evengrad`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from evengrad import __doc__ as _description
from evengrad import __version__, demo, show_config


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m evengrad", description=_description)
    parser.add_argument("--version", action="version", version=f"evengrad {__version__}")
    parser.set_defaults(command=lambda _: parser.print_help())
    commands = parser.add_subparsers(title="commands", metavar="command")
    demo.add_command(commands)
    config = commands.add_parser("config", help="print version, instruction set, threads, compiler")
    config.set_defaults(command=lambda _: show_config())
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; without one, print the help."""
    parsed = _parser().parse_args(arguments)
    try:
        parsed.command(parsed)
        sys.stdout.flush()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # as in `python -m evengrad demo | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


if __name__ == "__main__":
    main()
