"""Training images are flipped and cropped, by numbers that follow from seed, device and step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import swarm
from swarm.common.errors import ConfigError
from swarm.learning.augmentation.base import Augmentation, Augmentations
from swarm.learning.augmentation.crop import Crop
from swarm.learning.augmentation.flip import Flip
from tests.support import final_rows, prepared, require_same_bits, simulation

DRAW = np.random.default_rng(0)
IMAGES = torch.as_tensor(DRAW.random((50, 3, 5, 7)))
SMALL = ("devices=6", "model=softmax", "train.batch=2", "train.local_steps=2", "partition=iid",
         "topology=ring", "optimizer.lr=0.5", "scenario.arms=[swarm]")  # fmt: skip


@pytest.fixture
def images(tmp_path: Path) -> tuple[str, ...]:
    """The settings of a folder of forty grey images of two classes."""
    for label in ("dark", "light"):
        (tmp_path / "images" / label).mkdir(parents=True)
        for i in range(20):
            pixels = DRAW.integers(0, 256, (6, 5), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / label / f"{i}.png")
    return (*SMALL, "data=image_folder", f"data.path={tmp_path}/images")


def test_a_flip_is_numpys_and_twice_the_identity() -> None:
    u = torch.as_tensor(DRAW.random((50, 1)))
    once = Flip(0.3)(IMAGES, u)
    mirrored = (u[:, 0] < 0.3).numpy()
    assert 0 < mirrored.sum() < 50
    wanted = np.where(mirrored[:, None, None, None], IMAGES.numpy()[..., ::-1], IMAGES.numpy())
    np.testing.assert_array_equal(once.numpy(), wanted)
    assert torch.equal(Flip(0.3)(once, u), IMAGES)


def test_a_crop_is_numpys() -> None:
    u = DRAW.random((50, 2))
    found = Crop(2)(IMAGES, torch.as_tensor(u)).numpy()
    framed = np.pad(IMAGES.numpy(), ((0, 0), (0, 0), (2, 2), (2, 2)))
    corners = np.floor(u * 5).astype(int)
    for image, frame, (y, x) in zip(found, framed, corners, strict=True):
        np.testing.assert_array_equal(image, frame[:, y : y + 5, x : x + 7])
    assert {*corners.ravel().tolist()} == {0, 1, 2, 3, 4}
    still = Crop(2)(IMAGES, torch.full((50, 2), 0.5))
    assert torch.equal(still, IMAGES)


def test_numbers_follow_from_seed_device_and_step() -> None:
    """A device alone, a step alone and a shorter mini-batch give what they give together."""
    chain = Augmentations([Flip(), Crop(1)], seed=3)
    devices, done = np.array([4, 9]), np.array([0, 7])
    x = torch.as_tensor(DRAW.random((2, 3, 4, 1, 5, 5)))
    whole = chain(x, devices, done)
    assert torch.equal(chain(x[1:], devices[1:], done[1:]), whole[1:])
    assert torch.equal(chain(x[:, 1:], devices, done + 1), whole[:, 1:])
    assert torch.equal(chain(x[:, :, :2], devices, done), whole[:, :, :2])
    for other in (
        Augmentations([Flip(), Crop(1)], seed=4)(x, devices, done),
        chain(x, devices + 1, done),
        chain(x, devices, done + 1),
    ):
        assert not torch.equal(other, whole)


def test_shards_and_resume_do_not_change_a_bit(images: tuple[str, ...], tmp_path: Path) -> None:
    words = (*images, "engine.block=1", "augment=[flip,{crop: {padding: 1}}]")
    summary = require_same_bits(tmp_path, *words, rounds=4, cut=2)
    plain = prepared(*images, "engine.block=1", "rounds=4")
    assert not np.array_equal(final_rows(plain), final_rows(prepared(*words, "rounds=4")))
    assert summary["arms"]["swarm"]["diverged"] is None


def test_only_what_is_learnt_from_is_changed(
    images: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each image that is learnt from is, by a number of its own; none that is only predicted."""
    seen: list[float] = []

    def noted(self: Flip, x_nCHW: torch.Tensor, u_nD: torch.Tensor) -> torch.Tensor:
        seen.extend(u_nD.flatten().tolist())
        return x_nCHW

    monkeypatch.setattr(Flip, "__call__", noted)
    with simulation(prepared(*images, "augment=[flip]", "rounds=3")) as running:
        first, *_ = running.records(0)
        assert first.values["accuracy_mean"] is not None
        assert seen == []  # what was evaluated is not changed
        list(running.records(3))
    assert len(seen) == len(set(seen)) == 6 * 3 * 2 * 2  # devices · rounds · steps · batch
    seen.clear()
    with simulation(prepared(*images, "augment=[flip]", "update=frozen", "rounds=1")) as running:
        *_, last = running.records(1)
    assert last.values["prequential_accuracy"] is not None  # they were predicted
    assert seen == []


def test_without_it_the_bits_are_those_of_before(images: tuple[str, ...]) -> None:
    ready = prepared(*images, "rounds=2")
    values = ready.settings.model_dump()
    del values["augment"]  # as configurations of before do not have it
    given = swarm.check(values)
    assert given.settings.augment == []
    assert np.array_equal(final_rows(ready), final_rows(given))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("augment=[flip]", "data=gaussian"), "augment=[flip]: must be [] unless the data are images [channels, height, width]; a sample"),
        (("augment=[crop]",), "augment.padding=4: must be less than 5, the shorter side"),
        (("augment=[{crop: {padding: 0}}]",), "augment.padding=0: must be a whole number of pixels above 0"),
        (("augment=[{flip: {probability: 0}}]",), "augment.probability=0: must be above 0 and at most 1"),
        (("augment=flip",), "augment=flip: must be a list of augmentations; augment=[flip]"),
        (("augment=[spin]",), "augment=spin: no such option; valid options: crop, flip"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused(
    images: tuple[str, ...], words: tuple[str, ...], said: str
) -> None:
    own = images if len(words) == 1 else SMALL
    wide = "augment=[crop]" in words
    with pytest.raises(ConfigError) as refused:
        prepared(*own, *(("data.size=4",) if wide else ()), *words)
    assert said.replace("than 5", "than 4") in str(refused.value) if wide else said in str(refused.value)  # fmt: skip


@pytest.mark.parametrize(
    ("parts", "copies"),
    [([], 1), ([Flip()], 3), ([Crop(4)], 2 + 1.25**2), ([Flip(), Crop(4)], 3 + 1.25**2), ([Crop(4), Flip()], 4)],
)  # fmt: skip
def test_copies_of_images_in_memory(parts: list[Augmentation], copies: float) -> None:
    """As measured: the largest resident set while 100 MB of images were changed."""
    assert Augmentations(parts, 0).copies((3, 32, 32)) == copies
