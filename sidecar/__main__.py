"""The command `usher`, also as `python -m sidecar`."""

import sys

from sidecar import interrupts


def main() -> int:
    """Runs the command line; returns the exit code."""
    interrupts.end_at_once()
    # Imported here, so that Ctrl-C is as quiet while the imports run as it is afterwards.
    from sidecar.cli import main as command

    return command()


if __name__ == "__main__":
    sys.exit(main())
