"""Traffic for the tutorial: scikit-learn's digits sent as a client would, and their true labels afterwards.

`python docs/tutorial/traffic.py 300` sends 300 of them; `--second-scanner` sends them as another device sees them:
turned by 29 degrees, in poor light. PLATFORM_PORT says where the server listens, 8000 otherwise.
"""

from __future__ import annotations

import io
import os
import sys

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from mlplatform.client import Client, Label


def png(digit: np.ndarray, second_scanner: bool) -> bytes:
    """A digit of 8x8 greys from 0 to 16 as a picture of 28x28, bright ink on dark ground."""
    ink = Image.fromarray((digit * 255 / 16).astype(np.uint8)).resize((20, 20), Image.Resampling.BICUBIC)
    picture = Image.new("L", (28, 28))
    picture.paste(ink, (4, 4))
    if second_scanner:
        picture = picture.rotate(29, Image.Resampling.BILINEAR).point([round(22 + 0.8 * grey) for grey in range(256)])
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def main(count: int, second_scanner: bool) -> None:
    """Send so many digits, one by one, each with its label."""
    digits, right = load_digits(), 0
    with Client(f"http://127.0.0.1:{os.environ.get('PLATFORM_PORT', '8000')}") as client:
        for place in np.random.default_rng().choice(len(digits.target), count, replace=False):
            truth = str(digits.target[place])
            response = client.predict([png(digits.images[place], second_scanner)], client_id="tutorial")
            prediction = response.predictions[0]
            client.feedback([Label(prediction.id, truth, source="delayed", reviewer="ledger")])
            right += prediction.label == truth
    print(f"{count} predictions, {right} of them right; the labels are sent")  # noqa: T201 - a command


if __name__ == "__main__":
    main(int(sys.argv[1]), "--second-scanner" in sys.argv)
