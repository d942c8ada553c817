"""Figures of a look inside: their sizes, what they show where, and what they refuse."""

import csv
import io
import threading

import pytest
import torch
from PIL import Image

from graphengine import diffusion, figures
from graphengine.diffusion import Levels, Trace
from graphengine.errors import GraphEngineError
from graphengine.figures import style
from graphengine.figures.latent import colored, cut_to, visible_factor
from graphengine.figures.schedule import table_rows
from graphengine.figures.style import PAGE, SCALE, new_figure, rendered

STEPS = 7


@pytest.fixture
def trace():
    sigmas = tuple(float(STEPS - step) for step in range(STEPS))
    return Trace("euler", sigmas, torch.randn(STEPS, 4, 3, 3), torch.randn(STEPS, 4, 3, 3))


@pytest.fixture
def pictures():
    return torch.rand(STEPS, 24, 24, 3, generator=torch.Generator().manual_seed(0))


def good(picture):
    assert picture.shape[0] == 1 and picture.shape[3] == 3
    assert picture.dtype == torch.float32
    assert float(picture.min()) >= 0 and float(picture.max()) <= 1
    return picture


def levels(name="karras", steps=5):
    return Levels(name, (*(10.0 / (i + 1) for i in range(steps)), 0.0), (*range(steps, 0, -1),))


def test_figures_are_as_wide_as_the_page():
    picture = good(rendered(new_figure(PAGE, 120, "Title", "note")))
    assert picture.shape == (1, 120 * SCALE, PAGE * SCALE, 3)
    assert float(picture.min()) < 0.5


def test_a_film_strip_has_no_more_steps_than_asked_for(trace, pictures):
    few, all_steps = (
        good(figures.film_strip(pictures, pictures, trace, shown)) for shown in (2, 20)
    )
    assert few.shape[1] > all_steps.shape[1]


def test_the_frames_of_a_film_differ_and_show_the_step(trace, pictures):
    same = pictures[:1].expand(STEPS, -1, -1, -1)
    frames = figures.film_frames(same, same, trace, side=40)
    assert len(frames) == STEPS
    blue = (frames[..., 2] - frames[..., 0] > 0.5)[:, -60:].flatten(1).sum(1)
    assert blue.tolist() == sorted(set(blue.tolist())), "the bar grows"
    tall = torch.rand(STEPS, 60, 10, 3)
    assert len(figures.film_frames(tall, tall, trace)) == STEPS


@pytest.mark.parametrize("draw", [figures.film_strip, figures.film_frames])
def test_pictures_of_another_run_are_refused(trace, pictures, draw):
    with pytest.raises(GraphEngineError, match="6 pictures for a run of 7 steps"):
        draw(pictures, pictures[1:], trace)


@pytest.mark.parametrize("kind", ["webp", "png"])
def test_an_animation_plays_all_frames_over_and_over(kind):
    frames = torch.rand(4, 16, 20, 3)
    file = Image.open(io.BytesIO(figures.animation_bytes(frames, kind, fps=10, hold=1.5)))
    assert (file.format.lower(), file.n_frames, file.size) == (kind, 4, (20, 16))
    assert file.info["loop"] == 0
    times = []
    for place in range(4):
        file.seek(place)
        file.load()
        times.append(file.info["duration"])
    assert times == [100, 100, 100, 1500]
    if kind == "png":
        shown = diffusion.images.from_pillow(file)[0, ..., :3]
        torch.testing.assert_close(shown, frames[3], atol=1 / 255, rtol=0)


def test_a_single_frame_is_a_picture():
    file = Image.open(io.BytesIO(figures.animation_bytes(torch.rand(1, 16, 20, 3))))
    assert file.size == (20, 16)


def test_no_frames_are_no_animation():
    with pytest.raises(GraphEngineError, match="0 frames"):
        figures.animation_bytes(torch.rand(0, 16, 20, 3))
    with pytest.raises(GraphEngineError, match="'bmp'"):
        figures.animation_bytes(torch.rand(1, 16, 20, 3), "bmp")


def test_schedules_of_any_number_and_length_are_drawn():
    one = good(figures.schedule_figure({"karras": levels()}))
    two = good(figures.schedule_figure({"karras": levels(), "other": levels(steps=9)}))
    assert one.shape[2] == two.shape[2] == PAGE * SCALE
    assert two.shape[1] > one.shape[1], "more rows in the table"
    long = good(figures.schedule_figure({"karras": levels(steps=500)}))
    assert long.shape[1] < 3 * one.shape[1], "not every row of a long table"


@pytest.mark.parametrize("count", [0, 9])
def test_so_many_schedules_are_refused(count):
    with pytest.raises(GraphEngineError, match=f"{count} schedules"):
        figures.schedule_figure({str(i): levels() for i in range(count)})


def test_the_table_holds_every_level():
    told = {"a": levels(steps=3), "b": levels(steps=2)}
    assert table_rows(told) == [
        ["1", "10.0000", "3.00", "10.0000", "2.00"],
        ["2", "5.0000", "2.00", "5.0000", "1.00"],
        ["3", "3.3333", "1.00", "0.0000", ""],
        ["end", "0.0000", "", "", ""],
    ]
    lines = figures.schedule_text(told).splitlines()
    assert lines[0].split() == [
        "step",
        "sigma",
        "a",
        "timestep",
        "a",
        "sigma",
        "b",
        "timestep",
        "b",
    ]
    assert lines[3].split() == ["3", "3.3333", "1.00", "0.0000"]
    assert len({line.index("0000") for line in lines[1:3]}) == 1


