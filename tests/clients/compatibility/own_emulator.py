"""A plugin for pytest: each worker has an emulator of its own."""

import os

emulators = os.environ["SERIN_EMULATORS"].split()
os.environ["STORAGE_EMULATOR_HOST"] = emulators[int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])]
