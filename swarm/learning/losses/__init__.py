"""Losses given by their formula alone: the options of ``conf/loss``, and those of plug-ins."""
