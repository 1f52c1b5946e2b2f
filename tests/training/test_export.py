"""From runs to a bundle."""

import numpy as np
import pytest
from tiny import sound
from training_cases import CODEBOOK, VOCODER

from specvq_codec import Codec, UsageError
from specvq_codec.training.export import export_bundle


def test_runs_become_a_bundle_that_encodes(data, trained, tmp_path):
    args = ((CODEBOOK, trained / "codebook"), (VOCODER, trained / "vocoder"), data, "Trained for a second.")
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
        codebook, vocoder = (CODEBOOK, tmp_path / "nowhere"), (VOCODER, trained / "vocoder")
        export_bundle(tmp_path / "out", "made", codebook, vocoder, data, "")
    assert not (tmp_path / "out").exists()
