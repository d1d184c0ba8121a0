"""A Transformer encoder of the framework's own layers, and one written by hand with fused q, k and v."""

import math

import paddle
import torch
from paddle import nn as pnn
from torch import nn as tnn

CLASSES = ("TorchEncoder", "PaddleEncoder")
INPUTS = ("ids=int[3,7]:17", "lengths=lengths[3]:7")
INPUTS_OF = {"TorchHand": ("ids=int[3,7]:17",)}
DIM, HEADS = 8, 2


def torch_positions(length, like):
    steps = torch.arange(length, dtype=like.dtype)[:, None]
    rates = torch.exp(torch.arange(0, DIM, 2, dtype=like.dtype) * (-math.log(10000.0) / DIM))
    table = torch.zeros(length, DIM, dtype=like.dtype)
    table[:, 0::2], table[:, 1::2] = torch.sin(steps * rates), torch.cos(steps * rates)
    return table


def paddle_positions(length, like, halves=False):
    steps = paddle.arange(length).astype(like.dtype).unsqueeze(1)
    rates = paddle.to_tensor([10000.0 ** (-i / DIM) for i in range(0, DIM, 2)], dtype=like.dtype)
    sines, cosines = paddle.sin(steps * rates), paddle.cos(steps * rates)
    if halves:
        return paddle.concat([sines, cosines], axis=1)
    return paddle.stack([sines, cosines], axis=2).reshape([length, DIM])


class TorchEncoder(tnn.Module):
    """Two of PyTorch's encoder layers and a masked mean: ids [B, L], lengths [B] -> logits [B, 3]."""

    def __init__(self, fault="", dropout=0.1):
        super().__init__()
        self.embed = tnn.Embedding(17, DIM)
        self.layers = tnn.ModuleList(
            tnn.TransformerEncoderLayer(DIM, HEADS, 12, dropout=dropout, batch_first=True) for _ in range(2)
        )
        self.classify = tnn.Linear(DIM, 3)

    def forward(self, ids, lengths):
        x = self.embed(ids) * DIM**0.5
        x = x + torch_positions(ids.shape[1], x)
        padding = torch.arange(ids.shape[1])[None] >= lengths[:, None]
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=padding)
        valid = (~padding)[..., None].to(x.dtype)
        return self.classify((x * valid).sum(1) / lengths[:, None])


class PaddleEncoder(pnn.Layer):
    """Two of Paddle's encoder layers and a masked mean: ids [B, L], lengths [B] -> logits [B, 3]."""

    def __init__(self, fault="", dropout=0.1):
        super().__init__()
        self.fault = fault
        self.embed = pnn.Embedding(17, DIM)
        changes = {
            "epsilon": {"layer_norm_eps": 1e-12},
            "activation": {"activation": "gelu"},
            "norm_first": {"normalize_before": True},
            "heads": {"nhead": 4},
            "attention_rate": {"attn_dropout": 0.3},
        }.get(fault, {})
        settings = {"nhead": HEADS, "dim_feedforward": 12, "dropout": dropout, **changes}
        self.layers = pnn.LayerList([pnn.TransformerEncoderLayer(DIM, **settings) for _ in range(2)])
        self.classify = pnn.Linear(DIM, 3)

    def forward(self, ids, lengths):
        x = self.embed(ids)
        if self.fault != "scale":
            x = x * DIM**0.5
        if self.fault != "no_positions":
            x = x + paddle_positions(ids.shape[1], x, self.fault == "positions")
        valid = paddle.arange(ids.shape[1]).unsqueeze(0) < lengths.unsqueeze(1)
        for layer in self.layers:
            x = layer(x, None if self.fault == "no_mask" else valid.unsqueeze([1, 2]))
        if self.fault == "mean":
            return self.classify(x.mean(axis=1))
        valid = valid.unsqueeze(-1).astype(x.dtype)
        return self.classify((x * valid).sum(axis=1) / lengths.unsqueeze(1).astype(x.dtype))


