"""The exit code of each kind of error.

| code | meaning |
|---|---|
| 0 | done; for `check`: no rule is in breach |
| 1 | a step failed, or `doctor` or `audit verify` found a problem |
| 2 | wrong usage of the command line |
| 3 | a setting, alerts.yaml or data is wrong |
| 4 | an id, version or name is not known |
| 5 | the state moved on, or the action is refused as things stand |
| 6 | the database, MLflow or the API server cannot be reached |
| 10 | `check`: at least one rule is in breach |
"""

EXIT_FAILED, EXIT_INVALID, EXIT_NOT_FOUND, EXIT_REFUSED, EXIT_UNAVAILABLE, EXIT_BREACH = 1, 3, 4, 5, 6, 10


def exit_code(error: Exception) -> int | None:
    """The code for a known error; None for one that nobody expected, which keeps its traceback."""
    from mlplatform.errors import PlatformError
    from monitors.errors import MonitorError
    from pipelines.errors import PipelineError
    from registry.errors import RegistryError

    if not isinstance(error, PlatformError | MonitorError | PipelineError | RegistryError):
        return None
    if type(error).__name__ in ("AlertError", "ConflictError", "FencedError"):
        return EXIT_REFUSED
    if isinstance(error, LookupError):
        return EXIT_NOT_FOUND
    if isinstance(error, ConnectionError):
        return EXIT_UNAVAILABLE
    return EXIT_INVALID if isinstance(error, ValueError | FileNotFoundError) else EXIT_FAILED
