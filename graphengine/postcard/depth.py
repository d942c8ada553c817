"""postcard's depth model: MiDaS's hybrid network, made tiny, taught the exact depth of the world."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import DPTConfig, DPTForDepthEstimation

from graphengine.diffusion.depth_loader import PROCESSOR, Preprocessing
from graphengine.postcard.config import Config
from graphengine.postcard.data import render_depth, render_set
from graphengine.postcard.world import SIZE
from graphengine.resource import Progress
from graphengine.training import depth, loop

MODEL = Path(__file__).parent / "depth_models" / "postcard"
"""The folder of the shipped model."""

PREPROCESSING = Preprocessing(size=(SIZE, SIZE))


def build(width: int = 64, layers: int = 4) -> Any:
    """An untrained network for pictures of 128 x 128: convolutions down to 8 x 8 tokens that are
    `width` wide, a transformer, and the way back up.
    """
    stages = (48, 64, 96)
    config = DPTConfig(
        is_hybrid=True,
        image_size=SIZE,
        patch_size=16,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=3 * width,
        backbone_config={
            "model_type": "bit",
            "embedding_size": 24,
            "hidden_sizes": list(stages),
            "depths": [1, 2, 2],
            "num_groups": 8,
            "layer_type": "bottleneck",
            "global_padding": "same",
            "embedding_dynamic_padding": True,
            "out_features": ["stage1", "stage2", "stage3"],
        },
        backbone_featmap_shape=[1, stages[2], SIZE // 16, SIZE // 16],
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


def train(config: Config, out: Path, progress: Progress, stop_at: int | None = None) -> Any:
    """The depth model, from nothing; its state lies in the folder `out`."""
    pictures = render_set(out / "pictures.npy", config.seed, config.scenes, config.workers)
    near = render_depth(out / "depth.npy", config.seed, config.variant_scenes, config.workers)
    data = depth.DepthSet(pictures[: len(near)], near)
    torch.manual_seed(config.seed)
    network = build().to(torch.device(config.device))
    recipe = depth.Recipe(batch=config.estimator_batch, rate=config.estimator_rate, warmup=100)
    run = loop.Run("estimator", out, config.estimator_steps, config.seed, 100, stop_at)
    return depth.train_depth(network, data, PREPROCESSING, recipe, run, progress=progress)[0]


def export(network: Any, folder: Path, how: Preprocessing = PREPROCESSING) -> int:
    """Writes a depth model as transformers does, in half precision; the size of its weights in
    bytes.
    """
    network.to(torch.float16).save_pretrained(folder, safe_serialization=True)
    write_preprocessing(how, folder / PROCESSOR)
    return sum(file.stat().st_size for file in folder.rglob("*.safetensors"))


def write_preprocessing(how: Preprocessing, path: Path) -> None:
    """Preprocessing with the keys of DPT's image processor."""
    height, width = how.size or (SIZE, SIZE)
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
        "size": {"height": height, "width": width},
    }
    path.write_text(json.dumps(told, indent=2) + "\n")
