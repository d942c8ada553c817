"""Text into conditioning."""

from dataclasses import replace
from typing import Annotated

from pydantic import Field

from graphengine import Multiline, Progress, diffusion, node
from graphengine.diffusion import Conditioning, Memory, TextEncoder


@node(category="text", title="Encode prompt", aliases=("CLIPTextEncode",))
def encode(
    text_encoder: TextEncoder,
    text: Annotated[
        str, Multiline(), Field(description="(word:1.2) weighs more, (word) 1.1 times as much")
    ] = "",
    *,
    memory: Memory,
    progress: Progress,
) -> Conditioning:
    """Encode a prompt for a model. Any length; longer prompts are read in several pieces."""
    return diffusion.encode_prompt(text_encoder, text, memory=memory, progress=progress)


@node(category="text", title="Clip skip", aliases=("CLIPSetLastLayer",))
def clip_skip(
    text_encoder: TextEncoder,
    stop_at: Annotated[
        int, Field(ge=1, le=24, description="1 reads the last layer, 2 the one before it")
    ] = 2,
) -> TextEncoder:
    """Read prompts from an earlier layer of the text encoder, as some models were trained."""
    return replace(text_encoder, skip=stop_at - 1)
