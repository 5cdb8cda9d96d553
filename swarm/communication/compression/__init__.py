"""What goes over the wire: payload rows, compressed, with the bits that they take."""
