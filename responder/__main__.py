"""The command `responder`: hands the command line to `cli` and ends with its exit code."""

from __future__ import annotations

import sys

from responder.cli import run


def main() -> None:
    """Run one command; 0 good or warnings only, 1 found something, 2 misuse."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
