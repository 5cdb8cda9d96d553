"""Compressors of payload rows, which also state how many bits a packet takes."""
