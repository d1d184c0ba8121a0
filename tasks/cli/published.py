"""Define the recipes of published programs, as changes to the spec's defaults: d2l, and a tutorial on GloVe."""

from __future__ import annotations

XAVIER = {"scheme": "xavier_uniform", "scale": 1.0}

# What the recipes of published programs share, which all read GloVe 6B with 100 dimensions. The package ships 50
# (--vectors PATH --embedding-dim 100 for the others). Words without a vector start at zero. Texts are split at white
# space, cut to their first 500 tokens and shuffled without buckets. These programs pad every text to 500 and read the
# padding, with the vector of <unk> in d2l; here padding is never read. They have no dev split, and report the test
# accuracy after the last epoch; here the best epoch on dev is evaluated on test.
PUBLISHED_GLOVE: dict[str, object] = {
    "text.tokenizer": "whitespace",
    "text.vocab_size": 400000,
    "text.max_length": 500,
    "text.truncate": "head",
    "model.embedding.vocab_size": 400000,
    "model.embedding.dim": 50,
    "model.embedding.vectors": "glove-6b-50d",
    "model.embedding.vectors_missing": "zero",
    "training.batch_size": 64,
    "training.bucket_batches": 0,
    "training.epochs": 5,
    "training.clip_mode": "none",
}

# d2l keeps capitals, so that "The" has no vector; here it starts from the vector of "the". d2l sums the losses of a
# batch. It draws all weights by Xavier, an LSTM's four gates as one matrix (here one by one, 1.4 to 1.7 times larger),
# and leaves biases at the framework's default (here zero).
D2L: dict[str, object] = {
    **PUBLISHED_GLOVE,
    "text.lowercase": False,
    "text.min_count": 5,
    "model.head.init": XAVIER,
    "training.loss_reduction": "sum",
}

# d2l, sentiment-analysis-rnn: frozen vectors, two BiLSTM layers, outputs at the first and the last token.
D2L_BIRNN: dict[str, object] = {
    **D2L,
    "model.embedding.trainable": False,
    "model.encoder.cell": "lstm",
    "model.encoder.hidden_size": 100,
    "model.encoder.num_layers": 2,
    "model.encoder.init": XAVIER,
    "model.head.pooling": "ends",
    "training.optimizer.learning_rate": 1e-2,
}

# d2l, sentiment-analysis-cnn: trained and frozen vectors side by side, maximum over time as in its text and its MXNet
# program. Its PyTorch and Paddle programs compute the mean: --pooling mean.
D2L_TEXTCNN: dict[str, object] = {
    **D2L,
    "model.encoder": {"kind": "textcnn", "kernels": (3, 4, 5), "channels": (100, 100, 100), "init": XAVIER},
    "model.embedding.static_copy": True,
    "model.head.pooling": "max",
    "model.head.dropout": 0.5,
    "training.optimizer.learning_rate": 1e-3,
}

# The GloVe tutorial of Chinese blogs (S. Chen 2018, after an early d2l): lower case, every training word, frozen
# vectors, two BiLSTM layers, outputs at both ends, plain SGD. Copies of it differ in tokenizer, optimizer and epochs.
GLOVE_ZH: dict[str, object] = {
    **PUBLISHED_GLOVE,
    "model.embedding.trainable": False,
    "model.encoder.cell": "lstm",
    "model.encoder.hidden_size": 100,
    "model.encoder.num_layers": 2,
    "model.head.pooling": "ends",
    "training.optimizer": {"kind": "sgd", "learning_rate": 0.8},
}

PUBLISHED = {"d2l-birnn": D2L_BIRNN, "d2l-textcnn": D2L_TEXTCNN, "glove-zh": GLOVE_ZH}
"""Recipes by name."""
