"""Guidance: how texts lead a model, as a value that goes into sampling."""

from typing import Annotated

from pydantic import Field

from graphengine import diffusion, node
from graphengine.diffusion import Conditioning, Guider

from .sample import Cfg

SecondCfg = Annotated[
    float, Field(ge=0, le=100, description="how closely both prompts are followed; 1 is off")
]


@node(category="guidance", title="CFG guidance", aliases=("CFGGuider",))
def cfg(positive: Conditioning, negative: Conditioning, cfg: Cfg = 7.0) -> Guider:
    """Towards one prompt and away from another, as in KSampler."""
    return diffusion.cfg_guider(positive, negative, cfg)


@node(category="guidance", title="Dual guidance", aliases=("DualCFGGuider",))
def dual(
    first: Conditioning,
    second: Conditioning,
    negative: Conditioning,
    cfg: Annotated[
        float, Field(ge=0, le=100, description="from the second prompt towards the first")
    ] = 7.0,
    second_cfg: SecondCfg = 7.0,
    nested: Annotated[
        bool, Field(description="the second strength acts on the guidance by the first too")
    ] = False,
) -> Guider:
    """Two prompts with a strength each: towards the second, and from there towards the first."""
    return diffusion.dual_guider(first, second, negative, cfg, second_cfg, nested)


@node(category="guidance", title="Perpendicular negative", aliases=("PerpNegGuider",))
def perp_neg(
    positive: Conditioning,
    negative: Conditioning,
    empty: Conditioning,
    cfg: Cfg = 7.0,
    negative_scale: Annotated[
        float, Field(ge=0, le=100, description="how much the negative counts; 0 leaves it out")
    ] = 1.0,
) -> Guider:
    """A negative prompt that takes nothing away from the positive one.

    Link an empty text to `empty`.
    """
    return diffusion.perp_neg_guider(positive, negative, empty, cfg, negative_scale)


@node(category="guidance", title="Rescale guidance", aliases=("RescaleCFG",))
def rescale(
    guider: Guider,
    amount: Annotated[
        float, Field(ge=0, le=1, description="0 leaves strong guidance its contrast, 1 none of it")
    ] = 0.7,
) -> Guider:
    """Keep the contrast of pictures as it is without guidance; for a high CFG."""
    return diffusion.rescaled(guider, amount)


@node(category="guidance", title="Adaptive projected guidance", aliases=("APG",))
def projected(
    guider: Guider,
    along: Annotated[
        float,
        Field(ge=-10, le=10, description="what is kept along the prediction; 0 saturates least"),
    ] = 0.0,
    limit: Annotated[
        float, Field(ge=0, le=1000, description="longest guidance of a call; 0 is no limit")
    ] = 5.0,
    momentum: Annotated[
        float, Field(ge=-1, le=1, description="how much of the call before is added; below 0")
    ] = 0.0,
) -> Guider:
    """A high CFG without glaring colours: guidance shortened, and led past the prediction."""
    return diffusion.projected(guider, along, limit, momentum)
