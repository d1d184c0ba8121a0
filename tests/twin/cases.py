"""Cases of the comparison of two models: pairs, planted faults, and what must be found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """A pair of models with one fault, or with none if `place` is ""."""

    pair: str
    """Module of `tests.twin.pairs`, with the classes if they are not the first: `mlp:TorchModel,PaddleTree`."""
    fault: str = ""
    place: str = ""
    """Expected `Cause.place`; several that are right alike are separated by `|`."""
    path: str = ""
    """Expected path of the module, in either model; between two modules that of the later one, `*` for any."""
    rung: int = 1
    setting: str = ""
    """Expected `Cause.setting`; several that are right alike are separated by `|`."""
    mode: str = "evaluation"
    """Mode that shows the fault first."""
    side: str = "paddle"
    """Framework whose model has the fault."""
    conversion: str = ""
    """Fault of the user's own conversion of weights (`tests.twin.conversions`)."""
    steps: int = 0
    optimizer: str = ""
    """Pair of optimizers of `tests.twin.optimizers`, for training steps."""
    warned: str = ""
    """Part of a warning that is expected."""
    options: tuple[tuple[str, float], ...] = ()
    """Further arguments of both models."""

    @property
    def name(self) -> str:
        """Return a name that is unique among the cases."""
        steps = f"steps_{self.optimizer}" if self.optimizer else ""
        parts = (self.pair, self.fault, self.conversion, steps, *(key for key, _ in self.options))
        return "-".join(part for part in parts if part)


FORWARD = (
    Case("bilstm", "no_lengths", "inside|between", "lstm", setting="lengths"),
    Case("bilstm", "no_mask", "between", "dropout"),
    Case("bilstm", "softmax_axis", "between", "dropout"),
    Case("bilstm", "activation", "between", "score"),
    Case("bilstm", "mode", "inside", "dropout", setting="scale_at"),
    Case("bilstm", "sorted", "between", "lstm", side="torch"),
    Case("textcnn", "padding", "inside", "convs.1", setting="padding"),
    Case("textcnn", "dilation", "inside", "convs.1", setting="dilation"),
    Case("textcnn", "stride", "inside", "convs.1", setting="stride"),
    Case("textcnn", "activation", "between", "dropout"),
    Case("textcnn", "no_activation", "between", "dropout"),
    Case("textcnn", "mean", "between", "dropout"),
    Case("textcnn", "concat", "between", "dropout"),
    Case("textcnn", "order", "order|between", "convs.0|convs.1|dropout"),
    Case("encdec", "batch_axis", "inside", "encoder", setting="batch_first", side="torch"),
    Case("encdec", "state", "between", "decoder"),
    Case("encdec", "first_state", "between", "decoder"),
    Case("encdec", "shift", "between", "target_embed"),
    Case("encdec", "scale", "between", "combine"),
    Case("encdec", "mask", "between", "combine"),
    Case("encdec", "concat", "between", "combine"),
    Case("transformer", "epsilon", "inside", "layers.0.norm1", setting="epsilon"),
    Case("transformer", "activation", "between", "layers.0.dropout"),
    Case(
        "transformer", "norm_first", "order|between", "layers.0.self_attn|layers.0.norm1|layers.0", setting="norm_first"
    ),
    Case("transformer", "heads", "inside", "layers.0.self_attn", setting="heads"),
    Case("transformer", "scale", "between", "layers.0.self_attn"),
    Case("transformer", "positions", "between", "layers.0.self_attn"),
    Case("transformer", "no_positions", "between", "layers.0.self_attn"),
    Case("transformer", "no_mask", "inside|between", "layers.0.self_attn"),
    Case("transformer", "mean", "between", "classify"),
    Case("transformer:TorchHand,PaddleHand", "epsilon", "inside", "blocks.1.norm2", setting="epsilon"),
    Case("transformer:TorchHand,PaddleHand", "approximate", "inside", "blocks.1.act", setting="approximate"),
    Case("transformer:TorchHand,PaddleHand", "head_first", "between", "blocks.1.proj"),
    Case("transformer:TorchHand,PaddleHand", "scale", "between", "blocks.1.proj"),
    Case("transformer:TorchHand,PaddleHand", "not_causal", "between", "blocks.1.proj"),
    Case("transformer:TorchHand,PaddleHand", "no_residual", "between", "blocks.1.norm2"),
    Case("convnet", "epsilon", "inside", "bn1", setting="epsilon"),
    Case("convnet", "ceil_mode", "inside", "pool", setting="ceil_mode"),
    Case("convnet", "padding_mode", "inside", "conv2", setting="padding_mode"),
    Case("convnet", "slope", "inside", "act", setting="slope"),
    Case("convnet", "align_corners", "inside", "up", setting="align_corners"),
    Case("convnet", "count_padding", "inside", "average", setting="count_padding"),
    Case("convnet", "no_activation", "between", "pool"),
    Case("convnet", "channels_last", "between", "fc"),
    Case("lm", "epsilon", "inside", "norm", setting="epsilon"),
    Case("lm", "ignored", "inside", "loss", setting="ignored_label"),
    Case("lm", "reduction", "inside", "loss", setting="reduction"),
    Case("lm", "smoothing", "inside", "loss", setting="label_smoothing"),
    Case("lm", "zero_state", "between", "lstm"),
    Case("lm", "swapped_state", "between", "lstm"),
    Case("crf", "per_token", "between", ""),
    Case("crf", "axis", "between", ""),
    Case("crf", "no_mask", "between", ""),
    Case("crf", "no_end", "between", ""),
    Case("crf", "transposed", "between", ""),
    Case("mlp", "epsilon", "inside", "norm", setting="epsilon"),
    Case("mlp", "approximate", "inside", "act", setting="approximate"),
    Case("mlp", "axis", "inside", "softmax", setting="axis"),
    Case("mlp", "order", "order", "first|second|side"),
    Case("mlp", "no_side", "between", "norm"),
    Case("mlp", "norm_last", "order|between", "norm|act"),
    Case("mlp", "no_residual", "between", "classes|values"),
    Case("mlp", "no_softmax", "between", ""),
    Case("mlp", "sigmoid", "between", ""),
    Case("mlp", "swapped", "between", ""),
    Case("mlp:TorchShared,PaddleShared", "twice", "between", "norm|layer"),
    Case("mlp:TorchTwice,PaddleTwice", "root", "between", "out"),
    Case("mlp:TorchTwice,PaddleTwice", "groups", "inside", "group", setting="groups"),
)
"""Faults that the forward pass shows in evaluation mode, with the weights of one model copied into the other."""

