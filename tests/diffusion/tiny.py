"""A Stable Diffusion of a few kilobytes with random weights, saved as diffusers saves it."""

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, EulerDiscreteScheduler, UNet2DConditionModel
from diffusers import StableDiffusionPipeline as Pipeline
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

WIDTH = 32
LENGTH = 77


def pipeline(folder: Path, *, width: int = WIDTH, prediction: str = "epsilon") -> Pipeline:
    """Random parts, the same for the same arguments. `folder` is for the tokenizer's files."""
    torch.manual_seed(0)
    tokens = tokenizer(folder)
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokens),
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=LENGTH,
            bos_token_id=tokens.bos_token_id,
            eos_token_id=tokens.eos_token_id,
            pad_token_id=tokens.pad_token_id,
            hidden_act="quick_gelu",
        )
    )
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=width,
        attention_head_dim=4,
        norm_num_groups=4,
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 16, 16),
        layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        latent_channels=4,
        norm_num_groups=4,
        scaling_factor=0.5,
    )
    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        timestep_spacing="linspace",
        prediction_type=prediction,
    )
    for module in (text, unet, vae):
        module.eval()
    return Pipeline(vae, text, tokens, unet, scheduler, None, None, requires_safety_checker=False)


def tokenizer(folder: Path) -> CLIPTokenizer:
    """CLIP's tokenizer with letters for words."""
    letters = [chr(code) for code in range(33, 127)]
    words = [*letters, *(letter + "</w>" for letter in letters), "ca", "cat</w>"]
    words += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\nc a\nca t</w>\n")
    return CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=LENGTH
    )


def save(folder: Path, **options: object) -> Path:
    """A checkpoint folder."""
    pipeline(folder.parent / f"{folder.name}-tokens", **options).save_pretrained(folder)
    return folder
