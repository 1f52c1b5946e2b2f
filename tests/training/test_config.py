import tomllib

import pytest

from specvq_codec import UsageError
from specvq_codec.models.melception import MelceptionConfig
from specvq_codec.models.vggishish import VGGishConfig
from specvq_codec.training.classifier import ClassifierConfig
from specvq_codec.training.codebook import CodebookConfig
from specvq_codec.training.config import CONFIGS, fill, load_config
from specvq_codec.training.prior import PriorTraining
from specvq_codec.training.sampler import SamplerConfig
from specvq_codec.training.vocoder import VocoderConfig


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.stem)
def test_the_configurations_of_the_package_load(path):
    kinds = {
        "classifier": ClassifierConfig,
        "codebook": CodebookConfig,
        "prior": PriorTraining,
        "sampler": SamplerConfig,
        "vocoder": VocoderConfig,
    }
    kind = kinds[path.stem.partition("-")[0]]
    assert load_config(kind, path.stem) == load_config(kind, str(path))


def test_nested_tables_lists_and_whole_numbers_fill_the_dataclasses(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text("commitment = 1\n[model]\nchannels = [32, 64]\npatch = 8\nattention_levels = []\n[loop]\nsteps = 7")
    config = load_config(CodebookConfig, str(path))
    assert config.model.channels == (32, 64)
    assert config.model.attention_levels == ()
    assert (config.loop.steps, config.loop.seed, config.commitment) == (7, 0, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("speed = 1\n[model]\n[loop]\nsteps = 1", "unknown setting speed; known are model, loop"),
        ("[model]\nwidth = 1\n[loop]\nsteps = 1", "model: unknown setting width"),
        ("[model]\n[loop]\nseed = 1", "loop: .*steps"),
        ("[loop]\nsteps = 1", "model"),
        ("[model]\n[loop]\nsteps = 'many'", "loop: steps must be of type int, and 'many' is not"),
        ("[model]\n[loop]\nsteps = true", "loop: steps must be of type int"),
        ("[model]\n[loop]\nsteps = 1\nbetas = [0.9]", "loop: betas must be of type tuple"),
        ("[model]\nchannels = [1.5]\n[loop]\nsteps = 1", "model: channels must be of type tuple"),
        ("model = 3\n[loop]\nsteps = 1", "model must be of type AutoencoderConfig, and 3 is not"),
        ("[model]\nchannels = [32]\n[loop]\nsteps = 1", "model: patch and levels must shrink"),
        (
            "[model]\n[loop]\nsteps = 1\nprecision = 'half'",
            "precision must be one of float32, bfloat16, and",
        ),
        ("[model", "is not valid TOML"),
        ("[model]\n[loop]\nsteps = 0", "loop: steps must be at least 1, not 0"),
        ("[model]\n[loop]\nsteps = 1\nsave_every = 0", "save_every must be at least 1"),
        ("[model]\n[loop]\nsteps = 1\nlearning_rate = -1.0", "learning_rate must be a number above 0, not -1.0"),
        ("[model]\n[loop]\nsteps = 1\ngrad_clip = 0.0", "grad_clip must be above 0"),
        ("[model]\n[loop]\nsteps = 1\nseed = -1", "seed must be a number from 0 up, not -1"),
        ("[model]\n[loop]\nsteps = 1\nweight_decay = nan", "weight_decay must be a number from 0 up, not nan"),
        ("[model]\n[loop]\nsteps = 1\nbetas = [1.0, 0.9]", "betas and ema must be from 0 to below 1"),
        ("batch_size = 0\n[model]\n[loop]\nsteps = 1", "batch_size must be at least 1, not 0"),
        ("model = " + "[" * 5000 + "]" * 5000, "is not valid TOML"),
    ],
)
def test_mistakes_are_named(tmp_path, text, message):
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=rf"wrong\.toml.*{message}"):
        load_config(CodebookConfig, str(path))


@pytest.mark.parametrize(
    ("table", "model"),
    [
        ("hidden = 7", VGGishConfig(hidden=7)),
        ("kind = 'vggish'\nhidden = 7", VGGishConfig(hidden=7)),
        ("kind = 'melception'\nwidth = 0.5", MelceptionConfig(width=0.5)),
    ],
    ids=["the first kind", "vggish", "melception"],
)
def test_a_table_can_be_of_several_kinds(tmp_path, table, model):
    path = tmp_path / "a.toml"
    path.write_text(f"[model]\n{table}\n[loop]\nsteps = 7")
    assert load_config(ClassifierConfig, str(path)).model == model


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("kind = 'clap'", "kind must be one of vggish, melception, and 'clap' is not"),
        ("kind = 'melception'\nhidden = 7", "model: unknown setting hidden"),
        ("width = 0.5", "model: unknown setting width"),
        ("kind = ['vggish']", r"kind must be one of vggish, melception, and \['vggish'\] is not"),
    ],
)
def test_mistakes_about_kinds_are_named(tmp_path, table, message):
    path = tmp_path / "a.toml"
    path.write_text(f"[model]\n{table}\n[loop]\nsteps = 7")
    with pytest.raises(UsageError, match=message):
        load_config(ClassifierConfig, str(path))


