"""What agents did elsewhere, in the words of others: foreign formats in, our values out. Pure, nothing is stored here.

`otlp.py`, `langfuse.py` and `phoenix.py` read their wire into plain spans (`spans.py`); `genai.py`,
`openinference.py` and `langfuse.py` say what one span means; `weave.py` makes episodes of them: who spoke,
to whom, and in answer to what (`again.py`: also of turns that are on record already). `openai_jsonl.py` needs no
spans. `said.py` turns scores and labels into feedback.
"""
