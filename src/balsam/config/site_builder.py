"""Of Balsam 0.7: what made site folders from templates."""

from typing import Any

from balsam.core import gone

_gone = gone.of_module(
    __name__,
    ("SiteDefaults", "load_default_configs", "new_site_setup", "render_settings_file"),
    "`balsam site init --machine NAME` makes a site, from scripts too",
)


def __getattr__(name: str) -> Any:
    if name in ("ClientSettings", "InvalidSettings", "Settings", "SiteConfig"):
        from balsam import config

        return getattr(config, name)
    return _gone(name)
