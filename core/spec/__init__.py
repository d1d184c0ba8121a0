"""The specification of an experiment: model, text, training and data, stored as JSON.

`from core import spec` exposes every section: `spec.Model`, `spec.Training`, ...
"""

from core.models.embedding import Embedding as Embedding
from core.models.encoders.bag import BagEncoder as BagEncoder
from core.models.encoders.recurrent import Cell as Cell
from core.models.encoders.recurrent import RecurrentEncoder as RecurrentEncoder
from core.models.encoders.textcnn import TextCNNEncoder as TextCNNEncoder
from core.models.heads.decoder import DecoderHead as DecoderHead
from core.models.heads.language import LanguageHead as LanguageHead
from core.models.heads.multilabel import MultilabelHead as MultilabelHead
from core.models.heads.pooled import PooledHead as PooledHead
from core.models.heads.pooling import PoolingHead as PoolingHead
from core.models.heads.tokens import TokenHead as TokenHead
from core.models.model import Model as Model
from core.spec.experiment import Experiment as Experiment
from core.spec.training import SGD as SGD
from core.spec.training import Adam as Adam
from core.spec.training import Training as Training
