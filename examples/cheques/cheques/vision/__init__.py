"""Finds a cheque in a picture, its amount field and its printed code line, with classical image processing."""
