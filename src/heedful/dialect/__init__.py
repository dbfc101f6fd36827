"""Other people's wire formats, to our values and back: pure translation, nothing is sent from here.

Inside, agents and policies talk chat completions, because everything that serves a model speaks them; what
else comes in at the gateway is translated to them and back.
"""
