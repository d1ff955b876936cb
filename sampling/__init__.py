"""Diffusion sampling as pure functions on tensors.

Nothing is imported here, so that `sampling.names` stays readable without torch. Entry points: `sampling.schedule`
(noise schedules), `sampling.noise`, `sampling.guidance` (conditioning to a denoiser), `sampling.run.sample` (one
whole run).
"""