class TorchBlock(tnn.Module):
    """Attention with one matrix for q, k and v, and a feed-forward part; normalized first."""

    def __init__(self):
        super().__init__()
        self.norm1 = tnn.LayerNorm(DIM)
        self.qkv = tnn.Linear(DIM, 3 * DIM)
        self.proj = tnn.Linear(DIM, DIM)
        self.norm2 = tnn.LayerNorm(DIM)
        self.up = tnn.Linear(DIM, 12)
        self.act = tnn.GELU()
        self.down = tnn.Linear(12, DIM)

    def forward(self, x):
        batch, length, _ = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(batch, length, 3, HEADS, DIM // HEADS).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-2, -1) / math.sqrt(DIM // HEADS)
        causal = torch.ones(length, length, dtype=torch.bool).tril()
        context = scores.masked_fill(~causal, float("-inf")).softmax(-1) @ v
        x = x + self.proj(context.transpose(1, 2).reshape(batch, length, DIM))
        return x + self.down(self.act(self.up(self.norm2(x))))


class TorchHand(tnn.Module):
    """Two causal blocks by hand: ids [B, L] -> states [B, L, 8]."""

    def __init__(self, fault=""):
        super().__init__()
        self.wte = tnn.Embedding(17, DIM)
        self.wpe = tnn.Embedding(9, DIM)
        self.blocks = tnn.Sequential(*[TorchBlock() for _ in range(2)])
        self.norm = tnn.LayerNorm(DIM)

    def forward(self, ids):
        return self.norm(self.blocks(self.wte(ids) + self.wpe(torch.arange(ids.shape[1]))))


class PaddleBlock(pnn.Layer):
    """Attention with one matrix for q, k and v, and a feed-forward part; normalized first."""

    def __init__(self, fault):
        super().__init__()
        self.fault = fault
        self.norm1 = pnn.LayerNorm(DIM)
        self.qkv = pnn.Linear(DIM, 3 * DIM)
        self.proj = pnn.Linear(DIM, DIM)
        self.norm2 = pnn.LayerNorm(DIM, epsilon=1e-6 if fault == "epsilon" else 1e-5)
        self.up = pnn.Linear(DIM, 12)
        self.act = pnn.GELU(approximate=fault == "approximate")
        self.down = pnn.Linear(12, DIM)

    def forward(self, x):
        batch, length, _ = x.shape
        fused = self.qkv(self.norm1(x))
        if self.fault == "head_first":
            q, k, v = fused.reshape([batch, length, HEADS, 3, DIM // HEADS]).transpose([3, 0, 2, 1, 4])
        else:
            q, k, v = fused.reshape([batch, length, 3, HEADS, DIM // HEADS]).transpose([2, 0, 3, 1, 4])
        scores = paddle.matmul(q, k, transpose_y=True)
        if self.fault != "scale":
            scores = scores / math.sqrt(DIM // HEADS)
        if self.fault != "not_causal":
            scores = scores + paddle.triu(paddle.full([length, length], -1e30, dtype=scores.dtype), diagonal=1)
        context = paddle.matmul(pnn.functional.softmax(scores), v)
        attended = self.proj(context.transpose([0, 2, 1, 3]).reshape([batch, length, DIM]))
        x = attended if self.fault == "no_residual" else x + attended
        return x + self.down(self.act(self.up(self.norm2(x))))


class PaddleHand(pnn.Layer):
    """Two causal blocks by hand: ids [B, L] -> states [B, L, 8]. A fault is in the second block alone."""

    def __init__(self, fault=""):
        super().__init__()
        self.wte = pnn.Embedding(17, DIM)
        self.wpe = pnn.Embedding(9, DIM)
        self.blocks = pnn.Sequential(PaddleBlock(""), PaddleBlock(fault))
        self.norm = pnn.LayerNorm(DIM)

    def forward(self, ids):
        return self.norm(self.blocks(self.wte(ids) + self.wpe(paddle.arange(ids.shape[1]))))


class PaddleOwnAttention(pnn.Layer):
    """Attention of the framework in place of the fused matrix, other names, LayerNorm by hand."""

    def __init__(self, fault=""):
        super().__init__()
        self.tokens = pnn.Embedding(17, DIM)
        self.positions = pnn.Embedding(9, DIM)
        self.blocks = pnn.LayerList([PaddleOwnBlock() for _ in range(2)])
        self.last = PaddleOwnNorm()

    def forward(self, ids):
        x = self.tokens(ids) + self.positions(paddle.arange(ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.last(x)


class PaddleOwnBlock(pnn.Layer):
    def __init__(self):
        super().__init__()
        self.feed = pnn.Sequential(PaddleOwnNorm(), pnn.Linear(DIM, 12), pnn.GELU(), pnn.Linear(12, DIM))
        self.attend = pnn.MultiHeadAttention(DIM, HEADS)
        self.before = PaddleOwnNorm()

    def forward(self, x):
        keep = paddle.tril(paddle.ones([x.shape[1], x.shape[1]])).astype("bool")
        x = x + self.attend(self.before(x), attn_mask=keep)
        return x + self.feed(x)


class PaddleOwnNorm(pnn.Layer):
    def __init__(self):
        super().__init__()
        self.gain = self.create_parameter([DIM], default_initializer=pnn.initializer.Constant(1.0))
        self.shift = self.create_parameter([DIM], is_bias=True)

    def forward(self, x):
        centered = x - x.mean(axis=-1, keepdim=True)
        variance = (centered * centered).mean(axis=-1, keepdim=True)
        return centered / paddle.sqrt(variance + 1e-5) * self.gain + self.shift
