import numpy as np
import pytest
from bench.workloads.data import diamonds, mnist5k, plays
from bench.workloads.data.splits import (
    LeakError,
    Split,
    asymmetric_noise,
    refuse_equal_rows,
    refuse_noise_outside_training,
    stratified,
    symmetric_noise,
)

LABELS = np.repeat(np.arange(10), 40)
SPLIT = stratified(LABELS, validation=5, test=8, seed=0)


def test_overlapping_parts_are_refused():
    with pytest.raises(LeakError, match="train and test must not overlap"):
        Split(np.array([0, 1, 2]), np.array([3]), np.array([2, 4]))
    with pytest.raises(LeakError, match="validation and test"):
        Split(np.array([0]), np.array([1]), np.array([1]))


def test_an_identical_row_in_training_and_test_is_refused():
    rows = np.arange(12).reshape(6, 2)
    rows[5] = rows[0]
    with pytest.raises(LeakError, match="test rows"):
        refuse_equal_rows(Split(np.array([0, 1]), np.array([2, 3]), np.array([4, 5])), rows)


def test_noise_that_reaches_the_test_labels_is_refused():
    noisy = LABELS.copy()
    noisy[SPLIT.test[0]] += 1
    with pytest.raises(LeakError, match="noise must stay in training, test rows"):
        refuse_noise_outside_training(noisy, LABELS, SPLIT)


def test_symmetric_noise_changes_its_share_of_training_labels_only():
    noisy = symmetric_noise(LABELS, SPLIT, share=0.4, classes=10, seed=3)
    assert np.mean(noisy[SPLIT.train] != LABELS[SPLIT.train]) == pytest.approx(0.4, abs=0.1)
    held_out = np.concatenate([SPLIT.validation, SPLIT.test])
    assert (noisy[held_out] == LABELS[held_out]).all()
    assert not np.array_equal(noisy, symmetric_noise(LABELS, SPLIT, share=0.4, classes=10, seed=4))


def test_asymmetric_noise_makes_only_the_named_mistakes():
    pairs = {7: 1, 2: 7, 5: 6, 6: 5, 3: 8}
    noisy = asymmetric_noise(LABELS, SPLIT, share=0.4, pairs=pairs, seed=0)
    changed = np.flatnonzero(noisy != LABELS)
    assert len(changed) > 20
    assert all(pairs[LABELS[i]] == noisy[i] for i in changed)


def test_every_class_has_its_share():
    assert (np.bincount(LABELS[SPLIT.validation]) == 5).all()
    assert (np.bincount(LABELS[SPLIT.test]) == 8).all()
    assert len(SPLIT.train) + len(SPLIT.validation) + len(SPLIT.test) == len(LABELS)


def test_the_real_data_is_split_without_overlap():
    images, labels, split = mnist5k.load()
    refuse_equal_rows(split, images)
    assert (np.bincount(labels[split.test]) == 100).all()
    features, price, split = diamonds.load()
    refuse_equal_rows(split, np.column_stack([features, price]))
    assert len(price) == 53_794


def test_a_play_in_two_parts_is_refused():
    with pytest.raises(LeakError, match="a play must be in one part only"):
        plays.refuse_shared_plays({"train": ["a", "b"], "test": ["b"]})
    assert {plays.part_of(play) for play in plays.CHECKSUMS} == {"train", "validation", "test"}


def test_every_genre_is_in_every_part_and_no_play_in_two():
    parts = plays.by_genre()
    for part in ("train", "validation", "test"):
        assert {genre for genre, _ in parts[part]} == set(plays.GENRES)
    texts = [text for part in parts.values() for _, text in part]
    assert len(set(texts)) == len(texts)


def test_standardisation_looks_at_training_rows_only():
    features, _, split = diamonds.load()
    assert features[split.train, :6].mean(axis=0) == pytest.approx(np.zeros(6), abs=1e-3)
    assert abs(features[split.test, :6].mean(axis=0)).max() > 1e-3
