"""The pipeline of amounts: pictures as a server keeps them, the engine that reads them, data, training, judgement."""
