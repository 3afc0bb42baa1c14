"""What is applied to a cluster, by bundle; local set-up reads the same files."""
