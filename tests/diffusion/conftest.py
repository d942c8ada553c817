import pytest
import torch

from graphengine import diffusion
from tests.diffusion import tiny


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tiny.save(tmp_path_factory.mktemp("checkpoints") / "tiny")


@pytest.fixture(scope="session")
def checkpoint(folder):
    return diffusion.load_checkpoint(folder)


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory):
    """The same weights as the checkpoint's, in diffusers' own pipeline."""
    made = tiny.pipeline(tmp_path_factory.mktemp("tokens"))
    made.set_progress_bar_config(disable=True)
    return made


@pytest.fixture(scope="session")
def memory():
    return diffusion.Memory()


@pytest.fixture(scope="session")
def prompts(checkpoint, memory):
    """A positive and a negative text."""
    texts = ("a cat by the sea", "rain")
    return [diffusion.encode_prompt(checkpoint.text_encoder, text, memory=memory) for text in texts]
