"""The head families, by the `kind` of the spec's."""

from backends.paddle.heads.pooled import PooledHead

HEADS = {"pooled": PooledHead}
