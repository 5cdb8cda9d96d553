"""Changes of training images that are drawn anew each time a device learns from them."""
