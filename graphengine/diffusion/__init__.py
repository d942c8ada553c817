"""Stable Diffusion as plain functions over tensors, usable without a graph.

A name loads its module when it is first used, so importing this package loads no torch.

    from graphengine import diffusion

    memory = diffusion.Memory()
    model, text_encoder, vae = diffusion.load_checkpoint(folder)
    positive = diffusion.encode_prompt(text_encoder, "a house", memory=memory)
    negative = diffusion.encode_prompt(text_encoder, "", memory=memory)
    empty = diffusion.empty_latent(vae, width=512, height=512)
    latent = diffusion.ksampler(
        model, positive, negative, empty, seed=1, steps=20, cfg=7,
        sampler="dpmpp_2m", schedule="karras", memory=memory,
    )
    image = diffusion.decode_latent(vae, latent, memory=memory)  # [1, 512, 512, 3], 0 to 1
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphengine.diffusion.attention import ksampler_with_attention as ksampler_with_attention
    from graphengine.diffusion.attention import word_maps as word_maps
    from graphengine.diffusion.choices import Blend as Blend
    from graphengine.diffusion.choices import Combination as Combination
    from graphengine.diffusion.choices import Fill as Fill
    from graphengine.diffusion.choices import Shape as Shape
    from graphengine.diffusion.choices import Turn as Turn
    from graphengine.diffusion.choices import Under as Under
    from graphengine.diffusion.conditioning import average_conditioning as average_conditioning
    from graphengine.diffusion.conditioning import combine_conditioning as combine_conditioning
    from graphengine.diffusion.conditioning import concat_conditioning as concat_conditioning
    from graphengine.diffusion.conditioning import limit_to_area as limit_to_area
    from graphengine.diffusion.conditioning import limit_to_mask as limit_to_mask
    from graphengine.diffusion.conditioning import limit_to_range as limit_to_range
    from graphengine.diffusion.conditioning import set_strength as set_strength
    from graphengine.diffusion.conditioning import zero_out as zero_out
    from graphengine.diffusion.custom_levels import flip_levels as flip_levels
    from graphengine.diffusion.custom_levels import join_levels as join_levels
    from graphengine.diffusion.custom_levels import levels_as_text as levels_as_text
    from graphengine.diffusion.custom_levels import levels_from_text as levels_from_text
    from graphengine.diffusion.custom_levels import split_by_denoise as split_by_denoise
    from graphengine.diffusion.custom_levels import split_levels as split_levels
    from graphengine.diffusion.denoiser import guide as guide
    from graphengine.diffusion.denoiser import guided as guided
    from graphengine.diffusion.denoiser import masked as masked
    from graphengine.diffusion.denoiser import predictor as predictor
    from graphengine.diffusion.depth import condition_on_depth as condition_on_depth
    from graphengine.diffusion.depth import depth_condition as depth_condition
    from graphengine.diffusion.depth import depth_from_image as depth_from_image
    from graphengine.diffusion.depth import depth_mask as depth_mask
    from graphengine.diffusion.depth import depth_picture as depth_picture
    from graphengine.diffusion.depth import estimate_depth as estimate_depth
    from graphengine.diffusion.depth_loader import DepthColours as DepthColours
    from graphengine.diffusion.depth_loader import DepthEstimator as DepthEstimator
    from graphengine.diffusion.depth_loader import DepthMap as DepthMap
    from graphengine.diffusion.depth_loader import load_depth_estimator as load_depth_estimator
    from graphengine.diffusion.editing import blend_images as blend_images
    from graphengine.diffusion.editing import blur_image as blur_image
    from graphengine.diffusion.editing import composite_images as composite_images
    from graphengine.diffusion.editing import crop_image as crop_image
    from graphengine.diffusion.editing import flip_image as flip_image
    from graphengine.diffusion.editing import grayscale_image as grayscale_image
    from graphengine.diffusion.editing import invert_image as invert_image
    from graphengine.diffusion.editing import join_alpha as join_alpha
    from graphengine.diffusion.editing import join_images as join_images
    from graphengine.diffusion.editing import pad_image as pad_image
    from graphengine.diffusion.editing import select_images as select_images
    from graphengine.diffusion.editing import sharpen_image as sharpen_image
    from graphengine.diffusion.editing import solid_image as solid_image
    from graphengine.diffusion.editing import split_alpha as split_alpha
    from graphengine.diffusion.editing import turn_image as turn_image
    from graphengine.diffusion.generation import ksampler as ksampler
    from graphengine.diffusion.generation import sample_custom as sample_custom
    from graphengine.diffusion.guidance import Guider as Guider
    from graphengine.diffusion.guidance import cfg_guider as cfg_guider
    from graphengine.diffusion.guidance import dual_guider as dual_guider
    from graphengine.diffusion.guidance import perp_neg_guider as perp_neg_guider
    from graphengine.diffusion.guidance import projected as projected
    from graphengine.diffusion.guidance import rescaled as rescaled
    from graphengine.diffusion.images import mask_from_image as mask_from_image
    from graphengine.diffusion.images import png_bytes as png_bytes
    from graphengine.diffusion.images import read_image as read_image
    from graphengine.diffusion.images import resize as resize
    from graphengine.diffusion.images import to_pillow as to_pillow
    from graphengine.diffusion.inpainting import encode_for_inpainting as encode_for_inpainting
    from graphengine.diffusion.inpainting import paste_painted as paste_painted
    from graphengine.diffusion.inpainting import prepare_inpainting as prepare_inpainting
    from graphengine.diffusion.inspection import diffuse as diffuse
    from graphengine.diffusion.inspection import noise_levels as noise_levels
    from graphengine.diffusion.inspection import plane_of as plane_of
    from graphengine.diffusion.inspection import psnr as psnr
    from graphengine.diffusion.inspection import seen_latents as seen_latents
    from graphengine.diffusion.inspection import trace_run as trace_run
    from graphengine.diffusion.latent_batches import join_latents as join_latents
    from graphengine.diffusion.latent_batches import repeat_latents as repeat_latents
    from graphengine.diffusion.latent_batches import seed_noise as seed_noise
    from graphengine.diffusion.latent_batches import select_latents as select_latents
    from graphengine.diffusion.latent_shapes import composite_latents as composite_latents
    from graphengine.diffusion.latent_shapes import crop_latent as crop_latent
    from graphengine.diffusion.latent_shapes import flip_latent as flip_latent
    from graphengine.diffusion.latent_shapes import resize_latent as resize_latent
    from graphengine.diffusion.latent_shapes import resize_latent_by as resize_latent_by
    from graphengine.diffusion.latent_shapes import turn_latent as turn_latent
    from graphengine.diffusion.latents import add_noise as add_noise
    from graphengine.diffusion.latents import empty_latent as empty_latent
    from graphengine.diffusion.latents import set_mask as set_mask
    from graphengine.diffusion.loader import Checkpoint as Checkpoint
    from graphengine.diffusion.loader import load_checkpoint as load_checkpoint
    from graphengine.diffusion.lora import with_lora as with_lora
    from graphengine.diffusion.masks import blur_mask as blur_mask
    from graphengine.diffusion.masks import color_mask as color_mask
    from graphengine.diffusion.masks import combine_masks as combine_masks
    from graphengine.diffusion.masks import feather_mask as feather_mask
    from graphengine.diffusion.masks import grow_mask as grow_mask
    from graphengine.diffusion.masks import image_from_mask as image_from_mask
    from graphengine.diffusion.masks import read_mask as read_mask
    from graphengine.diffusion.masks import resize_mask as resize_mask
    from graphengine.diffusion.masks import shape_mask as shape_mask
    from graphengine.diffusion.masks import soften_mask as soften_mask
    from graphengine.diffusion.masks import solid_mask as solid_mask
    from graphengine.diffusion.masks import threshold_mask as threshold_mask
    from graphengine.diffusion.memory import Memory as Memory
    from graphengine.diffusion.samplers import SAMPLERS as SAMPLERS
    from graphengine.diffusion.sampling import sample as sample
    from graphengine.diffusion.schedules import SCHEDULES as SCHEDULES
    from graphengine.diffusion.schedules import NoiseTable as NoiseTable
    from graphengine.diffusion.schedules import levels as levels
    from graphengine.diffusion.schedules import noise_table as noise_table
    from graphengine.diffusion.text import encode_prompt as encode_prompt
    from graphengine.diffusion.text import encode_text as encode_text
    from graphengine.diffusion.tokens import PromptTokens as PromptTokens
    from graphengine.diffusion.tokens import prompt_tokens as prompt_tokens
    from graphengine.diffusion.trace import Levels as Levels
    from graphengine.diffusion.trace import Trace as Trace
    from graphengine.diffusion.types import Area as Area
    from graphengine.diffusion.types import Attention as Attention
    from graphengine.diffusion.types import Betas as Betas
    from graphengine.diffusion.types import Channel as Channel
    from graphengine.diffusion.types import Conditioning as Conditioning
    from graphengine.diffusion.types import Crop as Crop
    from graphengine.diffusion.types import Image as Image
    from graphengine.diffusion.types import Latent as Latent
    from graphengine.diffusion.types import LatentMethod as LatentMethod
    from graphengine.diffusion.types import LatentTurn as LatentTurn
    from graphengine.diffusion.types import Mask as Mask
    from graphengine.diffusion.types import Method as Method
    from graphengine.diffusion.types import Model as Model
    from graphengine.diffusion.types import NoiseOf as NoiseOf
    from graphengine.diffusion.types import TextEncoder as TextEncoder
    from graphengine.diffusion.types import Tiling as Tiling
    from graphengine.diffusion.types import Vae as Vae
    from graphengine.diffusion.vae import decode_latent as decode_latent
    from graphengine.diffusion.vae import encode_image as encode_image

_HOMES = {
    "conditioning": (
        "average_conditioning",
        "combine_conditioning",
        "concat_conditioning",
        "limit_to_area",
        "limit_to_mask",
        "limit_to_range",
        "set_strength",
        "zero_out",
    ),
    "attention": ("ksampler_with_attention", "word_maps"),
    "choices": ("Blend", "Combination", "Fill", "Shape", "Turn", "Under"),
    "depth": (
        "condition_on_depth",
        "depth_condition",
        "depth_from_image",
        "depth_mask",
        "depth_picture",
        "estimate_depth",
    ),
    "depth_loader": ("DepthColours", "DepthEstimator", "DepthMap", "load_depth_estimator"),
    "editing": (
        "blend_images",
        "blur_image",
        "composite_images",
        "crop_image",
        "flip_image",
        "grayscale_image",
        "invert_image",
        "join_alpha",
        "join_images",
        "pad_image",
        "select_images",
        "sharpen_image",
        "solid_image",
        "split_alpha",
        "turn_image",
    ),
    "inpainting": ("encode_for_inpainting", "paste_painted", "prepare_inpainting"),
    "masks": (
        "blur_mask",
        "color_mask",
        "combine_masks",
        "feather_mask",
        "grow_mask",
        "image_from_mask",
        "read_mask",
        "resize_mask",
        "shape_mask",
        "soften_mask",
        "solid_mask",
        "threshold_mask",
    ),
    "denoiser": ("guide", "guided", "masked", "predictor"),
    "images": ("mask_from_image", "png_bytes", "read_image", "resize", "to_pillow"),
    "custom_levels": (
        "flip_levels",
        "join_levels",
        "levels_as_text",
        "levels_from_text",
        "split_levels",
        "split_by_denoise",
    ),
    "generation": ("ksampler", "sample_custom"),
    "guidance": (
        "Guider",
        "cfg_guider",
        "dual_guider",
        "perp_neg_guider",
        "projected",
        "rescaled",
    ),
    "latent_batches": ("join_latents", "repeat_latents", "seed_noise", "select_latents"),
    "latent_shapes": (
        "composite_latents",
        "crop_latent",
        "flip_latent",
        "resize_latent",
        "resize_latent_by",
        "turn_latent",
    ),
    "inspection": ("diffuse", "noise_levels", "plane_of", "psnr", "seen_latents", "trace_run"),
    "latents": ("add_noise", "empty_latent", "set_mask"),
    "loader": ("Checkpoint", "load_checkpoint"),
    "lora": ("with_lora",),
    "memory": ("Memory",),
    "samplers": ("SAMPLERS",),
    "sampling": ("sample",),
    "schedules": ("SCHEDULES", "NoiseTable", "levels", "noise_table"),
    "text": ("encode_prompt", "encode_text"),
    "tokens": ("PromptTokens", "prompt_tokens"),
    "trace": ("Levels", "Trace"),
    "types": (
        "Attention",
        "Area",
        "Betas",
        "Channel",
        "Conditioning",
        "Crop",
        "Image",
        "Latent",
        "LatentMethod",
        "LatentTurn",
        "Mask",
        "Method",
        "Model",
        "NoiseOf",
        "TextEncoder",
        "Tiling",
        "Vae",
    ),
    "vae": ("decode_latent", "encode_image"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}
__all__ = sorted(_HOME)  # noqa: PLE0605 - derived, so that it can't disagree


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_HOME)
