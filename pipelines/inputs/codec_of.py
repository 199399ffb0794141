"""Gives the codec of what a model takes."""

from pipelines.errors import ModelFormatError
from pipelines.inputs.image_codec import ImageCodec
from pipelines.inputs.input_codec import InputCodec
from registry.model_contract import ImageInputs, Inputs


def codec_of(inputs: Inputs) -> InputCodec:
    """The codec for these inputs of a contract; raises ModelFormatError for a kind that is not taken."""
    if isinstance(inputs, ImageInputs) and inputs.channels == 1:
        return ImageCodec(inputs.height, inputs.width)
    raise ModelFormatError(f"no codec takes {inputs}; give pictures of one channel")
