"""The parts of the engine python; graphpipe-engine-python.py beside this folder starts it."""
