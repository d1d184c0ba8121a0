"""Execution of a layer that the user wrote, as the witness of a conversion."""

from __future__ import annotations

import numpy as np

from backends import user_forward
from backends.paddle.framework import paddle
from core.errors import UserError


def owns(model: object) -> bool:
    """Return whether `model` is a layer of this framework."""
    return isinstance(model, paddle.nn.Layer)


def load_module(model: paddle.nn.Layer, arrays: dict[str, np.ndarray], where: str) -> None:
    """Load `arrays` into `model` in their dtype, with no missing or unexpected name. Raises UserError."""
    dtype = np.result_type(*arrays.values()).name
    own = model.state_dict()
    wrong = [name for name in arrays if name in own and not str(own[name].dtype).endswith(dtype)]
    if wrong:  # `Layer.to(dtype)` breaks recurrent layers in Paddle 3.3
        got = str(own[wrong[0]].dtype).rpartition(".")[2]
        raise UserError(
            f"{where}: {wrong[0]} is {got} in the class and {dtype} in the file: add"
            f' paddle.set_default_dtype("{dtype}") at the top of the class\'s file'
        )
    # Paddle lists a recurrent array under two names; a file may have one of them.
    loaded = {id(own[name]) for name in arrays if name in own}
    own = {name: tensor for name, tensor in own.items() if name in arrays or id(tensor) not in loaded}
    user_forward.check_names({name: tensor.is_floating_point() for name, tensor in own.items()}, arrays, where)
    user_forward.check_shapes({name: tuple(tensor.shape) for name, tensor in own.items()}, arrays, where)
    for name, array in arrays.items():
        own[name].set_value(np.array(array))


def module_logits(model: paddle.nn.Layer, ids: np.ndarray, lengths: np.ndarray, where: str) -> tuple[np.ndarray, str]:
    """Return the logits of `model` in evaluation mode, and the call that computed them. Raises UserError.

    `ids` [B, L], `lengths` [B]. The call is `forward(ids, lengths)`, or `forward(ids)` if the former does not work.
    """
    model.eval()
    tensors = paddle.to_tensor(ids), paddle.to_tensor(lengths)
    with paddle.no_grad():
        output, call = user_forward.first_call(model, model.forward, tensors, where)
    tensor = user_forward.logits_of(output, paddle.Tensor)
    if tensor is None:
        raise UserError(f"{where}: {call} returned {type(output).__name__}, expected a tensor or a tuple of tensors")
    return tensor.detach().numpy(), call
