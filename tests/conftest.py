"""Shared by all tests. That this file is here puts `tests/` on the import path, where `parity.py` and `tiny.py` lie."""

import pytest
from sampler_cases import add_tiny_sampler
from tiny import write_tiny_bundle

from specvq_codec import Codec
from specvq_codec.weights import Bundle


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory) -> Bundle:
    """A bundle of tiny random networks, called tiny, in a folder of that name. Nobody may change it."""
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture(scope="session")
def other_bundle(tmp_path_factory) -> Bundle:
    """Another one, with other random numbers."""
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "other", seed=1)


@pytest.fixture(scope="session")
def sampler_bundle(tmp_path_factory) -> Bundle:
    """The tiny bundle, of the same fingerprint, with a sampler that takes no condition. Nobody may change it."""
    return add_tiny_sampler(write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "sampling"))


@pytest.fixture(scope="session")
def codec(tiny_bundle) -> Codec:
    return Codec(tiny_bundle, device="cpu")
