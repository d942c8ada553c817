import pytest
import torch

from graphengine import diffusion
from tests.diffusion import tiny


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    """A checkpoint of a few kilobytes with random weights."""
    return diffusion.load_checkpoint(tiny.save(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture(scope="session")
def memory():
    return diffusion.Memory()
