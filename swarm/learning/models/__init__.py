"""Models a device can host.

Any well-behaved ``nn.Module`` will do; these are the ones that come along.
"""
