"""The shell: when, where and for whom the loop turns; it knows time, state, network and people."""
