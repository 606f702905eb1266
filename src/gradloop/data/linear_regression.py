"""The tutorial's line with noise."""

from typing import Any

import torch

from gradloop.data.batches import Split
from gradloop.data.data_module import DataModule
from gradloop.data.knobs import check


class LinearRegression(DataModule):
    """`y = slope · x + intercept + U(0, noise)` at `points` evenly spaced x in [0, x_max].

    With the defaults x = 0, 1, 2, 3, 4 and y = 2x + U(0, 1), so the best fit has an intercept near ½.
    Inputs and targets are float32 [N, 1]. Validation and test hold `held_out_points` fresh draws each, at x
    uniform in the same range and with their own noise: five points are too few to give any away.
    batch_size: null takes all points in one batch (full-batch gradient descent).
    """

    task = "regression"
    input_shape = (1,)
    num_outputs = 1
    input_names = ("x",)
    seeded_rows = False  # it has a random_state

    def __init__(
        self,
        *,
        slope: float,
        intercept: float,
        noise: float,
        points: int,
        x_max: float,
        held_out_points: int,
        random_state: int,
        batch_size: int | None,
        **knobs: Any,
    ) -> None:
        super().__init__(batch_size=points if batch_size is None else batch_size, **knobs)
        self.slope, self.intercept, self.random_state = slope, intercept, random_state
        self.points, self.held_out_points, self.noise, self.x_max = points, held_out_points, noise, x_max
        check("data", "LinearRegression", points=points, held_out_points=held_out_points, noise=noise, x_max=x_max)

    def load(self) -> dict[str, Split]:
        generator = torch.Generator().manual_seed(self.random_state)

        def line(x: torch.Tensor) -> Split:
            noise = self.noise * torch.rand(len(x), 1, generator=generator)
            return Split(x, self.slope * x + self.intercept + noise)

        def anywhere() -> torch.Tensor:
            return self.x_max * torch.rand(self.held_out_points, 1, generator=generator)

        grid = torch.linspace(0, self.x_max, self.points).unsqueeze(1)
        return {"train": line(grid), "val": line(anywhere()), "test": line(anywhere())}
