"""The head families. A new one is a file here, its class in `FAMILIES`, and a file in each backend."""

from core.models.heads.pooled import PooledHead

FAMILIES = {"pooled": PooledHead}
"""By `kind`."""

AnyHead = PooledHead
"""A union, as that of the encoders, once there are two."""
