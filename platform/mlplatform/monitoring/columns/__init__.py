"""What rules about the columns of a table read: counts by cell, and rows for reports."""
