"""How much of everything a programme needs: demand and measured costs in, a layout and what it does at the peak out.

Knows the line's shape and no part of it; nothing here connects to anything.
"""
