"""The machine a process runs on: child processes, file permissions, environment, logging, wall-clock jumps."""
