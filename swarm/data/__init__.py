"""What the devices learn from: sources of samples, partitions that assign the samples to devices,
and streams that say in which order a device meets its own.
"""
