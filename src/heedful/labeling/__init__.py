"""Stop 2: people are asked; their answers agree or not.

`pairs.py` picks what to ask, `raters.py` says how far each rater is believed, `consensus.py` adds answers up.
"""
