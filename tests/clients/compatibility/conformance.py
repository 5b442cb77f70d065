"""A plugin for pytest: a retry conformance test makes no key, notification or large object that it does not use."""

import re

import pytest

USED_BY = {"hmac_key": "hmac", "notification": "notification", "file_data": "download|blobreader|upload|blobwriter"}


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef, request):
    using = USED_BY.get(fixturedef.argname)
    if using and not re.search(using, request.node.name):
        fixturedef.cached_result = (None, fixturedef.cache_key(request), None)
        return False
