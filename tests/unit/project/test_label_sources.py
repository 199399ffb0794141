"""The sources of labels are listed once in each package that must not import another, and the lists agree."""

import subprocess
import sys
from typing import get_args

from mlplatform.client import Label
from mlplatform.feedback import label_precedence
from mlplatform.feedback.label_schema import FeedbackIn
from monitors.rules.rule import Source
from pipelines.labels import label_provenance


def test_the_packages_know_the_same_sources() -> None:
    """`monitors` and `pipelines` import no room; the platform's own list is what its client can import."""
    assert label_precedence.LabelSource == label_provenance.LabelSource
    assert set(get_args(label_precedence.SubmittedSource)) == set(get_args(Source))
    assert set(label_precedence.SOURCES_BY_TRUST) - set(get_args(Source)) == {"review"}


def test_client_and_schema_take_the_platforms_list() -> None:
    assert Label.__annotations__["source"] is label_precedence.SubmittedSource
    assert FeedbackIn.model_fields["source"].annotation is label_precedence.SubmittedSource


def test_the_client_imports_nothing_of_the_server_but_that_list() -> None:
    """An application that only asks for predictions needs neither numpy nor a database driver."""
    code = (
        "import sys, mlplatform.client\n"
        "heavy = {'numpy', 'pydantic', 'sqlalchemy', 'fastapi', 'torch', 'mlflow', 'pandas'}\n"
        "heavy |= {'pipelines', 'monitors', 'registry'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "[]"
