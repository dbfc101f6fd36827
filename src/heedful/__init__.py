"""Heedful: agents in production get better from what people say and do about their work.

Start at `heedful.road`: it joins every stop, in order, on one page.
"""

__version__ = "0.1.0"
