"""Head families by the `kind` of the spec."""

from backends.torch.heads.pooled import PooledHead

HEADS = {"pooled": PooledHead}
