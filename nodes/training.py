"""Teaching networks: noise predictors, autoencoders, small additions to them.

What a training makes lies in the models folder, under the name that is given, and can be used by
that name from then on. While it goes on, its state and what it draws lie in the output folder,
under the same name: a training that was cancelled goes on from there when it is run again.
"""

from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from graphengine import Artifact, FileError, Files, Multiline, Progress, Seed, node, training
from graphengine.diffusion import (
    Checkpoint,
    DepthEstimator,
    Image,
    Memory,
    Model,
    TextEncoder,
    Vae,
    with_lora,
)
from graphengine.training import Dataset, LatentSet

Name = Annotated[
    str,
    Field(
        pattern=r"^[\w][\w .-]*$",
        max_length=80,
        description="what the result is called in the models folder",
    ),
]
Steps = Annotated[int, Field(ge=1, le=10_000_000, description="training steps")]
Batch = Annotated[int, Field(ge=1, le=4096, description="examples that a step looks at")]
Rate = Annotated[float, Field(gt=0, le=1, description="the highest learning rate")]
Every = Annotated[
    int, Field(ge=1, description="steps between samples, when state and result are kept too")
]
Prompts = Annotated[
    str, Multiline(), Field(description="what is drawn while it learns, one prompt a line")
]
Cfg = Annotated[float, Field(ge=0, le=100, description="how closely samples follow their prompt")]
Dropout = Annotated[
    float, Field(ge=0, le=1, description="how often a caption is left out, for guidance to work")
]


class Trained(NamedTuple):
    """A network that was taught, what each step measured, and what it drew on the way."""

    model: Model
    losses: dict[str, list[float]]
    image: Image
    files: list[Artifact]


class TrainedVae(NamedTuple):
    """An autoencoder that was taught, what each step measured, and what is left of pictures."""

    vae: Vae
    losses: dict[str, list[float]]
    image: Image
    files: list[Artifact]


class TrainedDepth(NamedTuple):
    """A depth model that was taught, what each step measured, and what it saw on the way."""

    estimator: DepthEstimator
    losses: dict[str, list[float]]
    image: Image
    files: list[Artifact]


@node(category="training", title="Latents of a data set")
def latents(
    dataset: Dataset,
    model: Model,
    vae: Vae,
    conditions: Annotated[
        Literal["none", "masks", "depth"],
        Field(
            description="what is shown beside: masks for inpainting models, depth for depth ones"
        ),
    ] = "none",
    seed: Annotated[int, Seed(), Field(description="of the masks")] = 0,
    *,
    memory: Memory,
    progress: Progress,
) -> LatentSet:
    """Encode all pictures of a data set once, so that training need not do it again and again."""
    return training.latent_set(
        dataset, vae, model, conditions, seed=seed, memory=memory, progress=progress
    )


@node(category="training", title="Examples for a noise predictor")
def examples(
    latents: LatentSet,
    model: Model,
    vae: Vae,
    count: Annotated[int, Field(ge=1, le=64)] = 5,
    timesteps: Annotated[
        list[int], Field(description="how much noise, 0 to 999; none: by chance, as in training")
    ] = [],  # noqa: B006 - never changed
    seed: Annotated[int, Seed(), Field(description="of noise and timesteps")] = 1,
    *,
    memory: Memory,
) -> Image:
    """A table of what a noise predictor learns from: picture, noise, amount, noised picture."""
    return training.examples_table(latents, model, vae, count, seed, timesteps, memory=memory)


