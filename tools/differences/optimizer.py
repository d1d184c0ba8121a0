"""Measurements of optimizers and schedules."""

from __future__ import annotations

import inspect
import math

import numpy as np

from backends.paddle.framework import paddle
from backends.torch.framework import torch
from tools.differences import difference
from tools.differences.small import PaddleNet, TorchNet, apart, batches, compare, start, train_paddle, train_torch

SECTION = "Optimizer"
OPTIMIZERS = "optimizer.py ([torch](../backends/torch/optimizer.py), [paddle](../backends/paddle/optimizer.py))"
SPEC = "[core/spec/experiment.py](../core/spec/experiment.py)"


def defaults(optimizer: type, names: list[str]) -> str:
    """Return the default hyperparameters in an optimizer's signature."""
    signature = inspect.signature(optimizer.__init__).parameters
    shown = []
    for name in names:
        if name in signature and signature[name].default is not inspect.Parameter.empty:
            value = signature[name].default
            shown.append(f"{name} {'none' if value is None else value}")
    return ", ".join(shown)


TORCH_NUMBERS = ["lr", "momentum", "betas", "alpha", "rho", "eps", "weight_decay"]
PADDLE_NUMBERS = ["learning_rate", "momentum", "beta1", "beta2", "rho", "epsilon", "weight_decay"]


@difference(
    SECTION,
    "Default hyperparameters",
    effect="""from the signatures:

| | PyTorch | Paddle |
|---|---|---|
| SGD (Paddle: SGD, Momentum) | {torch_SGD} | {paddle_SGD}; Momentum: {paddle_Momentum} |
| Adam | {torch_Adam} | {paddle_Adam} |
| AdamW | {torch_AdamW} | {paddle_AdamW} |
| Adamax | {torch_Adamax} | {paddle_Adamax} |
| RMSprop | {torch_RMSprop} | {paddle_RMSProp} |
| Adagrad | {torch_Adagrad} | {paddle_Adagrad} |
| Adadelta | {torch_Adadelta} | {paddle_Adadelta} |
""",
    ours=f"The spec holds all hyperparameters ({SPEC}, `Adam` and `SGD`); no default of a framework is used.",
    size="Adam's agree; Adamax's, RMSprop's, Adagrad's and Adadelta's do not",
    claim=lambda f: "rho 0.95" in f["paddle_RMSProp"] and "alpha 0.99" in f["torch_RMSprop"],
)
def optimizer_defaults():
    """Compare the default hyperparameters of optimizers that both frameworks have."""
    found = {}
    for name in ("SGD", "Adam", "AdamW", "Adamax", "RMSprop", "Adagrad", "Adadelta"):
        found[f"torch_{name}"] = defaults(getattr(torch.optim, name), TORCH_NUMBERS)
    for name in ("SGD", "Momentum", "Adam", "AdamW", "Adamax", "RMSProp", "Adagrad", "Adadelta"):
        found[f"paddle_{name}"] = defaults(getattr(paddle.optimizer, name), PADDLE_NUMBERS)
    return found


