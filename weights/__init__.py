"""Weight bundles: finding, verifying, loading and writing them; needs neither the networks nor torch.

A bundle is a folder: `config.json`, `codebook.safetensors`, and if the bundle has them `vocoder.safetensors`,
`entropy.safetensors`, `sampler.safetensors`, `prior.safetensors` (integers) and `features.safetensors` (a ResNet-50).
Nothing in it is ever executed. Tensors are float32 or float16, and those of a sampler may be int8 with a scale for each
row (`stored.py`).
"""

from .bundle import Bundle, add_features, add_prior, add_sampler, check_name, load_bundle, write_bundle
from .places import bundle_for, find_bundles, locate

__all__ = [
    "Bundle",
    "add_features",
    "add_prior",
    "add_sampler",
    "bundle_for",
    "check_name",
    "find_bundles",
    "load_bundle",
    "locate",
    "write_bundle",
]
