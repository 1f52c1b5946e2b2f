"""Keys and values of the rows that a transformer has seen, so that a new row costs no more than itself."""

from __future__ import annotations

import torch
from torch import Tensor

_ALIGNED = 16  # numbers


class Cache:
    """Memory for a whole window; made by `Transformer.begin`.

    Attributes:
        length: rows that are kept; lowering it forgets the rows after it.
    """

    def __init__(self, shape: tuple[int, int, int, int, int], like: Tensor) -> None:
        """Nothing is kept yet.

        Args:
            shape: layers, sequences, heads, rows, numbers of a head.
            like: of the device and the precision.
        """
        layers, *rest = shape
        self.kept = like.new_zeros(layers, 2, *rest)  # zeros: what is masked must be finite
        self.length = 0

    @property
    def rows(self) -> int:
        """How many rows there is room for."""
        return self.kept.shape[4]

    def extended(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """All keys and values of a layer, the new ones (B, heads, t, depth) put after the first `length` rows.

        Beside them, which of them each new row sees: (t, length + t), or None if there is one, which sees all.
        """
        end = self.length + key.shape[2]
        keys, values = self.kept[layer]
        keys[:, :, self.length : end] = key
        values[:, :, self.length : end] = value
        mask = None
        if key.shape[2] > 1:
            mask = torch.ones(key.shape[2], end, dtype=torch.bool, device=key.device).tril(self.length)
        return keys[:, :, :end], values[:, :, :end], mask


class PlacedRow:
    """One new row of every sequence in a cache, whose place is a tensor: no operation depends on it but in its values.

    Attributes:
        place: int64 (1,), where the row is put; those before it are seen.
    """

    def __init__(self, cache: Cache) -> None:
        self._kept = kept = cache.kept
        self.place = torch.zeros(1, dtype=torch.int64, device=kept.device)
        self._numbers = torch.arange(cache.rows, device=kept.device)
        # What attention adds to its scores, and aligned, so that no layer has to make such a mask of another.
        self._added = kept.new_zeros(1, -(-cache.rows // _ALIGNED) * _ALIGNED)[:, : cache.rows]

    def see(self) -> None:
        """Find out which rows are seen, once for all layers."""
        self._added.zero_().masked_fill_(self._numbers > self.place, -torch.inf)

    def extended(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """All keys and values, the new ones (B, heads, 1, depth) in their place, and a mask to add: (1, rows)."""
        keys, values = self._kept[layer]
        keys.index_copy_(2, self.place, key)
        values.index_copy_(2, self.place, value)
        return keys, values, self._added
