"""Training of tiny codebooks on a tiny pack."""

import dataclasses
import os
import signal

import numpy as np
import pytest
import torch
from tiny import AUTOENCODER
from training_cases import CODEBOOK, CPU, contents, log

from specvq_codec import UsageError, WeightsError
from specvq_codec.classifiers import Classifier, save_classifier
from specvq_codec.models.vggishish import VGGish, VGGishConfig
from specvq_codec.training.codebook import CodebookConfig, CodebookModule, CodebookTask, train_codebook
from specvq_codec.training.loop import LoopConfig, Stopped
from specvq_codec.training.objective import ObjectiveConfig
from specvq_codec.training.patches import assign, patches_of, principal_patches


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """The file of a tiny random classifier."""
    torch.manual_seed(0)
    network = VGGish(VGGishConfig(channels=(4, 4, 4, 8, 8), hidden=8, num_classes=3))
    path = tmp_path_factory.mktemp("classifier") / "classifier.safetensors"
    save_classifier(path, Classifier(network, torch.full((80,), 0.4), torch.full((80,), 0.2), ("a", "b", "c")))
    return path


@pytest.fixture(scope="module")
def everything():
    """A configuration with all losses."""
    objective = ObjectiveConfig(perceptual=1.0, adversarial=0.8, adversary_from=2)
    return dataclasses.replace(CODEBOOK, objective=objective, judge=dataclasses.replace(CODEBOOK.judge, channels=4))


def interrupt_at(monkeypatch, step):
    """Send what Ctrl-C sends when a step's batch is drawn."""
    original, calls = CodebookTask.batch, []

    def batch(self, rng):
        calls.append(1)
        if len(calls) == step:
            os.kill(os.getpid(), signal.SIGINT)
        return original(self, rng)

    monkeypatch.setattr(CodebookTask, "batch", batch)


def test_a_resumed_run_with_all_losses_is_bit_equal_to_an_uninterrupted_one(
    data, everything, classifier, tmp_path, monkeypatch
):
    whole = train_codebook(everything, data, tmp_path / "whole", CPU, classifier=classifier)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 4)
        with pytest.raises(Stopped, match="after step 4 of 6"):
            train_codebook(everything, data, tmp_path / "parts", CPU, classifier=classifier)
    assert train_codebook(everything, data, tmp_path / "parts", CPU, classifier=classifier) == whole
    one, other = (torch.load(tmp_path / run / "last.pt", weights_only=True) for run in ("whole", "parts"))
    assert one["step"] == other["step"] == 6
    assert one["module"].keys() == other["module"].keys()
    assert all(torch.equal(one["module"][key], other["module"][key]) for key in other["module"])
    assert log(tmp_path / "parts") == log(tmp_path / "whole")
    assert {"l1", "lpaps", "judged", "weight", "judge", "codebook", "used"} < log(tmp_path / "whole")[-2].keys()


def test_every_loss_reaches_the_networks(data, everything, classifier):
    task = CodebookTask(everything, data, CPU, classifier=classifier)
    batch = task.batch(np.random.default_rng(0))
    for step, present in ((1, {"l1", "lpaps"}), (2, {"l1", "lpaps", "judged", "weight"})):
        loss, shown = task.players["maker"](batch, step)
        assert shown.keys() == present | {"codebook", "used"}
        expected = 2 * shown["l1"] + shown["lpaps"] + shown["codebook"]
        if step == 2:
            expected = expected + shown["weight"] * shown["judged"]
        assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    task.module.zero_grad()
    loss.backward()
    maker = dict(task.players["maker"].named_parameters())
    assert all(parameter.grad is not None for parameter in maker.values() if parameter.requires_grad)
    assert all(parameter.grad is None for parameter in task.module.judge.parameters())
    loss, shown = task.players["judge"](batch, 2)
    loss.backward()
    assert shown["judge"].item() == pytest.approx(loss.item())
    assert all(parameter.grad.abs().sum() > 0 for parameter in task.module.judge.parameters())


def test_a_perceptual_loss_without_a_whole_classifier_stops_training(data, everything, classifier, tmp_path):
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(classifier.read_bytes()[:-4])
    for path in (broken, tmp_path / "absent.safetensors"):
        with pytest.raises(WeightsError):
            train_codebook(everything, data, tmp_path / "run", CPU, classifier=path)
    with pytest.raises(UsageError, match=r"give it a trained classifier \(--classifier\)"):
        train_codebook(everything, data, tmp_path / "run", CPU)
    assert not (tmp_path / "run").exists()


