"""The judge of postcard: how much of what captions state is in the pictures drawn from them."""

from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from graphengine import GraphEngineError, Seed, figures, node
from graphengine.diffusion import Image
from graphengine.postcard.marks import Marks, misses
from graphengine.postcard.marks import score as marks_of

Stated = dict[str, str]
"""What a picture shows or shall show: {"kind": "house", "colour": "red", ...}."""


class Captions(NamedTuple):
    """Captions, what each of them states, and a seed for the picture of each."""

    text: list[str]
    stated: list[Stated]
    seed: list[int]


class Reading(NamedTuple):
    """What was read off each picture."""

    read: list[Stated]


class Score(NamedTuple):
    """Counts for each attribute, and the share of everything stated that is right, 0 to 1."""

    marks: Marks
    share: float


@node(category="judge", title="Captions to draw", aliases=("Held-out captions",))
def captions(
    count: Annotated[int, Field(ge=1, le=10_000, description="how many")] = 20,
    scenes: Annotated[
        Literal["held out", "any"],
        Field(description="held out: combinations that postcard never saw in training"),
    ] = "held out",
    seed: Annotated[int, Seed(), Field(description="another number gives other captions")] = 2024,
    first_seed: Annotated[
        int, Seed(), Field(description="seed of the first picture; the next has the next")
    ] = 0,
) -> Captions:
    """Make captions of postcards, and tell what each of them states."""
    from graphengine.postcard.caption import held_captions, random_captions

    made = (held_captions if scenes == "held out" else random_captions)(count, seed)
    told = [caption for _, caption in made]
    seeds = [(first_seed + i) % 2**64 for i in range(count)]
    return Captions([c.text for c in told], [dict(c.stated) for c in told], seeds)


@node(category="judge", title="Read pictures")
def read(image: list[Image]) -> Reading:
    """Read off pictures what they show, with a small network that knows the world of postcards."""
    from graphengine.postcard import judge

    reader = judge.load()
    return Reading([found for batch in image for found in reader.read(batch)])


@node(category="judge", title="Score")
def score(read: list[Stated], stated: list[Stated]) -> Score:
    """Compare what pictures show with what their captions state."""
    marks = marks_of(read, stated)
    return Score(marks, marks.share)


@node(category="judge", title="Chart of marks")
def chart(
    marks: Marks,
    note: Annotated[str, Field(description="a line under the title")] = "",
) -> Image:
    """Show for each attribute how often it is as the captions state, as bars."""
    names = [name for name, asked in marks.asked.items() if asked]
    if not names:
        raise GraphEngineError("the captions state nothing that the judge reads", "give others")
    return figures.bar_chart(
        [name.capitalize() for name in names],
        [marks.share_of(name) for name in names],
        notes=[f"{marks.right[name]} of {marks.asked[name]}" for name in names],
        title=f"{100 * marks.share:.1f} % of what the captions state is drawn",
        note=note
        or f"{sum(marks.asked.values())} attributes stated, read off the pictures by the judge",
    )


@node(category="judge", title="Marked contact sheet")
def sheet(
    image: list[Image],
    text: list[str],
    read: list[Stated],
    stated: list[Stated],
    most: Annotated[int, Field(ge=1, le=1000, description="pictures on the sheet at most")] = 20,
    columns: Annotated[int, Field(ge=1, le=20)] = 5,
) -> Image:
    """Show pictures with their captions, and mark what is not as the caption states."""
    pictures = [picture for batch in image for picture in batch]
    if not len(pictures) == len(text) == len(read) == len(stated):
        raise GraphEngineError(
            f"{len(pictures)} pictures, {len(text)} captions, {len(read)} readings and "
            f"{len(stated)} statements can't be set side by side",
            "draw one picture for each caption",
        )
    missed = [misses(found, wanted) for found, wanted in zip(read, stated)]
    whole = sum(not lines for lines in missed)
    return figures.marked_sheet(
        pictures[:most],
        text[:most],
        missed[:most],
        columns=columns,
        title=f"{whole} of {len(pictures)} pictures show everything as asked",
        note="" if len(pictures) <= most else f"Here are the first {most}.",
    )
