"""How one notice is sent over one channel: HTTP, SMTP, Apprise."""
