"""Models on disk, as descriptions. Weights are loaded when a node uses them."""

from pathlib import Path
from typing import Annotated

from graphengine import File, Files, node
from graphengine.diffusion import Checkpoint, load_checkpoint


@node(
    category="checkpoint",
    title="Load checkpoint",
    aliases=("CheckpointLoaderSimple", "DiffusersLoader"),
)
def load(name: Annotated[Path, File("checkpoints")], *, files: Files) -> Checkpoint:
    """Read a Stable Diffusion checkpoint: model, text encoder and VAE.

    A checkpoint is a folder in the diffusers layout with safetensors weights.
    """
    return load_checkpoint(name, files.digest)
