"""Head families. A new one needs a file here, an entry in `FAMILIES`, a file per backend."""

from typing import Annotated

from pydantic import Discriminator, Tag

from core.models.heads.decoder import DecoderHead
from core.models.heads.pooled import PooledHead

FAMILIES = {"pooled": PooledHead, "decoder": DecoderHead}
"""Head classes by `kind`."""


def _kind(value):
    return value.get("kind", "pooled") if isinstance(value, dict) else getattr(value, "kind", "pooled")


AnyHead = Annotated[Annotated[PooledHead, Tag("pooled")] | Annotated[DecoderHead, Tag("decoder")], Discriminator(_kind)]
