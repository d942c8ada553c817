"""Pictures with captions, for networks to learn from. Described here, read when they are needed."""

from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import Field

from graphengine import File, Files, Seed, node
from graphengine.diffusion import Image
from graphengine.postcard.dataset import Kind, Sky, Style, World
from graphengine.training import Dataset, depth_pictures, picture_set, read_folder

Side = Annotated[int, Field(ge=16, le=4096, description="pixels a side; pictures become square")]


class Shown(NamedTuple):
    """Pictures of a data set and what is said of them."""

    image: Image
    captions: list[str]


@node(
    category="dataset",
    title="Folder of pictures",
    aliases=("LoadImageTextDataSetFromFolder", "LoadImageDataSetFromFolder"),
)
def folder(
    folder: Annotated[
        Path,
        File("input", (".jsonl", ".csv")),
        Field(description="a folder in the input folder, of pictures and their captions"),
    ],
    size: Side = 128,
    empty_captions: Annotated[
        bool, Field(description="take pictures that have no caption as well")
    ] = False,
    *,
    files: Files,
) -> Dataset:
    """Your own pictures with captions.

    The caption of `cat.png` stands in `cat.txt` beside it (each line is another way to say it), or
    in one file for the whole folder: `metadata.jsonl` or `metadata.csv` with `file_name` and
    `text`. Pictures are cut to squares around their middle.
    """
    return read_folder(folder, files.digest(folder), size, empty_captions=empty_captions)


@node(category="dataset", title="World of postcards")
def world(
    count: Annotated[int, Field(ge=1, le=1_000_000, description="how many pictures")] = 1000,
    seed: Annotated[int, Seed(), Field(description="another number is other scenes")] = 1,
    kind: Annotated[Kind, Field(description="what stands in front")] = "any",
    sky: Sky = "any",
    style: Style = "any",
    unseen: Annotated[
        bool, Field(description="only what postcard itself never saw: some colours of some things")
    ] = False,
    slips: Annotated[
        bool, Field(description="now and then a word without meaning in a caption")
    ] = False,
    size: Side = 128,
) -> Dataset:
    """The little world that postcard was trained on: pictures drawn by a program, with captions
    and exact depth. As many as you like.
    """
    return World(size, count, seed, kind, sky, style, unseen, slips=slips)


@node(category="dataset", title="Pictures of a data set")
def show(
    dataset: Dataset,
    start: Annotated[int, Field(ge=0, description="number of the first one")] = 0,
    count: Annotated[int, Field(ge=1, le=10_000)] = 8,
) -> Shown:
    """Take some pictures out of a data set, each with one of its captions."""
    return Shown(*picture_set(dataset, start, count))


@node(category="dataset", title="Depth of a data set")
def depth(
    dataset: Dataset,
    start: Annotated[int, Field(ge=0, description="number of the first one")] = 0,
    count: Annotated[int, Field(ge=1, le=10_000)] = 8,
) -> Image:
    """The exact depth of some pictures as pictures: near is bright, each over its own range.

    Only drawn worlds know it.
    """
    return depth_pictures(dataset, start, count)
