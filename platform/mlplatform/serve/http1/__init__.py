"""HTTP/1.1 connections within limits, client timeouts, graceful shutdown."""