TRAINING = (
    Case("bilstm", "rate", "inside", "dropout", setting="rate", mode="training"),
    Case("transformer", "attention_rate", "inside", "layers.0.self_attn", setting="dropout|rate", mode="training"),
    Case("convnet", "momentum", "inside", "bn1", setting="momentum", mode="training"),
    Case("convnet", "global_statistics", "inside", "bn1", setting="running_statistics", mode="training"),
    Case("convnet", "evaluation", "inside", "bn2", mode="training"),
    Case("mlp", "rate", "inside", "dropout", setting="rate", mode="training"),
    Case("mlp", "evaluation", "inside|between", "dropout", mode="training"),
)
"""Faults that training mode alone shows."""

GRADIENTS = (
    Case("textcnn", "padding_idx", "inside", "embed", 2, setting="padding_id"),
    Case("textcnn", "detach", "detached", "embed", 2, side="torch"),
    Case("textcnn", "frozen", "detached", "embed", 2, setting="trainable"),
    Case("encdec", "detach", "detached", "encoder", 2, side="torch"),
    Case("lm", "detach", "detached", "lstm", 2, side="torch"),
    Case("crf", "frozen", "detached", "", 2, setting="trainable"),
    Case("crf", "detach", "detached|between", "emit", 2),
    Case("lm", "not_tied", "parameters", "out", 2, setting="tied"),
    Case("mlp", "detach", "detached|between", "values|dropout", 2, side="torch"),
)
"""Faults that the backward pass alone shows."""

PARAMETERS = (
    Case("bilstm", "one_direction", "parameters", "lstm", 0),
    Case("encdec", "extra_bias", "parameters", "combine", 0),
    Case("mlp", "no_bias", "parameters", "side", 0),
    Case("bilstm", "", "parameters", "lstm", 0, conversion="gates"),
    Case("bilstm", "", "parameters", "lstm", 0, conversion="directions"),
    Case("encdec", "", "parameters", "encoder", 0, conversion="gru_gates"),
    Case("transformer:TorchHand,PaddleHand", "", "parameters", "blocks.0.qkv", 0, conversion="qkv"),
    Case("transformer:TorchHand,PaddleHand", "", "parameters", "blocks.1.proj", 0, conversion="square"),
    Case("convnet", "", "parameters", "bn1", 0, conversion="statistics"),
    Case("textcnn", "", "parameters", "convs.0|convs.1", 0, conversion="equal_shapes"),
    Case("lm", "", "parameters", "embed", 0, conversion="shifted_rows"),
    Case("crf", "", "parameters", "", 0, conversion="transitions"),
    Case("crf", "", "parameters", "", 0, conversion="start_end"),
    Case("mlp", "", "parameters", "second", 0, conversion="square_second"),
)
"""Parameters without a partner, and conversions of weights that a user got wrong."""

