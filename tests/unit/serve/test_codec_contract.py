"""Every form in which images are sent keeps the contract of codecs."""

import base64
from typing import Any, ClassVar

import numpy as np
import orjson

from mlplatform.serve.inference.raw_tensor import RawTensor
from mlplatform.serve.inference.request_decoder import ImageDecoder
from mlplatform.serve.protocols.mlflow_scoring import decode_invocation
from mlplatform.serve.protocols.v2_tensors import parse_request
from pipelines.data import images_of
from pipelines.image.grey_png import encode_png
from tests.support.codec_contract import CodecContract, Images


def png_text(image: Images) -> str:
    """A PNG of the image in base64."""
    return base64.b64encode(encode_png(image)).decode()


class TestJsonPixels(CodecContract):
    def encode(self, images: Images) -> bytes:
        return orjson.dumps({"images": images.tolist()})

    def decode(self, body: bytes, decoder: ImageDecoder) -> Images:
        return images_of(decoder.decode_json(body).batch)


class TestJsonFractions(TestJsonPixels):
    def encode(self, images: Images) -> bytes:
        return orjson.dumps({"images": (images + 0.25).clip(0, 255).tolist()})


class TestJsonPng(TestJsonPixels):
    resizes: ClassVar = True

    def encode(self, images: Images) -> bytes:
        return orjson.dumps({"images": [png_text(image) for image in images]})


class TestJsonDataUrl(TestJsonPixels):
    resizes: ClassVar = True

    def encode(self, images: Images) -> bytes:
        return orjson.dumps({"images": [f"data:image/png;base64,{png_text(image)}" for image in images]})


class TestRawBytes(CodecContract):
    def encode(self, images: Images) -> bytes:
        return images.tobytes()

    def decode(self, body: bytes, decoder: ImageDecoder) -> Images:
        return images_of(RawTensor(body).to_model_input(decoder))


class TestRawFloats(CodecContract):
    def encode(self, images: Images) -> bytes:
        return images.astype("<f4").tobytes()

    def decode(self, body: bytes, decoder: ImageDecoder) -> Images:
        return images_of(RawTensor(body, "float32").to_model_input(decoder))


class TestV2Bytes(CodecContract):
    """The Open Inference Protocol, values as JSON numbers from 0 to 255."""

    def encode(self, images: Images) -> bytes:
        return self.tensor("UINT8", images)

    def tensor(self, datatype: str, values: np.ndarray) -> bytes:
        tensor = {"name": "images", "datatype": datatype, "shape": list(values.shape), "data": values.ravel().tolist()}
        return orjson.dumps({"inputs": [tensor]})

    def decode(self, body: bytes, decoder: ImageDecoder) -> Images:
        return images_of(parse_request(body, None, decoder.check_amounts).to_model_input(decoder))


class TestV2Floats(TestV2Bytes):
    """The same, as JSON numbers from 0 to 1."""

    def encode(self, images: Images) -> bytes:
        return self.tensor("FP32", images[:, None] / 255)


class TestV2Binary(CodecContract):
    """The Open Inference Protocol, values as bytes behind the JSON."""

    def encode(self, images: Images) -> bytes:
        content = images.tobytes()
        tensor: dict[str, Any] = {"name": "images", "datatype": "UINT8", "shape": list(images.shape)}
        tensor["parameters"] = {"binary_data_size": len(content)}
        self.json_length = len(text := orjson.dumps({"inputs": [tensor]}))
        return text + content

    def decode(self, body: bytes, decoder: ImageDecoder) -> Images:
        request = parse_request(body, str(self.json_length), decoder.check_amounts)
        return images_of(request.to_model_input(decoder))


class TestMlflowInstances(CodecContract):
    def encode(self, images: Images) -> bytes:
        return orjson.dumps({"instances": images.tolist()})

    def decode(self, body: bytes, decoder: ImageDecoder) -> Images:
        return images_of(decode_invocation(body, decoder).batch)


class TestMlflowInputs(TestMlflowInstances):
    def encode(self, images: Images) -> bytes:
        return orjson.dumps({"inputs": {"images": images[:, None].tolist()}})


class TestMlflowSplit(TestMlflowInstances):
    resizes: ClassVar = True

    def encode(self, images: Images) -> bytes:
        return orjson.dumps({"dataframe_split": {"columns": ["image"], "data": [[png_text(i)] for i in images]}})


class TestMlflowRecords(TestMlflowInstances):
    resizes: ClassVar = True

    def encode(self, images: Images) -> bytes:
        return orjson.dumps({"dataframe_records": [{"image": png_text(image)} for image in images]})
