"""Settings of studies as ml-collections files; base.py holds every key."""
