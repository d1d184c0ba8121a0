"""Head families. A new one needs a file here, an entry in `FAMILIES`, a file per backend."""

from typing import Annotated

from pydantic import Discriminator, Tag

from core.models.heads.decoder import DecoderHead
from core.models.heads.language import LanguageHead
from core.models.heads.multilabel import MultilabelHead
from core.models.heads.pooled import PooledHead
from core.models.heads.tokens import TokenHead

FAMILIES = {
    "pooled": PooledHead,
    "multilabel": MultilabelHead,
    "tokens": TokenHead,
    "decoder": DecoderHead,
    "language": LanguageHead,
}
"""Head classes by `kind`; the first is the default."""


def _kind(value: object) -> str:
    first = next(iter(FAMILIES))
    kind = value.get("kind", first) if isinstance(value, dict) else getattr(value, "kind", first)
    return kind if isinstance(kind, str) else first


AnyHead = Annotated[
    Annotated[PooledHead, Tag("pooled")]
    | Annotated[MultilabelHead, Tag("multilabel")]
    | Annotated[TokenHead, Tag("tokens")]
    | Annotated[DecoderHead, Tag("decoder")]
    | Annotated[LanguageHead, Tag("language")],
    Discriminator(_kind, custom_error_type="kind", custom_error_message=f"kind should be one of {', '.join(FAMILIES)}"),
]
