"""The GAN: its losses are the paper's, it learns, and it goes on to the bit where it was stopped."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from graphengine import (
    Cancelled,
    GraphEngineError,
    ModelError,
    Progress,
    Settings,
    default_engine,
)
from graphengine.training import Dataset, gan, loop
from graphengine.training.gan import (
    NOISE,
    GanRecipe,
    build_critic,
    build_generator,
    critic_loss,
    draw_pictures,
    drawing_loss,
    moments_of,
    pixels_of,
    run_for,
    train_gan,
)
from graphengine_nodes import gan as nodes

SMALL = GanRecipe(batch=8, width=4, looks=3, shown=2, ema=0.9)


@dataclass(frozen=True)
class Halves(Dataset):
    """Pictures whose left half is red and whose right half is blue, not always to the same degree."""

    count: int = 32

    def __len__(self) -> int:
        return self.count

    def pictures(self, indices: Iterable[int]) -> torch.Tensor:
        made = []
        for index in indices:
            picture = torch.zeros(self.size, self.size, 3)
            strength = 0.7 + 0.3 * index / self.count
            picture[:, : self.size // 2, 0] = strength
            picture[:, self.size // 2 :, 2] = strength
            made.append(picture)
        return torch.stack(made)


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def run(folder: Path, steps: int, **more: Any) -> loop.Run:
    return loop.Run("gan", folder, steps, 3, 1000, **more)


def test_losses_are_the_cross_entropy_of_the_paper() -> None:
    real, fake = torch.randn(9, 1), torch.randn(9, 1)
    entropy = F.binary_cross_entropy_with_logits
    wanted = entropy(real, torch.ones(9, 1)) + entropy(fake, torch.zeros(9, 1))
    assert torch.allclose(critic_loss(real, fake), wanted)
    assert torch.allclose(drawing_loss(fake), entropy(fake, torch.ones(9, 1)))
    assert critic_loss(torch.zeros(2), torch.zeros(2)).item() == pytest.approx(2 * np.log(2))


@pytest.mark.parametrize("side", [16, 32, 64, 128])
def test_networks_fit_the_pictures(side: int) -> None:
    pictures = build_generator(side, 4)(torch.randn(3, NOISE))
    assert pictures.shape == (3, 3, side, side) and pictures.abs().max() <= 1
    assert build_critic(side, 4)(pictures).shape == (3, 1)


def test_the_critic_can_not_grow_steep() -> None:
    torch.manual_seed(0)
    critic = build_critic(16, 4)
    with torch.no_grad():
        for layer in critic:
            if hasattr(layer, "parametrizations"):
                layer.parametrizations.weight.original.mul_(1000)
        for _ in range(50):
            critic(torch.randn(4, 3, 16, 16))
    for layer in critic.eval():
        if hasattr(layer, "weight"):
            assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2) < 1.05


def test_it_learns_what_the_pictures_have_in_common(tmp_path: Path) -> None:
    pictures = pixels_of(Halves(16))
    recipe = GanRecipe(batch=8, width=8, rate=2e-3, looks=3, shown=2, ema=0.9)
    wanted = torch.from_numpy(pictures).float().mean(0) / 255

    def error(steps: int) -> float:
        made = train_gan(pictures, recipe, run(tmp_path / str(steps), steps))
        drawn = draw_pictures(made.weights, 16, 8, 16, seed=5)
        return float((drawn.mean(0) - wanted).abs().mean())

    assert error(300) < 0.1 < 0.2 < error(1)


def test_the_same_settings_give_the_same_and_a_stop_changes_nothing(tmp_path: Path) -> None:
    pictures = pixels_of(Halves(16))
    straight = train_gan(pictures, SMALL, run(tmp_path / "straight", 6))
    again = train_gan(pictures, SMALL, run(tmp_path / "again", 6))

    class Stop(Progress):
        def report(self, done: float, total: float, *_: Any, **__: Any) -> None:
            if done == 4:
                raise Cancelled

    with pytest.raises(Cancelled):
        train_gan(pictures, SMALL, run(tmp_path / "broken", 6), progress=Stop())
    resumed = train_gan(pictures, SMALL, run(tmp_path / "broken", 6))
    for other in (again, resumed):
        assert other.losses == straight.losses and len(other.losses["critic"]) == 6
        assert all(torch.equal(straight.weights[n], other.weights[n]) for n in straight.weights)
        assert torch.equal(straight.looks, other.looks)
    other = train_gan(pictures, SMALL, loop.Run("gan", tmp_path / "other", 6, seed=4))
    assert other.losses != straight.losses


def test_looks_are_of_the_same_noises_and_the_last_is_the_result(tmp_path: Path) -> None:
    made = train_gan(pixels_of(Halves(16)), SMALL, run(tmp_path, 9))
    assert made.moments == [2, 4, 9] and made.looks.shape == (6, 16, 16, 3)
    assert not torch.equal(made.looks[2:4], made.looks[4:])
    assert made.looks.min() >= 0 and made.looks.max() <= 1
    assert made.looks.abs().sum((1, 2, 3)).min() > 0
    assert moments_of(1600, 5) == [100, 200, 400, 800, 1600] and moments_of(2, 5) == [1, 2]


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = pixels_of(Halves(16))
    settings = loop.Run("gan", tmp_path / "broken", 4, 3, save_every=1)
    calls: list[int] = []

    def spoilt(told: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return drawing_loss(told) * (float("nan") if len(calls) == 3 else 1.0)

    with monkeypatch.context() as patch:
        patch.setattr(gan, "drawing_loss", spoilt)
        with pytest.raises(ModelError, match="step 3 of 4.*NaN.*after step 2 is kept") as caught:
            train_gan(pictures, SMALL, settings)
    assert "lower the learning rate" in str(caught.value.hint)
    resumed = train_gan(pictures, SMALL, settings)
    straight = train_gan(pictures, SMALL, run(tmp_path / "straight", 4))
    assert resumed.losses == straight.losses


def test_a_size_that_can_not_be_drawn_is_named_before_anything_is_read() -> None:
    class Unread(Halves):
        def pictures(self, indices: Iterable[int]) -> torch.Tensor:
            raise AssertionError("read")

    with pytest.raises(ModelError, match="48 pixels a side") as caught:
        pixels_of(Unread(48))
    assert "64" in str(caught.value.hint)
    with pytest.raises(ModelError, match="no pictures"):
        train_gan(np.zeros((0, 16, 16, 3), np.uint8), SMALL, run(Path("unused"), 1))


def test_a_picture_depends_on_its_own_noise_only() -> None:
    torch.manual_seed(0)
    weights = build_generator(16, 4).state_dict()
    three, one = (draw_pictures(weights, 16, 4, count, seed=1) for count in (3, 1))
    assert torch.allclose(three[:1], one, atol=1e-6)
    assert not torch.equal(three[1], three[2])
    with pytest.raises(ModelError, match="no GAN of 32 pixels"):
        draw_pictures(weights, 32, 4, 1, seed=1)


def test_each_setting_has_a_state_of_its_own(tmp_path: Path) -> None:
    names = {
        run_for(tmp_path, data, recipe, steps, seed).name
        for data in (Halves(16), Halves(16, 33))
        for recipe in (SMALL, GanRecipe())
        for steps in (1, 2)
        for seed in (0, 1)
    }
    assert len(names) == 16
    assert run_for(tmp_path, Halves(16), SMALL, 1, 0) == run_for(tmp_path, Halves(16), SMALL, 1, 0)


def test_rows_to_compare_are_as_long_as_the_shortest() -> None:
    small, large = torch.rand(4, 16, 16, 3), [torch.rand(1, 32, 32, 3) for _ in range(3)]
    sheet = nodes.compare([small], [small], large)
    assert sheet.shape[0] == 1 and sheet.isfinite().all()
    with pytest.raises(GraphEngineError, match="no picture"):
        nodes.compare([small], [], large)


def test_the_trained_network_comes_back_from_the_disk(tmp_path: Path) -> None:
    settings = Settings(
        models=(),
        input=tmp_path / "input",
        output=tmp_path / "output",
        temp=tmp_path / "temp",
        workflows=tmp_path / "workflows",
        packs=(),
        cache=tmp_path / "cache",
        device="cpu",
    )
    few = {"steps": 3, "pictures": 8, "size": 16, "batch": 4, "channels": 4}
    path = Path(nodes.__file__).parent.parent / "workflows" / "gan.json"
    first = default_engine(settings).run(path, **few)
    again = default_engine(settings).run(path, **few, noise=1)
    assert first.status == again.status == "success"
    assert set(again.executed) == {"draw", "compare", "save"}
