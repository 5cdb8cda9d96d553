"""Goals: which class a device practises next."""
