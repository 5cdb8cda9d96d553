"""Engines run the shards of an experiment and carry messages between them; results do not depend on
the engine."""
