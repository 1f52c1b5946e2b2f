"""Deterministic synthetic weights and inputs for the parity vectors in this folder.

No trained weights are shipped.  Every parameter and buffer of a model under test is
filled from nothing but its *name* (the state-dict key), its *shape* and a *salt*, so
any implementation that uses the same state-dict keys can refill itself and must then
reproduce the recorded outputs.  Only numpy is needed.

The rule
--------
    seed  = crc32(name in UTF-8) XOR salt                      (unsigned 32 bit)
    value = numpy.random.Generator(numpy.random.PCG64(seed)).standard_normal(shape)

`value` is float64; the formulas below are evaluated in float64 and the result is
rounded to float32 once, at the end.  n = prod(shape[1:]) ("fan in").

    kind        applies to (first match wins)                           result
    ----------  ------------------------------------------------------  ------------------
    keep        last name part is one of KEEP_LAST, or the name ends    not filled
                with one of KEEP_TAIL (constant buffers)
    zero        ...num_batches_tracked                                  0 (int64)
    mean        ...running_mean                                         0.1 * value
    var         ...running_var                                          1 + 0.1 * |value|
    wg          ...weight_g    (weight norm gain)                       1 + 0.25 * |value|
    wv          ...weight_v    (weight norm direction)                  1.7 * value / sqrt(n)
    emb         pos_emb, tok_emb.weight, ...embedding.weight, and       0.5 * value
                ...embedder.weight when it is 2-D (a class embedding)
    weight      any other tensor with two or more dimensions            value / sqrt(n)
    norm        1-D ...weight                                           1 + 0.1 * value
    bias        1-D ...bias                                             0.1 * value

`overrides` is an ordered list of [regex, kind, factor].  The first regex that
`re.search` finds in the name replaces the table above for that name:

    kind "weight": factor * value / sqrt(n)          kind "emb":  factor * value
    kind "abs":    factor * |value| / sqrt(n)        kind "bias": factor * value
    kind "wg":     factor * (1 + 0.25 * |value|)      kind "keep": not filled

Overrides of kind "weight" and "abs" pass over tensors with fewer than two dimensions.
Each case records the overrides it was produced with.
"""

import math
import re
import zlib

import numpy as np

KEEP_LAST = ("mask", "forward_shuffle_idx", "backward_shuffle_idx")
KEEP_TAIL = ("scaling_layer.shift", "scaling_layer.scale")


def seed_of(name, salt=0):
    return (zlib.crc32(name.encode("utf-8")) ^ salt) & 0xFFFFFFFF


def gauss(name, shape, salt=0):
    """The raw float64 standard normal draw that belongs to a name."""
    return np.random.Generator(np.random.PCG64(seed_of(name, salt))).standard_normal(tuple(shape))


def kind_of(name, ndim, overrides=()):
    """Kind and factor of a tensor."""
    for pattern, kind, factor in overrides:
        if re.search(pattern, name) and (ndim >= 2 or kind not in ("weight", "abs")):
            return kind, factor
    last = name.rsplit(".", 1)[-1]
    if last in KEEP_LAST or name.endswith(KEEP_TAIL):
        return "keep", None
    if last == "num_batches_tracked":
        return "zero", None
    if last == "running_mean":
        return "bias", 0.1
    if last == "running_var":
        return "var", 0.1
    if last == "weight_g":
        return "wg", 1.0
    if last == "weight_v":
        return "weight", 1.7
    if (
        last == "pos_emb"
        or name.endswith(("tok_emb.weight", "embedding.weight"))
        or (name.endswith("embedder.weight") and ndim == 2)
    ):
        return "emb", 0.5
    if ndim >= 2:
        return "weight", 1.0
    if ndim == 1 and last == "weight":
        return "norm", 0.1
    if ndim == 1 and last == "bias":
        return "bias", 0.1
    raise KeyError(f"no fill rule for {name!r} with {ndim} dimensions")


