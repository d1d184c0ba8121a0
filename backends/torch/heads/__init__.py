"""Head families by the `kind` of the spec."""

from backends.torch.heads.decoder import DecoderHead
from backends.torch.heads.language import LanguageHead
from backends.torch.heads.multilabel import MultilabelHead
from backends.torch.heads.pooled import PooledHead
from backends.torch.heads.tokens import TokenHead

HEADS = {
    "pooled": PooledHead,
    "multilabel": MultilabelHead,
    "tokens": TokenHead,
    "decoder": DecoderHead,
    "language": LanguageHead,
}