@difference(
    SECTION,
    "AdamW decays all parameters, in both",
    torch="`AdamW` decays every parameter by 0.01 by default, including biases and the padding row.",
    paddle="The same; `apply_decay_param_fun` chooses by name.",
    effect="Default decay, rate 0.01: the losses of the frameworks differ by at most {frameworks:e} over 200 float64"
    " steps, and by {exact:e} over 60 with a decay of 1/128: Paddle rounds the coefficient to float32. Decay of weight"
    " matrices only changes the loss by up to {matrices_only:e}. A padding row of ones, which has no gradient, is"
    " {torch_row:.4f} after 100 steps in PyTorch and {paddle_row:.4f} in Paddle.",
    ours=f"Decoupled decay, never on biases; row 0 is zero and stays zero: `decay` in {OPTIMIZERS}.",
    size="decay of biases: loss differs by {matrices_only:e} in 200 steps",
    claim=lambda f: (
        f["exact"] < 1e-12 < f["frameworks"] < 1e-8
        and f["matrices_only"] > 1e-6
        and abs(f["torch_row"] - 0.9999**100) < 1e-3 > abs(f["paddle_row"] - 0.9999**100)
    ),
)
def adamw_decays_all():
    """Compare AdamW in both frameworks, with decay of matrices only, and on a padding row."""
    data, arrays = batches(200), start()

    def one_run(groups):
        net = TorchNet(arrays=arrays)
        return train_torch(net, torch.optim.AdamW(groups(net), lr=0.01), data)

    everything = one_run(lambda net: net.parameters())
    matrices = one_run(
        lambda net: [
            {"params": [p for p in net.parameters() if p.ndim > 1]},
            {"params": [p for p in net.parameters() if p.ndim == 1], "weight_decay": 0.0},
        ]
    )
    net = PaddleNet(arrays=arrays)
    other = train_paddle(net, paddle.optimizer.AdamW(0.01, parameters=list(net.named().values())), data)
    exact = compare(
        60,
        lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=1 / 128),
        lambda p: paddle.optimizer.AdamW(0.01, parameters=p, weight_decay=1 / 128),
    )

    row = torch.ones(3, 2, requires_grad=True)
    other_row = paddle.create_parameter([3, 2], "float32", default_initializer=paddle.nn.initializer.Constant(1.0))
    adamw, other_adamw = torch.optim.AdamW([row], lr=0.01), paddle.optimizer.AdamW(0.01, parameters=[other_row])
    for _ in range(100):
        torch.nn.functional.embedding(torch.tensor([0, 1]), row, padding_idx=0).sum().backward()
        paddle.nn.functional.embedding(paddle.to_tensor([0, 1]), other_row, padding_idx=0).sum().backward()
        adamw.step(), other_adamw.step()
        adamw.zero_grad(), other_adamw.clear_grad()
    return {
        "frameworks": apart(everything, other),
        "exact": exact,
        "matrices_only": apart(everything, matrices),
        "torch_row": row[0, 0].item(),
        "paddle_row": other_row[0, 0].item(),
    }


@difference(
    SECTION,
    "Adam's bias correction in a checkpoint",
    torch="The state holds `step`, the number of completed steps.",
    paddle="The state holds `beta1_pow_acc` and `beta2_pow_acc`, the powers for the bias correction of the *next* step:"
    " beta^(t + 1) after t steps.",
    effect="After 10 steps, `beta1_pow_acc` is 0.9^{exponent:.3f}. A run is moved from PyTorch to Paddle after 50 steps"
    " and continues for 50. With correct powers, the loss matches that of the uninterrupted run to {right:e}. With"
    " beta^t, one step behind, it differs by up to {behind:.1g}; with initial powers, by {none:.1g}. Missing powers"
    " raise an error ({missing}).",
    ours=f"Checkpoints hold moments and the number of steps; `Adam.load` computes the powers from it: {OPTIMIZERS}.",
    size="moments without the powers: loss off by {none:.1g}",
    claim=lambda f: (
        abs(f["exponent"] - 11) < 1e-3
        and f["right"] < 1e-9
        and f["none"] > 10 * f["behind"] > 1e-5
        and f["missing"] == "AssertionError"
    ),
)
def adam_clock():
    """Measure the exponent of Paddle's beta powers, and the effect of wrong or missing ones."""
    data, arrays = batches(100), start()
    net = TorchNet(arrays=arrays)
    adam = torch.optim.Adam(net.parameters(), lr=0.003)
    train_torch(net, adam, data[:50])
    middle = {name: p.detach().numpy().copy() for name, p in net.named().items()}
    moments = {
        name: [adam.state[p][kind].numpy().copy() for kind in ("exp_avg", "exp_avg_sq")]
        for name, p in net.named().items()
    }
    unbroken = train_torch(net, adam, data[50:])

    def continued(exponent):
        other = PaddleNet(arrays=middle)
        other_adam = paddle.optimizer.Adam(0.003, parameters=list(other.named().values()))
        state = {}
        for name, p in other.named().items():
            for kind, value in enumerate(moments[name], start=1):
                value = value.T if name == "linear.weight" else value
                state[f"{p.name}_moment{kind}_0"] = paddle.to_tensor(np.ascontiguousarray(value))
                if exponent is not None:
                    power = (0.9, 0.999)[kind - 1] ** exponent
                    state[f"{p.name}_beta{kind}_pow_acc_0"] = paddle.to_tensor(np.array([power]))
        other_adam.set_state_dict(state)
        return apart(unbroken, train_paddle(other, other_adam, data[50:]))

    try:
        continued(None)
        missing = "no error"
    except AssertionError as error:
        missing = type(error).__name__
    net = PaddleNet(arrays=arrays)
    adam = paddle.optimizer.Adam(0.003, parameters=list(net.named().values()))
    train_paddle(net, adam, data[:10])
    power = adam.state_dict()[f"{net.linear.weight.name}_beta1_pow_acc_0"].item()
    return {
        "exponent": math.log(power) / math.log(0.9),
        "right": continued(51),
        "behind": continued(50),
        "none": continued(1),
        "missing": missing,
    }


