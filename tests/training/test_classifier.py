"""Training a tiny classifier, and the file that comes of it."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from parity import made, numbers
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny import sound
from training_cases import CODEBOOK, CPU, contents, log

from specvq_codec.bitstream.errors import UsageError, WeightsError
from specvq_codec.classifiers import load_classifier
from specvq_codec.models.melception import MelceptionConfig
from specvq_codec.models.vggishish import VGGishConfig
from specvq_codec.training.checkpoints import load_checkpoint, read_checkpoint
from specvq_codec.training.classifier import (
    ClassifierConfig,
    ClassifierTask,
    class_weights,
    train_classifier,
    with_gain,
    with_stripe,
)
from specvq_codec.training.codebook import train_codebook
from specvq_codec.training.config import load_config
from specvq_codec.training.data import Clip
from specvq_codec.training.loop import LoopConfig
from specvq_codec.training.objective import ObjectiveConfig

MODEL = VGGishConfig((4, 8), (1, 2), hidden=16, num_classes=309, pooled=(2, 2), batch_norm=True)
CONFIG = ClassifierConfig(
    MODEL, LoopConfig(40, 3e-3, 2, log_every=20, save_every=40, ema=0.5), batch_size=8, frames=32, mixup=0.3, gain=3.0
)


def write_pack(folder, labels, splits=("train", "train", "valid")):
    """A pack by hand: noise under the first label, changing tones under all others."""
    clips, sounds, start = [], [], 0
    for number, label in enumerate(labels):
        samples = sound(1.0, seed=number)
        if label == labels[0]:
            samples = np.random.default_rng(number).uniform(-0.5, 0.5, len(samples))
        clips.append(Clip(f"{number}.wav", splits[number // 2 % len(splits)], "sound", start, len(samples), label))
        sounds.append(samples)
        start += len(samples)
    folder.mkdir()
    (np.concatenate(sounds) * 32767).astype("<i2").tofile(folder / "samples.i16")
    (folder / "index.json").write_text(json.dumps({"clips": [dataclasses.asdict(clip) for clip in clips]}))
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_pack(tmp_path_factory.mktemp("classifier") / "pack", ["noise", "tones"] * 6)


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    run = tmp_path_factory.mktemp("run")
    return run, train_classifier(CONFIG, data, run, CPU)


def test_it_learns_noise_from_tones(trained):
    assert set(trained[1]) == {"valid_accuracy", "valid_accuracy_5", "valid_mAP", "valid_mAUC"}
    assert trained[1]["valid_mAUC"] == 1.0
    assert trained[1]["valid_accuracy"] == 1.0


def test_the_file_is_the_averaged_network_without_batch_norm(data, trained):
    run = trained[0]
    classifier = load_classifier(run / "classifier.safetensors")
    assert classifier.labels == ("noise", "tones")
    assert classifier.network.config == dataclasses.replace(MODEL, num_classes=2, batch_norm=False)
    assert not classifier.network.training
    task = ClassifierTask(CONFIG, data, CPU)
    load_checkpoint(task.module, read_checkpoint(run / "last.pt"), run / "last.pt")
    mel, _ = task.valid_mels.labelled_crops(3, 32, np.random.default_rng(0))
    standardised = ((mel + 1) / 2 - classifier.means[:, None]) / classifier.stds[:, None]
    with torch.inference_mode():
        torch.testing.assert_close(
            classifier.network(standardised), task.module.eval().logits(mel), rtol=1e-3, atol=1e-5
        )


def test_statistics_are_means_over_recordings(data):
    task = ClassifierTask(CONFIG, data, CPU)
    items = [item.double() for item in task.train_mels.items]
    means = torch.stack([item.mean(1) for item in items]).mean(0)
    stds = torch.stack([item.std(1, correction=0) for item in items]).mean(0)
    torch.testing.assert_close(task.module.means.double(), means, rtol=1e-6, atol=0)
    torch.testing.assert_close(task.module.stds.double(), stds, rtol=1e-6, atol=0)


def test_batches_depend_on_the_generator_alone(data):
    task = ClassifierTask(CONFIG, data, CPU)
    one, same, other = (task.batch(np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not torch.equal(one["mel"], other["mel"])
    assert one["mel"].shape == (8, 1, 80, 32)
    assert one["mel"].min() >= -1 and one["mel"].max() <= 1
    assert torch.equal(one["mixed_label"], one["label"].roll(1))


def test_loss_of_mixed_examples(data):
    """Between the losses with either label, by the share; equal to them at both ends."""
    task = ClassifierTask(CONFIG, data, CPU)
    task.module.eval()
    batch = task.batch(np.random.default_rng(0))
    losses = []
    for share in (0.0, 0.25, 1.0):
        losses.append(task.module({**batch, "share": torch.full((8,), share)}, 0)[0].item())
    logits = task.module.logits(batch["mel"])
    weighted = [
        F.cross_entropy(logits, batch[key], task.module.weights, reduction="none").mean()
        for key in batch
        if "label" in key
    ]
    assert losses[2] == pytest.approx(weighted[0].item(), rel=1e-6)
    assert losses[0] == pytest.approx(weighted[1].item(), rel=1e-6)
    assert losses[1] == pytest.approx(0.75 * losses[0] + 0.25 * losses[2], rel=1e-6)


def test_class_weights_give_the_loss_of_the_reference():
    """On a whole data set; in a batch, the reference divides by the weights that happen to be in it."""
    given = numbers("metrics")["classification"]
    targets = made(given["targets"])
    logits = made(given["logits"], targets=targets.numpy())
    for balance, key in ((1.0, "weighted_by_1_over_class_count"), (0.0, "unweighted")):
        weights = class_weights(torch.bincount(targets).float(), balance)
        loss = F.cross_entropy(logits, targets, weights, reduction="none").mean()
        assert loss.item() == pytest.approx(given[f"cross_entropy_{key}"], rel=1e-6)


def test_class_weights_of_a_class_without_examples():
    weights = class_weights(torch.tensor([3.0, 0.0, 1.0]), 1.0)
    assert weights.tolist() == pytest.approx([2 / 3, 0.0, 2.0])


def test_gain_moves_levels_and_leaves_silence():
    mel = torch.tensor([-1.0, -0.5, 0.0, 0.98])[None, None, :, None].expand(2, 1, 4, 1)
    louder = with_gain(mel, torch.tensor([5.0, -30.0]))
    assert louder[0].flatten().tolist() == pytest.approx([-1.0, -0.4, 0.1, 1.0])
    assert louder[1].flatten().tolist() == pytest.approx([-1.0, -1.0, -0.6, 0.38])


@pytest.mark.parametrize(("axis", "widest"), [(2, 20), (3, 32), (3, 1)])
def test_a_stripe_of_random_place_and_width_is_silenced(axis, widest):
    mel = torch.rand(200, 1, 80, 32, generator=torch.Generator().manual_seed(0))
    striped = with_stripe(mel, axis, widest, np.random.default_rng(0))
    silent = striped == -1
    assert torch.equal(striped[~silent], mel[~silent])
    along = silent.all(5 - axis).squeeze(1)  # (200, length): bands, or frames, that are silent throughout
    assert torch.equal(along, silent.any(5 - axis).squeeze(1))
    widths = along.sum(1)
    assert set(widths.tolist()) == set(range(widest + 1))
    edges = (along[:, 1:] != along[:, :-1]).sum(1)
    assert edges.max() <= 2 and (edges == 2).any()  # one stripe each
    assert along.any(0).all()  # that can be anywhere


def test_training_silences_stripes_if_asked_to(data):
    plain = dataclasses.replace(CONFIG, mixup=0.0)
    striped = dataclasses.replace(plain, masked_bands=20, masked_frames=10)
    mels = [ClassifierTask(config, data, CPU).batch(np.random.default_rng(0))["mel"] for config in (plain, striped)]
    assert (mels[1] == -1).float().mean() > (mels[0] == -1).float().mean() + 0.1


@pytest.mark.parametrize("settings", [{"masked_bands": 81}, {"masked_frames": 33}, {"masked_bands": -1}], ids=str)
def test_stripes_wider_than_spectrograms(settings):
    with pytest.raises(ValueError, match="masked_bands must be in"):
        dataclasses.replace(CONFIG, **settings)


@pytest.mark.parametrize(
    ("labels", "message"),
    [([""] * 6, "label"), (["dog"] * 6, "two labels"), (["dog", "cat", "dog", "cat", "dog", "dog"], "split valid")],
    ids=["none", "one", "one in valid"],
)
def test_packs_that_teach_nothing(tmp_path, labels, message):
    with pytest.raises(UsageError, match=message):
        train_classifier(CONFIG, write_pack(tmp_path / "pack", labels), tmp_path / "run", CPU)
    assert not (tmp_path / "run").exists()


def test_samples_name_what_was_taken_for_what(data):
    samples = ClassifierTask(CONFIG, data, CPU).samples()
    assert 1 <= len(samples.spectrograms) <= 4
    for name, mel in samples.spectrograms.items():
        assert " taken for " in name
        assert mel.shape[0] == 80 and mel.min() >= 0 and mel.max() <= 1


@pytest.mark.parametrize(
    ("name", "model"),
    [("classifier-vggsound", VGGishConfig()), ("classifier-melception-vggsound", MelceptionConfig())],
)
def test_configurations_of_the_reference(name, model):
    config = load_config(ClassifierConfig, name)
    assert config.model == model
    assert config.frames == 848


@pytest.fixture(scope="module")
def melception(data, tmp_path_factory):
    """The run of a tiny Melception."""
    run = tmp_path_factory.mktemp("melception")
    model = MelceptionConfig(width=1 / 32)
    loop = LoopConfig(2, 3e-3, 1, log_every=1, save_every=2)
    config = ClassifierConfig(model, loop, batch_size=4, frames=32, stored="float16")
    train_classifier(config, data, run, CPU)
    return run


def test_melception_trains_too(data, melception):
    path = melception / "classifier.safetensors"
    classifier = load_classifier(path)
    assert classifier.labels == ("noise", "tones")
    assert classifier.network.config == MelceptionConfig(num_classes=2, width=1 / 32)
    assert classifier.network.Conv2d_1a_3x3.bn.num_batches_tracked == 2
    assert load_file(path)["fc.weight"].dtype == torch.float16


def test_melception_takes_no_shorter_crops(data):
    with pytest.raises(ValueError, match="this network takes 75 frames or more, and frames is 74"):
        ClassifierConfig(MelceptionConfig(max_pools=True), CONFIG.loop, frames=74)


def test_the_perceptual_loss_does_not_look_through_melception(data, melception, tmp_path):
    config = dataclasses.replace(CODEBOOK, objective=ObjectiveConfig(perceptual=1.0))
    with pytest.raises(UsageError, match="is a Melception"):
        train_codebook(config, data, tmp_path / "run", CPU, classifier=melception / "classifier.safetensors")
    assert not (tmp_path / "run").exists()


def test_a_codebook_does_not_train_with_half_a_classifier(data, trained, tmp_path):
    """The reference did, for months."""
    path = tmp_path / "classifier.safetensors"
    tensors = load_file(trained[0] / "classifier.safetensors")
    with safe_open(trained[0] / "classifier.safetensors", "pt") as file:
        about = file.metadata()
    kept = {key: tensor for key, tensor in tensors.items() if key != "features.0.weight"}
    save_file(kept, path, about)
    config = dataclasses.replace(CODEBOOK, objective=ObjectiveConfig(perceptual=1.0))
    with pytest.raises(WeightsError, match=r"features\.0\.weight"):
        train_codebook(config, data, tmp_path / "run", CPU, classifier=path)
    assert not (tmp_path / "run").exists()

    train_codebook(config, data, tmp_path / "run", CPU, classifier=trained[0] / "classifier.safetensors")
    assert any(line.get("lpaps", 0) > 0 for line in log(tmp_path / "run"))


def test_a_run_does_not_go_on_with_other_labels_settings_or_recordings(trained, data, tmp_path):
    run = shutil.copytree(trained[0], tmp_path / "run")
    before = contents(run)
    renamed = write_pack(tmp_path / "renamed", ["cat", "dog"] * 6)
    with pytest.raises(UsageError, match=r"with other labels and recordings: .* name another folder \(--out\)"):
        train_classifier(CONFIG, renamed, run, CPU)
    other = dataclasses.replace(CONFIG, model=dataclasses.replace(MODEL, dropout=0.5))
    with pytest.raises(UsageError, match="was trained with other labels and settings and recordings"):
        train_classifier(other, write_pack(tmp_path / "more", ["cat", "dog"] * 7), run, CPU)
    (run / "classifier.json").write_text("{")
    with pytest.raises(UsageError, match=r"classifier\.json is damaged"):
        train_classifier(CONFIG, data, run, CPU)
    (run / "classifier.json").write_bytes(before["classifier.json"])
    assert contents(run) == before
    (run / "classifier.json").unlink()  # as of a run that was begun before there were such notes
    assert train_classifier(CONFIG, data, run, CPU) == trained[1]


def test_the_run_of_another_stage_stays_as_it_is(data, tmp_path):
    train_codebook(dataclasses.replace(CODEBOOK, loop=LoopConfig(1, save_every=1)), data, tmp_path / "run", CPU)
    before = contents(tmp_path / "run")
    with pytest.raises(UsageError, match="is of another configuration"):
        train_classifier(CONFIG, data, tmp_path / "run", CPU)
    assert contents(tmp_path / "run") == before
