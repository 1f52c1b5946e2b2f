"""Training of tiny vocoders, with the adversary and on decoded spectrograms."""

import dataclasses

import numpy as np
import pytest
import torch
from parity import arrays, filled, made, numbers, plain_weights
from tiny import AUTOENCODER, MELGAN
from training_cases import CPU, VOCODER, log

from specvq_codec import Codec, UsageError, WeightsError
from specvq_codec import spectrogram as spec
from specvq_codec.models.autoencoder import Autoencoder
from specvq_codec.models.discriminators import ScaleConfig
from specvq_codec.models.melgan import Generator, MelGANConfig
from specvq_codec.training.checkpoints import read_checkpoint
from specvq_codec.training.data import Pack
from specvq_codec.training.loop import LoopConfig
from specvq_codec.training.vocoder import (
    VocoderConfig,
    VocoderModule,
    VocoderTask,
    fold_weights,
    load_codec,
    load_generator,
    normalise_weights,
    players,
    train_vocoder,
)
from specvq_codec.weights import write_bundle

CONFIG = VocoderConfig(
    MELGAN,
    LoopConfig(6, 1e-3, 2, ema=0.9, log_every=1, save_every=3),
    ScaleConfig(channels=4, layers=2, max_channels=16),
    batch_size=2,
    frames=16,
    adversarial_weight=1.0,
    adversary_from=2,
    decoded_share=0.5,
    codec_frames=32,
)


@pytest.fixture(scope="module")
def finished(data, tiny_bundle, tmp_path_factory):
    """A run, and its last validation."""
    run = tmp_path_factory.mktemp("runs") / "vocoder"
    return run, train_vocoder(CONFIG, data, run, CPU, tiny_bundle.path)


def test_a_resumed_run_has_the_losses_of_an_uninterrupted_one(data, tiny_bundle, finished, tmp_path, monkeypatch):
    run, calls, original = tmp_path / "resumed", [], VocoderTask.batch

    def interrupted(self, rng):
        calls.append(rng)
        if len(calls) == 5:
            raise RuntimeError("power cut")
        return original(self, rng)

    monkeypatch.setattr(VocoderTask, "batch", interrupted)
    with pytest.raises(RuntimeError, match="power cut"):
        train_vocoder(CONFIG, data, run, CPU, tiny_bundle.path)
    monkeypatch.undo()
    assert read_checkpoint(run / "last.pt")["step"] == 3  # one step with the adversary
    # what a new run would begin with does not matter to one that goes on
    numbers = train_vocoder(CONFIG, data, run, CPU, tiny_bundle.path, tmp_path / "not looked at")
    assert numbers == finished[1]
    assert log(run) == log(finished[0])
    one, other = (read_checkpoint(path / "last.pt") for path in (run, finished[0]))
    assert all(torch.equal(one["module"][key], other["module"][key]) for key in other["module"])


def test_the_discriminators_come_in_when_they_should(finished):
    lines = {line["step"]: line for line in log(finished[0]) if "stft" in line}
    for step, line in lines.items():  # a line has the number of steps that are done
        assert {"judged", "features", "judge"} <= set(line) if step > 2 else not {"judged", "judge"} & set(line)
    assert lines[3]["judge"] == pytest.approx(6.0, abs=1.5)  # three scales that know nothing yet


def test_waiting_discriminators_do_not_change(data, tmp_path):
    config = dataclasses.replace(CONFIG, loop=LoopConfig(2, 1e-2, save_every=2), decoded_share=0.0)
    torch.manual_seed(config.loop.seed)
    before = VocoderModule(config).state_dict()
    train_vocoder(config, data, tmp_path, CPU)
    after = read_checkpoint(tmp_path / "last.pt")["module"]
    for key, tensor in before.items():
        assert torch.equal(after[key], tensor) == key.startswith("judge."), key


def test_training_lowers_the_distances(data, tmp_path):
    config = dataclasses.replace(VOCODER, loop=LoopConfig(20, 3e-3, warmup=5, log_every=1, save_every=20))
    train_vocoder(config, data, tmp_path, CPU)
    for key in ("stft", "mel_l1"):
        values = [line[key] for line in log(tmp_path) if key in line]
        assert np.mean(values[-5:]) < 0.8 * np.mean(values[:5])


def test_judges_learn_to_tell_and_generators_to_be_believed(data):
    """Each moves its own loss down while the other stands still."""
    torch.manual_seed(0)
    config = dataclasses.replace(CONFIG, stft_weight=0.0, mel_weight=0.0, feature_weight=0.0, decoded_share=0.0)
    task = VocoderTask(config, data, CPU)
    batch = task.batch(np.random.default_rng(0))
    for name, shown in (("maker", "judged"), ("judge", "judge"), ("maker", "judged")):
        player = task.players[name]
        optimizer = torch.optim.AdamW(player.parameters(), 1e-2, weight_decay=0.0)
        values = []
        for _ in range(12):
            loss, numbers_ = player(batch, 5)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            values.append(numbers_[shown].item())
        assert values[-1] < values[0] - 0.01, (name, values)


