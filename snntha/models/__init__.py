"""Trained networks that come with the package, each a packed file NAME.safetensors and its card NAME.md."""

from pathlib import Path

from snntha.errors import UserError, expected

_FOLDER = Path(__file__).parent


def names() -> list[str]:
    """Of all that there are."""
    return sorted(path.stem for path in _FOLDER.glob("*.safetensors"))


def path_of(model: Path) -> Path:
    """The file itself, or that of a model of this name; raises UserError where it is neither a file nor a name."""
    if model.suffix or len(model.parts) != 1 or model.exists():
        return model
    if model.name not in names():
        raise UserError(f"model={model}: neither a file nor a model: {expected(model.name, names())}, or a file's path")
    return _FOLDER / f"{model.name}.safetensors"
