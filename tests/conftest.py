"""Property tests: chance looks for new cases at a developer's, and tries the same ones each time in CI."""

from __future__ import annotations

import os
import signal

from hypothesis import settings

settings.register_profile("ci", derandomize=True)
if os.environ.get("CI") == "true":
    settings.load_profile("ci")

# A shell starts its background jobs with SIGINT ignored, and what is ignored stays so across exec: the programs under
# test, which are interrupted to see what they do, would not be.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