STEPS = (
    Case("mlp", "", "optimizer", "*", 3, "epsilon", "training", steps=3, optimizer="epsilon"),
    Case("mlp", "", "optimizer", "*", 3, "weight_decay", "training", steps=3, optimizer="decay"),
    Case("mlp", "", "optimizer", "*", 3, "clip_norm", "training", steps=3, optimizer="clip"),
    Case("mlp", "", "optimizer", "*", 3, "schedule", "training", steps=3, optimizer="schedule"),
    Case("textcnn", "", "optimizer", "*", 3, "momentum", "training", steps=3, optimizer="momentum"),
)
"""Faults that training steps alone show."""

CORRECT = (
    Case("bilstm"),
    Case("textcnn", steps=3, optimizer="adam"),
    Case("encdec"),
    Case("transformer"),
    Case("transformer:TorchHand,PaddleHand"),
    Case("convnet", steps=3, optimizer="clipped"),
    Case("lm", steps=3, optimizer="adamw"),
    Case("crf"),
    Case("mlp", steps=3, optimizer="sgd"),
    Case("bilstm:TorchSorting,PaddleTagger"),
    Case("bilstm:TorchTagger,PaddleCells"),
    Case("textcnn:TorchNet,PaddleModules"),
    Case("textcnn:TorchWeightNorm,PaddleWeightNorm"),
    Case("encdec:TorchCells,PaddleTranslator"),
    Case("encdec", options=(("layers", 2), ("dropout", 0.3))),
    Case("encdec", "inner_rate", warned="dropout", options=(("layers", 2), ("dropout", 0.3))),
    Case("transformer:TorchHand,PaddleOwnAttention"),
    Case("convnet:TorchNet,PaddleSequential"),
    Case("lm:TorchModel,PaddleTiedEmbedding"),
    Case("mlp:TorchModel,PaddleTree"),
    Case("mlp:TorchShared,PaddleShared"),
    Case("mlp:TorchTwice,PaddleTwice"),
    Case("mlp", conversion="right"),
    Case("crf", conversion="right"),
)
"""Pairs without a fault: any difference found is a false alarm. The first nine are the pairs of the faults."""

STACK, RESIDUAL = "layers:TorchStack,PaddleStack", "layers:TorchResidual,PaddleResidual"
OTHER_FAULTS = (
    Case("layers", "same", "inside", "depthwise", setting="padding"),
    Case("layers", "unbiased", "inside", "norm"),
    Case("layers", "hardswish", "inside", "act", setting="function"),
    Case("layers", "units", "inside", "drop", setting="axes", mode="training"),
    Case("layers", "pooled", "between", "squeeze"),
    Case("layers", "gate", "between", "down|"),
    Case("layers", "skip", "between", "down"),
    Case("layers", "output", "inside", "down", setting="output_padding"),
    Case("layers", "epsilon", "inside", "last", setting="epsilon"),
    Case(STACK, "heads", "inside", "attention", setting="heads"),
    Case(STACK, "value", "between", "attention"),
    Case(STACK, "backwards", "between", "cell"),
    Case(STACK, "order_of_states", "between", ""),
    Case(STACK, "nonlinearity", "inside", "rnn", setting="activation"),
    Case(RESIDUAL, "epsilon", "inside", "units.1.bn1", setting="epsilon"),
    Case(RESIDUAL, "dilated", "inside", "units.1.conv2", setting="dilation|padding"),
    Case(RESIDUAL, "momentum", "inside", "units.1.bn2", setting="momentum", mode="training"),
    Case(RESIDUAL, "no_relu", "between", "units.1.conv2"),
    Case(RESIDUAL, "skip", "between", "units.2.conv1|units.2.down_conv"),
    Case(RESIDUAL, "relu_first", "between", "units.2.conv1|units.2.down_conv"),
)
"""Faults of pairs with other layers, written after the comparison was right on all the cases above."""

OTHER_CORRECT = (Case("layers"), Case(STACK), Case(RESIDUAL))

ALL_CORRECT = (*CORRECT, *OTHER_CORRECT)
FAULTS = (*FORWARD, *TRAINING, *GRADIENTS, *PARAMETERS, *STEPS, *OTHER_FAULTS)
