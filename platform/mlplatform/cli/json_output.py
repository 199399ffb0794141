"""What `--json` prints by command: the names of its keys, which programs may rely on.

Within a major version keys are added and never renamed or removed; a change is in the changelog.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class JsonForm:
    """One object, or a list of such; `others` are the keys of what it prints with other options.

    Without `keys` its items are texts, or a document of a form of its own.
    """

    keys: tuple[str, ...] = ()
    is_list: bool = False
    others: tuple[tuple[str, ...], ...] = ()


def _form(keys: str = "", *others: str, is_list: bool = False) -> JsonForm:
    return JsonForm(tuple(keys.split()), is_list, tuple(tuple(each.split()) for each in others))


_PROMOTION: Final = _form(
    "seq model_name from_version to_version kind at actor reason retraining_id verdict fence",
)
_ROLLOUT: Final = _form(
    "id model_name version beside role share state at actor reason cursor duel ended_at ended_by ended_reason"
)
_RETRAINING: Final = (
    "id pipeline state reason trigger causes rerun_of alert_id requested_by requested_at started_at heartbeat_at "
    "finished_at owner progress run_id candidate_version verdict promoted error dry_run after_promotion ending"
)
_STATE: Final = _form("id state")
JSON_FORMS: Final[Mapping[str, JsonForm]] = {
    "demo": _form("accuracy answers training_seconds requests failed versions notices seconds addresses"),
    "up": _form("addresses seconds"),
    "train": _form(
        "model version run_id golden_accuracy gate reasons labels promoted waits_for_approval seconds",
        "model version run_id golden_accuracy gate reasons labels promoted waits_for_approval seconds search",
    ),
    "retrain": _form("id joined watcher", "id state", _RETRAINING),
    "serve": _form("address auth instance", "address auth warning instance"),
    "tune-serving": _form("before after tried host_class instance run_id", "host_class forgotten"),
    "watch": _form("instance"),
    "mlflow": _form("address auth", "address auth warning"),
    "check": _form(
        "id rule slot at model_name model_version window_start window_end state findings report evaluated_by measured",
        is_list=True,
    ),
    "status": _form(
        "model champion probation leader processes counts labels evaluations alerts retrainings tasks undelivered"
    ),
    "open": _form("address opened"),
    "init": _form(is_list=True),
    "doctor": _form("mark subject detail", is_list=True),
    "export": _form(
        "model version file format rows max_difference same_answers accuracy accuracy_pytorch size_bytes "
        "size_bytes_pytorch p50_ms p95_ms p50_ms_pytorch p95_ms_pytorch"
    ),
    "adopt": _form(
        "model version run_id columns classes golden_rows golden_accuracy different_answers largest_difference "
        "compared_rows gate reasons promoted waits_for_approval"
    ),
    "data fetch": _form("files"),
    "alerts list": _form(
        "id rule key model_name model_version state severity opened_at since fired_at last_notified_at numbers "
        "sentence evaluation_id notices",
        is_list=True,
    ),
    "alerts explain": _form("alert heading sections"),
    "alerts ack": _STATE,
    "alerts silence": _form("id rule key severity until"),
    "alerts silences": _form("id model rule key severity at until actor comment", is_list=True),
    "alerts unsilence": _STATE,
    "alerts test": _form("channel state"),
    "alerts backtest": _form("model since until rules alarms in_fact notes"),
    "alerts schema": _form(),
    "audit status": _form("version plan since windows"),
    "audit next": _form("answers sheet"),
    "audit submit": _form("audit review repeated", "audit review repeated undecided"),
    "audit log": _form("seq at actor action subject details number hash", is_list=True),
    "audit anchor": _form("file chains signed aside"),
    "audit verify": _form("entries batches answers erased anchored unchained rows faults fault_count sound"),
    "keys create": _form("id key name scopes expires_at"),
    "keys list": _form("id name scopes created_at created_by expires_at revoked_at last_used_at state", is_list=True),
    "keys revoke": _STATE,
    "feedback import": _form("lines recorded repeated superseded late waiting erased", "lines known waiting unknown"),
    "label-studio export": _form("tasks files"),
    "label-studio import": _form("audit review repeated late erased skipped undecided"),
    "models list": _form("model champion versions promotions trial approvals"),
    "models card": _form("version card", "from to diff"),
    "models promote": _PROMOTION,
    "models approve": _PROMOTION,
    "models reject": _form(
        "id model_name version champion state reason requested_by requested_at expires_at retraining_id verdict "
        "decided_at decided_by comment"
    ),
    "models rollback": _PROMOTION,
    "models quarantine": _form("version quarantined changed"),
    "models shadow": _ROLLOUT,
    "models canary": _ROLLOUT,
    "edge serve": _form("model version host port"),
    "recording list": _form("name at rows damaged size", is_list=True),
    "recording restore": _form("name restored refused damaged", is_list=True),
    "recording discard": _form("name restored refused damaged"),
    "retention status": _form("answers personal column_counts"),
    "retention run": _form("answers pictures blotted column_counts"),
    "retention erase": _form("answers labelled labels pictures shared waiting_in_spools"),
}
