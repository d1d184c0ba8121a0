"""Head families. A new one needs a file here, an entry in `FAMILIES`, a file per backend."""

from core.models.heads.pooled import PooledHead

FAMILIES = {"pooled": PooledHead}
"""Head classes by `kind`."""

AnyHead = PooledHead
"""The only head family; a second one makes this a union, as for encoders."""
