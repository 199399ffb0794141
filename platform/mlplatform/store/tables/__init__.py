"""The database's tables as SQLAlchemy metadata, one module per capability."""
