"""The errors that pipelines raise.

PipelineError
├── DataError (ValueError)                     rows that cannot be used
│   ├── MissingDataError (FileNotFoundError)   a data file or folder that is not there
│   └── CorruptDataError                       a file that is not what its name says
├── UnknownPipelineError (LookupError)         no pipeline or recipe of that name
├── TrainingError (RuntimeError)               a training that cannot go on
│   └── TrainingStopped                        a training that was asked to stop
├── SearchError (RuntimeError)                 a search for a recipe that cannot be made
├── ModelFormatError (ValueError)              a model that cannot be trusted or used
└── ModelUnreadableError (ConnectionError)     a model that cannot be read just now, which says nothing about it
"""


class PipelineError(Exception): ...


class DataError(PipelineError, ValueError): ...


class MissingDataError(DataError, FileNotFoundError): ...


class CorruptDataError(DataError): ...


class UnknownPipelineError(PipelineError, LookupError): ...


class TrainingError(PipelineError, RuntimeError): ...


class TrainingStopped(TrainingError): ...  # noqa: N818 - a request that was honoured, not a fault


class SearchError(PipelineError, RuntimeError): ...


class ModelFormatError(PipelineError, ValueError): ...


class ModelUnreadableError(PipelineError, ConnectionError): ...