@node(category="training", title="Train noise predictor", sink=True)
def noise_predictor(
    latents: LatentSet,
    model: Model,
    text_encoder: TextEncoder,
    vae: Vae,
    name: Name = "my-model",
    start: Annotated[
        Literal["model", "tiny", "small", "medium"],
        Field(description="go on with the model, or a new network of this size that knows nothing"),
    ] = "model",
    steps: Steps = 300,
    batch: Batch = 16,
    rate: Rate = 1e-4,
    caption_dropout: Dropout = 0.1,
    ema: Annotated[
        float, Field(ge=0, lt=1, description="decay of the average over steps, which is kept")
    ] = 0.99,
    prompts: Prompts = "a red house\na lighthouse by the sea at night",
    every: Every = 100,
    cfg: Cfg = 5.0,
    seed: Annotated[int, Seed(), Field(description="of everything that is left to chance")] = 0,
    *,
    memory: Memory,
    files: Files,
    progress: Progress,
) -> Trained:
    """Teach a U-Net to predict the noise in latents, and save it as a checkpoint.

    It goes on from a model, or begins anew. If the latents bring conditions (masks or depth) that
    the model does not read yet, it gets input channels for them whose weights are zero at first:
    that is how inpainting and depth models are made. The result is a folder in `checkpoints` that
    "Load checkpoint" and diffusers load by its name. Run it again after a break, and it goes on.
    """
    folder = _free(files, "checkpoints", name)
    recipe = training.Recipe(batch, rate, ema=ema, caption_dropout=caption_dropout)
    lesson = training.Lesson(steps, _drawing(prompts, cfg), start, recipe, None, seed, every)
    taught = training.teach(
        Checkpoint(model, text_encoder, vae),
        latents,
        lesson,
        folder,
        files.folder("output") / name,
        memory=memory,
        digest=files.digest,
        progress=progress,
    )
    kept = [_artifact(files, file) for file in sorted(folder.rglob("*")) if _is_weight(file)]
    return Trained(taught.checkpoint.model, taught.losses, taught.sheet, kept)


@node(category="training", title="Train LoRA", aliases=("TrainLoraNode",), sink=True)
def lora(
    latents: LatentSet,
    model: Model,
    text_encoder: TextEncoder,
    vae: Vae,
    name: Name = "my-style",
    rank: Annotated[int, Field(ge=1, le=512, description="how much it can learn")] = 8,
    convolutions: Annotated[
        bool, Field(description="adapt convolutions too, not attention alone: for textures")
    ] = False,
    steps: Steps = 200,
    batch: Batch = 8,
    rate: Rate = 1e-3,
    caption_dropout: Dropout = 0.1,
    prompts: Prompts = "a red house\na lighthouse by the sea at night",
    every: Every = 50,
    cfg: Cfg = 5.0,
    seed: Annotated[int, Seed(), Field(description="of everything that is left to chance")] = 0,
    *,
    memory: Memory,
    files: Files,
    progress: Progress,
) -> Trained:
    """Teach a small addition to a model (LoRA), a style or a thing from a few pictures.

    The result is a file in `loras` that "Load LoRA" puts on any model of the same shape, and that
    diffusers' `load_lora_weights` reads. The model that comes out has it on already.
    """
    file = files.folder("loras") / f"{name}.safetensors"
    recipe = training.Recipe(batch, rate, ema=0.98, caption_dropout=caption_dropout)
    shape = training.LoraShape(rank, convolutions)
    lesson = training.Lesson(steps, _drawing(prompts, cfg), "model", recipe, shape, seed, every)
    taught = training.teach(
        Checkpoint(model, text_encoder, vae),
        latents,
        lesson,
        file,
        files.folder("output") / name,
        memory=memory,
        digest=files.digest,
        progress=progress,
    )
    kept = _artifact(files, file)
    return Trained(with_lora(model, file, kept.digest), taught.losses, taught.sheet, [kept])


