"""Small additions to a model's weights."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from graphengine import File, Files, node
from graphengine.diffusion import Model, with_lora


@node(category="lora", title="Load LoRA", aliases=("LoraLoader", "LoraLoaderModelOnly"))
def load(
    model: Model,
    file: Annotated[Path, File("loras", (".safetensors",))],
    strength: Annotated[
        float, Field(ge=-10, le=10, description="1 is as it was taught, 0 leaves it out")
    ] = 1.0,
    *,
    files: Files,
) -> Model:
    """Put a LoRA on a model: a style or a thing that it did not know. Several may follow."""
    return with_lora(model, file, files.digest(file), strength)
