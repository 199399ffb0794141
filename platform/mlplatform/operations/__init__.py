"""What an operator asks: status, diagnostics, scaffolding, export, the local stack."""
