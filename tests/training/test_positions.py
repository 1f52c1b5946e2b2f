"""Rows of the same time attend to each other from the beginning."""

import pytest
import torch

from specvq_codec.conditions import frame_indices
from specvq_codec.models.transformer import Condition, Transformer, TransformerConfig
from specvq_codec.training.positions import begin_in_time


def attention(network):
    """What the first layer's rows attend to, averaged over heads and samples: (rows, rows), for random sequences."""
    config = network.config
    features = torch.randn(2, config.feature_frames, config.feature_depth)
    classes = torch.zeros(2, dtype=torch.int64) if config.num_classes else None
    seen = []
    block = network.blocks[0]
    handle = block.ln1.register_forward_hook(lambda *parts: seen.append(parts[2]))
    with torch.no_grad():
        network(torch.randint(config.codebook_size, (2, config.window)), Condition(features, classes))
        handle.remove()
        q, k = (layer(seen[0]).unflatten(2, (config.n_head, -1)) for layer in (block.attn.query, block.attn.key))
        logits = torch.einsum("bqhd,bkhd->bhqk", q, k) / q.shape[3] ** 0.5
    allowed = torch.ones(logits.shape[-2:], dtype=torch.bool).tril()
    return logits.masked_fill(~allowed, -torch.inf).softmax(-1).mean((0, 1))


@pytest.fixture(params=[(212, 0), (212, 3), (5, 0), (1, 0)], ids=str)
def network(request):
    frames, classes = request.param
    torch.manual_seed(0)
    return Transformer(
        TransformerConfig(n_layer=1, n_head=4, n_embd=128, feature_frames=frames, feature_depth=4, num_classes=classes)
    ).eval()


def share_of_near_features(network):
    """The share of the attention of indices that goes to features within 0.2 s, a mean over indices with such."""
    config = network.config
    given = attention(network)[config.condition_length :, : config.feature_frames]
    seen = (1 + torch.from_numpy(frame_indices(212, config.feature_frames))) / 21.5  # seconds
    heard = ((torch.arange(53) + 0.5) * 4096 / 22_050).repeat_interleave(5)
    near = (heard[:, None] - seen).abs() < 0.2
    return float((given * near).sum(1)[near.any(1)].mean())


def test_indices_attend_to_features_of_their_time(network):
    before = share_of_near_features(network)
    begin_in_time(network)
    after = share_of_near_features(network)
    assert after > 3 * before
    if network.config.feature_frames == 212:
        assert after > 0.25 > 0.05 > before


def test_a_class_has_no_time(network):
    config = network.config
    rows = slice(config.feature_frames, config.condition_length)
    before = network.pos_emb[0, rows].clone()
    begin_in_time(network)
    assert torch.equal(network.pos_emb[0, rows], before)


def test_rows_of_the_grid_differ_in_the_same_way_at_all_times(network):
    begin_in_time(network)
    indices = network.pos_emb.detach()[0, network.config.condition_length :].unflatten(0, (53, 5))
    assert torch.equal(indices[0, :, 64:], indices[52, :, 64:])
    assert torch.equal(indices[:, 0, :64], indices[:, 4, :64])
    assert (indices[0, 0, 64:] - indices[0, 1, 64:]).abs().max() > 0.1
    assert (indices[0, 0, :64] - indices[1, 0, :64]).abs().max() > 0.1
