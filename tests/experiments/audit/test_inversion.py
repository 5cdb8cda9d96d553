"""Gradient inversion: a step on one sample gives it away exactly, a search finds several, and noise
stops both."""

from __future__ import annotations

import pytest
import torch

from benchmarks.inversion import CLIPPED, LR, experiment, inverted
from swarm.experiments.audit.inversion import exact_input, gradient_of, psnr
from swarm.experiments.audit.swarms import first_messages

NOISE = (*CLIPPED, "privacy.noise_multiplier=1")


@pytest.mark.parametrize("protection", [(), (*CLIPPED, "privacy.noise_multiplier=0")])
def test_one_sample_is_in_the_message_exactly(protection: tuple[str, ...]) -> None:
    """Clipping scales the gradient, which takes nothing away."""
    e = experiment("digits", 1, *protection, "compute.dtype=float64")
    start_NP, sent_NP = first_messages(e)
    for device in range(len(sent_NP)):
        gradient_P = gradient_of(start_NP[device], sent_NP[device], LR)
        weight, bias = list(e.model.layout.views(gradient_P[None]).values())[:2]
        true = torch.as_tensor(e.data.dataset.x[e.data.split.of(device)[0]])
        torch.testing.assert_close(exact_input(weight[0], bias[0]).float(), true, atol=1e-6, rtol=0)


def test_two_samples_are_found_and_noise_hides_them() -> None:
    true, found = inverted(experiment("digits", 2), 150)
    true_too, hidden = inverted(experiment("digits", 2, *NOISE), 150)
    assert torch.equal(true, true_too)
    assert psnr(true, found)[1] > 20
    assert psnr(true, hidden)[1] < 12


def test_images_are_compared_with_those_that_they_are_like() -> None:
    images = torch.rand(3, 4, 4, dtype=torch.float64)
    ordered, ratio = psnr(images, images.flip(0) + 0.1)
    assert torch.equal(ordered, images + 0.1)
    assert ratio == pytest.approx(20.0)
