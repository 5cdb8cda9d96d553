"""Processes beside this one."""
