"""Training of tiny networks on a tiny pack."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from tiny import AUTOENCODER, MELGAN, sound
from torch import nn

from specvq_codec import Codec, UsageError
from specvq_codec.models.melgan import Generator
from specvq_codec.training.codebook import CodebookConfig, CodebookModule, CodebookTask, train_codebook
from specvq_codec.training.data import Clip
from specvq_codec.training.export import export_bundle
from specvq_codec.training.loop import LoopConfig, TrainingError, learning_rate, train
from specvq_codec.training.patches import assign, patches_of, principal_patches
from specvq_codec.training.vocoder import VocoderConfig, fold_weights, normalise_weights, train_vocoder

CPU = torch.device("cpu")
CODEBOOK = CodebookConfig(AUTOENCODER, LoopConfig(6, 1e-3, 2, log_every=2, save_every=3), batch_size=3, frames=64)
VOCODER = VocoderConfig(MELGAN, LoopConfig(3, 1e-3, 1, log_every=1, save_every=3), batch_size=2, frames=16)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A pack of synthetic sound, written by hand."""
    folder = tmp_path_factory.mktemp("pack")
    sounds = [sound(seconds, seed=seed) for seed, seconds in enumerate((4.0, 3.0, 1.5, 1.0))]
    clips, start = [], 0
    for number, (samples, split) in enumerate(zip(sounds, ("train", "train", "valid", "test"), strict=True)):
        clips.append(Clip(f"{number}.wav", split, "sound", start, len(samples)))
        start += len(samples)
    (np.concatenate(sounds) * 32767).astype("<i2").tofile(folder / "samples.i16")
    (folder / "index.json").write_text(json.dumps({"clips": [dataclasses.asdict(clip) for clip in clips]}))
    return folder


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """The runs of a codebook and a vocoder."""
    runs = tmp_path_factory.mktemp("runs")
    numbers = train_codebook(CODEBOOK, data, runs / "codebook", CPU)
    train_vocoder(VOCODER, data, runs / "vocoder", CPU)
    return runs, numbers


def log(run):
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "per_second"} for line in lines]


def test_a_resumed_run_is_bit_equal_to_an_uninterrupted_one(data, trained, tmp_path, monkeypatch):
    run = tmp_path / "resumed"
    original = CodebookTask.loss

    def interrupted(self, rng):
        interrupted.calls += 1
        if interrupted.calls == 5:
            raise KeyboardInterrupt
        return original(self, rng)

    interrupted.calls = 0
    monkeypatch.setattr(CodebookTask, "loss", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_codebook(CODEBOOK, data, run, CPU)
    monkeypatch.undo()
    assert torch.load(run / "last.pt", weights_only=True)["step"] == 3
    numbers = train_codebook(CODEBOOK, data, run, CPU)
    assert numbers == trained[1]
    one, other = (torch.load(path / "last.pt", weights_only=True) for path in (run, trained[0] / "codebook"))
    assert one["step"] == other["step"] == 6
    assert all(torch.equal(one["module"][key], other["module"][key]) for key in other["module"])
    assert log(run)[-3:] == log(trained[0] / "codebook")[-3:]  # steps 4 and 6, and the validation


def test_a_finished_run_is_not_trained_again(data, trained):
    run = trained[0] / "codebook"
    before = (run / "last.pt").read_bytes()
    assert train_codebook(CODEBOOK, data, run, CPU) == trained[1]
    assert (run / "last.pt").read_bytes() == before


def test_training_lowers_the_loss(data, tmp_path):
    model = dataclasses.replace(AUTOENCODER, linear_path=False)  # which would start so well that a minute shows nothing
    config = CodebookConfig(model, LoopConfig(20, 3e-3, 5, log_every=1, save_every=20), batch_size=3, frames=64)
    train_codebook(config, data, tmp_path / "codebook", CPU)
    losses = [line["l1"] for line in log(tmp_path / "codebook") if "l1" in line]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    config = dataclasses.replace(VOCODER, loop=LoopConfig(20, 3e-3, warmup=5, log_every=1, save_every=20))
    train_vocoder(config, data, tmp_path / "vocoder", CPU)
    losses = [line["stft"] for line in log(tmp_path / "vocoder") if "stft" in line]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


class Line:
    """The smallest task: a weight that should become 1; its loss or gradient is not finite from some step on."""

    def __init__(self, bad_loss=None, bad_gradient=None):
        self.module = nn.Linear(1, 1, bias=False)
        nn.init.zeros_(self.module.weight)
        self.bad_loss, self.bad_gradient, self.calls = bad_loss, bad_gradient, 0

    def loss(self, rng):
        self.calls += 1
        loss = (self.module.weight - 1).square().sum()
        if self.calls == self.bad_loss:
            loss = loss * float("nan")
        if self.calls == self.bad_gradient:
            loss = loss + (self.module.weight * 0).sum().sqrt()  # 0, and its gradient 0 * infinity
        return loss, {"loss": loss.item()}

    def validate(self):
        return {"weight": self.module.weight.item()}


@pytest.mark.parametrize("bad", [{"bad_loss": 8}, {"bad_gradient": 8}])
def test_what_is_not_finite_stops_training_and_keeps_the_last_checkpoint(tmp_path, bad):
    with pytest.raises(TrainingError, match=r"at step 7; .*last\.pt holds the last good one") as caught:
        train(Line(**bad), LoopConfig(20, save_every=5), tmp_path)
    assert caught.value.exit_code == 1
    saved = torch.load(tmp_path / "last.pt", weights_only=True)
    assert saved["step"] == 5
    assert torch.isfinite(saved["module"]["weight"]).all()
    with pytest.raises(TrainingError, match="nothing was saved"):
        train(Line(bad_loss=1), LoopConfig(20), tmp_path / "other")


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"\x80\x02c__builtin__\neval\nq\x00."])
def test_damaged_checkpoints_are_refused(tmp_path, content):
    (tmp_path / "last.pt").write_bytes(content)
    with pytest.raises(UsageError, match="damaged or no checkpoint"):
        train(Line(), LoopConfig(2), tmp_path)