@difference(
    SECTION,
    "Momentum in float64: Paddle rounds the coefficient",
    torch="`SGD(momentum=0.9)` computes with 0.9 in the parameters' precision.",
    paddle="`Momentum(momentum=0.9)` keeps the coefficient in float32, also for float64 parameters.",
    effect="After 60 float64 steps the losses differ by {rounded:e}. With momentum 0.875, which is exact in float32,"
    " by {exact:e}: the definitions agree, including Nesterov momentum ({nesterov:e}).",
    ours=f"An explicit formula in the parameters' precision: `SGD` in {OPTIMIZERS}.",
    size="loss off by {rounded:e} after 60 float64 steps",
    claim=lambda f: f["rounded"] > 1e-9 and f["exact"] < 1e-12 and f["nesterov"] < 1e-12,
)
def momentum_rounding():
    """Compare SGD with a momentum that float32 cannot represent exactly, and with one that it can."""

    def difference_with(momentum, nesterov=False):
        return compare(
            60,
            lambda p: torch.optim.SGD(p, lr=0.1, momentum=momentum, nesterov=nesterov),
            lambda p: paddle.optimizer.Momentum(0.1, momentum=momentum, parameters=p, use_nesterov=nesterov),
        )

    return {
        "rounded": difference_with(0.9),
        "exact": difference_with(0.875),
        "nesterov": difference_with(0.875, nesterov=True),
    }


@difference(
    SECTION,
    "RMSprop's epsilon",
    torch="g / (sqrt(v) + eps)",
    paddle="g / sqrt(v + eps)",
    effect="With the same hyperparameters (1e-3, 0.99, 1e-8) the losses differ by up to {apart:.2g} in 60 float64"
    " steps.",
    ours="The spec has only Adam and SGD.",
    size="loss off by {apart:.1g} in 60 steps",
    claim=lambda f: f["apart"] > 1e-4,
)
def rmsprop_epsilon():
    """Compare RMSprop with the same hyperparameters."""
    return {
        "apart": compare(
            60,
            lambda p: torch.optim.RMSprop(p, lr=1e-3, alpha=0.99, eps=1e-8),
            lambda p: paddle.optimizer.RMSProp(1e-3, rho=0.99, epsilon=1e-8, parameters=p),
        )
    }


