"""A command and a Python function, as small as they can be.

Subclass one, set `site`, and submit: `site` 0 is no site's id. Each has a module of its own, as in payloads
of other releases.
"""

from balsam.shared_apps.demo.adder import Adder
from balsam.shared_apps.demo.hello import Hello

__all__ = ["Adder", "Hello"]
