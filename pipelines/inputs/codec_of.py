"""Gives the codec of a model's inputs."""

from pipelines.inputs.image_codec import ImageCodec
from pipelines.inputs.input_codec import InputCodec
from pipelines.pipeline import Pipeline


def codec_of(pipeline: Pipeline) -> InputCodec:
    """The codec for what this pipeline's models take: grey pictures of its size."""
    return ImageCodec(pipeline.height, pipeline.width)
