"""What is asked of the model, and how: prompts, answers with their states, one layer of them,
processor seconds.
"""
