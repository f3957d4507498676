"""Reads and loads the apps of define_optional.py; run with the published release."""

import json

from balsam._api.models import App
from balsam.api import ApplicationDefinition, Job

apps = {app.name: app for app in App.objects.all()}
loaded = ApplicationDefinition.load_by_site("optional")
job = Job("w", apps["Keywords"].id, parameters={"x": 1})
job.save()
told = {name: sorted(app.parameters) for name, app in apps.items()}
print(json.dumps({"apps": told, "loaded": sorted(loaded), "jobs": len(Job.objects.all())}))
