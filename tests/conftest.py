"""Every test starts from the same place: no window is ever opened, and no progress bar is drawn."""

import os

os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("TQDM_DISABLE", "1")
