"""The processes of one machine: start in order, wait for a real answer, restart, stop; nothing is ever left behind."""
