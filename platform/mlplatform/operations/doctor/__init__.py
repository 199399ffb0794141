"""Checks of `platform doctor`: the installation, what each rule can find, labels by class."""
