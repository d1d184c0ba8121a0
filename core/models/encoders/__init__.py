"""Encoder families. A new one needs a file here, an entry in `FAMILIES`, a file per backend."""

from typing import Annotated

from pydantic import Discriminator, Tag

from core.models.encoders.bag import BagEncoder
from core.models.encoders.ngrams import NgramEncoder
from core.models.encoders.recurrent import RecurrentEncoder
from core.models.encoders.textcnn import TextCNNEncoder

FAMILIES = {"recurrent": RecurrentEncoder, "textcnn": TextCNNEncoder, "none": BagEncoder, "ngrams": NgramEncoder}
"""Encoder classes by `kind`; the first is the default."""


def kind_of(value: object) -> str:
    """Return the kind of an encoder, or of its JSON."""
    first = next(iter(FAMILIES))
    kind = value.get("kind", first) if isinstance(value, dict) else getattr(value, "kind", first)
    return kind if isinstance(kind, str) else first


AnyEncoder = Annotated[
    Annotated[RecurrentEncoder, Tag("recurrent")]
    | Annotated[TextCNNEncoder, Tag("textcnn")]
    | Annotated[BagEncoder, Tag("none")]
    | Annotated[NgramEncoder, Tag("ngrams")],
    Discriminator(
        kind_of, custom_error_type="kind", custom_error_message=f"kind should be one of {', '.join(FAMILIES)}"
    ),
]
