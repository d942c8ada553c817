"""The world of postcards as a data set: as many pictures as wanted, with captions and exact depth.

Scene number `i` of a set is a function of the set's seed and `i` alone. Imports without torch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from graphengine.errors import ModelError
from graphengine.training.datasets import Dataset

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from graphengine.postcard.world import Scene
else:
    Tensor = Any

Kind = Literal[
    "any", "house", "lighthouse", "tree", "sailboat", "tent", "castle", "windmill", "car", "balloon",
    "mushroom",
]  # fmt: skip
Sky = Literal["any", "day", "sunset", "night", "overcast"]
Style = Literal["any", "plain", "watercolour"]
TRIES = 50_000
"""Scenes drawn in search of one that is wanted."""


@dataclass(frozen=True)
class World(Dataset):
    """`count` scenes from `seed`. `kind`, `sky` and `style` leave out all others.

    `unseen` draws only combinations that postcard was never trained on, else there are none of
    them. `told`: captions of each picture. `slips`: now and then they hold a word without meaning,
    so that whoever learns from them takes little harm from unknown words.
    """

    count: int
    seed: int
    kind: Kind = "any"
    sky: Sky = "any"
    style: Style = "any"
    unseen: bool = False
    told: int = 3
    slips: bool = False

    def __len__(self) -> int:
        return self.count

    def scene(self, index: int) -> Scene:
        """Scene `index`. Raises `ModelError` when there is none such in the world."""
        import numpy as np

        from graphengine.postcard.world import random_scene

        rng = np.random.default_rng([self.seed, index])
        wanted = {"kind": self.kind, "sky": self.sky, "style": self.style}
        wanted = {name: value for name, value in wanted.items() if value != "any"}
        for _ in range(TRIES):
            scene = random_scene(rng, held=self.unseen)
            if not wanted or wanted.items() <= scene.attributes().items():
                return scene
        told = " and ".join(f"{name} {value}" for name, value in wanted.items())
        raise ModelError(
            f"the world has no {'unseen ' if self.unseen else ''}scene of {told}",
            "this pair is kept from training: take another, or unseen ones",
        )

    def captions(self, index: int) -> tuple[str, ...]:
        import numpy as np

        from graphengine.postcard.caption import describe
        from graphengine.postcard.text import disturb

        rng = np.random.default_rng([self.seed, index, 1])
        scene = self.scene(index)
        captions = []
        for _ in range(self.told):
            text = describe(scene, rng).text
            captions.append(disturb(text, rng) if self.slips else text)
        return tuple(captions)

    def pixels(self, index: int) -> np.ndarray[Any, np.dtype[Any]]:
        """One picture as drawn, uint8 [128, 128, 3]."""
        import numpy as np

        from graphengine.postcard.render import render

        return np.asarray(render(self.scene(index))[0])

    def pictures(self, indices: Iterable[int]) -> Tensor:
        import numpy as np
        import torch

        from graphengine.diffusion.images import resize

        drawn = torch.from_numpy(np.stack([self.pixels(i) for i in indices])).float() / 255
        return drawn if drawn.shape[1] == self.size else resize(drawn, self.size, self.size)

    def depth(self, indices: Iterable[int]) -> Tensor:
        import numpy as np
        import torch
        from torch.nn.functional import interpolate

        from graphengine.postcard.render import render

        far = np.stack([render(self.scene(i))[1] for i in indices])
        near = torch.from_numpy(1 / far.astype(np.float32))[:, None]
        if near.shape[-1] == self.size:
            return near[:, 0]
        return interpolate(near, (self.size, self.size), mode="bilinear", antialias=True)[:, 0]
