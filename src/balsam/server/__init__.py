"""HTTP: parse, authorise, call `logic`, map errors. `app.py` builds everything; the only home of FastAPI."""
