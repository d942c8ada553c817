"""Sheets: pictures side by side with a title and captions, to be looked at."""

from typing import Annotated

from pydantic import Field

from graphengine import GraphEngineError, Multiline, figures, node
from graphengine.diffusion import Image

Title = Annotated[str, Field(description="stands over everything")]
Note = Annotated[str, Multiline(), Field(description="stands under the title")]
Columns = Annotated[int, Field(ge=0, le=100, description="how many side by side; 0 chooses")]


@node(category="sheet", title="Sheet of pictures")
def pictures(
    title: Title = "",
    note: Note = "",
    captions: Annotated[
        str, Multiline(), Field(description="one line for each link or each picture, or none")
    ] = "",
    columns: Columns = 0,
    **images: Image,
) -> Image:
    """Put pictures side by side, in the order of the links, with a caption under each."""
    if not images:
        raise GraphEngineError("a sheet needs a picture", "link one at least")
    shown = [picture for image in images.values() for picture in image]
    lines = captions.splitlines() if captions.strip() else []
    if len(lines) == len(images):  # a link may bring several pictures
        lines = [line for line, image in zip(lines, images.values()) for _ in image]
    return figures.labelled_grid(
        shown, columns=columns or None, title=title, note=note, captions=lines
    )


@node(category="sheet", title="Numbered sheet")
def numbered(
    image: Image,
    title: Title = "",
    note: Note = "",
    label: Annotated[str, Field(description="what is counted")] = "seed",
    first: Annotated[int, Field(description="the first number")] = 0,
    columns: Columns = 0,
) -> Image:
    """Put the pictures of a batch side by side, with a running number under each."""
    captions = [f"{label} {first + place}".strip() for place in range(len(image))]
    return figures.labelled_grid(
        image, columns=columns or None, title=title, note=note, captions=captions
    )
