"""What is found on the recording: rules certified, what each signal is worth, what it costs."""
