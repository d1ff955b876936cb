"""A training that is killed goes on as if nothing had happened."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from torch import nn

from training.loop import Plan, Training, draws

PLAN = Plan(steps=40, rate=1e-2, warmup=5, cooldown=20, ema=0.9, save_every_s=0.0, say_every_s=1e9)


def toy(file: Path) -> Training:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))

    def loss(step: int) -> torch.Tensor:
        x = torch.randn((16, 4), generator=draws(3, step))
        return (net(x) - x.prod(1, keepdim=True)).square().mean()

    return Training("toy", dict(net.named_parameters()), loss, PLAN, file, say=lambda text: None)


def test_stopping_and_going_on_gives_the_same_weights(tmp_path: Path) -> None:
    straight = toy(tmp_path / "straight.pt").run()
    toy(tmp_path / "broken.pt").run(until=13)
    toy(tmp_path / "broken.pt").run(until=27)
    resumed = toy(tmp_path / "broken.pt").run()
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)


KILLED = """
    import sys, time
    sys.path.insert(0, {root!r})
    from pathlib import Path
    from tests.unit.training.test_resume import toy
    training = toy(Path({file!r}))
    training.say = print
    real = training.loss
    def slow(step):
        time.sleep(0.02)
        print(step, flush=True)
        return real(step)
    training.loss = slow
    training.run()
"""


def test_a_kill_without_warning_loses_nothing(tmp_path: Path) -> None:
    straight = toy(tmp_path / "straight.pt").run()
    file = tmp_path / "killed.pt"
    root = str(Path(__file__).resolve().parents[3])
    program = textwrap.dedent(KILLED.format(root=root, file=str(file)))
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= 8:
            break
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    step = torch.load(file, weights_only=True)["step"]
    assert 0 < step < PLAN.steps
    resumed = toy(file).run()
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)


def test_a_write_that_was_cut_off_leaves_the_old_state(tmp_path: Path) -> None:
    file = tmp_path / "state.pt"
    toy(file).run(until=10)
    file.with_name(file.name + ".partial").write_bytes(b"half a checkpoint")
    assert toy(file).step == 10


@pytest.mark.parametrize(("step", "share"), [(0, 0.2), (4, 1.0), (20, 1.0), (39, 0.006)])
def test_the_rate_rises_stays_and_falls(step: int, share: float) -> None:
    assert PLAN.rate_at(step) / PLAN.rate == pytest.approx(share, abs=0.002)
