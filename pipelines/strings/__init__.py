"""Reads handwritten strings of digits, such as the amounts of cheques, whole: no digit is cut out first."""