def test_mixed_precision_gives_the_same_losses(data):
    torch.manual_seed(0)
    task = VocoderTask(dataclasses.replace(CONFIG, decoded_share=0.0), data, CPU)
    batch = task.batch(np.random.default_rng(0))
    for player in task.players.values():
        exact, _ = player(batch, 5)
        with torch.autocast("cpu", torch.bfloat16):
            mixed, _ = player(dict(batch), 5)
        assert mixed.dtype == torch.float32
        assert mixed.item() == pytest.approx(exact.item(), rel=0.02)


def test_no_player_moves_the_other(data, tiny_bundle):
    task = VocoderTask(CONFIG, data, CPU, tiny_bundle.path)
    batch = task.batch(np.random.default_rng(0))
    loss, _ = task.players["maker"](batch, 5)
    loss.backward()
    assert all(parameter.grad is None for parameter in task.module.judge.parameters())
    assert all(parameter.grad is not None for parameter in task.module.generator.parameters())
    task.module.zero_grad(set_to_none=True)
    loss, _ = task.players["judge"](batch, 5)
    loss.backward()
    assert all(parameter.grad is None for parameter in task.module.generator.parameters())
    assert all(parameter.grad is not None for parameter in task.module.judge.parameters())


def test_the_adversarial_losses_are_the_references():
    golden = numbers("melgan")
    config = VocoderConfig(MelGANConfig(), LoopConfig(1), stft_weight=0, mel_weight=0, adversarial_weight=1)
    with torch.device("meta"):
        module = VocoderModule(config)
        fold_weights(module)
    generator, judge = (
        filled(golden[part]["keys"], golden[part].get("overrides", ())) for part in ("generator", "discriminator")
    )
    module.generator.load_state_dict(plain_weights(generator), assign=True)
    module.judge.load_state_dict(plain_weights(judge), assign=True)
    turns = players(config, module)
    mel, target = made(golden["generator"]["input"]), made(golden["discriminator"]["input"])[:, 0]
    batch = {"mel": mel, "target": target, "target_mel": mel}
    with torch.no_grad():
        loss, shown = turns["maker"](batch, 0)
        judged, _ = turns["judge"](batch, 0)
    assert np.abs(batch["made"].numpy() - arrays("melgan")["generator.wave"]).max() < 1e-5
    losses = golden["losses"]
    assert shown["judged"].item() == pytest.approx(losses["generator_sum_over_scales"], rel=1e-5)
    assert shown["features"].item() == pytest.approx(losses["feature_matching"], rel=1e-5)
    total = losses["generator_sum_over_scales"] + losses["lambda_feat"] * losses["feature_matching"]
    assert loss.item() == pytest.approx(total, rel=1e-5)
    assert judged.item() == pytest.approx(losses["discriminator_hinge_sum_over_scales"], rel=1e-5)


def test_targets_fit_their_spectrograms(data, tiny_bundle):
    for config in (CONFIG, dataclasses.replace(CONFIG, decoded_share=0.0)):
        task = VocoderTask(config, data, CPU, tiny_bundle.path)
        batch = task.batch(np.random.default_rng(1))
        assert batch["target"].shape == (2, 16 * 256)
        assert batch["mel"].shape == batch["target_mel"].shape == (2, 80, 16)
        again = spec.log_mel(batch["target"])[..., 2:14]
        assert torch.allclose(again, batch["target_mel"][..., 2:14], atol=1e-4)
        same = task.batch(np.random.default_rng(1))
        assert all(torch.equal(batch[key], same[key]) for key in batch)


def test_a_share_of_the_spectrograms_is_decoded(data, tiny_bundle):
    config = dataclasses.replace(CONFIG, batch_size=4, decoded_share=0.4)
    task = VocoderTask(config, data, CPU, tiny_bundle.path)
    counts = []
    for seed in range(20):
        batch = task.batch(np.random.default_rng(seed))
        decoded = (batch["mel"] != batch["target_mel"]).flatten(1).any(1)
        counts.append(int(decoded.sum()))
    assert set(counts) == {1, 2}
    assert np.mean(counts) == pytest.approx(1.6, abs=0.3)


def test_what_is_decoded_is_what_the_codec_decodes(data, tiny_bundle):
    config = dataclasses.replace(CONFIG, frames=32, decoded_share=1.0)  # the whole of what the codec sees
    batch = VocoderTask(config, data, CPU, tiny_bundle.path).batch(np.random.default_rng(0))
    autoencoder = Codec(tiny_bundle, device="cpu").autoencoder
    with torch.no_grad():
        decoded = autoencoder.decode(autoencoder.encode(batch["target_mel"][:, None] * 2 - 1))[:, 0]
    assert torch.allclose(batch["mel"], ((decoded + 1) / 2).clamp(0, 1), atol=1e-5)


