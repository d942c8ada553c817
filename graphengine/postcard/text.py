"""The text side: a byte-level BPE tokenizer and a small CLIP text encoder (Radford et al. 2021).

The encoder learns, from captions alone, to tell which attributes they state. Only its token states
are used afterwards; the heads that read the attributes off are thrown away.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from graphengine.postcard.caption import STATED, describe, vocabulary
from graphengine.postcard.config import Config
from graphengine.postcard.world import ATTRIBUTES, random_scene
from graphengine.training import loop

LENGTH = 77
BOS, EOS = "<|startoftext|>", "<|endoftext|>"


def train_tokenizer(config: Config, folder: Path) -> CLIPTokenizer:
    """Learns merges from captions. Every byte stays a token, so any text at all has an encoding."""
    rng = loop.step_rng(config.seed, "tokenizer", 0)
    texts = [describe(random_scene(rng), rng).text for _ in range(4000)] + vocabulary()
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learner.normalizer = normalizers.Lowercase()
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=1536, initial_alphabet=alphabet, end_of_word_suffix="</w>", show_progress=False
    )
    learner.train_from_iterator(texts, trainer)
    merges = [tuple(pair) for pair in json.loads(learner.to_str())["model"]["merges"]]
    tokens = [*alphabet, *(f"{c}</w>" for c in alphabet), *("".join(pair) for pair in merges)]
    vocab = {token: i for i, token in enumerate([*dict.fromkeys(tokens), BOS, EOS])}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False))
    (folder / "merges.txt").write_text(
        "#version: 0.2\n" + "\n".join(" ".join(pair) for pair in merges) + "\n"
    )
    made = load_tokenizer(folder)
    made.save_pretrained(folder)
    return made


def load_tokenizer(folder: Path) -> CLIPTokenizer:
    """The tokenizer saved in a folder."""
    tokenizer: CLIPTokenizer = CLIPTokenizer.from_pretrained(folder, model_max_length=LENGTH)
    return tokenizer


def tokenize(tokenizer: Any, texts: list[str]) -> Tensor:
    """Token ids [b, 77], padded with the end token as Stable Diffusion pads them."""
    out = tokenizer(
        texts, padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt"
    )
    ids: Tensor = out.input_ids
    return ids


def build(config: Config, tokenizer: Any) -> Any:
    """An untrained text encoder."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=config.text_width,
            intermediate_size=4 * config.text_width,
            num_hidden_layers=config.text_layers,
            num_attention_heads=4,
            max_position_embeddings=LENGTH,
            projection_dim=config.text_width,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


class Readout(nn.Module):
    """A linear head per attribute on single token states; class 0 is 'unsaid'."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = nn.ModuleDict(
            {name: nn.Linear(width, 1 + len(values(name))) for name in STATED}
        )

    def forward(self, states: Tensor) -> dict[str, Tensor]:
        """[..., width] -> logits [..., classes] for each attribute."""
        return {name: head(states) for name, head in self.heads.items()}


def values(name: str) -> tuple[str, ...]:
    """The values of an attribute, the second object's included."""
    return ATTRIBUTES[name.removesuffix("2")]


def targets(stated: list[dict[str, str]]) -> dict[str, Tensor]:
    """Class numbers [b] for each attribute; 0 where the caption does not state it."""
    return {
        name: torch.tensor([1 + values(name).index(s[name]) if name in s else 0 for s in stated])
        for name in STATED
    }


def disturb(text: str, rng: np.random.Generator) -> str:
    """Now and then slips in words that mean nothing, so that unknown words do little harm."""
    words = text.split(" ")
    while rng.random() < 0.15:
        letters = rng.integers(97, 123, int(rng.integers(2, 8)))
        words.insert(int(rng.integers(len(words) + 1)), bytes(letters.tolist()).decode())
    return " ".join(words)


def captions(
    config: Config, stage: str, step: int, batch: int
) -> tuple[list[str], list[dict[str, str]]]:
    """Captions of fresh scenes, in any combination of attributes, and what they state."""
    rng = loop.step_rng(config.seed, stage, step)
    made = [describe(random_scene(rng, pairs=0.2), rng) for _ in range(batch)]
    return [disturb(c.text, rng) for c in made], [c.stated for c in made]


def train(config: Config, out: Path, *, stop_at: int | None = None) -> Any:
    """Trains the encoder so that its end token and the padding after it hold what is stated."""
    tokenizer = load_tokenizer(out / "tokenizer")
    torch.manual_seed(config.seed)
    encoder = build(config, tokenizer).to(config.device).train()
    readout = Readout(config.text_width).to(config.device)
    model = nn.ModuleDict({"encoder": encoder, "readout": readout})
    optimizer = loop.adamw(model, config.text_rate)
    steps = config.text_steps

    def step_fn(step: int) -> dict[str, Tensor]:
        texts, stated = captions(config, "text-data", step, config.text_batch)
        ids = tokenize(tokenizer, texts).to(config.device)
        with torch.autocast(config.device.split(":")[0], torch.bfloat16):
            states = encoder(ids).last_hidden_state
        end = (ids == tokenizer.eos_token_id).int().argmax(1)
        picks = end + (torch.rand(3, len(ids), device=ids.device) ** 2 * (LENGTH - end)).long()
        places = torch.cat((end[None], picks))  # the end token, and three paddings
        logits = readout(states.float()[torch.arange(len(ids), device=ids.device), places])
        goal = targets(stated)
        loss, right = torch.zeros(()), []
        for name, out_ in logits.items():
            want = goal[name].to(ids.device)
            loss = loss + F.cross_entropy(out_.flatten(0, 1), want.repeat(len(places)))
            right.append((out_[0].argmax(-1) == want).float())
        rate = loop.cosine(step, steps, config.text_rate, min(100, steps))
        loop.descend(optimizer, loss, rate)
        return {
            "loss": loss,
            "accuracy": torch.stack(right).mean(),
            "all right": torch.stack(right).prod(0).mean(),
        }

    loop.train(
        config.run("text", out, steps, stop_at),
        {"model": model, "optimizer": optimizer},
        step_fn,
        progress=loop.Lines("text"),
    )
    return encoder.eval().requires_grad_(False)