def test_a_checkpoint_of_another_configuration_is_refused(data, trained):
    other = dataclasses.replace(CODEBOOK, model=dataclasses.replace(AUTOENCODER, codebook_size=32))
    with pytest.raises(UsageError, match="of another configuration"):
        train_codebook(other, data, trained[0] / "codebook", CPU)


def test_the_learning_rate_rises_and_falls():
    config = LoopConfig(1000, learning_rate=1.0, warmup=100)
    rates = [learning_rate(step, config) for step in range(1000)]
    assert rates[0] == pytest.approx(0.01)
    assert np.argmax(rates) in (99, 100) and max(rates) == 1.0
    assert rates[550] == pytest.approx(0.51)
    assert rates[-1] == pytest.approx(0.02, abs=1e-4)


def test_the_codebook_starts_as_the_best_linear_codec(data):
    task = CodebookTask(CODEBOOK, data, CPU)
    model = task.module.autoencoder
    mel = task.train_mels.crops(400, 64, np.random.default_rng(CODEBOOK.loop.seed))
    basis, _ = principal_patches(patches_of(mel), AUTOENCODER.embed_dim)
    with torch.no_grad():
        latents = model.latents(mel[:8])
        linear = model.reconstruct(latents)
        centres = model.quantize.embedding.weight
        coded = assign(latents.movedim(1, -1).flatten(0, 2), centres)
        grids = model.encode(mel[:8])
    patches = patches_of(mel[:8])
    assert torch.allclose(patches_of(linear), patches @ basis.mT @ basis, atol=1e-4)
    assert torch.equal(coded, grids.flatten())
    assert latents.square().mean().sqrt().item() == pytest.approx(1.0, abs=0.2)
    assert (task.module.usage > 0).float().mean() > 0.9


def test_the_codebook_follows_its_latents_and_dead_vectors_start_again():
    config = dataclasses.replace(CODEBOOK, model=dataclasses.replace(AUTOENCODER, codebook_size=4), decay=0.5)
    module = CodebookModule(config)
    module.usage.copy_(torch.tensor([10.0, 10.0, 10.0, 0.1]))
    module.sums.copy_(module.usage[:, None] * torch.tensor([[0.0], [1.0], [2.0], [3.0]]).expand(4, 16))
    latents = torch.full((1, 16, 1, 20), 5.0)
    module.follow(latents, torch.ones(1, 1, 20, dtype=torch.int64), np.random.default_rng(0))
    vectors = module.autoencoder.quantize.embedding.weight[:, 0]
    assert module.usage.tolist() == [5.0, 15.0, 5.0, 1.0]
    # (10 * 1 + 20 * 5) / (10 + 20) = 11 / 3; the last was used too little, and restarts at a latent
    assert vectors.tolist() == pytest.approx([0.0, 11 / 3, 2.0, 5.0])


def test_folding_weight_normalisation_keeps_the_function():
    torch.manual_seed(0)
    generator = Generator(MELGAN).eval()
    plain = {key: tensor.clone() for key, tensor in generator.state_dict().items()}
    mel = torch.rand(1, 80, 20)
    with torch.no_grad():
        before = generator(mel)
        normalise_weights(generator)
        assert torch.allclose(generator(mel), before, atol=1e-6)
        for name, parameter in generator.named_parameters():
            if name.endswith("original0"):  # the norms
                parameter.mul_(1.5)
        changed = generator(mel)
        fold_weights(generator)
        assert not torch.allclose(changed, before, atol=1e-3)
        assert torch.allclose(generator(mel), changed, atol=1e-6)
    assert generator.state_dict().keys() == plain.keys()


def test_runs_become_a_bundle_that_encodes(data, trained, tmp_path):
    runs = trained[0]
    args = ((CODEBOOK, runs / "codebook"), (VOCODER, runs / "vocoder"), data, "Trained for a second.")
    bundle = export_bundle(tmp_path / "out", "made", *args)
    bundle.verify()
    assert (bundle.name, bundle.note) == ("made", "Trained for a second.")
    assert {tensor.dtype for tensor in bundle.tensors("codebook").values()} == {np.dtype(np.float16)}
    codec = Codec(bundle)
    samples = sound(4.0)  # nearly the first recording, on which the tables were counted
    codes = codec.encode(samples)
    assert len(codec.decode(codes)) == len(samples)
    assert len(codes.to_bytes("static")) < len(codes.to_bytes("fixed"))
    assert export_bundle(tmp_path / "again", "made", *args).fingerprint == bundle.fingerprint


def test_a_run_without_checkpoint_makes_no_bundle(data, trained, tmp_path):
    with pytest.raises(UsageError, match="There is no checkpoint"):
        codebook, vocoder = (CODEBOOK, tmp_path / "nowhere"), (VOCODER, trained[0] / "vocoder")
        export_bundle(tmp_path / "out", "made", codebook, vocoder, data, "")
    assert not (tmp_path / "out").exists()
