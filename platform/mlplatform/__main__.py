"""`python -m mlplatform`: the command line without its script."""

from mlplatform.cli import main

main()
