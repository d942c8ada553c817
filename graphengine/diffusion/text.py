"""Text into conditioning, with CLIP: emphasis in brackets, texts of any length, clip skip.

`(word:1.2)` sets a weight, `(word)` multiplies the one around it by 1.1, `\\(` and `\\)` are plain
brackets, and a bracket without a partner is plain too. Longer texts are cut into chunks of the
encoder's length, encoded apart and joined.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from graphengine.diffusion.memory import Memory
from graphengine.diffusion.types import Conditioning, TextEncoder
from graphengine.errors import ModelError
from graphengine.resource import Progress

EMPHASIS = 1.1
"""What a pair of brackets without a number multiplies the weight by."""

WHOLE = 8
"""A piece of text of fewer tokens is not cut at the end of a chunk but moved to the next."""


class Piece(NamedTuple):
    """A run of text and how much it weighs."""

    text: str
    weight: float


class Chunk(NamedTuple):
    """What goes through the encoder at once: token ids and the weight of each."""

    ids: list[int]
    weights: list[float]


class ClipText(nn.Module):
    """A CLIP text model with its tokenizer."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer


def encode_prompt(
    text_encoder: TextEncoder, text: str, *, memory: Memory, progress: Progress | None = None
) -> Conditioning:
    """Text as conditioning, with the encoder of a description and its clip skip."""
    with memory.use(text_encoder, progress=progress) as clip:
        return Conditioning(encode_text(clip, text, text_encoder.skip))


def encode_text(clip: ClipText, text: str, skip: int = 0) -> Tensor:
    """Text as a diffusion model reads it: float32 [1, chunks * length, width], on the CPU.

    `skip`: how many of the last layers to leave out; the final norm is applied all the same, as
    Stable Diffusion does. Weights scale each token's distance from the empty text's token at the
    same place. Raises `ModelError` when `skip` leaves no layer.
    """
    length = int(clip.model.config.max_position_embeddings)
    chunks = split_chunks(clip.tokenizer, parse_weights(text), length)
    encoded = [_encode_chunk(clip, chunk.ids, skip) for chunk in chunks]
    if any(weight != 1 for chunk in chunks for weight in chunk.weights):
        empty = _encode_chunk(clip, split_chunks(clip.tokenizer, [], length)[0].ids, skip)
        for place, chunk in enumerate(chunks):
            weights = torch.tensor(chunk.weights).reshape(1, -1, 1)
            encoded[place] += (encoded[place] - empty) * (weights - 1)
    return torch.cat(encoded, dim=1)


def _encode_chunk(clip: ClipText, ids: list[int], skip: int) -> Tensor:
    """One chunk through the model, [1, length, width]. Each goes alone, so that it never depends on
    its neighbours.
    """
    layers = int(clip.model.config.num_hidden_layers)
    if not 0 <= skip < layers:
        raise ModelError(
            f"clip skip can't leave out {skip} of {layers} layers",
            f"leave out at most {layers - 1}",
        )
    device = next(clip.model.parameters()).device
    with torch.no_grad():
        answer = clip.model(torch.tensor([ids], device=device), output_hidden_states=True)
        hidden = answer.last_hidden_state
        if skip:
            inner = getattr(clip.model, "text_model", clip.model)
            hidden = inner.final_layer_norm(answer.hidden_states[-(skip + 1)])
    result: Tensor = hidden.float().cpu()
    if not bool(torch.isfinite(result).all()):
        raise ModelError(
            "the text encoder answered NaN or infinity",
            "run it in float32; else its weights are damaged",
        )
    return result


def split_chunks(tokenizer: Any, pieces: list[Piece], length: int) -> list[Chunk]:
    """Pieces of text as chunks of `length` tokens: start, text, end, padding. At least one."""
    room = length - 2
    filled: list[list[tuple[int, float]]] = [[]]
    for piece in pieces:
        tokens = tokenizer(piece.text, add_special_tokens=False, verbose=False)["input_ids"]
        weighted = [(token, piece.weight) for token in tokens]
        may_cut = len(weighted) >= WHOLE
        while weighted:
            space = room - len(filled[-1])
            if len(weighted) <= space or may_cut:
                filled[-1] += weighted[:space]
                weighted = weighted[space:]
            if weighted:
                filled.append([])
    return [_frame(tokenizer, content, length) for content in filled]


def _frame(tokenizer: Any, content: list[tuple[int, float]], length: int) -> Chunk:
    start, end, pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
    padding = length - 2 - len(content)
    ids = [start, *(token for token, _ in content), end, *[end if pad is None else pad] * padding]
    return Chunk(ids, [1.0, *(weight for _, weight in content), *[1.0] * (padding + 1)])


def parse_weights(text: str) -> list[Piece]:
    """Read the brackets: `a (b (c:2):0.5)` -> a 1, b 0.5, c 2.

    Never fails: what is no group is text.
    """
    marks = list(_marks(text))
    partner = _pair(marks)
    pieces: list[Piece] = []
    weights = [1.0]
    run: list[str] = []

    def finish() -> None:
        if run:
            pieces.append(Piece("".join(run), weights[-1]))
            run.clear()

    closing: set[int] = set()
    numbers: dict[int, int] = {}  # where the number of a group starts -> where the group closes
    position = 0
    while position < len(marks):
        position = numbers.get(position, position)
        mark = marks[position]
        if mark == "(" and position in partner:
            finish()
            close = partner[position]
            number, at = _number(marks, position, close)
            weights.append(weights[-1] * EMPHASIS if number is None else number)
            closing.add(close)
            numbers[at] = close
        elif position in closing:
            finish()
            weights.pop()
        else:
            run.append(mark[-1])
        position += 1
    finish()
    return pieces


def _marks(text: str) -> Iterator[str]:
    """Single characters, an escaped bracket as one mark of two characters."""
    return (found.group() for found in re.finditer(r"\\[()]|.", text, re.DOTALL))


def _pair(marks: list[str]) -> dict[int, int]:
    """Where each opening bracket closes. Brackets without a partner are not in it."""
    open_at: list[int] = []
    partner: dict[int, int] = {}
    for position, mark in enumerate(marks):
        if mark == "(":
            open_at.append(position)
        elif mark == ")" and open_at:
            partner[open_at.pop()] = position
    return partner


def _number(marks: list[str], start: int, close: int) -> tuple[float | None, int]:
    """The number at the end of a group, and where its colon is.

    Without a number the second is the closing bracket itself.
    """
    for position in range(close - 1, start + 1, -1):
        if marks[position] in "()":
            break
        if marks[position] == ":":
            try:
                number = float("".join(marks[position + 1 : close]))
            except ValueError:
                break
            return (number, position) if math.isfinite(number) else (None, close)
    return None, close
