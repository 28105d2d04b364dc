"""Object stores behind one small port, and the wrappers of that port."""
