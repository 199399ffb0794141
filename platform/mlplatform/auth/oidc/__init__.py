"""People sign in at an OpenID provider: its documents and keys, ID tokens, and the steps of a sign-in."""
