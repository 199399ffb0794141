"""What the truth was: labels, their precedence and history, outcomes, review tasks, file import."""
