"""The composition root: the one place that knows all parts and puts them together, from settings to
an engine.
"""

from __future__ import annotations

import importlib.resources
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from graphengine.cache import Cache, DiskCache, MemoryCache, NoCache, TieredCache
from graphengine.engine import Engine
from graphengine.errors import GraphEngineError
from graphengine.explain import History
from graphengine.files import Files
from graphengine.reading import ParamReader
from graphengine.registry import Registry
from graphengine.resource import Resource
from graphengine.settings import Settings
from graphengine.storage import Storage
from graphengine.worker import Supply, ThreadWorker

MODEL_KINDS = ("checkpoints", "loras", "vae", "text_encoders", "depth", "embeddings", "upscalers")


def default_engine(settings: Settings | None = None, *, use_cache: bool = True) -> Engine:
    """An engine with the installed packs, the plugins folders, and the cache, folders and device of
    the settings.
    """
    settings = settings or Settings()
    registry = Registry()
    registry.load_installed()
    for folder in settings.packs:
        if folder.is_dir() or "packs" in settings.model_fields_set:
            registry.load_folder(folder)
    storage = Storage(TorchTensors())
    files = folders(settings)
    return Engine(
        registry=registry,
        cache=results(settings, storage) if use_cache else NoCache(),
        worker=ThreadWorker(supply(settings, files, registry)),
        files=files,
        digest=storage.digest,
        history=History(settings.cache / "history" if settings.cache else None),
    )


def folders(settings: Settings) -> Files:
    """The folders of the settings, with those that ship with the package behind them."""
    workflows = bundled("graphengine_workflows")
    kinds: dict[str, list[Path]] = {
        "input": [settings.input, workflows / "input"],
        "output": [settings.output],
        "temp": [settings.temp],
        "workflows": [settings.workflows, workflows],
    }
    for kind in MODEL_KINDS:
        kinds[kind] = [folder / kind for folder in settings.models]
    kinds["checkpoints"].append(bundled("graphengine") / "postcard" / "checkpoints")
    kinds["depth"].append(bundled("graphengine") / "postcard" / "depth_models")
    absolute = {kind: [path.absolute() for path in paths] for kind, paths in kinds.items()}
    return Files(absolute, settings.cache / "digests.json" if settings.cache else None)


def bundled(package: str) -> Path:
    """The folder of an installed package of data."""
    return Path(str(importlib.resources.files(package)))


def results(settings: Settings, storage: Storage) -> Cache:
    memory = MemoryCache(settings.cache_memory, storage)
    if settings.cache is None:
        return memory
    return TieredCache(memory, DiskCache(settings.cache / "results", settings.cache_disk, storage))


def supply(settings: Settings, files: Files, registry: Registry) -> Supply:
    """Who hands a node the resources it asks for by type. Torch is loaded with the first that needs
    a device.
    """

    made: dict[type[Resource], Resource] = {Files: files, ParamReader: ParamReader(registry)}

    def of(kind: type[Resource]) -> Resource:
        if kind in made:
            return made[kind]
        from graphengine.diffusion.memory import Memory

        if kind is Memory:
            dtype = None if settings.dtype == "auto" else settings.dtype
            return made.setdefault(Memory, Memory(device=settings.device, dtype=dtype))
        raise GraphEngineError(
            f"nobody supplies a {kind.__name__}",
            "ask for Files, Memory, ParamReader, Progress or Provenance",
        )

    return of


class TorchTensors:
    """torch's tensors on links and in the cache. Loads torch only to read one."""

    def holds(self, value: Any) -> bool:
        tensor = getattr(
            sys.modules.get("torch"), "Tensor", None
        )  # another thread may be half way through the import
        return tensor is not None and isinstance(value, tensor)

    def size(self, value: Any) -> int:
        return int(value.nbytes)

    def save(self, tensors: Mapping[str, Any]) -> bytes:
        from safetensors.torch import save

        return save(
            {name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}
        )

    def load(self, data: bytes) -> dict[str, Any]:
        from safetensors.torch import load

        return dict(load(data))
