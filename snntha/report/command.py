"""Arguments of `snntha report`."""

import argparse
from pathlib import Path
from typing import NoReturn

from snntha.errors import UserError
from snntha.report import FORMATS, TABLES, report


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}\n{self.format_usage().strip()}")


def parser() -> argparse.ArgumentParser:
    """Its help is the text of `snntha report --help`."""
    arguments = _Parser("snntha report", description="Tables from run folders, beside the published figures.")
    arguments.add_argument(
        "folders", nargs="*", type=Path, metavar="FOLDER", help="a run, or a folder that holds runs (default: outputs)"
    )
    arguments.add_argument("--format", choices=FORMATS, help="how to print the tables (default: rich)")
    arguments.add_argument("--table", choices=TABLES, help="print only this table (default: all)")
    arguments.add_argument("--html", type=Path, metavar="FILE", help="write one page that opens without a network")
    return arguments


def main(arguments: list[str]) -> None:
    """Parse and report; raises UserError."""
    chosen = parser().parse_args(arguments)
    report(chosen.folders or [Path("outputs")], chosen.format, chosen.table, chosen.html)
