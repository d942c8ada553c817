"""A run that was killed goes on to the same bits, and only a run that is the same."""

import random
from dataclasses import dataclass, field

import pytest
import torch

from graphengine.diffusion import SAMPLERS, guide, levels, noise_table, sample
from graphengine.diffusion.snapshots import FileSnapshots
from graphengine.resource import Progress

TABLE = noise_table()
LATENT = torch.randn(2, 4, 6, 5, generator=torch.Generator().manual_seed(3))
MASK = torch.linspace(0, 1, 30).reshape(1, 6, 5)


class Killed(BaseException):
    pass


@dataclass
class Model:
    """A smooth model, no two prompts alike, that dies at a call."""

    dies_at: int | None = None
    calls: int = 0

    def __call__(self, x, sigma):
        if self.calls == self.dies_at:
            raise Killed
        self.calls += 1
        return torch.sin(x / (1 + sigma)) * 0.8

    def both(self):
        return guide(self, lambda x, sigma: torch.cos(x) / (1 + sigma**2), 4.0)


@dataclass
class Told(Progress):
    reports: list = field(default_factory=list)

    def report(self, done, total, note="", preview=None, **figures):
        self.reports.append((done, total, figures))


def run(model, snapshots=None, sampler="dpmpp_2m", steps=7, **options):
    sigmas = options.pop("sigmas", None) or levels(TABLE, "karras", steps, sampler=sampler)
    given = {"seed": 11, "sigma_max": TABLE.sigma_max, "noise_mask": MASK, **options}
    latent = given.pop("latent", LATENT)
    return sample(model.both(), latent, sigmas, sampler=sampler, snapshots=snapshots, **given)


def kill(path, share=0.5, **options):
    """A run that dies at a share of its calls; how many it made, of how many."""
    whole = Model()
    run(whole, **options)
    model = Model(dies_at=int(whole.calls * share))
    with pytest.raises(Killed):
        run(model, FileSnapshots(path, "model"), **options)
    return model.calls, whole.calls


@pytest.mark.parametrize("stream", ["item", "batch"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_killed_run_goes_on_to_the_same_bits(tmp_path, sampler, stream):
    options = {"sampler": sampler, "step_noise_from": stream}
    whole = run(Model(), **options)
    path = tmp_path / "state.safetensors"
    for share in (0.3, random.Random(sampler).uniform(0.55, 0.98)):
        path.unlink(missing_ok=True)
        made, calls = kill(path, share, **options)
        rest = Model()
        assert torch.equal(run(rest, FileSnapshots(path, "model"), **options), whole)
        if sampler != "dpm_adaptive":
            assert rest.calls < calls and rest.calls <= calls - made + 3
        elif share > 0.5:
            assert rest.calls < calls


def test_a_finished_run_asks_the_model_nothing(tmp_path):
    path = tmp_path / "state.safetensors"
    whole = run(Model(), FileSnapshots(path, "model"))
    again = Model()
    assert torch.equal(run(again, FileSnapshots(path, "model")), whole)
    assert again.calls == 0
    FileSnapshots(path, "model").clear()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "other",
    [
        {"steps": 8},
        {"sigmas": levels(TABLE, "karras", 7)[:5]},
        {"sigmas": [*levels(TABLE, "karras", 7)[:6], 0.0]},
        {"sampler": "euler"},
        {"seed": 12},
        {"seed": [11, 12]},
        {"step_seed": 12},
        {"noise_index": [0, 2]},
        {"add_noise": False},
        {"from_noise": True},
        {"noise_mask": None},
        {"noise_mask": 1 - MASK},
        {"latent": LATENT * 1.001},
        {"step_noise_from": "batch"},
        {"sigma_max": 1000.0},
        {"table": TABLE},
    ],
    ids=lambda other: next(iter(other)),
)
def test_another_run_starts_anew(tmp_path, other):
    path = tmp_path / "state.safetensors"
    kill(path)
    alone, model = Model(), Model()
    expected = run(alone, **other)
    assert torch.equal(run(model, FileSnapshots(path, "model"), **other), expected)
    assert model.calls == alone.calls


def test_another_denoiser_starts_anew(tmp_path):
    path = tmp_path / "state.safetensors"
    kill(path)
    assert FileSnapshots(path, "model").load() is not None
    assert FileSnapshots(path, "another").load() is None


@pytest.mark.parametrize("damage", ["empty", "cut off", "no snapshot"])
def test_a_damaged_state_is_none(tmp_path, damage):
    path = tmp_path / "state.safetensors"
    kill(path)
    whole = path.read_bytes()
    path.write_bytes({"empty": b"", "cut off": whole[:-9], "no snapshot": b"x" * 99}[damage])
    assert FileSnapshots(path, "model").load() is None


def test_a_state_is_written_every_so_often(tmp_path):
    path = tmp_path / "state.safetensors"
    snapshots = FileSnapshots(path, "model", every=3)
    run(Model(), snapshots, latent=LATENT[:1])
    assert snapshots.load().step == 6
    path.unlink()
    run(Model(), FileSnapshots(path, "model", seconds=1000))
    assert not path.exists()
    with pytest.raises(ValueError, match="1 or more"):
        FileSnapshots(path, "model", every=0)


def test_progress_goes_on_and_tells_the_seconds_left(tmp_path):
    path = tmp_path / "state.safetensors"
    kill(path)
    told = Told()
    run(Model(), FileSnapshots(path, "model"), progress=told)
    assert [(done, total) for done, total, _ in told.reports] == [(i, 14) for i in range(7, 15)]
    for done, total, figures in told.reports[1:]:
        assert set(figures) == {"sigma", "steps_per_second", "seconds_left"}
        left = (total - done) / figures["steps_per_second"]
        assert figures["seconds_left"] == pytest.approx(left)