def test_validation_of_originals_and_decoded_ones(data, tiny_bundle, finished):
    assert set(finished[1]) == {"valid_stft", "valid_mel_l1", "valid_decoded_stft", "valid_decoded_mel_l1"}
    task = VocoderTask(CONFIG, data, CPU, tiny_bundle.path)
    with torch.inference_mode():
        samples = task.samples()
    assert {name: len(tensor) for name, tensor in samples.sounds.items()} == {
        f"valid_0/{kind}": 144 * 256  # 1.5 s, in whole columns
        for kind in ("original", "made", "made_from_decoded")
    }
    assert all(mel.shape[0] == 80 for mel in samples.spectrograms.values())
    original = Pack(data, "valid").waveform(task.valid_sound.clips[0])
    assert torch.equal(samples.sounds["valid_0/original"][: len(original)], original)


def test_a_bundle_is_a_start(data, tiny_bundle):
    task = VocoderTask(dataclasses.replace(CONFIG, decoded_share=0.0), data, CPU, start=tiny_bundle.path)
    mel = torch.rand(1, 80, 20)
    with torch.no_grad():
        expected = Codec(tiny_bundle, device="cpu", vocoder="melgan").vocoder(mel)
        assert torch.allclose(task.module.generator(mel), expected, atol=1e-6)


def test_a_run_is_a_start_with_its_averaged_weights(finished):
    saved = read_checkpoint(finished[0] / "last.pt")
    module = VocoderModule(CONFIG, finished[0])
    last = VocoderModule(CONFIG)
    last.load_state_dict(saved["module"])
    averaged = VocoderModule(CONFIG)
    averaged.load_state_dict(saved["module"] | saved["ema"]["values"])
    mel = torch.rand(1, 80, 20)
    with torch.no_grad():
        made_, plain = module.generator(mel), load_generator(MELGAN, finished[0])(mel)
        assert torch.allclose(made_, averaged.generator(mel), atol=1e-6)
        assert torch.allclose(plain, made_, atol=1e-6)
        assert not torch.allclose(made_, last.generator(mel), atol=1e-4)
    assert load_generator(MELGAN, finished[0]).state_dict().keys() == Generator(MELGAN).state_dict().keys()


def test_folding_weight_normalisation_keeps_the_function():
    torch.manual_seed(0)
    generator = Generator(MELGAN).eval()
    names = generator.state_dict().keys()
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
    assert generator.state_dict().keys() == names


def test_starts_and_codecs_that_are_none(data, tiny_bundle, finished, tmp_path):
    other = dataclasses.replace(MELGAN, channels=(32, 16, 8, 8, 8))
    for start in (tiny_bundle.path, finished[0]):
        with pytest.raises(UsageError, match="of another configuration"):
            load_generator(other, start)
    with pytest.raises(UsageError, match="neither a weight bundle nor a training run"):
        load_generator(MELGAN, tmp_path)
    with pytest.raises(WeightsError, match="is not a weight bundle"):
        VocoderTask(CONFIG, data, CPU, tmp_path)


@pytest.mark.parametrize("settings", [{"num_res_blocks": 10**9}, {"channels": [2**14] * 3}, {"speed": 1}], ids=str)
def test_a_codec_of_hostile_settings_takes_no_memory(tiny_bundle, tmp_path, monkeypatch, settings):
    def make(config):
        assert torch.empty(1).is_meta
        return Autoencoder(config)

    monkeypatch.setattr("specvq_codec.training.vocoder.Autoencoder", make)
    write_bundle(tmp_path, "hostile", tiny_bundle.autoencoder | settings, tiny_bundle.tensors("codebook"))
    with pytest.raises(WeightsError, match=r"settings that|of the wrong shape"):
        load_codec(tmp_path)


def test_the_codec_is_the_bundles(data, tiny_bundle, monkeypatch):
    asked = []
    monkeypatch.setattr("specvq_codec.training.vocoder.locate", lambda source: asked.append(source) or tiny_bundle)
    codec = VocoderTask(CONFIG, data, CPU).codec
    assert asked == [None]  # the default bundle
    assert VocoderTask(dataclasses.replace(CONFIG, decoded_share=0.0), data, CPU).codec is None
    assert codec.config == AUTOENCODER
    assert not codec.training and not any(parameter.requires_grad for parameter in codec.parameters())
    mel = torch.rand(1, 1, 80, 64) * 2 - 1
    expected: Autoencoder = Codec(tiny_bundle, device="cpu").autoencoder
    assert torch.equal(codec.encode(mel), expected.encode(mel))


@pytest.mark.parametrize("wrong", [{"decoded_share": 1.1}, {"codec_frames": 40}, {"frames": 64}])
def test_configurations_that_make_no_sense(wrong):
    with pytest.raises(ValueError, match=r"decoded_share|codec_frames"):
        dataclasses.replace(CONFIG, **wrong)


def test_a_run_does_not_go_on_with_other_recordings(data, tmp_path, change_pack):
    train_vocoder(VOCODER, data, tmp_path / "run", CPU)
    with pytest.raises(UsageError, match="was trained with other recordings"):
        train_vocoder(VOCODER, change_pack(length=88_199), tmp_path / "run", CPU)
    train_vocoder(VOCODER, data, tmp_path / "run", CPU)
    (tmp_path / "run" / "vocoder.json").unlink()  # as of a run that was begun before there were such notes
    train_vocoder(VOCODER, data, tmp_path / "run", CPU)
