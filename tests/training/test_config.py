import pytest

from specvq_codec import UsageError
from specvq_codec.models.melception import MelceptionConfig
from specvq_codec.models.vggishish import VGGishConfig
from specvq_codec.training.classifier import ClassifierConfig
from specvq_codec.training.codebook import CodebookConfig
from specvq_codec.training.config import CONFIGS, load_config
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
    path.write_text("commitment = 1\n[model]\nchannels = [9, 9]\npatch = 8\nattention_levels = []\n[loop]\nsteps = 7")
    config = load_config(CodebookConfig, str(path))
    assert config.model.channels == (9, 9)
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
        ("[model]\n[loop]\nsteps = 1\nlearning_rate = -1.0", "learning_rate must be above 0, not -1.0"),
        ("[model]\n[loop]\nsteps = 1\ngrad_clip = 0.0", "grad_clip must be above 0"),
        ("[model]\n[loop]\nsteps = 1\nseed = -1", "seed must not be negative, as -1 is"),
        ("[model]\n[loop]\nsteps = 1\nweight_decay = nan", "weight_decay must not be negative, as nan is"),
        ("[model]\n[loop]\nsteps = 1\nbetas = [1.0, 0.9]", "betas and ema must be from 0 to below 1"),
        ("batch_size = 0\n[model]\n[loop]\nsteps = 1", "batch_size must be at least 1, not 0"),
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
    ],
)
def test_mistakes_about_kinds_are_named(tmp_path, table, message):
    path = tmp_path / "a.toml"
    path.write_text(f"[model]\n{table}\n[loop]\nsteps = 7")
    with pytest.raises(UsageError, match=message):
        load_config(ClassifierConfig, str(path))


@pytest.mark.parametrize("name", ["nothing", "nothing.toml", "a/b", "."])
def test_a_configuration_that_is_not_there_lists_those_that_are(name):
    with pytest.raises(UsageError, match="one of: classifier-default, "):
        load_config(CodebookConfig, name)