def fill(name, shape, salt=0, overrides=()):
    """The float32 array for one tensor; None where the tensor is to be left alone."""
    shape = tuple(int(s) for s in shape)
    kind, factor = kind_of(name, len(shape), overrides)
    if kind == "keep":
        return None
    if kind == "zero":
        return np.zeros(shape, np.int64)
    value = gauss(name, shape, salt)
    if kind == "weight":
        value = factor * value / math.sqrt(math.prod(shape[1:]))
    elif kind == "abs":
        value = factor * np.abs(value) / math.sqrt(math.prod(shape[1:]))
    elif kind in ("emb", "bias"):
        value = factor * value
    elif kind == "norm":
        value = 1.0 + factor * value
    elif kind == "wg":
        value = factor * (1.0 + 0.25 * np.abs(value))
    elif kind == "var":
        value = 1.0 + factor * np.abs(value)
    else:
        raise KeyError(f"unknown fill kind {kind!r}")
    return value.astype(np.float32)


def fill_all(shapes, salt=0, overrides=()):
    """{key: shape} -> {key: array}, without the keys that are to be left alone."""
    out = {}
    for name, shape in shapes.items():
        array = fill(name, shape, salt, overrides)
        if array is not None:
            out[name] = array
    return out


# ---------------------------------------------------------------------------- inputs


def normal(name, shape, salt=0, scale=1.0, shift=0.0):
    """Plain gaussian input, float32."""
    return (shift + scale * gauss(name, shape, salt)).astype(np.float32)


def integers(name, shape, high, salt=0):
    """Integers in [0, high): floor(high * frac(1000 * value))."""
    value = 1000.0 * gauss(name, shape, salt)
    return np.minimum(np.floor((value - np.floor(value)) * high), high - 1).astype(np.int64)


def spectrogram(name, bands, frames, salt=0, block=8):
    """Spectrogram-like input in [-1, 1], float32 (bands, frames): a coarse pattern
    (one draw per block x block tile) plus fine noise, clipped."""
    rows, cols = -(-bands // block), -(-frames // block)
    coarse = gauss(name + ":coarse", (rows, cols), salt)
    coarse = np.repeat(np.repeat(coarse, block, 0), block, 1)[:bands, :frames]
    fine = gauss(name + ":fine", (bands, frames), salt)
    return np.clip(0.6 * coarse + 0.3 * fine, -1.0, 1.0).astype(np.float32)


def waveform(name, samples, rate=22050, salt=0, chirps=6):
    """Sum of linear chirps plus a little white noise, peak 0.9, float32.

    For chirp i the draws u = gauss(name + ':chirp', (chirps, 4)) give, through
    c(x) = 0.5 + 0.5 * clip(x / 3, -1, 1):
        start frequency  60 + 7000 * c(u0)**2 Hz      end frequency  60 + 7000 * c(u1)**2 Hz
        amplitude        0.1 + c(u2)                  phase          2 pi c(u3)
    and the noise is 0.02 * gauss(name + ':noise').  A raised-cosine tremolo of 3 Hz
    with floor 0.05 is applied to the sum, so that quiet frames occur."""
    t = np.arange(samples) / rate
    length = samples / rate
    u = 0.5 + 0.5 * np.clip(gauss(name + ":chirp", (chirps, 4), salt) / 3.0, -1.0, 1.0)
    y = np.zeros(samples)
    for c0, c1, c2, c3 in u:
        f0, f1 = 60.0 + 7000.0 * c0**2, 60.0 + 7000.0 * c1**2
        y += (0.1 + c2) * np.sin(2 * np.pi * (c3 + f0 * t + 0.5 * (f1 - f0) / length * t * t))
    y *= 0.05 + 0.95 * (0.5 - 0.5 * np.cos(2 * np.pi * 3.0 * t))
    y += 0.02 * gauss(name + ":noise", (samples,), salt)
    return (0.9 * y / np.abs(y).max()).astype(np.float32)


# ------------------------------------------------------------------------- self-check (fill_check.json)


def checksum(array):
    """crc32 of the C-contiguous bytes."""
    return zlib.crc32(np.ascontiguousarray(array).tobytes())
