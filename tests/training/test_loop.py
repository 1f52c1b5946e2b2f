"""The training loop on the smallest task."""

import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sampler_cases import TWO_STAGE, two_stage
from tiny import AUTOENCODER
from torch import nn
from training_cases import CODEBOOK, log

from specvq_codec import UsageError
from specvq_codec.training.checkpoints import Averages, load_checkpoint, read_checkpoint, save_checkpoint
from specvq_codec.training.codebook import CodebookModule
from specvq_codec.training.loop import LoopConfig, Stopped, TrainingError, learning_rate, parameter_groups, train
from specvq_codec.training.monitor import Samples


class Line:
    """A weight that should become 1, and a second player that follows it; spoilt or interrupted from some call on."""

    def __init__(self, bad_loss=None, bad_gradient=None, interrupt=None):
        self.module = nn.ModuleDict({"first": nn.Linear(1, 1, bias=False), "second": nn.Linear(1, 1, bias=False)})
        for part in self.module.values():
            nn.init.zeros_(part.weight)
        self.players = {"first": First(self.module["first"]), "second": Second(self.module["second"])}
        self.networks = ()
        self.bad_loss, self.bad_gradient, self.interrupt, self.calls = bad_loss, bad_gradient, interrupt, 0

    def batch(self, rng):
        self.calls += 1
        if self.calls == self.interrupt:
            os.kill(os.getpid(), signal.SIGINT)
        spoilt = torch.tensor(float("nan") if self.calls == self.bad_loss else 1.0)
        root = torch.tensor(0.0 if self.calls == self.bad_gradient else 1.0)
        return {"noise": torch.from_numpy(rng.normal(size=4)).float(), "spoilt": spoilt, "root": root}

    def validate(self):
        return {"weight": self.module["first"].weight.item(), "noise": torch.randn(()).item()}

    def samples(self):
        return Samples(
            {"ramp": torch.linspace(0, 1, 80)[:, None].expand(80, 7)}, {"tone": torch.sin(torch.arange(500))}
        )


class First(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, batch, step):
        weight = self.layer.weight
        loss = (weight - 1 + 0.1 * batch["noise"] + 0.1 * torch.randn(4)).square().mean() * batch["spoilt"]
        loss = loss + ((weight * 0).sum() + batch["root"]).sqrt() - batch["root"]  # at root 0, the gradient is 0 * inf
        batch["goal"] = weight.detach().clone()
        return loss, {"loss": loss.detach(), "step_seen": torch.tensor(float(step))}


class Second(First):
    def forward(self, batch, step):
        loss = (self.layer.weight - batch["goal"]).square().sum()
        return loss, {"second": loss.detach()}


CONFIG = LoopConfig(20, 0.05, 2, ema=0.9, log_every=1, save_every=5)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    run = tmp_path_factory.mktemp("run")
    return run, train(Line(), CONFIG, run)


def test_the_players_learn_one_after_the_other(finished):
    run, numbers = finished
    lines = [line for line in log(run) if "loss" in line]
    assert [line["step"] for line in lines] == [line["step_seen"] + 1 for line in lines] == list(range(1, 21))
    assert lines[-1]["loss"] < 0.5 * lines[0]["loss"]
    saved = torch.load(run / "last.pt", weights_only=True)
    assert saved["step"] == 20 and saved["optimizers"].keys() == {"first", "second"}
    assert 0.2 < saved["module"]["second.weight"].item() <= saved["module"]["first.weight"].item() < 1.0
    assert 0 < numbers["weight"] < saved["module"]["first.weight"].item()  # averaged weights lag behind


def test_an_interrupted_run_goes_on_as_if_nothing_had_been(finished, tmp_path):
    with pytest.raises(Stopped, match="Stopped after step 7 of 20; the same command goes on") as caught:
        train(Line(interrupt=7), CONFIG, tmp_path)
    assert caught.value.exit_code == 130
    assert torch.load(tmp_path / "last.pt", weights_only=True)["step"] == 7
    assert train(Line(), CONFIG, tmp_path) == finished[1]
    assert log(tmp_path) == log(finished[0])
    one, other = (torch.load(run / "last.pt", weights_only=True) for run in (tmp_path, finished[0]))
    for kind in ("module",):
        assert all(torch.equal(one[kind][key], other[kind][key]) for key in other[kind])
    assert one["ema"]["steps"] == 20
    assert all(torch.equal(one["ema"]["values"][key], tensor) for key, tensor in other["ema"]["values"].items())


def test_a_run_that_was_killed_repeats_its_lost_steps_once(finished, tmp_path, monkeypatch):
    task, calls = Line(), []
    monkeypatch.setattr(
        task, "batch", lambda rng: calls.append(rng) or (1 / (9 - len(calls)) and Line.batch(task, rng))
    )
    with pytest.raises(ZeroDivisionError):
        train(task, CONFIG, tmp_path)
    assert [line["step"] for line in log(tmp_path)] == [1, 2, 3, 4, 5, 5, 6, 7, 8]
    train(Line(), CONFIG, tmp_path)
    assert log(tmp_path) == log(finished[0])


