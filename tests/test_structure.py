"""Imports point one way, and what the documents name exists."""

import ast
import importlib
import re
from pathlib import Path

import pytest

import snntha

PACKAGE = Path(snntha.__file__).parent
REPOSITORY = PACKAGE.parent
ORDER = (  # each may import what stands before it, and itself
    ("errors", "atomic", "published", "topology", "parallel", "models", "choices"),
    ("config",),
    ("neuron", "threshold", "layers", "binning", "plausible", "hdf5"),
    ("kernels",),
    ("data", "runtime"),  # which read files alike: the one to train, the other to predict
    ("nir",),
    ("binarize", "delays", "decay", "network", "nn"),
    ("loss", "optimizer", "diagnostics", "progress", "train", "snntorch_loop", "tuning"),
    ("logger", "folder", "records", "several", "catalog"),
    ("display", "compiled", "follow", "runs", "run"),
    ("report", "plots", "export"),
    ("search", "bench", "closing", "compare", "doctor", "jobs", "reproduce"),
    ("arguments",),
    ("cli",),
    ("__main__",),
)
RANK = {name: rank for rank, names in enumerate(ORDER) for name in names}


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def area(name: str) -> str:
    """`snntha.data.idx` belongs to `data`."""
    return name.split(".")[1]


def imported(path: Path) -> set[str]:
    """Modules of snntha that a file imports, anywhere in it, but for types alone."""
    names = set()
    tree = _WithoutTypes().visit(ast.parse(path.read_text()))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "snntha":
            names |= {f"snntha.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return {name for name in names if name.startswith("snntha.")}


class _WithoutTypes(ast.NodeTransformer):
    def visit_If(self, node: ast.If) -> ast.AST | None:
        return None if ast.unparse(node.test) == "TYPE_CHECKING" else self.generic_visit(node)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_import_points_back(path: Path) -> None:
    own = area(".".join(("snntha", *path.relative_to(PACKAGE).with_suffix("").parts)))
    behind = {name for name in imported(path) if RANK[area(name)] > RANK[own]}
    assert not behind, f"{own} must not import {behind}"


def test_every_module_has_its_place() -> None:
    assert {area(f"snntha.{path.relative_to(PACKAGE).parts[0].removesuffix('.py')}") for path in modules()} == set(RANK)


def test_every_equation_is_where_the_document_says() -> None:
    rows = [line for line in (REPOSITORY / "docs" / "equations.md").read_text().splitlines() if line.startswith("| (")]
    named = [name for row in rows for name in re.findall(r"`(snntha\.[\w.]+)`", row.split("|")[3])]
    assert {f"({number})" for number in (1, 2, 4, 5, 6, 7, 8, 28, 29, 30)} <= {
        row.split("|")[1].strip() for row in rows
    }
    for name in named:
        module, *path = name.removeprefix("snntha.").split(".")
        thing = importlib.import_module(f"snntha.{module}")
        for part in path:
            thing = getattr(thing, part)
        assert callable(thing), name


@pytest.mark.parametrize("page", sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").glob("*.md")]), ids=str)
def test_links_between_documents_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not missing
