"""A model's mathematics over a block of devices."""
