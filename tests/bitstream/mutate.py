"""Reads many mutated files in a process of its own, and prints as JSON what happened.

    python mutate.py COUNT SEED

Every file is read strictly, leniently, and without weights. An exception that is no SpecVQError ends the process with
its traceback and the file's bytes. A process of its own gives a peak of memory that nothing else has raised.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
from bitstream_cases import FINGERPRINT, GOLDEN, draw_indices, forge, make_case, skewed_model
from prior_cases import random_prior

from specvq_codec.bitstream import Coding, CodingModel, Header, Prior, SpecVQError, inspect, read, read_lenient, write
from specvq_codec.bitstream.varint import encode_varint

Sample = tuple[bytes, CodingModel]


def originals() -> list[Sample]:
    """Good files of all codings with one block and several, mostly small ones, so that mutations hit everything."""
    samples: list[Sample] = []
    for codebook_size, columns, concentration in [(1024, 54, 0.3), (100, 9, 0.3), (2, 300, 0.02), (3, 530, 0.02)]:
        case = make_case(codebook_size, columns, concentration=concentration)
        for entropy in ("fixed", "static"):
            data = write(case.indices, case.sample_rate, case.num_samples, FINGERPRINT, case.model, entropy)
            samples.append((data, case.model))
    tensors = random_prior(8, width=4, layers=1, hidden=4, output=3)
    model = CodingModel(8, skewed_model(8).static, Prior(tensors))
    for columns in (3, 20, 300):
        indices = draw_indices(model, columns)
        samples.append((write(indices, 22050, columns * 4096, FINGERPRINT, model, "learned"), model))
    case = make_case(5, 3)
    for rate in (8000, 11127):
        samples.append((write(case.indices, rate, 3 * 4096 * rate // 22050, FINGERPRINT, case.model), case.model))
    return samples


def flip(data: bytearray, random: Random, _: list[Sample]) -> None:
    for _flips in range(random.choice([1, 1, 2, 8, 64])):
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)


def cut(data: bytearray, random: Random, _: list[Sample]) -> None:
    first = random.randrange(len(data))
    del data[first : random.choice([first + 1, random.randint(first, len(data)), len(data)])]


def splice(data: bytearray, random: Random, samples: list[Sample]) -> None:
    other = random.choice(samples)[0]
    first, end = sorted(random.choices(range(len(other)), k=2))
    place = random.randrange(len(data))
    data[place : random.choice([place, random.randint(place, len(data))])] = other[first:end]


def randomise(data: bytearray, random: Random, _: list[Sample]) -> None:
    kept = random.choice([0, 3, 4, 8, 11])
    data[kept:] = random.randbytes(random.randrange(200))


def claim_lengths(data: bytearray, random: Random, _: list[Sample]) -> None:
    """Put integers that claim much, or that are malformed, where the header and the lengths are."""
    claim = random.choice([encode_varint(random.getrandbits(random.randint(1, 42))), b"\xff" * random.randint(1, 12)])
    place = random.choice([8, 8, 10, 11, 12, random.randrange(len(data))])
    data[place : place + random.choice([0, 1, len(claim)])] = claim


def forge_checks(data: bytearray, random: Random, _: list[Sample]) -> None:
    """A file whose header and checks fit, and whose payloads are anything."""
    rate = random.choice([22050, 8000, 1000, 768_000])
    coding = random.choice(list(Coding))
    # a prior takes its time, also for bytes that no encoder writes
    num_samples = random.choice([1, 10] if coding == Coding.LEARNED else [1, 10, 60, 90, 300]) * rate
    header = Header(coding, FINGERPRINT[:4], rate, num_samples)
    payloads = [random.randbytes(random.choice([0, 1, 20, random.randrange(200)])) for _ in range(header.blocks)]
    data[:] = forge(header, payloads[: random.randint(1, len(payloads))])


MUTATIONS: list[Callable[[bytearray, Random, list[Sample]], None]] = [
    flip,
    cut,
    splice,
    randomise,
    claim_lengths,
    forge_checks,
]


def large_files(random: Random) -> list[Sample]:
    """A few files as long as the format allows, whose claims are true but whose bytes are not all good."""
    model = skewed_model(2, concentration=0.02)
    header = Header(Coding.STATIC, FINGERPRINT[:4], 768_000, 90_000 * 768_000)
    grid = np.resize(draw_indices(model, 5000), (header.columns, 5))
    day = write(grid, 768_000, header.num_samples, FINGERPRINT, model, "static")
    forged = forge(header, [b""] * header.blocks)
    broken = bytearray(day[: len(day) // 8])
    for _ in range(40):
        flip(broken, random, [])
    golden = [(path.read_bytes(), model) for path in sorted(Path(GOLDEN).glob("*.svq"))]
    return [(day, model), (forged, model), (bytes(broken), model), (forged[:-1], model), *golden]


def peak_memory() -> int:
    """The most memory that this process has had, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # not getrusage, whose peak includes the parent's before exec
        return next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def try_readers(data: bytes, model: CodingModel, outcomes: Counter[str]) -> None:
    """Read a file in all ways; only a SpecVQError may come out, or a result of the right shape."""
    readers: dict[str, Callable[[], object]] = {
        "strict": lambda: read(data, model, FINGERPRINT)[1],
        "strict, any weights": lambda: read(data, model, None)[1],
        "lenient": lambda: read_lenient(data, model, None)[1],
        "inspect": lambda: inspect(data),
    }
    for name, reader in readers.items():
        try:
            result = reader()
        except SpecVQError as error:
            assert str(error).endswith("."), f"not a sentence: {error}"
            outcomes[f"{name}: {type(error).__name__}"] += 1
            continue
        outcomes[f"{name}: read"] += 1
        if isinstance(result, np.ndarray):
            columns = Header.parse(data)[0].columns
            assert result.shape == (columns, 5) and result.min() >= 0 and result.max() < model.codebook_size


def main(count: int, seed: int) -> None:
    random = Random(seed)
    samples = originals()
    outcomes: Counter[str] = Counter()
    for data, model in samples:
        try_readers(data, model, outcomes)
    assert set(outcomes) == {"strict: read", "strict, any weights: read", "lenient: read", "inspect: read"}
    outcomes.clear()
    before = peak_memory()
    large = large_files(random)
    slowest = 0.0
    for number in range(count):
        if number < len(large):
            mutated, model = large[number]
        else:
            original, model = samples[number % len(samples)]
            data = bytearray(original)
            for _ in range(random.choice([1, 1, 2])):
                random.choice(MUTATIONS)(data, random, samples)
                if not data:
                    break
            mutated = bytes(data)
        started = time.perf_counter()
        try:
            try_readers(mutated, model, outcomes)
        except BaseException:
            print(f"file {number} of seed {seed}: {mutated[:2000].hex()}", file=sys.stderr)
            raise
        slowest = max(slowest, time.perf_counter() - started)
    print(json.dumps({"extra_memory": peak_memory() - before, "slowest": slowest, "outcomes": outcomes}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
