"""Checks that an ONNX graph is plain, and that it takes and answers what a contract says, before anything computes it.

Plain is one list of operators with its numbers inside: no custom operators, no functions or branches, and no file
beside it. A table's graph may use listed operators alone, those of decision trees and encoders among them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Final

from pipelines.engines.inference_engine import TRANSIENT_ERRORS
from pipelines.errors import ModelFormatError
from registry.model_contract import Column, ModelContract, TableInputs

if TYPE_CHECKING:
    import onnx

MAX_BYTES: Final = 256 * 1024 * 1024
STANDARD_DOMAINS: Final = ("", "ai.onnx")
ML_DOMAIN: Final = "ai.onnx.ml"
_STANDARD_OPERATORS: Final = """
    Abs Add And ArgMax ArgMin Cast CastLike Ceil Clip Concat Constant ConstantOfShape CumSum Div Dropout Einsum
    Elu Equal Erf Exp Expand EyeLike Flatten Floor Gather GatherElements GatherND Gelu Gemm Greater GreaterOrEqual
    HardSigmoid Identity IsInf IsNaN LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax MatMul Max Mean
    Min Mod Mul Neg Not OneHot Or Pad Pow Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax
    ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Round ScatterElements ScatterND Shape
    Sigmoid Sign Sin Cos Slice Softmax Softplus Softsign Split Sqrt Squeeze Sub Sum Tan Tanh Tile TopK Transpose
    Unsqueeze Where Xor
"""
_ML_OPERATORS: Final = """
    ArrayFeatureExtractor Binarizer CategoryMapper FeatureVectorizer Imputer LabelEncoder LinearClassifier
    LinearRegressor Normalizer OneHotEncoder SVMClassifier SVMRegressor Scaler TreeEnsemble TreeEnsembleClassifier
    TreeEnsembleRegressor
"""
TABLE_OPERATORS: Final[Mapping[str, frozenset[str]]] = {
    "": frozenset(_STANDARD_OPERATORS.split()),
    ML_DOMAIN: frozenset(_ML_OPERATORS.split()),
}
"""By domain, what the graph of a table may compute with."""


def load_plain_graph(content: bytes) -> onnx.ModelProto:
    """The graph in these bytes; ModelFormatError names what is not plain, whatever it computes."""
    if len(content) > MAX_BYTES:
        raise ModelFormatError(f"the ONNX graph has {len(content)} bytes; the limit is {MAX_BYTES}")
    import onnx

    try:
        model = onnx.load_model_from_string(content)
    except TRANSIENT_ERRORS:
        raise
    except Exception as error:  # protobuf's own errors differ between its implementations
        raise ModelFormatError(f"not an ONNX graph ({len(content)} bytes: {error}); export it again") from error
    graph = model.graph
    reject_graph_if(bool(model.functions or model.training_info), "holds functions or training code")
    reject_graph_if(bool(graph.sparse_initializer), "holds sparse weights")
    for tensor in graph.initializer:
        _reject_external_data(tensor)
    for node in graph.node:
        for attribute in node.attribute:
            nested = attribute.HasField("g") or attribute.graphs or attribute.HasField("sparse_tensor")
            reject_graph_if(bool(nested), f"has a graph inside the operator {node.op_type}")
            for tensor in (attribute.t, *attribute.tensors):
                _reject_external_data(tensor)
    return model


def check_operators(graph: onnx.GraphProto, allowed: Mapping[str, Collection[str]]) -> None:
    """Raise ModelFormatError naming the first operator that is not among those allowed, by domain."""
    for node in graph.node:
        domain = "" if node.domain in STANDARD_DOMAINS else node.domain
        written = f"{node.domain}.{node.op_type}" if domain else node.op_type
        reject_graph_if(node.op_type not in allowed.get(domain, ()), f"uses the operator {written}")


def graph_inputs(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    """What must be fed: inputs without a weight of that name."""
    weights = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in weights]


def declared_shape(value: onnx.ValueInfoProto) -> list[int]:
    """The declared shape; 0 where any size fits."""
    return [side.dim_value for side in value.type.tensor_type.shape.dim]


def check_table_graph(content: bytes, contract: ModelContract) -> None:
    """Raise ModelFormatError unless the graph takes each column of the contract and answers its classes.

    One input per column, named as the column and (n, 1): strings for categories and texts, float32 for all others. One
    output (n, classes) of float32: probabilities in the order of the contract's classes.
    """
    import onnx

    graph = load_plain_graph(content).graph
    check_operators(graph, TABLE_OPERATORS)
    inputs = contract.inputs
    if not isinstance(inputs, TableInputs):
        raise ModelFormatError("a table's graph was given for a model that reads no table; register it anew")
    columns = {column.name: column for column in inputs.columns}
    fed = graph_inputs(graph)
    names = [value.name for value in fed]
    if unknown := [name for name in names if name not in columns]:
        raise ModelFormatError(f"the graph takes {unknown[0]!r}, which is no column of the contract; export it again")
    if missing := [name for name in columns if name not in names]:
        raise ModelFormatError(f"the graph does not take the column {missing[0]!r}; export it again")
    types = onnx.TensorProto.DataType
    for value in fed:
        wanted = onnx.TensorProto.STRING if is_text(columns[value.name]) else onnx.TensorProto.FLOAT
        given, shape = value.type.tensor_type.elem_type, declared_shape(value)
        if given != wanted or shape != [0, 1]:
            raise ModelFormatError(
                f"the graph takes the column {value.name!r} as {types.Name(given)} {shape}, and it is fed as "
                f"{types.Name(wanted)} [0, 1] (0: any); export it again"
            )
    if len(graph.output) != 1:
        raise ModelFormatError(f"the graph has {len(graph.output)} outputs; export it with its probabilities alone")
    answer = graph.output[0]
    given, shape = answer.type.tensor_type.elem_type, declared_shape(answer)
    if given != onnx.TensorProto.FLOAT or shape != [0, len(contract.classes)]:
        raise ModelFormatError(
            f"the graph answers {types.Name(given)} {shape}, not FLOAT [0, {len(contract.classes)}] (0: any); "
            "export it with one probability for each class"
        )


def is_text(column: Column) -> bool:
    """Whether a graph takes the column as strings."""
    return column.kind in ("category", "text")


def reject_graph_if(bad: bool, what: str) -> None:
    """Raise ModelFormatError that names what a graph does, if it does."""
    if bad:
        raise ModelFormatError(
            f"refused to load the ONNX graph: it {what}; load only models that this platform exported"
        )


def _reject_external_data(tensor: onnx.TensorProto) -> None:
    outside = bool(tensor.external_data) or tensor.data_location == tensor.EXTERNAL
    reject_graph_if(outside, f"keeps the tensor {tensor.name[:60]!r} in another file")
