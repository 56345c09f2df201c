import hashlib
import math
import re

import numpy as np
import pytest
import torch

from augment.base.errors import AugmentError
from augment.quality import detection, inception
from augment.quality.detection import PersonDetector, person_score
from augment.quality.inception import InceptionClassifier, inception_score
from augment.quality.weights import load_weights


class Published:
    url = "file:///no/such/folder/weights-00000000.pth"


def test_inception_score_of_sure_and_different_answers_is_the_number_of_classes():
    assert inception_score(np.tile(np.eye(4), (5, 1)), splits=1) == pytest.approx(4)
    assert inception_score(np.tile(np.eye(4), (5, 1)), splits=5) == pytest.approx(4)


def test_inception_score_of_equal_answers_is_one():
    assert inception_score(np.tile([[0.7, 0.2, 0.1]], (20, 1))) == pytest.approx(1)


def test_inception_score_by_hand():
    # Marginal (1/2, 1/2); each row's KL is .9 ln(.9 / .5) + .1 ln(.1 / .5).
    probabilities = np.array([[0.9, 0.1], [0.1, 0.9]])
    expected = math.exp(0.9 * math.log(1.8) + 0.1 * math.log(0.2))
    assert inception_score(probabilities, splits=1) == pytest.approx(expected)


def test_inception_score_depends_on_the_order_of_images():
    pure, mixed = np.array([[1, 0], [1, 0], [0, 1], [0, 1]]), np.array([[1, 0], [0, 1], [1, 0], [0, 1]])
    assert inception_score(pure, splits=2) == pytest.approx(1)
    assert inception_score(mixed, splits=2) == pytest.approx(2)


def test_inception_score_splits_as_the_released_code_does():
    # 5 images in 2 parts: 2 and 3. Part one is uniform over 2 classes (score 2), part two constant (score 1).
    probabilities = np.array([[1, 0], [0, 1], [1, 0], [1, 0], [1, 0]])
    assert inception_score(probabilities, splits=2) == pytest.approx(1.5)
    with pytest.raises(ValueError, match="5 images cannot be split into 10 parts"):
        inception_score(probabilities)


def test_person_score_is_the_best_person_box_or_zero():
    labels, scores = torch.tensor([3, 1, 1]), torch.tensor([0.9, 0.25, 0.5])
    assert person_score({"labels": labels, "scores": scores}) == 0.5
    assert person_score({"labels": labels[:1], "scores": scores[:1]}) == 0
    assert person_score({"labels": labels[:0], "scores": scores[:0]}) == 0


@pytest.mark.parametrize("network", [InceptionClassifier, PersonDetector])
def test_missing_weights_name_the_file_and_the_source(network, tmp_path):
    with pytest.raises(AugmentError, match=r"quality\.\w+_weights: .*gone\.pth does not exist.*https://download"):
        network(torch.device("cpu"), tmp_path / "gone.pth")


def test_failed_download_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(AugmentError, match=r"cannot be downloaded .* give the file as quality\.x, or switch the score"):
        load_weights(Published, None, "quality.x")


def test_a_file_that_is_no_weights_is_refused(tmp_path):
    (tmp_path / "w.pth").write_bytes(b"not weights")
    with pytest.raises(AugmentError, match=r"quality\.x: .*w\.pth holds no weights"):
        load_weights(Published, tmp_path / "w.pth", "quality.x")


@pytest.mark.parametrize("judge", [detection, inception])
def test_weights_are_identified_by_content_or_by_the_address_that_states_a_hash(judge, tmp_path):
    file = tmp_path / "w.pth"
    file.write_bytes(b"some weights")
    assert judge.weights_identity(file) == hashlib.sha256(b"some weights").hexdigest()
    assert re.fullmatch(r"https://download\.pytorch\.org/models/\w+-[0-9a-f]{8}\.pth", judge.weights_identity(None))
    with pytest.raises(AugmentError, match=r"quality\.\w+_weights: .*gone\.pth does not exist"):
        judge.weights_identity(tmp_path / "gone.pth")
