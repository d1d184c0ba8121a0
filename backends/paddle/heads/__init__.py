"""Head families by the `kind` of the spec."""

from backends.paddle.heads.decoder import DecoderHead
from backends.paddle.heads.pooled import PooledHead

HEADS = {"pooled": PooledHead, "decoder": DecoderHead}
