"""The tests of python-storage that skip without a service account or a project to bill, with both made up."""
import os

os.environ["ENABLE_GCS_PYTHON_CLIENT_OTEL_TRACES"] = "true"
os.environ["GOOGLE_CLOUD_TESTS_USER_PROJECT"] = "payer-project"

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import crypt
from google.cloud.storage import client
from google.oauth2 import service_account

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
)


class Account(service_account.Credentials):
    def __init__(self):
        super().__init__(crypt.RSASigner.from_string(KEY), "tests@local-project.iam.gserviceaccount.com", "")

    def _make_copy(self):
        return self

    def refresh(self, request):
        self.token = "made-up"


client.AnonymousCredentials = Account


def pytest_collection_modifyitems(items):
    wanted = {"service_account", "user_project"}
    items[:] = [i for i in items if wanted & set(i.fixturenames) and "_signing" not in i.nodeid]
