"""Goals in an arm: devices set them at the start of a round, and their mini-batches follow."""
