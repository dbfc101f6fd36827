"""Numbers that may be believed: tests that may be looked at after every event, intervals, agreement.

Everything is pure. What grows with the data is a frozen value whose `add` returns the next one and costs the
same for the millionth event as for the first; `dataclasses.asdict` makes JSON of it, and its class takes that
back. For a release gate: `contrast` judges canary against stable along a ramp, `rare_events` what hardly ever
happens. For one stream of numbers: `asymptotic_cs`, or `empirical_bernstein` where bounds are known and the
promise must be exact; `ipw` turns exposures into such a stream.
"""
