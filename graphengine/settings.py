"""What can be set from outside: flags over environment (`GRAPHENGINE_OUTPUT=...`) over file
(`graphengine.toml`).
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Literal

from platformdirs import user_cache_path, user_config_path, user_data_path
from pydantic import ByteSize, Field
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

APP = "graphengine"


class Settings(BaseSettings):
    """Folders, limits and the device. Relative paths start at the working directory."""

    model_config = SettingsConfigDict(
        env_prefix="GRAPHENGINE_",
        toml_file=[user_config_path(APP) / "graphengine.toml", "graphengine.toml"],
        frozen=True,
        extra="forbid",
    )

    models: tuple[Path, ...] = Field(
        default=(Path("models"), user_data_path(APP) / "models"),
        description="Folders of models, with a folder per kind (checkpoints, loras, ...) inside.",
    )
    input: Path = Field(default=Path("input"), description="Pictures that workflows load.")
    output: Path = Field(default=Path("output"), description="Where results are saved.")
    temp: Path = Field(
        default=Path(tempfile.gettempdir()) / APP, description="Where previews are saved."
    )
    workflows: Path = Field(
        default=Path("workflows"), description="Saved workflows, called by name."
    )
    packs: tuple[Path, ...] = Field(
        default=(user_data_path(APP) / "packs",),
        description="Plugins folders with files and folders of nodes.",
    )
    cache: Path | None = Field(
        default=user_cache_path(APP), description="Where results are kept; none: memory only."
    )
    cache_memory: ByteSize = Field(
        default=ByteSize(2 * 1024**3), description="Bytes of results kept in memory."
    )
    cache_disk: ByteSize = Field(
        default=ByteSize(10 * 1024**3), description="Bytes of results kept on disk."
    )
    device: str = Field(
        default="auto",
        pattern=r"^(auto|(cpu|cuda|mps|xpu)(:\d+)?)$",
        description="auto, cpu, cuda, cuda:1, mps, xpu.",
    )
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = Field(
        default="auto",
        description="Precision of weights; auto: float32 on a CPU, else as they are stored.",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)
