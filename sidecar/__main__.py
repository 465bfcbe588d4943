"""The command `usher`, also as `python -m sidecar`."""

import sys


def main() -> int:
    """Runs the command line; returns the exit code."""
    try:
        # Imported here, so that Ctrl-C is as quiet while the imports run as it is afterwards.
        from sidecar.cli import main as command

        return command()
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
