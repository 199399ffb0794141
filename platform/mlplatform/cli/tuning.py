"""`platform tune-serving`: searches for a faster way to answer on this host, and prints what it measured."""

from typing import Any

from mlplatform.cli.output import ProgressBar, print_table
from mlplatform.context import create_context
from mlplatform.host.console import console, echo, print_json
from mlplatform.settings import load_settings

BENCHMARK_COLUMNS = ("when", "plan", "p50_ms", "p95_ms", "rps")


def run_tuning(forget: bool, pipeline: str | None, as_json: bool) -> None:
    """Measure in this process and keep the best for the host class, or forget what was kept."""
    from mlplatform.audit import audit_entries
    from mlplatform.predictions import compute_configs
    from mlplatform.serve.host_class import host_class
    from mlplatform.serve.inference.model_slot import ModelSlot
    from mlplatform.serve.inference.request_decoder import Decoders
    from mlplatform.serve.tuning.tuner import Tuner, open_champion

    context = create_context(load_settings(pipeline=pipeline))
    name, settings, host = context.model_name, context.settings, host_class()
    if forget:
        with context.database.write() as connection:
            is_deleted = compute_configs.delete_config(connection, name, host)
            details = {"found": is_deleted}
            audit_entries.append(connection, "cli", "forget-tuning", f"host/{host}", context.clock(), details)
        text = f"servers on {host} compute as their settings say" if is_deleted else f"nothing was tuned on {host}"
        echo({"host_class": host, "forgotten": is_deleted}, text, as_json)
        return
    tuner = Tuner(context, ModelSlot(), Decoders(settings.max_images, settings.max_megapixels * 1e6))
    with ProgressBar("measuring", quiet=as_json):
        result = tuner.tune(open_champion(context, tuner.backend_config()))
    with context.database.write() as connection:
        audit_entries.append(
            connection, "cli", "tune-serving", f"host/{host}", context.clock(), {"plan": result["after"]}
        )
    if as_json:
        print_json(result)
        return
    rows = [{"when": when, "plan": _describe_config(result[when]), **result[when]} for when in ("before", "after")]
    print_table(f"serving {name} on {host}", rows, BENCHMARK_COLUMNS, "")
    console().print(f"{len(result['tried'])} plans were measured; servers take the best over at their next look")


def _describe_config(measured: dict[str, Any]) -> str:
    return (
        f"{measured['engine']} on {measured['device']}, {measured['threads']} thread(s), {measured['lanes']} lane(s), "
        f"batches of {measured['batch_max']}, wait {measured['batch_wait_ms']:g} ms"
    )
