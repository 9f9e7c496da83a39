"""`python -m services`: the command `knowgate`, where no script was installed."""

from services.command_line import main

main()
