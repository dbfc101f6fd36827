"""The judge changes the policy: supervised start, then optimisation against a reward, with a brake."""