def test_a_codebook_can_learn_by_gradient(data, tmp_path):
    config = dataclasses.replace(CODEBOOK, decay=0.0)
    task = CodebookTask(config, data, CPU)
    before = task.module.autoencoder.quantize.embedding.weight.detach().clone()
    train_codebook(config, data, tmp_path, CPU)
    after = torch.load(tmp_path / "last.pt", weights_only=True)["module"]["autoencoder.quantize.embedding.weight"]
    assert not torch.equal(before, after)
    assert "used" not in log(tmp_path)[0]


def test_training_goes_on_from_a_bundle_or_a_run(data, trained, tiny_bundle, tmp_path):
    for start in (trained / "codebook", tiny_bundle.path):
        task = CodebookTask(CODEBOOK, data, CPU, start=start)
        started = task.module.autoencoder.state_dict()
        if start == tiny_bundle.path:
            expected = {key: torch.from_numpy(tensor) for key, tensor in tiny_bundle.tensors("codebook").items()}
        else:
            saved = torch.load(start / "last.pt", weights_only=True)["module"]
            expected = {key: saved[f"autoencoder.{key}"] for key in started}
        assert all(torch.equal(started[key], expected[key].float()) for key in started)
        assert torch.allclose(task.module.sums / task.module.usage[:, None], started["quantize.embedding.weight"])
    with pytest.raises(UsageError, match="neither a weight bundle nor a training run"):
        CodebookTask(CODEBOOK, data, CPU, start=tmp_path)
    other = dataclasses.replace(CODEBOOK, model=dataclasses.replace(AUTOENCODER, codebook_size=32))
    with pytest.raises(UsageError, match="of another configuration"):
        CodebookTask(other, data, CPU, start=tiny_bundle.path)


