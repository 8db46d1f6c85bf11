"""The parts of the engine python, which graphpipe-engine-python.py beside this folder begins."""
