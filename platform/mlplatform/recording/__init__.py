"""How no prediction is lost: recorder, database writer, request counts, recovery of quarantined rows."""
