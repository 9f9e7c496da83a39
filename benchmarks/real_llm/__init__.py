"""A real model, recorded: SmolLM2-135M on facts of the world and on PopQA, and what a cascade of it
would be promised.

`python -m benchmarks.real_llm record` asks the model (extra `real-llm`); the recording is committed
in `recorded/`. `python -m benchmarks.real_llm report` certifies on it, without model or network.
"""
