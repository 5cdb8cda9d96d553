"""What hostile devices do in a running swarm: to the rows that they send, and to their samples."""
