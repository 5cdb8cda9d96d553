"""Engines place shards and carry their messages; the numbers do not depend on which one runs."""
