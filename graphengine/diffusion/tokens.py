"""What a text encoder makes of a prompt before it reads it: tokens, their ids and weights, chunks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from graphengine.diffusion.memory import Memory
from graphengine.diffusion.text import Chunk, ClipText, parse_weights, split_chunks
from graphengine.diffusion.types import TextEncoder
from graphengine.resource import Progress

WORD_END = "</w>"
"""What CLIP's vocabulary writes behind a piece that ends a word."""

Kind = Literal["start", "text", "bytes", "unknown", "end", "padding"]


@dataclass(frozen=True)
class Token:
    """One place of a chunk. `text`: the letters it stands for; of "bytes", a part of a letter that
    the vocabulary lacks, the bytes in hex. `word`: which word of the prompt it is a piece of.
    """

    id: int
    text: str
    weight: float
    kind: Kind
    word: int | None = None


@dataclass(frozen=True)
class PromptTokens:
    """A prompt as its encoder gets it.

    `chunks`: all of one length (77), one token for each place. `words`: of the prompt, as the
    vocabulary spells them (in small letters). `lost`: words of which some letter has no token, and
    nothing of that letter reaches the model.
    """

    chunks: tuple[tuple[Token, ...], ...]
    words: tuple[str, ...]
    lost: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """Tokens of the text itself, without start, end and padding."""
        return sum(token.word is not None for chunk in self.chunks for token in chunk)

    def places(self, word: int) -> list[int]:
        """Where a word's tokens stand in the chunks laid end to end."""
        flat = [token for chunk in self.chunks for token in chunk]
        return [place for place, token in enumerate(flat) if token.word == word]

    def table(self) -> str:
        """All of it as text in columns; padding is one line for each chunk."""
        rows = [("chunk", "place", "id", "weight", "token", "word")]
        for number, chunk in enumerate(self.chunks, 1):
            for place, token in enumerate(chunk):
                padding = token.kind == "padding"
                if padding and chunk[place - 1].kind == "padding":
                    continue
                last = len(chunk) - 1
                places = f"{place}-{last}" if padding and place < last else str(place)
                shown = token.text if token.kind == "text" else f"[{token.text or token.kind}]"
                word = "" if token.word is None else self.words[token.word]
                rows.append((str(number), places, str(token.id), f"{token.weight:g}", shown, word))
        widths = [max(len(row[column]) for row in rows) for column in range(6)]
        lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths)) for row in rows]
        return "\n".join(line.rstrip() for line in lines)


def prompt_tokens(
    text_encoder: TextEncoder, text: str, *, memory: Memory, progress: Progress | None = None
) -> PromptTokens:
    """The tokens of a prompt, with emphasis in brackets, as `encode_prompt` reads them."""
    with memory.use(text_encoder, progress=progress) as clip:
        return read_tokens(clip, text)


def read_tokens(clip: ClipText, text: str) -> PromptTokens:
    """The tokens of a text, with a live encoder's tokenizer and chunk length."""
    tokenizer = clip.tokenizer
    pieces = parse_weights(text)
    ids: list[int] = []
    belongs: list[int] = []  # to which word each of them
    words: list[list[int]] = []  # the ids of each word
    for piece in pieces:
        tokens = tokenizer(piece.text, add_special_tokens=False, verbose=False)["input_ids"]
        for word in _words(tokenizer, tokens):
            belongs += [len(words)] * len(word)
            ids += word
            words.append(word)
    chunks, done = [], 0
    spelling = _spelling(tokenizer, {tokenizer.bos_token_id, *ids})
    for chunk in split_chunks(tokenizer, pieces, int(clip.model.config.max_position_embeddings)):
        inside = _shared(chunk.ids[1:-1], ids[done:])
        chunks.append(_chunk(chunk, belongs[done : done + inside], spelling))
        done += inside
    names = tuple(_visible(name) for name in tokenizer.batch_decode(words)) if words else ()
    return PromptTokens(tuple(chunks), names, _lost(tokenizer, "".join(p.text for p in pieces)))


def _words(tokenizer: Any, tokens: list[int]) -> Iterator[list[int]]:
    """Tokens of one piece of text, word by word."""
    word: list[int] = []
    for token, stored in zip(tokens, tokenizer.convert_ids_to_tokens(tokens)):
        word.append(token)
        if stored.endswith(WORD_END) or token == tokenizer.unk_token_id:
            yield word
            word = []
    if word:
        yield word


def _chunk(
    chunk: Chunk, belongs: list[int], spelling: dict[int, tuple[Kind, str]]
) -> tuple[Token, ...]:
    """A chunk with what each place is; `belongs`: the words of the places behind the start."""
    tokens = [Token(chunk.ids[0], "", 1.0, "start")]
    for place, word in enumerate(belongs, 1):
        kind, text = spelling[chunk.ids[place]]
        tokens.append(Token(chunk.ids[place], text, chunk.weights[place], kind, word))
    tokens.append(Token(chunk.ids[len(tokens)], "", 1.0, "end"))
    tokens += [Token(token, "", 1.0, "padding") for token in chunk.ids[len(tokens) :]]
    return tuple(tokens)


def _shared(one: list[int], other: list[int]) -> int:
    """How many numbers at the start two lists have in common."""
    pairs = enumerate(zip(one, other))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))


def _spelling(tokenizer: Any, tokens: set[int]) -> dict[int, tuple[Kind, str]]:
    """What kind each token is, and what it stands for, for people to read.

    The vocabulary writes each byte as one visible letter; a token may hold a part of a letter.
    """
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    letters: Any = bytes_to_unicode
    byte_of = {letter: byte for byte, letter in letters().items()}
    found: dict[int, tuple[Kind, str]] = {}
    for token in tokens:
        stored = tokenizer.convert_ids_to_tokens(token).removesuffix(WORD_END)
        data = b"".join(
            bytes([byte_of[letter]]) if letter in byte_of else letter.encode() for letter in stored
        )
        try:
            found[token] = "text", data.decode()
        except UnicodeDecodeError:
            found[token] = "bytes", data.hex(" ")
        if token == tokenizer.unk_token_id:
            found[token] = "unknown", ""
    return found


def _visible(word: str) -> str:
    """A word without spaces around it; of what can't be seen, the numbers of its letters."""
    word = word.strip()
    hidden = not any(letter.isprintable() for letter in word)
    return " ".join(f"U+{ord(letter):04X}" for letter in word) if hidden else word


def _lost(tokenizer: Any, text: str) -> tuple[str, ...]:
    """The words of a text that have no token, or an unknown one."""
    words = list(dict.fromkeys(re.findall(r"\S+", text)))
    if not words:
        return ()
    found = tokenizer(words, add_special_tokens=False, verbose=False)["input_ids"]
    return tuple(
        word for word, ids in zip(words, found) if not ids or tokenizer.unk_token_id in ids
    )
