"""The spool on disk: an append-only segment log per server, framing, ownership, quarantined rows."""
