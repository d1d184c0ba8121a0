"""Values of the models of the cases: random ones, and the conversion that a user writes by hand."""

from collections.abc import Callable

import numpy as np
import paddle
import torch


def randomize_torch(model: torch.nn.Module, rng: np.random.Generator) -> None:
    """Draw all parameters and running statistics anew; the embedding of a padding id stays zero."""
    padding = [own for own in model.modules() if isinstance(own, torch.nn.Embedding) and own.padding_idx is not None]
    with torch.no_grad():
        for name, values in [*model.named_parameters(), *model.named_buffers()]:
            if values.is_floating_point():
                values.copy_(torch.from_numpy(_drawn(name, tuple(values.shape), rng)))
        for own in padding:
            own.weight[own.padding_idx] = 0.0


def randomize_paddle(model: paddle.nn.Layer, rng: np.random.Generator) -> None:
    """Draw all parameters and running statistics anew."""
    for name, values in [*model.named_parameters(), *model.named_buffers()]:
        if values.is_floating_point():
            values.set_value(_drawn(name, tuple(values.shape), rng).astype(values.numpy().dtype))


def _drawn(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    if name.endswith(("running_var", "_variance", "weight_g", "original0")):
        return rng.uniform(0.5, 2.0, shape)
    return rng.normal(0.1, 0.5, shape)


def convert(
    torch_model: torch.nn.Module,
    paddle_model: paddle.nn.Layer,
    rename: Callable[[str], str] = str,
    change: Callable[[str, np.ndarray], np.ndarray] | None = None,
) -> None:
    """Copy the weights by hand, as a user does.

    `rename` turns the name of a parameter in Paddle into PyTorch's. `change` spoils values: it gets the name in
    PyTorch, and the values in Paddle's layout.
    """
    source = {name: own.detach().numpy() for name, own in torch_model.state_dict().items()}
    linear = {name for name, own in paddle_model.named_sublayers() if isinstance(own, paddle.nn.Linear)}
    for name, own in [*paddle_model.named_parameters(), *paddle_model.named_buffers()]:
        if own.dtype == paddle.uint8:
            continue  # `_dropout_state` of recurrent layers
        place, _, role = name.rpartition(".")
        for own_name, other in (("._mean", ".running_mean"), ("._variance", ".running_var"), ("._weight", ".weight")):
            name = name.replace(own_name, other)
        wanted = rename(name)
        values = source[wanted].T if place in linear and role == "weight" else source[wanted]
        values = change(wanted, values) if change else values
        own.set_value(values.reshape(tuple(own.shape)).astype(own.numpy().dtype))
