"""`python -m snntha`, and the entry point of the command: hears Ctrl-C also while the command is imported."""

import sys


def main() -> int:
    """As `snntha.cli.main`."""
    try:
        from snntha.cli import main

        return main()
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
