"""The command line's commands, one file each; what a command needs it imports when it runs."""
