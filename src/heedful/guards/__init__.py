"""What may be asked and said: rules over texts, and the place where they are asked (`protocol.py`)."""
