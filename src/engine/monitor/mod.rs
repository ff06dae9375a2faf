//! One process a container: its stdio, logs, exit, health and restarts.
