"""The tutorial's SimpleNN: a multilayer perceptron."""

from collections.abc import Sequence
from math import prod

from torch import nn

from gradloop.data.knobs import check

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
}


class SimpleNN(nn.Sequential):
    """`y = W₂ a(W₁ x + b₁) + b₂`, with one pair of Linear and activation for every entry of `hidden_dims`.

    input_shape: shape of one sample; anything but a vector is flattened, [B, C, H, W] -> [B, C*H*W].
    num_outputs: logits (classification) or values (regression) a sample: the result is [B, num_outputs].
    hidden_dims: units of each hidden layer; an empty list leaves one Linear.
    activation: relu | leaky_relu | sigmoid | tanh | gelu, after each hidden layer.
    dropout: probability of zeroing a hidden unit in training.
    """

    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        num_outputs: int,
        hidden_dims: Sequence[int],
        activation: str,
        dropout: float,
    ) -> None:
        check("model", "SimpleNN", hidden_dims=list(hidden_dims), activation=activation, dropout=dropout)
        layers: list[nn.Module] = [] if len(input_shape) == 1 else [nn.Flatten(1)]
        units = prod(input_shape)
        for hidden in hidden_dims:
            layers += [nn.Linear(units, hidden), ACTIVATIONS[activation]()]
            if dropout:
                layers.append(nn.Dropout(dropout))
            units = hidden
        super().__init__(*layers, nn.Linear(units, num_outputs))
