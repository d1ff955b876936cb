"""The registry of samplers: name to loop, with what a run must know about each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final

from torch import Tensor

from sampling import (
    consistency,
    dpm_solver,
    dpmpp,
    er_sde,
    euler,
    multistep,
    res,
    sa_solver,
    sde,
    second_order,
    seeds,
    unipc,
)
from sampling.loop import SamplerRun


@dataclass(frozen=True)
class Sampler:
    """A sampler loop with its options.

    `fresh_inpaint_noise`: masked regions are noised with another draw (seed + 1) than the start of the run.
    """

    name: str
    loop: Callable[..., Tensor]
    options: Mapping[str, Any] = field(default_factory=dict)
    fresh_inpaint_noise: bool = False

    def configured(self, **options: Any) -> "Sampler":
        """The same sampler with other keyword options of its loop (eta, s_noise, order ...)."""
        return replace(self, options={**self.options, **options})

    def __call__(self, run: SamplerRun, x: Tensor, sigmas: Tensor) -> Tensor:
        return self.loop(run, x, sigmas, **self.options)


_SAMPLERS: Final = (
    Sampler("euler", euler.euler),
    Sampler("euler_cfg_pp", euler.euler_cfg_pp),
    Sampler("euler_ancestral", euler.euler_ancestral),
    Sampler("euler_ancestral_cfg_pp", euler.euler_ancestral_cfg_pp),
    Sampler("heun", second_order.heun),
    Sampler("heunpp2", second_order.heunpp2),
    Sampler("dpm_2", second_order.dpm_2),
    Sampler("dpm_2_ancestral", second_order.dpm_2_ancestral),
    Sampler("lms", multistep.lms),
    Sampler("dpm_fast", dpm_solver.dpm_fast),
    Sampler("dpm_adaptive", dpm_solver.dpm_adaptive),
    Sampler("dpmpp_2s_ancestral", dpmpp.dpmpp_2s_ancestral),
    Sampler("dpmpp_2s_ancestral_cfg_pp", dpmpp.dpmpp_2s_ancestral_cfg_pp),
    Sampler("dpmpp_sde", sde.dpmpp_sde),
    Sampler("dpmpp_sde_gpu", sde.dpmpp_sde),
    Sampler("dpmpp_2m", dpmpp.dpmpp_2m),
    Sampler("dpmpp_2m_cfg_pp", dpmpp.dpmpp_2m_cfg_pp),
    Sampler("dpmpp_2m_sde", sde.dpmpp_2m_sde),
    Sampler("dpmpp_2m_sde_gpu", sde.dpmpp_2m_sde),
    Sampler("dpmpp_2m_sde_heun", sde.dpmpp_2m_sde, {"solver_type": "heun"}),
    Sampler("dpmpp_2m_sde_heun_gpu", sde.dpmpp_2m_sde, {"solver_type": "heun"}),
    Sampler("dpmpp_3m_sde", sde.dpmpp_3m_sde),
    Sampler("dpmpp_3m_sde_gpu", sde.dpmpp_3m_sde),
    Sampler("ddpm", consistency.ddpm),
    Sampler("lcm", consistency.lcm),
    Sampler("ipndm", multistep.ipndm),
    Sampler("ipndm_v", multistep.ipndm_v),
    Sampler("deis", multistep.deis),
    Sampler("res_multistep", res.res_multistep),
    Sampler("res_multistep_cfg_pp", res.res_multistep, {"cfg_pp": True}),
    Sampler("res_multistep_ancestral", res.res_multistep, {"eta": 1.0}),
    Sampler("res_multistep_ancestral_cfg_pp", res.res_multistep, {"eta": 1.0, "cfg_pp": True}),
    Sampler("gradient_estimation", res.gradient_estimation),
    Sampler("gradient_estimation_cfg_pp", res.gradient_estimation, {"cfg_pp": True}),
    Sampler("er_sde", er_sde.er_sde),
    Sampler("seeds_2", seeds.seeds_2),
    Sampler("seeds_3", seeds.seeds_3),
    Sampler("sa_solver", sa_solver.sa_solver),
    Sampler("sa_solver_pece", sa_solver.sa_solver, {"use_pece": True}),
    # DDIM is Euler in sigma; it differs only in the noise of masked regions.
    Sampler("ddim", euler.euler, fresh_inpaint_noise=True),
    Sampler("uni_pc", unipc.uni_pc),
    Sampler("uni_pc_bh2", unipc.uni_pc_bh2),
)

SAMPLERS: Final[Mapping[str, Sampler]] = MappingProxyType({sampler.name: sampler for sampler in _SAMPLERS})