def test_a_finished_run_is_not_trained_again(finished):
    run, numbers = finished
    before = (run / "last.pt").read_bytes()
    assert train(Line(), CONFIG, run)["weight"] == numbers["weight"]
    assert (run / "last.pt").read_bytes() == before


@pytest.mark.parametrize("bad", [{"bad_loss": 8}, {"bad_gradient": 8}])
def test_what_is_not_finite_stops_training_and_keeps_the_last_checkpoint(tmp_path, bad):
    with pytest.raises(TrainingError, match=r"at step 7; .*last\.pt holds the last good one") as caught:
        train(Line(**bad), LoopConfig(20, save_every=5), tmp_path)
    assert caught.value.exit_code == 1
    saved = torch.load(tmp_path / "last.pt", weights_only=True)
    assert saved["step"] == 5
    assert torch.isfinite(saved["module"]["first.weight"]).all()
    with pytest.raises(TrainingError, match="nothing was saved"):
        train(Line(bad_loss=1), LoopConfig(20), tmp_path / "other")


NOT_OURS = io.BytesIO()
torch.save([1, 2], NOT_OURS)


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"\x80\x02c__builtin__\neval\nq\x00.", NOT_OURS.getvalue()])
def test_damaged_checkpoints_are_refused(tmp_path, content):
    (tmp_path / "last.pt").write_bytes(content)
    with pytest.raises(UsageError, match="damaged or no checkpoint"):
        train(Line(), LoopConfig(2), tmp_path)


def test_a_run_goes_on_with_what_is_asked_for_now(tmp_path):
    """Its decay and its averages, too, which may not have been there before."""
    train(Line(), LoopConfig(2, 0.05, weight_decay=0.0, save_every=1), tmp_path)
    before = torch.load(tmp_path / "last.pt", weights_only=True)["module"]
    settings = LoopConfig(3, 0.05, betas=(0.5, 0.6), weight_decay=0.25, ema=0.9, save_every=1)
    train(Line(), settings, tmp_path)
    saved = torch.load(tmp_path / "last.pt", weights_only=True)
    (group,) = saved["optimizers"]["first"]["param_groups"]
    assert (tuple(group["betas"]), group["weight_decay"]) == ((0.5, 0.6), 0.25)
    assert saved["ema"]["steps"] == 1
    for key, value in saved["ema"]["values"].items():  # from the weights of step 2 on
        assert value.item() == pytest.approx(0.1 * before[key].item() + 0.9 * saved["module"][key].item())
    with pytest.raises(UsageError, match="another `decayed` or other losses"):
        train(Line(), dataclasses.replace(settings, steps=4, decayed="linear"), tmp_path)


def test_a_line_of_the_log_that_was_cut_off_comes_again(finished, tmp_path):
    train(Line(), dataclasses.replace(CONFIG, steps=5), tmp_path)
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 5, "va')
    train(Line(), dataclasses.replace(CONFIG, steps=6), tmp_path)
    assert [line["step"] for line in log(tmp_path)] == [1, 2, 3, 4, 5, 5, 6, 6]


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before_it(tmp_path):
    save_checkpoint(tmp_path / "last.pt", {"step": 1})
    code = (
        "import resource, torch, pathlib; from specvq_codec.training.checkpoints import save_checkpoint\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        f"save_checkpoint(pathlib.Path({str(tmp_path)!r}) / 'last.pt', {{'module': torch.zeros(100_000)}})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert "SpecVQError: A checkpoint could not be written to" in done.stderr and "Check the free space" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]
    assert torch.load(tmp_path / "last.pt", weights_only=True) == {"step": 1}


def test_a_checkpoint_of_another_configuration_is_refused(finished, tmp_path):
    saved = read_checkpoint(finished[0] / "last.pt")
    with pytest.raises(UsageError, match="of another configuration"):
        load_checkpoint(nn.Linear(2, 1), saved, finished[0] / "last.pt")


def test_averages_are_what_a_checkpoint_gives_and_only_lent_to_the_module(finished):
    module = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(module.weight)
    averages = Averages(module, 0.5)
    expected = 0.0
    for step, value in enumerate((1.0, 2.0, 3.0)):
        nn.init.constant_(module.weight, value)
        averages.update()
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    with averages.applied():
        assert module.weight.item() == pytest.approx(expected)
    assert module.weight.item() == 3.0
    task = Line()
    saved = read_checkpoint(finished[0] / "last.pt")
    load_checkpoint(task.module, saved, finished[0] / "last.pt")
    assert task.module["first"].weight.item() == finished[1]["weight"]


