"""The file of labels: what was written is read, and a torn end is cut off."""

import numpy as np
import pytest

from openmm_reparam.surrogates.golf.buffer import Label, LabelFile

DESCRIPTION = {"seed": 1, "sizes": [1, 2]}


def labels(rng):
    positions = rng.standard_normal((4, 3))
    return [
        Label("first", 0, positions, -1.5, rng.standard_normal((4, 3))),
        Label("later", 3, positions, message="RuntimeError: no convergence"),
        Label("check", 7, positions[:2], 1e5 / 3, positions[2:]),
    ]


def same(one, other):
    return all(
        np.array_equal(a, b, equal_nan=isinstance(a, float))
        for a, b in zip(vars(one).values(), vars(other).values(), strict=True)
    )


@pytest.fixture
def written(tmp_path, rng):
    path = tmp_path / "labels"
    with LabelFile(path, DESCRIPTION) as file:
        for label in labels(rng):
            file.append(label)
    return path


def test_labels_are_read_bit_by_bit(written):
    expected = labels(np.random.default_rng(5))
    with LabelFile(written, DESCRIPTION) as file:
        assert len(file.labels) == 3
        assert all(map(same, file.labels, expected))
        assert [label.failed for label in file.labels] == [False, True, False]


def test_every_torn_end_is_cut_off(written):
    whole = written.read_bytes()
    expected = labels(np.random.default_rng(5))
    ends = []
    for size in range(0, len(whole), 37):
        written.write_bytes(whole[:size])
        with LabelFile(written, DESCRIPTION) as file:
            kept = len(file.labels)
            assert all(map(same, file.labels, expected[:kept]))
            file.append(expected[2])
        with LabelFile(written, DESCRIPTION) as file:
            assert len(file.labels) == kept + 1
        ends.append(kept)
    assert ends == sorted(ends)
    assert set(ends) == {0, 1, 2}


@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 0.99])
def test_a_damaged_file_is_refused_and_stays(written, share):
    whole = bytearray(written.read_bytes())
    whole[max(8, int(share * len(whole)))] ^= 255
    written.write_bytes(bytes(whole))
    with pytest.raises(ValueError, match="damaged at byte"):
        LabelFile(written, DESCRIPTION)
    assert written.read_bytes() == bytes(whole)


def test_two_trainings_do_not_write_to_one_file(written):
    pytest.importorskip("fcntl")
    with LabelFile(written, DESCRIPTION), pytest.raises(ValueError, match="another training"):
        LabelFile(written, DESCRIPTION)
    LabelFile(written, DESCRIPTION).close()


def test_labels_of_another_training_are_refused(written):
    with pytest.raises(ValueError, match="another training .seed 1, not 2.:"):
        LabelFile(written, DESCRIPTION | {"seed": 2})


def test_only_what_differs_is_named(tmp_path):
    path = tmp_path / "labels"
    LabelFile(path, {"seed": 1, "network": {"features": 8, "rank": 4}, "labels": 5}).close()
    with pytest.raises(ValueError, match=r"training \(network: features 8, not 9, labels 5, not 6"):
        LabelFile(path, {"seed": 1, "network": {"features": 9, "rank": 4}, "labels": 6})


def test_another_file_is_refused(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("not labels at all")
    with pytest.raises(ValueError, match="not a file of labels"):
        LabelFile(path, DESCRIPTION)
    assert path.read_text() == "not labels at all"
