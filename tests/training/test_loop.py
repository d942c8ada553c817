"""The one loop: resumed to the bit in any memory layout, cancelled, stopped by NaN."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from graphengine import Cancelled, FileError, ModelError, Progress
from graphengine.training import loop


def network(layout: torch.memory_format) -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.SiLU(), nn.Conv2d(8, 1, 1))
    return layers.to(memory_format=layout)


class Training:
    """A small training, of which a part may be done."""

    def __init__(self, folder: Path, layout: torch.memory_format = torch.contiguous_format) -> None:
        self.model = network(layout)
        self.optimizer = loop.adamw(self.model, 1e-2)
        self.average = loop.Ema(self.model, 0.9)
        self.folder = folder
        self.seen: list[int] = []
        self.broken_at = -1

    def step(self, step: int) -> dict[str, torch.Tensor]:
        self.seen.append(step)
        x = torch.randn(4, 3, 9, 9).contiguous(memory_format=torch.channels_last)
        loss = self.model(x).square().mean() * (float("nan") if step == self.broken_at else 1)
        loop.descend(self.optimizer, loss, 1e-2)
        self.average.update(self.model, step)
        return {"loss": loss.detach()}

    def run(self, steps: int = 6, save_every: int = 2, **options) -> loop.Losses:
        run = loop.Run("net", self.folder, steps, 5, save_every, options.pop("stop_at", None))
        parts = {"model": self.model, "optimizer": self.optimizer, "average": self.average}
        return loop.train(run, parts, self.step, **options)

    def weights(self) -> list[torch.Tensor]:
        return [p.detach() for net in (self.model, self.average.model) for p in net.parameters()]


class CancelAt(Progress):
    def __init__(self, at: int) -> None:
        self.at = at

    def report(self, done, total, note="", preview=None, **figures) -> None:
        if done == self.at and figures:
            raise Cancelled


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_resumed_is_uninterrupted_to_the_bit(tmp_path, layout) -> None:
    whole = Training(tmp_path / "whole", layout)
    losses = whole.run()
    Training(tmp_path / "cut", layout).run(stop_at=3)
    rest = Training(tmp_path / "cut", layout)
    assert rest.run() == losses
    assert rest.seen == [3, 4, 5]
    assert all(map(torch.equal, whole.weights(), rest.weights()))
    strides = [moments["exp_avg"].stride() for moments in rest.optimizer.state.values()]
    assert strides == [moments["exp_avg"].stride() for moments in whole.optimizer.state.values()]
    assert rest.run() == losses and rest.seen == [3, 4, 5], "what is finished is not done again"


def test_cancelled_keeps_what_was_done(tmp_path) -> None:
    whole = Training(tmp_path / "whole").run()
    cut = Training(tmp_path / "cut")
    with pytest.raises(Cancelled):
        cut.run(progress=CancelAt(5), save_every=100)
    rest = Training(tmp_path / "cut")
    assert rest.run() == whole and rest.seen == [5]


def test_nan_stops_before_the_weights_change(tmp_path) -> None:
    training = Training(tmp_path)
    training.broken_at = 3
    with pytest.raises(ModelError, match="net, step 4 of 6: the loss became NaN .* step 2 is kept"):
        training.run()
    assert all(torch.isfinite(weight).all() for weight in training.weights())
    again = Training(tmp_path)
    again.run()
    assert again.seen == [2, 3, 4, 5]
    broken = Training(tmp_path / "new")
    broken.broken_at = 0
    with pytest.raises(ModelError, match=r"infinite \(lower"):
        broken.run()


def test_a_state_of_something_else_is_refused(tmp_path) -> None:
    Training(tmp_path).run()
    other = Training(tmp_path)
    other.model = nn.Conv2d(3, 5, 3)
    with pytest.raises(FileError, match="net.safetensors can't be gone on with") as e:
        other.run()
    assert "give another name" in str(e.value.hint)
    (tmp_path / "net.safetensors").write_bytes(b"no state")
    with pytest.raises(FileError, match="can't be gone on with"):
        Training(tmp_path).run()


def test_randomness_outside_is_left_alone(tmp_path) -> None:
    torch.manual_seed(3)
    wanted = torch.rand(2)
    training = Training(tmp_path)
    torch.manual_seed(3)
    training.run()
    assert torch.equal(torch.rand(2), wanted)


def test_progress_tells_loss_speed_and_shows_a_preview(tmp_path) -> None:
    told = []

    class Listener(Progress):
        def report(self, done, total, note="", preview=None, **figures) -> None:
            told.append((done, total, note, preview, figures))

    Training(tmp_path).run(2, progress=Listener(), preview=lambda: "picture")
    assert [entry[:2] for entry in told] == [(0, 2), (1, 2), (2, 2)]
    assert told[2][2].startswith("loss ") and told[2][3]() == "picture"
    assert set(told[2][4]) == {"loss", "steps_per_second"} and told[2][4]["steps_per_second"] > 0
