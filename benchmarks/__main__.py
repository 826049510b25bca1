"""`python -m benchmarks`: binds this process to its cores before NumPy is loaded, then runs the command line."""

from benchmarks.threads import bind

bind()

from benchmarks.command import main  # noqa: E402

main()
