import hashlib
from pathlib import Path

import numpy as np

from minigen.foundations import digits
from minigen.foundations.digits import load_digits
from tools.build import inputs_hash

COUNTS = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]  # of the repository's description
CHECKSUM = "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"  # taken once from scikit-learn's copy


def test_shapes_dtypes_and_range():
    images, labels = load_digits()
    assert images.shape == (1797, 8, 8)
    assert labels.shape == (1797,)
    assert images.dtype == np.float64
    assert labels.dtype.kind == "i"
    assert (images.min(), images.max()) == (0, 16)
    assert (images == images.round()).all()


def test_each_digit_is_there_as_often_as_its_authors_say():
    assert np.bincount(load_digits()[1]).tolist() == COUNTS


def test_every_pixel_and_label_is_the_original():
    images, labels = load_digits()
    found = hashlib.sha256(images.astype(np.uint8).tobytes() + labels.astype(np.uint8).tobytes())
    assert found.hexdigest() == CHECKSUM


def test_an_image_stands_upright():
    # A zero has a hole; its rows are the image's rows, from the top.
    zero = load_digits()[0][0]
    assert zero[0].tolist() == [0, 0, 5, 13, 9, 1, 0, 0]
    assert (zero[2:6, 3:5] <= 2).all()


def test_arrays_are_new_at_each_call():
    images, labels = load_digits()
    images[:], labels[:] = -1, -1
    again, labels_again = load_digits()
    assert again.min() == 0
    assert labels_again.min() == 0


def test_the_file_is_small_and_lies_beside_the_module():
    file = Path(digits.__file__).with_name("digits.npz")
    assert 10_000 < file.stat().st_size < 60_000


def test_the_build_sees_a_change_of_the_file(tmp_path):
    # The book's cache must not outlive the data.
    folder = tmp_path / "minigen" / "foundations"
    folder.mkdir(parents=True)
    (tmp_path / "requirements.txt").write_text("")
    data = folder / "digits.npz"
    data.write_bytes(b"one")
    before = inputs_hash(tmp_path)
    data.write_bytes(b"two")
    assert inputs_hash(tmp_path) != before
