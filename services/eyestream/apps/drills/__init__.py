"""Drills: every part of the line is broken while pictures flow, and what comes out is counted by identity."""
