"""A depth network that knows nothing yet, and the files that make a trained one loadable."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from graphengine.diffusion.depth_loader import Preprocessing
from graphengine.errors import ModelError

PATCH = 16


def new_estimator(size: int, width: int = 64, layers: int = 4) -> Any:
    """An untrained network of MiDaS's hybrid kind (arXiv:2103.13413), tiny, for pictures of `size`
    pixels a side: convolutions down to tokens of 16 pixels, a transformer, and the way back up.

    Weights are from torch's global generator. Raises `ModelError` for sizes that can't be.
    """
    from transformers import DPTConfig, DPTForDepthEstimation

    if size % PATCH or width % 4 or layers < 2:
        raise ModelError(
            f"there is no depth network for {size} pixels, {width} wide, of {layers} layers",
            f"pictures are multiples of {PATCH} pixels, widths of 4, and it takes 2 layers",
        )
    stages = (48, 64, 96)
    backbone = {
        "model_type": "bit",
        "embedding_size": 24,
        "hidden_sizes": list(stages),
        "depths": [1, 2, 2],
        "num_groups": 8,
        "layer_type": "bottleneck",
        "global_padding": "same",
        "embedding_dynamic_padding": True,
        "out_features": ["stage1", "stage2", "stage3"],
    }
    config = DPTConfig(
        is_hybrid=True,
        image_size=size,
        patch_size=PATCH,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=3 * width,
        backbone_config=backbone,
        backbone_featmap_shape=[1, stages[2], size // PATCH, size // PATCH],
        backbone_out_indices=[0, 1, layers // 2 - 1, layers - 1],
        reassemble_factors=[1, 1, 1, 0.5],
        neck_hidden_sizes=[*stages[:2], width, width],
        fusion_hidden_size=24,
        use_auxiliary_head=False,
    )
    make: Any = DPTForDepthEstimation
    network = make(config)
    _start(network)
    return network


def _start(network: Any) -> None:
    """Weights to learn from: transformers' own are for networks that go on from trained ones, and
    far too small.
    """
    for name, part in (*network.neck.named_modules(), *network.head.named_modules()):
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
            if name.endswith("convolution2"):  # residual units add nothing at first
                nn.init.zeros_(part.weight)
    last = network.head.head[-2]
    with torch.no_grad():  # a little above 0, for what is below is cut off, and would learn nothing
        last.weight.mul_(0.1)
        last.bias.fill_(0.2)


def write_preprocessing(how: Preprocessing, path: Path) -> None:
    """Preprocessing with the keys of DPT's image processor."""
    told = {
        "do_normalize": True,
        "do_pad": False,
        "do_rescale": True,
        "do_resize": how.size is not None,
        "ensure_multiple_of": how.multiple,
        "image_mean": list(how.mean),
        "image_processor_type": "DPTImageProcessor",
        "image_std": list(how.std),
        "keep_aspect_ratio": how.keep_aspect_ratio,
        "resample": how.resample,
        "rescale_factor": how.scale,
    }
    sides = how.size and {"size": {"height": how.size[0], "width": how.size[1]}}
    path.write_text(json.dumps({**told, **(sides or {})}, indent=2) + "\n", encoding="utf-8")
