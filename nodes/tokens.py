"""What a text encoder makes of a prompt."""

from typing import Annotated, NamedTuple

from pydantic import Field

from graphengine import Multiline, Progress, diffusion, figures, node
from graphengine.diffusion import Image, Memory, TextEncoder


class Look(NamedTuple):
    """A figure, and the same as text in columns."""

    image: Image
    table: str


@node(category="tokens", title="Look at tokens")
def look(
    text_encoder: TextEncoder,
    text: Annotated[
        str, Multiline(), Field(description="(word:1.2) weighs more, (word) 1.1 times as much")
    ] = "",
    chunks: Annotated[
        int, Field(ge=1, le=16, description="chunks that are drawn; the table has them all")
    ] = 2,
    title: Annotated[str, Field(description="Stands over the figure.")] = "What the model reads",
    *,
    memory: Memory,
    progress: Progress,
) -> Look:
    """Show a prompt's tokens with ids and weights, its chunks, and the numbers that it becomes."""
    tokens = diffusion.prompt_tokens(text_encoder, text, memory=memory, progress=progress)
    encoded = diffusion.encode_prompt(text_encoder, text, memory=memory, progress=progress).tokens
    figure = figures.tokens_figure(tokens, encoded, text, most=chunks, title=title)
    return Look(figure, tokens.table())
