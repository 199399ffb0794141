"""Signs what leads an annotation back to its prediction, so that only what was exported comes back, and as what it was.

Without it whoever may send annotations could label any answer, and could give out one that was picked as one that was
drawn, whose labels estimate.
"""

import hmac
from collections.abc import Callable
from typing import Final

from mlplatform.auth.token_signer import TokenSigner
from mlplatform.context import AppContext

SIGNING_KEY: Final = "label-studio-tasks"

SignTask = Callable[[str, str], str]
"""The signature of a prediction's id in a queue."""


def task_signer(context: AppContext) -> SignTask:
    """What signs the tasks of the served model; raises StoreUnavailableError."""
    signer = TokenSigner(lambda: context.database, context.clock, SIGNING_KEY)
    signer.load()

    def sign(prediction_id: str, queue: str) -> str:
        return signer.sign("\0".join((context.model_name, queue, prediction_id)).encode())

    return sign


def is_exported(sign: SignTask, prediction_id: str, queue: str, signature: str) -> bool:
    """Whether a prediction was exported as one of that queue."""
    return hmac.compare_digest(sign(prediction_id, queue).encode(), signature.encode())
