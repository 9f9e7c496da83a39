"""A real model, recorded: SmolLM2-135M on PopQA and on facts of the world, and what a cascade of it
would be promised.

`python -m benchmarks.real_llm record` asks the model (extra `real-llm`) and writes `recorded/`.
`python -m benchmarks.real_llm report` makes the figures, without model or network; docs/real_llm.md
says what is recorded so far.
"""
