"""The encoder families. A new one is a file here, its class in `FAMILIES`, and a file in each backend."""

from typing import Annotated

from pydantic import Discriminator, Tag

from core.models.encoders.recurrent import RecurrentEncoder
from core.models.encoders.textcnn import TextCNNEncoder

FAMILIES = {"recurrent": RecurrentEncoder, "textcnn": TextCNNEncoder}
"""By `kind`; the first is that of a spec that names none."""


def _kind(value: object) -> str:
    first = next(iter(FAMILIES))
    kind = value.get("kind", first) if isinstance(value, dict) else getattr(value, "kind", first)
    return kind if isinstance(kind, str) else first


AnyEncoder = Annotated[
    Annotated[RecurrentEncoder, Tag("recurrent")] | Annotated[TextCNNEncoder, Tag("textcnn")],
    Discriminator(_kind, custom_error_type="kind", custom_error_message=f"kind should be one of {', '.join(FAMILIES)}"),
]