@node(category="training", title="Train VAE", sink=True)
def vae(
    dataset: Dataset,
    vae: Vae | None = None,
    name: Name = "my-vae",
    channels: Annotated[
        list[int],
        Field(description="of a new one, from large to small; each but the first halves the sides"),
    ] = [16, 32, 64, 96],  # noqa: B006 - never changed
    latent_channels: Annotated[int, Field(ge=1, le=64, description="of a new one")] = 4,
    steps: Steps = 300,
    batch: Batch = 16,
    rate: Rate = 1.2e-3,
    crop: Annotated[
        int, Field(ge=0, le=4096, description="pixels a side that a step looks at; 0: everything")
    ] = 64,
    shown: Annotated[int, Field(ge=1, le=32, description="pictures in the sheet")] = 4,
    every: Every = 100,
    seed: Annotated[int, Seed(), Field(description="of everything that is left to chance")] = 0,
    *,
    memory: Memory,
    files: Files,
    progress: Progress,
) -> TrainedVae:
    """Teach an autoencoder to turn pictures into a few numbers and back: a new one, or one that is
    linked. The result is a folder in `vae`.
    """
    folder = _free(files, "vae", name)
    recipe = training.VaeRecipe(tuple(channels), latent_channels, batch, rate, crop=crop)
    taught = training.teach_autoencoder(
        dataset,
        vae,
        recipe,
        steps,
        folder,
        files.folder("output") / name,
        seed=seed,
        every=every,
        shown=shown,
        memory=memory,
        digest=files.digest,
        progress=progress,
    )
    kept = [_artifact(files, file) for file in sorted(folder.rglob("*")) if _is_weight(file)]
    return TrainedVae(taught.vae, taught.losses, taught.sheet, kept)


@node(category="training", title="Train depth model", sink=True)
def depth(
    dataset: Dataset,
    estimator: DepthEstimator | None = None,
    name: Name = "my-depth",
    width: Annotated[
        int, Field(ge=16, le=1024, multiple_of=4, description="of a new one: how much it can learn")
    ] = 64,
    layers: Annotated[int, Field(ge=2, le=48, description="of a new one")] = 4,
    steps: Steps = 300,
    batch: Batch = 16,
    rate: Rate = 2e-3,
    trim: Annotated[
        float,
        Field(ge=0, lt=1, description="share of pixels left out, for depth that is partly wrong"),
    ] = 0.0,
    shown: Annotated[
        int, Field(ge=1, le=32, description="pictures at the end of the set, not learnt from")
    ] = 4,
    every: Every = 50,
    seed: Annotated[int, Seed(), Field(description="of everything that is left to chance")] = 0,
    *,
    memory: Memory,
    files: Files,
    progress: Progress,
) -> TrainedDepth:
    """Teach a network what is near and what is far in a picture: a new tiny MiDaS, or one that is
    linked. The result is a folder in `depth` that "Load depth model" and transformers load.
    """
    folder = _free(files, "depth", name)
    recipe = training.DepthRecipe(batch, rate, trim=trim)
    lesson = training.DepthLesson(steps, width, layers, recipe, seed, every, shown)
    taught = training.teach_depth(
        dataset,
        estimator,
        lesson,
        folder,
        files.folder("output") / name,
        memory=memory,
        digest=files.digest,
        progress=progress,
    )
    kept = [_artifact(files, file) for file in sorted(folder.rglob("*")) if _is_weight(file)]
    return TrainedDepth(taught.estimator, taught.losses, taught.sheet, kept)


@node(category="training", title="Loss curves")
def curves(
    losses: dict[str, list[float]],
    title: str = "Loss",
    note: str = "",
    logarithmic: bool = False,
) -> Image:
    """Draw what a training measured, step by step."""
    from graphengine.figures import loss_curves

    return loss_curves(losses, title=title, note=note, logarithmic=logarithmic)


def _drawing(prompts: str, cfg: float) -> "training.Drawing":
    lines = tuple(line.strip() for line in prompts.splitlines() if line.strip())
    return training.Drawing(lines, cfg=cfg)


def _free(files: Files, kind: str, name: str) -> Path:
    """The folder for a result. A model of that name in another folder would be hidden by it."""
    folder = files.folder(kind) / name
    if not folder.exists() and name in files.names(kind):
        raise FileError(f"there is already a {name} among the {kind}", "give it another name")
    return folder


def _is_weight(file: Path) -> bool:
    return file.name in ("model_index.json", "config.json") or file.suffix == ".safetensors"


def _artifact(files: Files, file: Path) -> Artifact:
    kind = "application/json" if file.suffix == ".json" else "application/octet-stream"
    return Artifact(file.resolve(), kind, files.digest(file), file.stat().st_size)
