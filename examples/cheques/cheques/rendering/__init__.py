"""Renders cheques for demonstrations and tests: the form is drawn, the handwritten digits are real."""
