"""Local learning, vectorised over the devices of a block."""