@difference(
    SECTION,
    "One-cycle schedule: PyTorch also changes the momentum",
    torch="`OneCycleLR` ends at max / 250,000 and by default cycles Adam's beta1 between 0.95 and 0.85.",
    paddle="`OneCycleLR` ends at 0.0001 for any maximum, and does not change beta1.",
    effect="100 steps with a maximum of 0.01: rates differ by up to {rate:e}; the last is {torch_last:e} against"
    " {paddle_last:e}. beta1 starts at {beta:.2f} in PyTorch instead of 0.9. The losses differ by up to {loss:.2g};"
    " with `cycle_momentum=False` and the same final rate by {loss_same:e}.",
    ours="Core computes the rate of each step ([core/spec/training.py](../core/spec/training.py)); betas are constant.",
    size="loss off by {loss:.1g} in 100 steps",
    claim=lambda f: f["loss"] > 1e-3 and f["loss_same"] < 1e-9 and f["beta"] == 0.95 and f["paddle_last"] >= 1e-4,
)
def one_cycle():
    """Compare the schedules with default settings, and with settings that make them equal."""
    data, arrays, peak = batches(100), start(), 0.01

    def torch_run(**changes):
        net = TorchNet(arrays=arrays)
        adam = torch.optim.Adam(net.parameters(), lr=peak)
        schedule = torch.optim.lr_scheduler.OneCycleLR(adam, peak, total_steps=101, **changes)
        rates, betas = [], []

        def note(_):
            rates.append(adam.param_groups[0]["lr"])
            betas.append(adam.param_groups[0]["betas"][0])

        return train_torch(net, adam, data, clip=note, schedule=schedule), rates, betas

    def paddle_run(**changes):
        net = PaddleNet(arrays=arrays)
        schedule = paddle.optimizer.lr.OneCycleLR(peak, total_steps=101, **changes)
        adam = paddle.optimizer.Adam(schedule, parameters=list(net.named().values()))
        rates = []
        return train_paddle(net, adam, data, clip=lambda _: rates.append(adam.get_lr()), schedule=schedule), rates

    losses, rates, betas = torch_run()
    other, other_rates = paddle_run()
    same, other_same = torch_run(cycle_momentum=False)[0], paddle_run(end_learning_rate=peak / 25 / 1e4)[0]
    return {
        "rate": apart(rates, other_rates),
        "torch_last": rates[-1],
        "paddle_last": float(other_rates[-1]),
        "beta": betas[0],
        "loss": apart(losses, other),
        "loss_same": apart(same, other_same),
    }


@difference(
    SECTION,
    "Parameters that a step does not use",
    torch="`zero_grad()` sets gradients to None: Adam skips the parameter.",
    paddle="`clear_grad()` sets gradients to zero: Adam continues to move the parameter by its momentum."
    " `clear_grad(set_to_zero=False)` sets them to None.",
    effect="A parameter is used only in the first of 20 Adam steps, rate 0.1. It moves by {torch:.3f} in PyTorch and by"
    " {paddle:.3f} in Paddle; by {paddle_none:.3f} with `set_to_zero=False`.",
    ours="Every step uses every trainable parameter, with new gradients: `_backward` in engine.py"
    " ([torch](../backends/torch/engine.py), [paddle](../backends/paddle/engine.py)).",
    size="an unused parameter moves {paddle:.2f} instead of {torch:.2f}",
    claim=lambda f: (
        f["paddle"] > 2 * f["torch"] and abs(f["torch"] - 0.1) < 1e-3 and abs(f["paddle_none"] - f["torch"]) < 1e-6
    ),
)
def unused_parameter():
    """Measure how far a parameter moves that only the first step uses."""
    one, used = torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)
    adam = torch.optim.Adam([one, used], lr=0.1)
    for step in range(20):
        adam.zero_grad()
        (used + one if step == 0 else used).sum().backward()
        adam.step()
    found = {"torch": abs(one.item())}
    for name, to_zero in (("paddle", True), ("paddle_none", False)):
        zero = paddle.nn.initializer.Constant(0.0)
        other, used = (paddle.create_parameter([1], "float32", default_initializer=zero) for _ in range(2))
        adam = paddle.optimizer.Adam(0.1, parameters=[other, used])
        for step in range(20):
            (used + other if step == 0 else used).sum().backward()
            adam.step()
            adam.clear_grad(set_to_zero=to_zero)
        found[name] = abs(other.item())
    return found
