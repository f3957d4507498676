"""Makes the site "lab" with the app Hello: `python two_apps.py`."""

from balsam.api import ApplicationDefinition, Site

Site.objects.create(name="lab", path="/home/alice/sites/lab")


class Hello(ApplicationDefinition):
    site = "lab"
    command_template = "echo Hello, {{ name }}!"


Hello.sync()
print(Hello.__app_id__)
