"""Reading the folder of a depth model: a description from its JSON files, no weights. Imports without
torch.

    config.json   preprocessor_config.json   model.safetensors

MiDaS is a dense prediction transformer (Ranftl et al. 2021, arXiv:2103.13413), in transformers'
layout: `Intel/dpt-large` or `Intel/dpt-hybrid-midas`, or the depth estimator of a checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from graphengine.diffusion.loader import check_weights, read_config, read_json, stamp
from graphengine.diffusion.types import Weights
from graphengine.errors import FileError, ModelError

if TYPE_CHECKING:
    from torch import Tensor
else:
    Tensor = Any

PROCESSOR = "preprocessor_config.json"
ESTIMATOR, EXTRACTOR = "depth_estimator", "feature_extractor"
"""Where a checkpoint in the diffusers layout has its depth model and how to feed it."""

DepthColours = Literal["grey", "magma", "viridis", "turbo"]
"""How depth is painted: grey, or a colour map by its name in matplotlib."""

SUPPORTED = (
    "a depth model is a folder with config.json (model_type dpt), preprocessor_config.json and "
    "safetensors weights, such as Intel/dpt-hybrid-midas or Intel/dpt-large"
)


@dataclass(frozen=True)
class Preprocessing:
    """How pictures are made ready for a network.

    They are resized to `size` (height, width; None leaves them) by the Pillow filter numbered
    `resample`, to sides that are multiples of `multiple`; with `keep_aspect_ratio` the sides are
    scaled alike, as little as possible. Then 8-bit values are multiplied by `scale`, and each
    channel is normalized by `mean` and `std`.
    """

    size: tuple[int, int] | None = (384, 384)
    resample: int = 3
    keep_aspect_ratio: bool = False
    multiple: int = 1
    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class DepthEstimator(Weights):
    """A network that tells how near everything in a picture is, and how to show it pictures."""

    preprocessing: Preprocessing = Preprocessing()


@dataclass(frozen=True)
class DepthMap:
    """How near everything is: inverse depth, float32 [batch, h, w], larger is nearer.

    As the network answers it: at its own resolution, up to an unknown scale and shift. `height` and
    `width` are those of the pictures.
    """

    values: Tensor
    height: int
    width: int


def load_depth_estimator(
    folder: Path, digest: Callable[[Path], str] | None = None
) -> DepthEstimator:
    """Describe a depth model: a folder as transformers saves it, or a checkpoint that holds one.

    `digest` gives the content digest of a folder; without it names, sizes and times of the files
    stand for the content. Raises `FileError` for what is missing or damaged and `ModelError` for
    other kinds of model, both with a remedy.
    """
    home, processor = _homes(folder)
    config = read_config(home)
    kind = config.get("model_type")
    if kind != "dpt":
        what = f"a {kind} model" if kind else f"a {config.get('_class_name', 'model')}"
        raise ModelError(f"{folder.name} is {what}, not a depth model", SUPPORTED)
    named = config.get("architectures") or ["DPTForDepthEstimation"]
    if "DPTForDepthEstimation" not in named:
        raise ModelError(f"{folder.name} is a {named[0]}, which estimates no depth", SUPPORTED)
    if not processor.is_file():
        raise FileError(
            f"{folder.name} has no {processor.name}",
            "copy it from the model's source: it says how pictures are shown to the model",
        )
    check_weights(home)
    preprocessing = _fitted(folder.name, config, read_preprocessing(processor))
    return DepthEstimator(home, (digest or stamp)(home), preprocessing)


def _homes(folder: Path) -> tuple[Path, Path]:
    """The folder of the weights, and the file that says how pictures are prepared."""
    if not folder.exists():
        raise FileError(
            f"there is no depth model {folder.name}", "look at its name and at the depth folder"
        )
    if not folder.is_dir():
        raise FileError(f"{folder.name} is a single file", SUPPORTED)
    if not (folder / "model_index.json").is_file():
        return folder, folder / PROCESSOR
    if not (folder / ESTIMATOR).is_dir():
        raise ModelError(
            f"{folder.name} is a checkpoint without a depth model",
            f"depth checkpoints have one in a folder {ESTIMATOR}; {SUPPORTED}",
        )
    return folder / ESTIMATOR, folder / EXTRACTOR / PROCESSOR


def read_preprocessing(path: Path) -> Preprocessing:
    """The keys of a DPT image processor, with the processor's own defaults. Raises `FileError`."""
    told = read_json(path)
    name, usual = f"{path.parent.name}/{path.name}", Preprocessing()

    def of(key: str, default: Any) -> Any:
        value = told.get(key)
        return default if value is None else value

    if of("do_pad", False):
        raise ModelError(f"{name}: pictures that are padded (do_pad) can't be prepared", SUPPORTED)
    try:
        size = of("size", {"height": 384, "width": 384})
        sides = (size, size) if isinstance(size, int) else (size["height"], size["width"])
        height, width = (int(side) for side in sides)
        normalizes = of("do_normalize", True)
        mean, std = (
            tuple(float(v) for v in of(key, default)) if normalizes else neutral
            for key, default, neutral in (
                ("image_mean", usual.mean, (0.0, 0.0, 0.0)),
                ("image_std", usual.std, (1.0, 1.0, 1.0)),
            )
        )
        made = Preprocessing(
            size=(height, width) if of("do_resize", True) else None,
            resample=int(of("resample", usual.resample)),
            keep_aspect_ratio=bool(of("keep_aspect_ratio", False)),
            multiple=int(of("ensure_multiple_of", 1)),
            scale=float(of("rescale_factor", 1 / 255)) if of("do_rescale", True) else 1.0,
            mean=mean,
            std=std,
        )
    except (TypeError, ValueError, KeyError) as cause:
        raise FileError(f"{name} can't be read: {cause!r}", "fetch the file again") from cause
    sane = min(height, width, made.multiple) > 0 and 0 <= made.resample <= 5
    if not (sane and len(mean) == len(std) == 3 and all(std)):
        raise FileError(f"{name} holds sizes, filters or colours that can't be", "fetch it again")
    return made


def _fitted(name: str, config: dict[str, Any], how: Preprocessing) -> Preprocessing:
    """Preprocessing that the network can read.

    A network with a plain or hybrid backbone reads squares only, the hybrid one of a single size;
    pictures of other proportions are stretched for it, as MiDaS's own settings do.
    """
    if config.get("backbone_config") and not config.get("is_hybrid"):
        return how
    how = replace(how, keep_aspect_ratio=False)
    image, patch = config.get("image_size", 384), config.get("patch_size", 16)
    if not (isinstance(image, int) and isinstance(patch, int)) or how.size is None:
        raise ModelError(f"{name}: a depth model of this shape can't be run", SUPPORTED)
    height, width = how.size
    fits = height == width == image if config.get("is_hybrid") else height == width
    if not fits or height % patch or height % how.multiple:
        raise ModelError(
            f"{name}: {PROCESSOR} asks for {width} x {height} pixels, but the network reads squares"
            f" of {image}",
            f'set "size" there to {image}',
        )
    return how
