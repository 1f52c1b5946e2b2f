"""Weight bundles: finding, verifying, loading and writing them; needs neither the networks nor torch.

A bundle is a folder: `config.json`, `codebook.safetensors`, and if the bundle has them `vocoder.safetensors` and
`entropy.safetensors`. Nothing in it is ever executed.
"""

from .bundle import Bundle, load_bundle, write_bundle
from .places import bundle_for, find_bundles, locate

__all__ = ["Bundle", "bundle_for", "find_bundles", "load_bundle", "locate", "write_bundle"]
