"""Pictures with captions, as small frozen descriptions that travel on links.

Nothing is read or drawn before it is asked for. This module imports without torch.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphengine.errors import FileError, ModelError

if TYPE_CHECKING:
    from torch import Tensor
else:
    Tensor = Any

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")
TABLES = ("metadata.jsonl", "metadata.csv", "captions.jsonl", "captions.csv")
"""Files of captions for a whole folder, as Hugging Face's imagefolder has them."""
COLUMNS = ("text", "caption", "prompt")
"""What the caption may be called in such a file; the picture is its `file_name`."""


@dataclass(frozen=True)
class Dataset:
    """Pictures with captions. What networks are taught on; kinds of it say where they come from.

    `size`: pixels a side of the pictures, which are square. Equal data sets have equal fields, so
    that a training knows its data again.
    """

    size: int

    def __len__(self) -> int:
        """How many pictures there are."""
        raise NotImplementedError

    def captions(self, index: int) -> tuple[str, ...]:
        """One or several captions of a picture, which say the same."""
        raise NotImplementedError

    def pictures(self, indices: Iterable[int]) -> Tensor:
        """Pictures, float32 [n, size, size, 3], 0 to 1."""
        raise NotImplementedError

    def depth(self, indices: Iterable[int]) -> Tensor:
        """Exact inverse depth of pictures (larger is nearer), float32 [n, size, size].

        Raises `ModelError` where nobody knows it.
        """
        raise ModelError(
            "nobody has measured the depth of these pictures", "take the world of postcards"
        )

    def parts(self, size: int, count: int | None = None) -> Iterator[range]:
        """The numbers of all pictures, or the first `count`, in portions of `size`."""
        end = len(self) if count is None else min(count, len(self))
        return (range(start, min(start + size, end)) for start in range(0, end, size))


@dataclass(frozen=True)
class Folder(Dataset):
    """Pictures in a folder. `entries`: names below it, with captions; `digest`: of its content."""

    path: Path
    digest: str
    entries: tuple[tuple[str, tuple[str, ...]], ...]

    def __len__(self) -> int:
        return len(self.entries)

    def captions(self, index: int) -> tuple[str, ...]:
        return self.entries[index][1]

    def pictures(self, indices: Iterable[int]) -> Tensor:
        """The middle of each picture, scaled; of an animation the first frame. Transparent parts
        lie on white. Raises `FileError` for what is no whole picture.
        """
        import torch

        return torch.cat([self._picture(self.path / self.entries[i][0]) for i in indices])

    def _picture(self, path: Path) -> Tensor:
        from graphengine.diffusion.images import read_image, resize

        image, transparent = read_image(path)
        shown = 1 - transparent[:1, ..., None]
        return resize(image[:1] * shown + (1 - shown), self.size, self.size, "lanczos", "center")


def read_folder(path: Path, digest: str, size: int, *, empty_captions: bool = False) -> Folder:
    """The pictures in a folder and below, with their captions.

    A caption stands in a text file of the picture's name (each line is another caption of it), or
    for all pictures in `metadata.jsonl` or `metadata.csv`, as Hugging Face's imagefolder has it:
    `file_name` and `text`. `digest` stands for the content of the folder. Raises `FileError` for a
    folder without pictures, for pictures without caption unless `empty_captions` allows them, and
    for a table that can't be read.
    """
    if not path.is_dir():
        raise FileError(f"{path.name} is no folder", "give a folder of pictures with captions")
    names = sorted(_pictures(path))
    if not names:
        kinds = ", ".join(suffix.lstrip(".") for suffix in SUFFIXES)
        raise FileError(f"there are no pictures in the folder {path.name}", f"it takes {kinds}")
    told = _tables(path)
    entries = [(name, _beside(path / name) or told.get(name, ())) for name in names]
    silent = [name for name, captions in entries if not captions]
    if silent and not empty_captions:
        few = ", ".join(silent[:3]) + (", ..." if len(silent) > 3 else "")
        first = Path(silent[0])
        raise FileError(
            f"{len(silent)} of {len(names)} pictures in {path.name} have no caption: {few}",
            f"write one into {first.with_suffix('.txt')} beside {first.name}, or list them in "
            "metadata.jsonl with file_name and text; or allow empty captions",
        )
    return Folder(
        size, path, digest, tuple((name, captions or ("",)) for name, captions in entries)
    )


def _pictures(path: Path) -> Iterator[str]:
    """Names below a folder, as the table of captions writes them, hidden ones left out."""
    for file in path.rglob("*"):
        name = file.relative_to(path)
        hidden = any(part.startswith(".") for part in name.parts)
        if file.suffix.lower() in SUFFIXES and file.is_file() and not hidden:
            yield name.as_posix()


def _beside(picture: Path) -> tuple[str, ...]:
    """The captions in the text file beside a picture."""
    file = picture.with_suffix(".txt")
    if not file.is_file():
        return ()
    return tuple(line.strip() for line in _text(file).splitlines() if line.strip())


def _tables(path: Path) -> dict[str, tuple[str, ...]]:
    """The captions in the tables of a folder and those below it, by name of the picture."""
    told: dict[str, tuple[str, ...]] = {}
    for file in sorted(file for name in TABLES for file in path.rglob(name)):
        rows = _json_lines(file) if file.suffix == ".jsonl" else _csv_rows(file)
        where = file.parent.relative_to(path)
        for number, row in rows:
            name, caption = row.get("file_name"), next((row[c] for c in COLUMNS if c in row), None)
            if not isinstance(name, str) or not isinstance(caption, str):
                raise FileError(
                    f"line {number} of {file.name} names no picture or no caption",
                    f"each line needs file_name and {COLUMNS[0]}",
                )
            key = (where / name).as_posix()
            if caption.strip():
                told[key] = (*told.get(key, ()), caption.strip())
    return told


def _json_lines(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(_text(file).splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as cause:
            raise FileError(f"line {number} of {file.name} is no JSON: {cause}") from cause
        if not isinstance(row, dict):
            raise FileError(f"line {number} of {file.name} is no JSON object")
        yield number, row


def _csv_rows(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    yield from enumerate(csv.DictReader(io.StringIO(_text(file))), 2)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as cause:
        raise FileError(f"{file.name} can't be read: {cause}", "save it as UTF-8 text") from cause


def picture_set(dataset: Dataset, start: int, count: int) -> tuple[Tensor, list[str]]:
    """Some pictures [n, size, size, 3] and the first caption of each. Raises `ModelError` where the
    set ends before `start`.
    """
    chosen = _numbers(dataset, start, count)
    return dataset.pictures(chosen), [dataset.captions(index)[0] for index in chosen]


def depth_pictures(dataset: Dataset, start: int, count: int) -> Tensor:
    """Inverse depth of some pictures as pictures [n, size, size, 3]: 0 the farthest, 1 the nearest
    of each.
    """
    near = dataset.depth(_numbers(dataset, start, count))
    low, high = near.amin((1, 2), keepdim=True), near.amax((1, 2), keepdim=True)
    grey = (near - low) / (high - low).clamp(min=1e-12)
    return grey[..., None].expand(-1, -1, -1, 3).contiguous()


def _numbers(dataset: Dataset, start: int, count: int) -> range:
    if start >= len(dataset):
        raise ModelError(
            f"there is no picture {start} in a set of {len(dataset)}", "numbers start at 0"
        )
    return range(start, min(start + count, len(dataset)))
