"""The pages: upload, result, review, audit trail."""
