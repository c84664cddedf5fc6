"""`xaibench run`: one Hydra application, from its help to its jobs."""

from __future__ import annotations

from hydra.errors import HydraException

from xaibench.cli.request import Request
from xaibench.component import ConfigurationError


def main(argv: list[str]) -> int:
    """Run a command line's grid, or let Hydra print what it is asked for; 1 if a cell failed, or if nothing could be done."""
    request = Request(argv)
    if request.only_informs:
        _inform(request)
        return 0
    from xaibench.cli.sweep import sweep  # torch and all stages: not needed for the above, which should answer at once

    return sweep(request)


def _inform(request: Request) -> None:
    from hydra._internal.hydra import Hydra
    from hydra._internal.utils import get_args_parser
    from hydra.core.global_hydra import GlobalHydra

    flags, overrides = request.flags, request.folded()
    app = Hydra.create_main_hydra2("xaibench", request.search_path)
    try:
        if flags.help:
            app.app_help("config", get_args_parser(), flags)
        elif flags.hydra_help:
            app.hydra_help("config", get_args_parser(), flags)
        elif flags.cfg:
            app.show_cfg("config", overrides, flags.cfg, flags.package, flags.resolve)
        elif flags.info:
            app.show_info(flags.info, "config", overrides)
        else:
            app.shell_completion("config", flags.overrides)
    except HydraException as error:
        raise ConfigurationError(str(error).replace("\n", "; ")) from error
    finally:
        GlobalHydra.instance().clear()
