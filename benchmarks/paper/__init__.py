"""The paper's experiments as commands, on any models and on its data sets.

    python -m benchmarks.paper answers --model llama-3.1-8b --data mmlu --file test.parquet \\
        --out answers/
    python -m benchmarks.paper table --answers answers/ [--quick] [--json] [--markdown FILE]
    python -m benchmarks.paper sweep --answers answers/ --data mmlu \\
        --chain llama-3.1-8b,llama-3.3-70b
    python -m benchmarks.paper outcomes --answers answers/ --data mmlu --chain … \\
        --out outcomes.parquet

Answers are gathered per model and data set, wherever that model can run, and put together
afterwards: the tiers of a chain need not have met. Whatever the table needs and nobody has gathered
is named, and the demo's pair and recorded outcomes stand in where they can: beside, never in place
of, the paper's models.
"""