ADVERSARY = "objective.adversarial = 1.0\n"


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        *((CodebookConfig, f"frames = {frames}", "frames must be a multiple of 16") for frames in (100, 8, 0, -16)),
        (CodebookConfig, "decay = 1.5", "decay must be from 0 to below 1"),
        (CodebookConfig, "decay = -1.0", "decay must be from 0 to below 1"),
        *(
            (CodebookConfig, f"dead_below = {share}", "dead_below must be above 0 and below 1")
            for share in (100.0, 0.0)
        ),
        (CodebookConfig, "commitment = -1.0", "commitment must be a number from 0 up"),
        (CodebookConfig, "commitment = nan", "commitment must be a number from 0 up"),
        (CodebookConfig, "objective.adaptive = [2, 1]", "adaptive must be two numbers from 0 up"),
        (CodebookConfig, "objective.perceptual = nan", "perceptual must be a number from 0 up"),
        (CodebookConfig, "objective.adversarial = -0.1", "adversarial must be a number from 0 up"),
        (CodebookConfig, "judge.channels = 0", "channels and layers must be positive"),
        (CodebookConfig, "judge.layers = 0", "channels and layers must be positive"),
        (CodebookConfig, ADVERSARY + "judge.layers = 9", "a judge of 9 layers needs 1536 mels and frames"),
        (CodebookConfig, ADVERSARY + "frames = 16", "a judge of 3 layers needs 24 mels and frames"),
        *((CodebookConfig, f"model.codebook_size = {size}", "codebook_size at least 2") for size in (1, 0, -3)),
        (CodebookConfig, "model.linear_path = true\nmodel.embed_dim = 257", "embed_dim is at most 256"),
        (CodebookConfig, "model.channels = [20, 20, 20, 20, 20]", "channels must be multiples of 32"),
        (CodebookConfig, "model.channels = [0, 32, 32, 32, 32]", "channels must be multiples of 32"),
        (CodebookConfig, "model.channels = []\nmodel.patch = 32", "channels must be multiples of 32"),
        (CodebookConfig, "model.z_channels = 0", "sizes must be positive"),
        (CodebookConfig, "model.num_res_blocks = 0", "sizes must be positive"),
        (CodebookConfig, "model.attention_levels = [-1]", "attention_levels name a resolution that does not exist"),
        *((VocoderConfig, f"frames = {frames}", f"frames must be above 4, not {frames}") for frames in (0, 1, 4)),
        *((VocoderConfig, f"model.ratios = [8, 8, 2, {ratio}]", "ratios at least 2") for ratio in (0, 1)),
        (VocoderConfig, "model.ratios = [8, 8, 2, 3]", "the product of ratios 256"),
        (VocoderConfig, "model.num_mels = 64", "num_mels must be 80"),
        (VocoderConfig, "model.channels = [64, 32, 16, 8, 0]", "sizes must be positive"),
        *(
            (VocoderConfig, f"{name}_weight = {value}", f"{name}_weight must be a number from 0 up")
            for name in ("mel", "stft", "adversarial", "feature")
            for value in ("-1.0", "nan", "inf")
        ),
        (CodebookConfig, "loop.learning_rate = inf", "learning_rate must be a number above 0"),
        (VocoderConfig, "judge.channels = 0", "sizes must be positive"),
        (VocoderConfig, "judge.factor = 3", "432 channels cannot become 1024 in groups of four"),
        (VocoderConfig, "adversarial_weight = 1.0\nframes = 16\njudge.scales = 12", "12 scales need more"),
        *(
            (ClassifierConfig, f"{name} = -1.0", f"{name} must be a number from 0 up")
            for name in ("mixup", "gain", "balance")
        ),
        *((ClassifierConfig, f"model.pooled = [{size}, 2]", "sizes must be positive") for size in (0, -1)),
        (ClassifierConfig, "model.channels = [4, 4, 0, 4, 4]", "sizes must be positive"),
        (ClassifierConfig, "model.hidden = 0", "sizes must be positive"),
        (ClassifierConfig, f"frames = 256\nmodel.channels = {[4] * 8}\nmodel.convs = {[1] * 8}", "to 7 resolutions"),
        (ClassifierConfig, "model.channels = []\nmodel.convs = []", "same resolutions"),
        (PriorTraining, "columns = 0", "columns must be at least 1"),
        *(
            (kind, f"loop.seed = {seed}", "seed must be below 2")
            for kind in (CodebookConfig, VocoderConfig, ClassifierConfig, PriorTraining, SamplerConfig)
            for seed in (99_999_999_999_999, 2**32)
        ),
    ],
)
def test_settings_without_a_meaning_are_named(kind, text, message):
    with pytest.raises(UsageError, match=message):
        fill(kind, {"model": {}} | tomllib.loads(f"loop.steps = 1\n{text}"), "a.toml")


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (CodebookConfig, "frames = 16\ndecay = 0.0\ndead_below = 0.01\ncommitment = 0.0\nloop.seed = 4294967295"),
        (CodebookConfig, ADVERSARY + "frames = 48\njudge.layers = 4\nobjective.adaptive = [0, inf]"),
        (CodebookConfig, "model.linear_path = true\nmodel.embed_dim = 256\nmodel.attention_levels = [0]"),
        (VocoderConfig, "frames = 5"),
        (VocoderConfig, "adversarial_weight = 1.0\njudge.scales = 12"),
        (ClassifierConfig, f"model.channels = {[4] * 7}\nmodel.convs = {[1] * 7}\nmodel.pooled = [1, 1]"),
    ],
)
def test_settings_at_the_edge_are_taken(kind, text):
    fill(kind, {"model": {}} | tomllib.loads(f"loop.steps = 1\n{text}"), "a.toml")


@pytest.mark.parametrize("name", ["nothing", "nothing.toml", "a/b", "."])
def test_a_configuration_that_is_not_there_lists_those_that_are(name):
    with pytest.raises(UsageError, match="one of: classifier-default, "):
        load_config(CodebookConfig, name)
