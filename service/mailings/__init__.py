"""Broadcasts to an audience: walked in bounded steps, paused in a second, counted to the last one."""
