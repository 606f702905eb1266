"""What is shown of a picture."""

from __future__ import annotations

import torch
from torch.testing import assert_close

from gradloop.drawing.figures import draw_page
from gradloop.reports.input_pages import Caption, as_seen, flat_map, maps_page


def test_normalisation_is_undone() -> None:
    original = torch.rand(2, 3, 5, 5)
    mean, std = [0.5, 0.4, 0.3], [0.2, 0.25, 0.3]
    normalised = (original - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    assert_close(as_seen(normalised, {"mean": mean, "std": std}), original)
    assert torch.equal(as_seen(original, {}), original)


def test_what_is_neither_normalised_nor_from_0_to_1_is_stretched() -> None:
    shown = as_seen(torch.randn(4, 1, 6, 6) * 10, {})
    assert shown.flatten(1).amin(1).eq(0).all()
    assert_close(shown.flatten(1).amax(1), torch.ones(4))


def test_maps_keep_their_sign_and_their_strongest_place() -> None:
    attribution = torch.zeros(1, 3, 20, 20)
    attribution[0, 1, 4, 5], attribution[0, 0, 9, 9] = 3, -2
    signed = flat_map("occlusion", attribution)
    assert signed.shape == (1, 20, 20)
    assert signed[0].argmax() == 4 * 20 + 5
    assert signed[0].argmin() == 9 * 20 + 9
    assert signed.abs().max() <= 1
    assert flat_map("saliency", torch.zeros(1, 3, 20, 20)).isfinite().all()


def test_a_page_of_one_picture() -> None:
    maps = {name: torch.randn(1, 3, 4, 4) for name in ("saliency", "integrated gradients", "occlusion")}
    page = draw_page(maps_page, "title", torch.rand(1, 3, 4, 4), [Caption("고양이 $x$", True)], maps, "note")
    assert page.startswith(b"\x89PNG")
