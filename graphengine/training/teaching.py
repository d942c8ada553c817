"""A training from beginning to end: from a checkpoint's description and latents to a new checkpoint
or LoRA, its losses, and what it drew on the way.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from graphengine.diffusion.loader import Checkpoint, load_checkpoint
from graphengine.diffusion.memory import Memory
from graphengine.diffusion.schedules import noise_table
from graphengine.diffusion.weights import load_weights
from graphengine.errors import ModelError
from graphengine.resource import Progress
from graphengine.training import loop
from graphengine.training.checkpoints import check_free, write_checkpoint
from graphengine.training.examples import LatentSet
from graphengine.training.lora import LoraShape, add_lora, write_lora
from graphengine.training.noise_predictor import (
    CHANNELS,
    NetworkSize,
    Recipe,
    new_network,
    text_reader,
    train_noise_predictor,
    widen_input,
)
from graphengine.training.samples import Drawing, Snapshots, draw, shown_conditions, spaced

COLUMNS = 6
"""The sheet shows pictures of at most so many steps."""


@dataclass(frozen=True)
class Lesson:
    """What is to be taught and how.

    `start`: "model" goes on from the weights of the checkpoint, input channels that the examples'
    conditions need being added; a size stands for a new network that knows nothing. `lora`: leave
    the weights alone and learn a small addition to them. `every`: steps between two samples, at
    which the state and the checkpoint are kept too.
    """

    steps: int
    drawing: Drawing
    start: str = "model"
    recipe: Recipe = field(default_factory=Recipe)
    lora: LoraShape | None = None
    seed: int = 0
    every: int = 100


class Taught(NamedTuple):
    """What came of it. `sheet` shows the prompts (rows) at some steps (columns)."""

    losses: loop.Losses
    sheet: Tensor
    checkpoint: Checkpoint | None


def teach(
    base: Checkpoint,
    data: LatentSet,
    lesson: Lesson,
    result: Path,
    work: Path,
    *,
    memory: Memory,
    digest: Callable[[Path], str] | None = None,
    progress: Progress | None = None,
) -> Taught:
    """Teaches a noise predictor. `result` is the checkpoint folder, or the LoRA file; both are
    written whenever the state is kept, so that they hold the last good weights whatever happens.

    Samples and state lie in the folder `work`. A training that was cut short goes on from its
    state when it is called with the same arguments, to the same bits; the state is deleted at the
    end. Raises `ModelError` for NaN, for data that do not fit, and `Cancelled`.
    """
    progress = progress or Progress()
    check_prompts(lesson, data)
    if lesson.lora is None:
        check_free(result)
    told = _told(base, data, lesson)
    torch_seed = int(loop.step_rng(lesson.seed, "new", 0).integers(2**62))
    with loop.own_randomness():
        torch.manual_seed(torch_seed)
        unet, trained = _network(base, data, lesson, memory)
    model = replace(
        base.model, extra_channels=data.extra_channels, prediction=lesson.recipe.prediction
    )
    run = loop.Run("unet", _state_folder(work, told), lesson.steps, lesson.seed, lesson.every)
    snapshots = Snapshots(work)

    def show(network: Any) -> Tensor:
        return draw(network, model, base, data, lesson.drawing, memory)

    def after(step: int, network: Any) -> None:
        snapshots.keep(step, show(network))
        if lesson.lora is None:
            write_checkpoint(result, network, base, lesson.recipe.prediction, told)
        else:
            write_lora(network, result)

    if not run.file.exists():
        snapshots.forget()
        snapshots.keep(0, show(unet.eval()))
    with memory.use(base.text_encoder) as clip:
        _, losses = train_noise_predictor(
            unet,
            text_reader(clip.tokenizer, clip.model, base.text_encoder.skip),
            data,
            noise_table(base.model.betas),
            lesson.recipe,
            run,
            trained=trained,
            progress=progress,
            after=after,
            preview=lambda: snapshots.last,
        )
    sheet = _sheet(snapshots, data, lesson, base, memory)
    shutil.rmtree(run.folder)
    checkpoint = load_checkpoint(result, digest) if lesson.lora is None else None
    return Taught(losses, sheet, checkpoint)


def check_prompts(lesson: Lesson, data: LatentSet) -> None:
    """Whether there is something to draw. Raises `ModelError`."""
    count = len(lesson.drawing.prompts)
    if not count:
        raise ModelError("there is no prompt to draw samples of", "give one prompt a line")
    if data.conditions is not None and count > len(data):
        raise ModelError(
            f"{count} sample prompts, but conditions of {len(data)} examples",
            "give fewer prompts, or more pictures",
        )


def _network(
    base: Checkpoint, data: LatentSet, lesson: Lesson, memory: Memory
) -> tuple[Any, torch.nn.Module | None]:
    """The network, and the part of it that is taught if not all."""
    extra, model = data.extra_channels, base.model
    if lesson.start == "model":
        if model.extra_channels not in (0, extra):
            raise ModelError(
                f"{model.folder.parent.name} is {model.kind}, but these examples bring {extra} "
                "channels of conditions",
                "take an ordinary model, or latents with the conditions that it reads",
            )
        unet: Any = load_weights(model, torch.float32).requires_grad_(True)
        if extra > model.extra_channels:
            widen_input(unet, model.channels + extra)
    elif lesson.start in CHANNELS:
        size: NetworkSize = lesson.start
        channels, cells = data.latents.shape[1], data.latents.shape[2]
        unet = new_network(CHANNELS[size], channels, extra, model.width, cells)
    else:
        known = ", ".join(("model", *CHANNELS))
        raise ModelError(f"a training can't start from {lesson.start!r}", f"known: {known}")
    unet.to(memory.device)
    return unet, None if lesson.lora is None else add_lora(unet, lesson.lora)


def _told(base: Checkpoint, data: LatentSet, lesson: Lesson) -> dict[str, Any]:
    """All that decides what a training comes to, as JSON data."""
    return {
        "base": base.model.folder.parent.name,
        "digests": [part.digest for part in (base.model, base.text_encoder, base.vae)],
        "examples": [len(data), data.digest],
        "lesson": asdict(lesson),
    }


def _state_folder(work: Path, told: dict[str, Any]) -> Path:
    """Where the state lies: other settings never find it."""
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
    return work / f"state-{digest[:12]}"


def _sheet(
    snapshots: Snapshots, data: LatentSet, lesson: Lesson, base: Checkpoint, memory: Memory
) -> Tensor:
    from graphengine.figures import labelled_grid

    prompts = lesson.drawing.prompts
    steps = spaced(snapshots.steps(), COLUMNS - (data.conditions is not None))
    columns = [snapshots.read(step, len(prompts)) for step in steps]
    labels = [str(step) if step else "before" for step in steps]
    if data.conditions is not None:
        columns.insert(0, list(shown_conditions(data, len(prompts), base, memory)))
        labels.insert(0, "given")
    cells = [column[row] for row in range(len(prompts)) for column in columns]
    return labelled_grid(
        cells,
        title="What it draws while it learns",
        note=f"the same prompts from the same noise, {lesson.drawing.steps} sampling steps",
        column_labels=labels,
        columns_are="training steps",
        row_labels=list(prompts),
    )
