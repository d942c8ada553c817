"""A depth network from beginning to end: from a data set with depth to a folder that "Load depth
model" reads, its losses, and what it saw on the way.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from graphengine.diffusion.depth import depth_from_image, depth_mask, depth_picture, prepare
from graphengine.diffusion.depth_loader import (
    PROCESSOR,
    DepthEstimator,
    DepthMap,
    Preprocessing,
    load_depth_estimator,
)
from graphengine.diffusion.memory import Memory
from graphengine.diffusion.weights import load_weights, quiet
from graphengine.errors import ModelError
from graphengine.resource import Progress
from graphengine.training import loop
from graphengine.training.checkpoints import TOLD, check_free, save_part, write_json
from graphengine.training.datasets import Dataset
from graphengine.training.depth import DepthRecipe, agreement, depth_set, train_depth
from graphengine.training.depth_network import new_estimator, write_preprocessing
from graphengine.training.samples import Snapshots, spaced

COLUMNS = 6
"""The sheet shows picture, depth, and what was seen at some steps."""


@dataclass(frozen=True)
class DepthLesson:
    """What is to be taught. A new network is `width` numbers wide and has `layers` layers.

    The last `shown` pictures of the data set are not learnt from, but looked at every `every`
    steps, when the state and the model are kept too.
    """

    steps: int
    width: int = 64
    layers: int = 4
    recipe: DepthRecipe = DepthRecipe()
    seed: int = 0
    every: int = 50
    shown: int = 4


class TaughtDepth(NamedTuple):
    """What came of it. `sheet`: pictures (rows), their depth, and what was seen at some steps."""

    estimator: DepthEstimator
    losses: loop.Losses
    sheet: Tensor


def teach_depth(
    dataset: Dataset,
    start: DepthEstimator | None,
    lesson: DepthLesson,
    result: Path,
    work: Path,
    *,
    memory: Memory,
    digest: Callable[[Path], str] | None = None,
    progress: Progress | None = None,
) -> TaughtDepth:
    """Teaches a new depth network, or goes on with `start`, and writes it to the folder `result`
    whenever the state is kept.

    State and what was seen lie in the folder `work`. A training that was cut short goes on when it
    is called with the same arguments, to the same bits; the state is deleted at the end. Raises
    `ModelError` for NaN or where nobody knows the depth, `Cancelled` out of `progress`.
    """
    check_free(result, "depth model")
    if lesson.shown >= len(dataset):
        raise ModelError(
            f"{len(dataset)} pictures, of which {lesson.shown} are not learnt from",
            "give more pictures, or show fewer",
        )
    taught = range(len(dataset) - lesson.shown)
    tested = range(len(taught), len(dataset))
    told = {"dataset": repr(dataset), "start": start.digest if start else "", **asdict(lesson)}
    key = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:12]
    run = loop.Run("depth", work / f"state-{key}", lesson.steps, lesson.seed, lesson.every)
    pictures, near = dataset.pictures(tested), dataset.depth(tested)
    network, how = _network(start, dataset.size, lesson)
    network.to(memory.device)
    snapshots = Snapshots(work)

    def after(step: int, averaged: Any) -> None:
        snapshots.keep(step, depth_picture(seen(averaged, pictures, how)))
        with quiet():
            save_part(averaged, result)
        write_preprocessing(how, result / PROCESSOR)
        write_json(result / TOLD, told)

    if not run.file.exists():
        snapshots.forget()
        snapshots.keep(0, depth_picture(seen(network, pictures, how)))
    _, losses = train_depth(
        network,
        depth_set(dataset, taught, progress),
        how,
        lesson.recipe,
        run,
        progress=progress,
        after=after,
        preview=lambda: snapshots.last,
    )
    sheet = _sheet(snapshots, pictures, near)
    shutil.rmtree(run.folder)
    return TaughtDepth(load_depth_estimator(result, digest), losses, sheet)


def _network(
    start: DepthEstimator | None, size: int, lesson: DepthLesson
) -> tuple[Any, Preprocessing]:
    if start is not None:
        return load_weights(start, torch.float32).requires_grad_(True), start.preprocessing
    with loop.own_randomness():
        torch.manual_seed(int(loop.step_rng(lesson.seed, "new", 0).integers(2**62)))
        return new_estimator(size, lesson.width, lesson.layers), Preprocessing(size=(size, size))


@torch.no_grad()
def seen(network: Any, pictures: Tensor, how: Preprocessing) -> DepthMap:
    """What a live network answers to pictures [n, H, W, 3]."""
    learning = network.training
    answer = network.eval()(prepare(pictures, how).to(network.device)).predicted_depth
    network.train(learning)
    return DepthMap(answer.float().cpu(), *pictures.shape[1:3])


def _sheet(snapshots: Snapshots, pictures: Tensor, near: Tensor) -> Tensor:
    """Pictures, their depth, and what was seen at some steps, all depth in one colour map."""
    from graphengine.figures import labelled_grid

    count = len(pictures)
    exact = DepthMap(near, *pictures.shape[1:3])
    steps = spaced(snapshots.steps(), COLUMNS - 2)
    maps = [depth_from_image(torch.stack(snapshots.read(step, count))) for step in steps]
    columns = [pictures, *(depth_picture(shown, "magma") for shown in (exact, *maps))]
    return labelled_grid(
        [column[row] for row in range(count) for column in columns],
        columns=len(columns),
        title="Learning to see depth",
        note="Pictures it never learnt from; near things are bright. Below the step: how well far "
        "and near are told apart (rank correlation, 1 is perfect)",
        column_labels=["picture", "true depth", *_labels(steps, maps, near)],
    )


def _labels(steps: Sequence[int], maps: Sequence[DepthMap], near: Tensor) -> list[str]:
    labels = []
    for step, shown in zip(steps, maps, strict=True):
        agreed = agreement(depth_mask(shown), near).mean()
        labels.append(f"{f'step {step}' if step else 'before'}\n{agreed:.2f}")
    return labels