def test_validation_measures_error_and_sharpness(data):
    task = CodebookTask(CODEBOOK, data, CPU)
    task.module.eval()
    with torch.inference_mode():
        numbers = task.validate()
        (item,) = task.valid_mels.items
        mel = item[:, : item.shape[1] // 16 * 16].float()
        decoded = (
            task.module.autoencoder.decode(task.module.autoencoder.encode(mel[None, None] * 2 - 1))[0, 0] + 1
        ) / 2
        decoded = decoded.clamp(0, 1)
        pictures = task.samples().spectrograms
    assert numbers["valid_l1"] == pytest.approx((decoded - mel).abs().mean().item(), rel=1e-5)
    steps = [sum(np.square(np.diff(x.numpy(), axis=axis)).sum() for axis in (0, 1)) for x in (decoded, mel)]
    assert numbers["valid_sharpness"] == pytest.approx(steps[0] / steps[1], rel=1e-4)
    assert torch.equal(pictures["valid_0"], torch.cat([decoded, mel]))


def test_training_lowers_the_loss(data, tmp_path):
    model = dataclasses.replace(AUTOENCODER, linear_path=False)  # which would start so well that a minute shows nothing
    config = CodebookConfig(model, LoopConfig(20, 3e-3, 5, log_every=1, save_every=20), batch_size=3, frames=64)
    train_codebook(config, data, tmp_path / "codebook", CPU)
    losses = [line["l1"] for line in log(tmp_path / "codebook") if "l1" in line]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


def test_a_checkpoint_of_another_configuration_is_refused(data, trained):
    other = dataclasses.replace(CODEBOOK, model=dataclasses.replace(AUTOENCODER, codebook_size=32))
    with pytest.raises(UsageError, match="of another configuration"):
        train_codebook(other, data, trained / "codebook", CPU)


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
    used = module.follow(latents, torch.ones(1, 1, 20, dtype=torch.int64), np.random.default_rng(0))
    vectors = module.autoencoder.quantize.embedding.weight[:, 0]
    mean = (5 + 15 + 5 + 0.05) / 4
    assert module.usage.tolist() == pytest.approx([5.0, 15.0, 5.0, mean])
    # (10 * 1 + 20 * 5) / (10 + 20) = 11 / 3; the last was used too little, and restarts at a latent
    assert vectors.tolist() == pytest.approx([0.0, 11 / 3, 2.0, 5.0])
    assert used.item() == 0.75


def test_what_a_codebook_expects_is_what_it_finds_when_shares_stay_the_same():
    config = dataclasses.replace(CODEBOOK, model=dataclasses.replace(AUTOENCODER, codebook_size=4), decay=0.5)
    expecting, following = CodebookModule(config), CodebookModule(config)
    vectors = expecting.autoencoder.quantize.embedding.weight.clone()
    shares = torch.tensor([0.1, 0.2, 0.3, 0.4])
    expecting.expect(shares)
    indices = torch.arange(4).repeat_interleave((shares * 60).round().long())  # of 3 crops of 5 rows and 4 columns
    latents = vectors[indices].mT[None, :, None]
    for _ in range(40):
        following.follow(latents, indices, np.random.default_rng(0))
    assert torch.allclose(following.usage, expecting.usage) and torch.allclose(
        following.sums, expecting.sums, atol=1e-5
    )
    expecting.follow(latents, indices, np.random.default_rng(0))
    assert torch.allclose(following.usage, expecting.usage)
    assert torch.allclose(expecting.autoencoder.quantize.embedding.weight, vectors, atol=1e-5)


@pytest.mark.parametrize("started", ["by k-means", "from a bundle"])
@pytest.mark.parametrize("batch_size", [1, 60])
def test_a_first_step_with_a_batch_of_any_size_restarts_next_to_nothing(data, tiny_bundle, started, batch_size):
    config = dataclasses.replace(CODEBOOK, batch_size=batch_size, frames=16)  # 5 latents a crop, for 64 vectors
    task = CodebookTask(config, data, CPU, start=tiny_bundle.path if started == "from a bundle" else None)
    before = task.module.autoencoder.quantize.embedding.weight.clone()
    _, shown = task.players["maker"](task.batch(np.random.default_rng(0)), 0)
    change = (task.module.autoencoder.quantize.embedding.weight - before).norm(dim=1) / before.norm(dim=1)
    assert shown["used"] > 0.85  # k-means leaves some vectors to a few latents that are like no others
    assert (change > 0.5).sum() < 10


def test_a_codebook_larger_than_what_it_could_start_from_is_refused(data, tmp_path):
    model = dataclasses.replace(AUTOENCODER, codebook_size=2001)
    config = dataclasses.replace(CODEBOOK, model=model, frames=16)
    with pytest.raises(UsageError, match="2001 vectors cannot begin at 2000 latents: make codebook_size smaller"):
        train_codebook(config, data, tmp_path / "run", CPU)
    assert not (tmp_path / "run").exists()


def test_mixed_precision_keeps_weights_and_quantiser_in_float32(data, everything, classifier, tmp_path):
    loop = dataclasses.replace(everything.loop, precision="bfloat16", steps=3)
    mixed = dataclasses.replace(everything, loop=loop)
    numbers = train_codebook(mixed, data, tmp_path, CPU, classifier=classifier)
    saved = torch.load(tmp_path / "last.pt", weights_only=True)["module"]
    assert {tensor.dtype for tensor in saved.values() if tensor.is_floating_point()} == {torch.float32}
    full = train_codebook(
        dataclasses.replace(mixed, loop=everything.loop), data, tmp_path / "full", CPU, classifier=classifier
    )
    assert numbers != full and numbers["valid_l1"] == pytest.approx(full["valid_l1"], rel=0.1)


def test_a_run_does_not_go_on_with_other_recordings(data, tmp_path, change_pack):
    config = dataclasses.replace(CODEBOOK, loop=LoopConfig(1, save_every=1))
    run, longer = tmp_path / "run", dataclasses.replace(CODEBOOK, loop=LoopConfig(2, save_every=1))
    train_codebook(config, data, run, CPU)
    before = contents(run)
    with pytest.raises(UsageError, match=r"was trained with other recordings: .* name another folder \(--out\)"):
        train_codebook(longer, change_pack(path="other.wav"), run, CPU)
    assert contents(run) == before
    (run / "codebook.json").unlink()  # as of a run that was begun before there were such notes
    train_codebook(longer, data, run, CPU)
    assert torch.load(run / "last.pt", weights_only=True)["step"] == 2