def test_weight_decay_is_for_the_weights_that_the_reference_decays():
    golden, model = TWO_STAGE["optimiser"]["groups"], two_stage()[0]
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = parameter_groups(model, LoopConfig(1, weight_decay=0.01, decayed="linear"))
    assert [group["weight_decay"] for group in groups] == [group["weight_decay"] for group in golden]
    found = [sorted(names[id(parameter)] for parameter in group["params"]) for group in groups]
    assert found == [sorted(group["names"]) for group in golden]
    (everything,) = parameter_groups(model, LoopConfig(1, weight_decay=0.02))
    assert len(everything["params"]) == len(names) and everything["weight_decay"] == 0.02


def test_all_groups_learn_by_the_schedule_and_linear_weights_alone_decay(tmp_path):
    class Still(Line):
        """No gradient but zero: what changes is what decays."""

        def __init__(self):
            super().__init__()
            layers = nn.ModuleDict({"linear": nn.Linear(2, 2), "other": nn.Conv1d(1, 1, 1)})
            for parameter in layers.parameters():
                nn.init.ones_(parameter)
            self.module, self.players = layers, {"still": Player(layers)}

        def validate(self):
            return {}

    class Player(nn.Module):
        def __init__(self, layers):
            super().__init__()
            self.layers = layers

        def forward(self, batch, step):
            return sum(parameter.sum() * 0 for parameter in self.layers.parameters()), {}

    task = Still()
    config = LoopConfig(3, 0.1, 1, weight_decay=0.5, decayed="linear")
    train(task, config, tmp_path)
    kept = np.prod([1 - 0.5 * learning_rate(step, config) for step in range(3)])
    assert task.module["linear"].weight[0, 0].item() == pytest.approx(kept)
    others = [task.module["linear"].bias, *task.module["other"].parameters()]
    assert all((parameter == 1).all() for parameter in others)
    assert {group["lr"] for group in read_checkpoint(tmp_path / "last.pt")["optimizers"]["still"]["param_groups"]} == {
        learning_rate(2, config)
    }


def test_the_learning_rate_rises_and_falls():
    config = LoopConfig(1000, learning_rate=1.0, warmup=100)
    rates = [learning_rate(step, config) for step in range(1000)]
    assert rates[0] == pytest.approx(0.01)
    assert np.argmax(rates) in (99, 100) and max(rates) == 1.0
    assert rates[550] == pytest.approx(0.51)
    assert rates[-1] == pytest.approx(0.02, abs=1e-4)


def test_tensorboard_gets_numbers_pictures_and_sounds(finished):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(finished[0] / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("loss")] == list(range(1, 21))
    assert events.Scalars("weight")[-1].value == pytest.approx(finished[1]["weight"], abs=1e-6)
    assert [event.step for event in events.Images("ramp")] == [5, 10, 15, 20]
    assert (events.Images("ramp")[0].width, events.Images("ramp")[0].height) == (7, 80)
    assert events.Audio("tone")[0].sample_rate == 22_050


WORKER = """
import json
import sys
from pathlib import Path
sys.path[:0] = {folders!r}
import torch
from test_loop import CONFIG, Line, followed
from specvq_codec.training.distributed import joined
from specvq_codec.training.loop import train
with joined(torch.device("cpu")) as processes:
    task = Line()
    train(task, CONFIG, Path({run!r}))
    result = [task.module["first"].weight.item(), followed([processes.rank])]
    Path({run!r}, f"{{processes.rank}}.json").write_text(json.dumps(result))
"""


def followed(parts):
    """A codebook after it has followed the latents of these parts of a batch."""
    config = dataclasses.replace(CODEBOOK, model=dataclasses.replace(AUTOENCODER, codebook_size=4), dead_below=0.9)
    torch.manual_seed(0)
    module = CodebookModule(config)
    latents = torch.cat([torch.randn(1, 16, 1, 12, generator=torch.Generator().manual_seed(part)) for part in parts])
    indices = torch.arange(12 * len(parts)).reshape(-1, 1, 12) % 3  # the last vector dies
    module.follow(latents, indices, np.random.default_rng(0))
    return module.autoencoder.quantize.embedding.weight[:, :2].flatten().tolist()


def test_two_processes_learn_the_same_from_the_mean_of_their_gradients(tmp_path):
    script, tests = tmp_path / "worker.py", Path(__file__).parent
    script.write_text(WORKER.format(folders=[str(tests), str(tests.parent)], run=str(tmp_path / "run")))
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", str(script)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    one, other = (json.loads((tmp_path / "run" / f"{rank}.json").read_text()) for rank in range(2))
    assert one == other
    assert [line["step"] for line in log(tmp_path / "run") if "loss" in line] == list(range(1, 21))
    saved = read_checkpoint(tmp_path / "run" / "last.pt")
    assert one[0] == saved["module"]["first.weight"].item()
    alone = Line()
    train(alone, CONFIG, tmp_path / "alone")
    assert one[0] != alone.module["first"].weight.item()
    assert one[1] == pytest.approx(followed([0, 1]), abs=1e-6)
