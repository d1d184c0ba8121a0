"""Head families by the `kind` of the spec."""

from backends.torch.heads.decoder import DecoderHead
from backends.torch.heads.pooled import PooledHead

HEADS = {"pooled": PooledHead, "decoder": DecoderHead}
