"""A benchmark of explanation methods for image classifiers."""


def __getattr__(name: str) -> object:
    """`evaluate`, imported when it is first asked for: the command line starts without torch."""
    if name == "evaluate":
        from xaibench.evaluation import evaluate

        return evaluate
    raise AttributeError(f"module 'xaibench' has no attribute {name!r}")
