"""What the devices learn from: sources of samples, how they are dealt to devices, and the order
they are met in.
"""
