"""Head families by the `kind` of the spec."""

from backends.paddle.heads.decoder import DecoderHead
from backends.paddle.heads.language import LanguageHead
from backends.paddle.heads.multilabel import MultilabelHead
from backends.paddle.heads.pooled import PooledHead
from backends.paddle.heads.tokens import TokenHead

HEADS = {
    "pooled": PooledHead,
    "multilabel": MultilabelHead,
    "tokens": TokenHead,
    "decoder": DecoderHead,
    "language": LanguageHead,
}