def test_the_file_holds_all_digits():
    told = {"a": Levels("a", (1 / 3, 0.0), (12.5,))}
    rows = list(csv.DictReader(io.StringIO(figures.schedule_csv(told))))
    assert [row["timestep"] for row in rows] == ["12.5", ""]
    assert float(rows[0]["sigma"]) == 1 / 3
    assert float(rows[0]["alpha_bar"]) == pytest.approx(0.9)


def way(trace, pictures, **changed):
    given = {"trace": trace, "points": torch.rand(STEPS + 1, 2).double(), "pictures": pictures}
    return figures.Way(**{**given, **changed})


def test_paths_show_the_pictures_at_their_ends(trace, pictures):
    red = pictures.clone()
    red[-1] = torch.tensor([1.0, 0, 0])
    green = pictures.clone()
    green[-1] = torch.tensor([0, 1.0, 0])
    blue = torch.zeros(1, 24, 24, 3) + torch.tensor([0, 0, 1.0])
    figure = good(figures.paths_figure(blue, way(trace, red), way(trace, green)))
    found = {}
    for channel, name in enumerate(("red", "green", "blue")):
        wanted = torch.zeros(3)
        wanted[channel] = 1
        rows, columns = torch.where((figure[0] - wanted).abs().amax(-1) < 0.02)
        found[name] = (float(rows.float().mean()), float(columns.float().mean()))
    assert found["blue"][1] < found["red"][1], "the noise on the left"
    assert found["red"][0] < found["green"][0], "the first above the second"


def test_a_path_leads_to_the_right_and_the_first_lies_above(trace, pictures):
    """Where the strong dots at the ends of both paths are, between the pictures."""
    gone = torch.linspace(0, 1, STEPS + 1, dtype=torch.float64)
    white = torch.ones_like(pictures)
    ways = [way(trace, white, points=torch.stack([gone, side * gone], 1)) for side in (1, -1)]
    drawn = figures.paths_figure(white, *ways)[0, 2 * 240 : 2 * 380, 2 * 600 : 2 * 640]
    rows = []
    for color in style.ACCENTS[:2]:
        wanted = torch.tensor([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        found, _ = torch.where((drawn - wanted).abs().amax(-1) < 0.02)
        rows.append(float(found.float().median()))
    assert rows[0] < rows[1] - 100


def test_paths_of_one_point_and_of_tall_pictures_are_drawn(trace):
    tall = torch.rand(STEPS, 40, 10, 3)
    still = way(trace, tall, points=torch.zeros(STEPS + 1, 2).double())
    good(figures.paths_figure(tall, still, still, shown=1))


def test_points_of_another_run_are_refused(trace, pictures):
    wrong = way(trace, pictures, points=torch.zeros(STEPS, 2))
    with pytest.raises(GraphEngineError, match="7 points for a run of 7 steps"):
        figures.paths_figure(pictures, wrong, way(trace, pictures))


def test_forward_diffusion_is_drawn_for_any_number_of_timesteps(pictures):
    table = diffusion.noise_table().sigmas
    for times in ([-1, 0, 999], [3], list(range(0, 900, 50))):
        told = Levels("forward", tuple(0 if t < 0 else table[t] for t in times), tuple(times))
        batch = pictures[:1].expand(len(times), -1, -1, -1)
        good(figures.forward_figure(batch, told, table))
    with pytest.raises(GraphEngineError, match="7 pictures for 18"):
        figures.forward_figure(pictures, told, table)


@pytest.mark.parametrize("channels", [1, 4, 6, 16])
def test_latents_of_any_number_of_channels_are_drawn(channels):
    image = torch.rand(2, 35, 40, 4)
    latent = torch.randn(2, channels, 4, 5)
    good(figures.latent_figure(image, latent, torch.rand(2, 32, 40, 3)))


def test_a_picture_is_cut_as_the_vae_cut_it(checkpoint, memory):
    """The same rows as encode_image takes: those of a picture that is blank but for them."""
    image = torch.rand(1, 35, 38, 3)
    latent = diffusion.encode_image(checkpoint.vae, image, memory=memory)
    decoded = diffusion.decode_latent(checkpoint.vae, latent, memory=memory)
    cut, same = cut_to(image, decoded)
    assert cut.shape == same.shape == (1, 32, 36, 3)
    again = diffusion.encode_image(checkpoint.vae, cut, memory=memory)
    torch.testing.assert_close(again.samples, latent.samples)
    with pytest.raises(GraphEngineError, match="larger than its picture"):
        cut_to(decoded, image)


def test_the_colours_of_a_map_have_their_middle_at_0():
    white, down, up = colored(torch.tensor([[0.0, -2.0, 2.0]]))[0, 0]
    assert float(white.min()) > 0.95
    assert down[2] > down[0] and up[0] > up[2]
    assert bool(torch.isfinite(colored(torch.zeros(2, 2))).all())


def test_a_difference_is_amplified_so_that_it_can_be_seen():
    assert visible_factor(torch.full((1, 8, 8, 3), 0.09)) == 10
    assert visible_factor(torch.full((1, 8, 8, 3), 0.9)) == 1
    assert visible_factor(torch.zeros(1, 8, 8, 3)) == 500


def test_threads_draw_the_same_as_one_alone():
    told = {"karras": levels()}
    alone = figures.schedule_figure(told)
    drawn = []
    threads = [
        threading.Thread(target=lambda: drawn.append(figures.schedule_figure(told)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(one, alone) for one in drawn) and len(drawn) == 2
