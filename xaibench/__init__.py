"""A benchmark of explanation methods for image classifiers."""


def __getattr__(name: str) -> object:
    """`evaluate` and `explain`, imported when they are first asked for: the command line starts without torch."""
    if name in ("evaluate", "explain"):
        from xaibench import evaluation

        return getattr(evaluation, name)
    raise AttributeError(f"module 'xaibench' has no attribute {name!r}")
