"""Gives the codec of what a model takes."""

from pipelines.errors import ModelFormatError
from pipelines.inputs.image_codec import ImageCodec
from pipelines.inputs.input_codec import InputCodec
from pipelines.inputs.table_codec import TableCodec
from registry.model_contract import ImageInputs, Inputs, TableInputs


def codec_of(inputs: Inputs) -> InputCodec:
    """The codec for these inputs of a contract; raises ModelFormatError for a kind that is not taken."""
    if isinstance(inputs, ImageInputs) and inputs.channels == 1:
        return ImageCodec(inputs.height, inputs.width)
    if isinstance(inputs, TableInputs):
        return TableCodec(inputs.columns)
    raise ModelFormatError(f"no codec takes {inputs}; give rows of a table, or pictures of one channel")
