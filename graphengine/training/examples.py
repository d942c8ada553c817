"""What noise predictors learn from: latents of pictures, with captions. Imports without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from graphengine.errors import ModelError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor
else:
    Tensor = Any


@dataclass(frozen=True)
class LatentSet:
    """Latents with captions, and what else a network is shown beside the noisy latent.

    `latents`: [n, channels, h, w], in the numbers of the model. `captions`: of each example, one or
    several that say the same. `conditions`: [n, extra channels, h, w], in the model's numbers too:
    a depth map (1 channel), or mask and masked picture (1 + channels). `digest` stands for the
    content, so that a training knows its examples again.
    """

    latents: Tensor
    captions: tuple[tuple[str, ...], ...]
    conditions: Tensor | None = None
    digest: str = ""

    @property
    def extra_channels(self) -> int:
        """How many channels a network reads beside the latent."""
        return 0 if self.conditions is None else int(self.conditions.shape[1])

    def __len__(self) -> int:
        return len(self.latents)

    def caption(self, index: int, rng: np.random.Generator) -> str:
        """One of the captions of an example."""
        told = self.captions[index]
        return told[int(rng.integers(len(told)))]

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor | None]:
        """Latents and conditions of some examples, float32."""
        extra = None if self.conditions is None else self.conditions[indices].float()
        return self.latents[indices].float(), extra

    def check_fit(self, channels: int) -> None:
        """Whether a network of so many input channels can learn from these. Raises `ModelError`."""
        own, extra = self.latents.shape[1], self.extra_channels
        if not len(self):
            raise ModelError("there are no examples to learn from", "give at least one picture")
        if len(self.captions) != len(self):
            raise ModelError(f"{len(self)} latents, but captions for {len(self.captions)}")
        if own + extra != channels:
            raise ModelError(
                f"the network reads {channels} channels, but these examples have {own} of the "
                f"latent and {extra} of conditions",
                "4 are an ordinary model's, 5 those of a depth model, 9 those of an inpainting model",
            )


def random_masks(count: int, height: int, width: int, rng: np.random.Generator) -> Tensor:
    """Masks [count, height, width] as people draw them: boxes, ellipses and brush strokes, and
    now and then everything; 1 is to be painted anew.
    """
    import numpy as np
    import torch

    y, x = np.mgrid[0:height, 0:width]
    masks = np.zeros((count, height, width), dtype=np.float32)
    for mask in masks:
        kind = rng.choice(4, p=[0.35, 0.3, 0.25, 0.1])
        if kind == 3:
            mask[:] = 1
            continue
        for _ in range(1 if kind < 2 else int(rng.integers(2, 7))):
            cy, cx = rng.uniform(0.1, 0.9, 2) * (height, width)
            size = (0.15, 0.55) if kind < 2 else (0.05, 0.15)
            ry, rx = rng.uniform(*size, 2) * (height, width)
            if kind == 0:
                inside = (abs(y - cy) < ry) & (abs(x - cx) < rx)
            else:
                inside = ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < 1
            mask[inside] = 1
    return torch.from_numpy(masks)
