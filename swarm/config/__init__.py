"""From words on a command line to plug-ins: composed by Hydra, checked as settings, built under
guard.
"""
