"""Samplers: step functions with explicit history, and the plans of steps that they make.

Adding a sampler is one function and one line in `SAMPLERS`; `sample` in sampling.py drives them all.
This package imports without torch.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from graphengine.diffusion.samplers.dpm_solver import plan_dpm_adaptive, plan_dpm_fast
from graphengine.diffusion.samplers.dpmpp import (
    dpmpp_2m,
    dpmpp_2m_cfg_pp,
    dpmpp_2m_sde,
    dpmpp_2m_sde_heun,
    dpmpp_2s_ancestral,
    dpmpp_2s_ancestral_cfg_pp,
    dpmpp_3m_sde,
    dpmpp_sde,
)
from graphengine.diffusion.samplers.euler import (
    dpm_2,
    dpm_2_ancestral,
    euler,
    euler_ancestral,
    euler_ancestral_cfg_pp,
    euler_cfg_pp,
    heun,
    lcm,
    plan_heunpp2,
)
from graphengine.diffusion.samplers.multistep import (
    deis,
    gradient_estimation,
    gradient_estimation_cfg_pp,
    ipndm,
    ipndm_v,
    lms,
    res_multistep,
    res_multistep_ancestral,
    res_multistep_ancestral_cfg_pp,
    res_multistep_cfg_pp,
)
from graphengine.diffusion.samplers.predictor_corrector import plan_sa_solver, plan_unipc
from graphengine.diffusion.samplers.step import (
    Denoiser,
    GuidedDenoiser,
    History,
    Noise,
    NoiseKind,
    Plan,
    Sampler,
    Stage,
    Step,
    ask,
    both,
    each,
)
from graphengine.diffusion.samplers.stochastic import er_sde, seeds_2, seeds_3
from graphengine.errors import ModelError, nearest

__all__ = [
    "SAMPLERS",
    "Denoiser",
    "GuidedDenoiser",
    "History",
    "Noise",
    "NoiseKind",
    "Plan",
    "Sampler",
    "Stage",
    "Step",
    "ask",
    "both",
    "each",
    "sampler_named",
]

_EULER = Sampler(each(euler))
_EULER_ANCESTRAL = Sampler(each(euler_ancestral), "independent")
_SDE = Sampler(each(dpmpp_sde), "brownian")
_2M_SDE = Sampler(each(dpmpp_2m_sde), "brownian")
_2M_SDE_HEUN = Sampler(each(dpmpp_2m_sde_heun), "brownian")
_3M_SDE = Sampler(each(dpmpp_3m_sde), "brownian")

SAMPLERS: dict[str, Sampler] = {
    "euler": _EULER,
    "euler_cfg_pp": Sampler(each(euler_cfg_pp), unguided=True),
    "euler_ancestral": _EULER_ANCESTRAL,
    "euler_ancestral_cfg_pp": Sampler(each(euler_ancestral_cfg_pp), "independent", unguided=True),
    "heun": Sampler(each(heun)),
    "heunpp2": Sampler(plan_heunpp2),
    "dpm_2": Sampler(each(dpm_2), drops_a_level=True),
    "dpm_2_ancestral": Sampler(each(dpm_2_ancestral), "independent", drops_a_level=True),
    "lms": Sampler(each(lms)),
    "dpm_fast": Sampler(plan_dpm_fast),
    "dpm_adaptive": Sampler(plan_dpm_adaptive),
    "dpmpp_2s_ancestral": Sampler(each(dpmpp_2s_ancestral), "independent"),
    "dpmpp_2s_ancestral_cfg_pp": Sampler(
        each(dpmpp_2s_ancestral_cfg_pp), "independent", unguided=True
    ),
    "dpmpp_sde": _SDE,
    "dpmpp_sde_gpu": _SDE,  # all noise is drawn on the CPU, so the two are one
    "dpmpp_2m": Sampler(each(dpmpp_2m)),
    "dpmpp_2m_cfg_pp": Sampler(each(dpmpp_2m_cfg_pp), unguided=True),
    "dpmpp_2m_sde": _2M_SDE,
    "dpmpp_2m_sde_gpu": _2M_SDE,
    "dpmpp_2m_sde_heun": _2M_SDE_HEUN,
    "dpmpp_2m_sde_heun_gpu": _2M_SDE_HEUN,
    "dpmpp_3m_sde": _3M_SDE,
    "dpmpp_3m_sde_gpu": _3M_SDE,
    "ddpm": _EULER_ANCESTRAL,  # DDPM's posterior with the smaller variance, in sigma
    "lcm": Sampler(each(lcm), "independent"),
    "ipndm": Sampler(each(ipndm)),
    "ipndm_v": Sampler(each(ipndm_v)),
    "deis": Sampler(each(deis)),
    "res_multistep": Sampler(each(res_multistep)),
    "res_multistep_cfg_pp": Sampler(each(res_multistep_cfg_pp), unguided=True),
    "res_multistep_ancestral": Sampler(each(res_multistep_ancestral), "independent"),
    "res_multistep_ancestral_cfg_pp": Sampler(
        each(res_multistep_ancestral_cfg_pp), "independent", unguided=True
    ),
    "gradient_estimation": Sampler(each(gradient_estimation)),
    "gradient_estimation_cfg_pp": Sampler(each(gradient_estimation_cfg_pp), unguided=True),
    "er_sde": Sampler(each(er_sde), "independent"),
    "seeds_2": Sampler(each(seeds_2), "independent"),
    "seeds_3": Sampler(each(seeds_3), "independent"),
    "sa_solver": Sampler(partial(plan_sa_solver, False), "independent"),
    "sa_solver_pece": Sampler(partial(plan_sa_solver, True), "independent"),
    "ddim": replace(_EULER, fresh_mask_noise=True),  # deterministic DDIM in sigma is Euler's step
    "uni_pc": Sampler(partial(plan_unipc, False), drops_a_level=True),
    "uni_pc_bh2": Sampler(partial(plan_unipc, True), drops_a_level=True),
}


def sampler_named(name: str) -> Sampler:
    """Raises `ModelError` with the nearest name if there is none of this name."""
    found = SAMPLERS.get(name)
    if found is None:
        hint = nearest(name, SAMPLERS) or f"known: {', '.join(SAMPLERS)}"
        raise ModelError(f"there is no sampler {name!r}", hint)
    return found
