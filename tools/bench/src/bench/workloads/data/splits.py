"""Train, validation and test parts that are shown not to overlap, and noise that is shown to stay in training."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


class LeakError(ValueError):
    """Something of validation or test is in training, or the other way round."""


@dataclass(frozen=True)
class Split:
    """Row numbers of three parts.

    Raises:
        LeakError: two parts share a row.
    """

    train: Ints
    validation: Ints
    test: Ints

    def __post_init__(self) -> None:
        """Refuses overlapping parts."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        names = list(parts)
        for i, one in enumerate(names):
            for other in names[i + 1 :]:
                shared = np.intersect1d(parts[one], parts[other])
                if len(shared):
                    raise LeakError(f"{one} and {other} must not overlap, they share rows {shared[:5].tolist()}")


def refuse_equal_rows(split: Split, rows: NDArray[np.generic]) -> None:
    """Refuses a split where an identical row lies in training and in another part.

    Raises:
        LeakError: it does.
    """
    flat = np.ascontiguousarray(rows.reshape(len(rows), -1))
    train = {row.tobytes() for row in flat[split.train]}
    for name, part in (("validation", split.validation), ("test", split.test)):
        twins = [int(index) for index in part if flat[index].tobytes() in train]
        if twins:
            raise LeakError(f"{name} rows {twins[:5]} have identical twins in train; drop duplicates before splitting")


def stratified(labels: Ints, validation: int, test: int, seed: int) -> Split:
    """Splits so that every class has its share; ``validation`` and ``test`` are rows per class."""
    generator = np.random.Generator(np.random.PCG64(seed))
    parts: tuple[list[Ints], list[Ints], list[Ints]] = ([], [], [])
    for label in np.unique(labels):
        rows = generator.permutation(np.flatnonzero(labels == label))
        for part, chunk in zip(parts, np.split(rows, [len(rows) - validation - test, len(rows) - test]), strict=True):
            part.append(chunk)
    train, val, tst = (np.sort(np.concatenate(part)) for part in parts)
    return Split(train, val, tst)


def symmetric_noise(labels: Ints, split: Split, share: float, classes: int, seed: int) -> Ints:
    """Replaces ``share`` of the training labels by another class, uniformly."""
    generator = np.random.Generator(np.random.PCG64([seed, 1]))
    noisy = labels.copy()
    chosen = split.train[generator.random(len(split.train)) < share]
    noisy[chosen] = (labels[chosen] + generator.integers(1, classes, size=len(chosen))) % classes
    return refuse_noise_outside_training(noisy, labels, split)


def asymmetric_noise(labels: Ints, split: Split, share: float, pairs: dict[int, int], seed: int) -> Ints:
    """Turns ``share`` of the training labels of each class in ``pairs`` into the class it is mistaken for."""
    generator = np.random.Generator(np.random.PCG64([seed, 2]))
    noisy = labels.copy()
    hit = split.train[generator.random(len(split.train)) < share]
    for source, target in pairs.items():
        noisy[hit[labels[hit] == source]] = target
    return refuse_noise_outside_training(noisy, labels, split)


def refuse_noise_outside_training(noisy: Ints, clean: Ints, split: Split) -> Ints:
    """Hands ``noisy`` back if validation and test labels are the clean ones.

    Raises:
        LeakError: they are not.
    """
    for name, part in (("validation", split.validation), ("test", split.test)):
        changed = part[noisy[part] != clean[part]]
        if len(changed):
            raise LeakError(f"noise must stay in training, {name} rows {changed[:5].tolist()} were changed")
    return noisy
