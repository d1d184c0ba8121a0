"""Measurements of Paddle Inference, which runs a saved model."""

from __future__ import annotations

import tempfile

import numpy as np

from backends.paddle.framework import paddle
from tools.differences import difference
from tools.differences.small import isolated

IDS = [[3, 0, 2], [1, 5, 9]]


class Positions(paddle.nn.Layer):
    """Paddle reads the source of a layer to save it, so it is in a file. Paddle 2.6 needs a parameter too."""

    def __init__(self):
        super().__init__()
        self.weight = self.create_parameter([1])

    def forward(self, ids):
        return (ids[:, 0] + (ids != 0).astype("int64").sum(1)) * 5, self.weight + 1


PROGRAM = """
import sys
from backends.paddle.framework import paddle
import numpy as np
from paddle import inference
from tools.differences.inference import IDS, Positions

folder, ids = sys.argv[1], np.array(IDS, dtype=np.int64)
layer = Positions()
layer.eval()
print("> eager", layer(paddle.to_tensor(ids))[0].tolist())
shape = [paddle.static.InputSpec([None, None], "int64")]
paddle.jit.save(paddle.jit.to_static(layer, input_spec=shape), folder + "/model")
graph = folder + ("/model.json" if paddle.__version__ >= "3" else "/model.pdmodel")
for onednn in (True, False):
    config = inference.Config(graph, folder + "/model.pdiparams")
    config.disable_glog_info()
    if not onednn:
        config.disable_mkldnn()
    predictor = inference.create_predictor(config)
    predictor.get_input_handle(predictor.get_input_names()[0]).copy_from_cpu(ids)
    predictor.run()
    found = predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu()
    print("> onednn" if onednn else "> without", found.tolist())
"""


@difference(
    "Inference",
    "Paddle Inference: a factor of an integer sum is lost",
    torch="TorchScript gives the result of the model.",
    paddle="On a CPU, Paddle Inference uses oneDNN unless `disable_mkldnn()` is called. The factor of a sum of two"
    " integer tensors is then dropped, without an error.",
    effect="`(a + b) * 5` with a + b = {sum}: {eager} in eager mode, {onednn} by Paddle Inference, {without} after"
    " `disable_mkldnn()`. An index that is computed so reads another row.",
    ours="The exported `predict.py` switches oneDNN off, and every export is compared with the run on its test texts"
    " ([export](export.md)).",
    size="`(a + b) * 5` is a + b",
    older="{onednn} by Paddle Inference: oneDNN is off unless `enable_mkldnn()` is called.",
    claim=lambda f: f["eager"] == f["without"] != f["onednn"] == f["sum"],
    slow=True,
)
def inference_integer_sum():
    """Save a layer that multiplies an integer sum, and run it by Paddle Inference."""
    ids = np.array(IDS)
    with tempfile.TemporaryDirectory() as folder:
        lines = isolated(PROGRAM, folder)
    found = dict(line.split(" ", 1) for line in lines)
    return {"sum": str((ids[:, 0] + (ids != 0).sum(1)).tolist()), **found}
