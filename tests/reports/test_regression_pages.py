"""The loss surface is the loss, and its lowest point is found."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gradloop.drawing.figures import draw_page, new_figure
from gradloop.reports.regression_pages import best_line, loss_surface, path_page, predicted_page

X = torch.linspace(0, 4, 20)[:, None]


def trimmed(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    errors = (outputs - targets).abs()
    return errors[errors < errors.quantile(0.9)].mean()


@pytest.mark.parametrize("loss", [nn.MSELoss(), nn.L1Loss(), nn.HuberLoss(), trimmed])
def test_the_surface_is_the_loss_of_each_line(loss: nn.Module) -> None:
    torch.manual_seed(0)
    y = 2 * X + torch.rand_like(X)
    weights, biases = torch.linspace(-1, 3, 7), torch.linspace(0, 1, 5)
    surface = loss_surface(loss, X, y, weights, biases)
    assert surface.shape == (5, 7)
    for row, column in ((0, 0), (3, 6), (4, 2)):
        assert torch.isclose(surface[row, column], loss(weights[column] * X + biases[row], y))


@pytest.mark.parametrize("loss", [nn.MSELoss(), nn.L1Loss(), nn.HuberLoss()])
def test_the_lowest_point_of_a_line_without_noise_is_the_line(loss: nn.Module) -> None:
    assert best_line(loss, X, 3 * X - 1) == pytest.approx((3, -1), abs=1e-3)


def test_the_lowest_point_is_the_least_squares_line() -> None:
    torch.manual_seed(1)
    y = 2 * X + torch.rand_like(X)
    w, b = best_line(nn.MSELoss(), X, y)
    low = nn.MSELoss()(w * X + b, y)
    for dw, db in ((0.01, 0), (-0.01, 0), (0, 0.01), (0, -0.01)):
        assert nn.MSELoss()((w + dw) * X + b + db, y) > low


def test_pages_are_pictures() -> None:
    history = [{"epoch": k + 1, "weight": 0.1 * k, "bias": 0.5} for k in range(5)]
    y = 2 * X
    for page in (
        draw_page(path_page, "title", nn.MSELoss(), (X, y), history),
        draw_page(path_page, "one epoch", nn.MSELoss(), (X, y), history[:1]),
        draw_page(predicted_page, "title", X[:, 0], y[:, 0]),
    ):
        assert page.startswith(b"\x89PNG")


def test_the_path_of_one_epoch_is_a_point_at_it() -> None:
    figure = new_figure(9, 5)
    path_page(figure, "one epoch", nn.MSELoss(), (X, 2 * X), [{"weight": 1.0, "bias": 0.5, "epoch": 1}])
    right = figure.axes[1]
    assert right.get_lines()[0].get_marker() == "o"
    low, high = right.get_xlim()
    assert [tick for tick in right.get_xticks() if low <= tick <= high] == [1]
