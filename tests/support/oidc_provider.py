"""A small OpenID provider on loopback, by authlib: `-m tests.support.oidc_provider PORT CLIENT SECRET`.

Whoever it is asked for by `login_hint` is signed in at once; PEOPLE says what it knows of them.
"""

import os
import sys
import time
from types import SimpleNamespace

os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"  # loopback

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import ClientMixin
from authlib.oauth2.rfc6749.grants import AuthorizationCodeGrant
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oidc.core import UserInfo
from authlib.oidc.core.grants import OpenIDCode
from flask import Flask, jsonify, redirect, request
from joserfc.jwk import RSAKey

PEOPLE = {
    "reyes": {"sub": "u-1", "preferred_username": "a.reyes", "groups": ["plant-ops", "everybody"]},
    "guest": {"sub": "u-2", "preferred_username": "guest", "groups": ["everybody"]},
    "ito": {"sub": "u-3", "preferred_username": "ito", "groups": ["plant-ops"]},
}
KEY = RSAKey.generate_key(2048, {"kid": "k1", "use": "sig", "alg": "RS256"})


class Client(ClientMixin):
    """The one client, with any address on loopback to come back to."""

    def __init__(self, client_id: str, secret: str) -> None:
        self.client_id, self.secret = client_id, secret

    def get_client_id(self):
        return self.client_id

    def get_default_redirect_uri(self):
        return None

    def get_allowed_scope(self, scope):
        return scope

    def check_redirect_uri(self, redirect_uri):
        return redirect_uri.startswith("http://127.0.0.1:") and redirect_uri.endswith("/sign-in/oidc/back")

    def check_client_secret(self, client_secret):
        return client_secret == self.secret

    def check_endpoint_auth_method(self, method, endpoint):
        return method == "client_secret_basic"

    def check_response_type(self, response_type):
        return response_type == "code"

    def check_grant_type(self, grant_type):
        return grant_type == "authorization_code"


class Code(SimpleNamespace):
    """A code that was given out."""

    def get_redirect_uri(self):
        return self.redirect_uri

    def get_scope(self):
        return "openid profile email"

    def get_nonce(self):
        return self.nonce

    def get_auth_time(self):
        return self.auth_time

    def get_acr(self):
        return None

    def get_amr(self):
        return None


CODES: dict[str, Code] = {}


class Grant(AuthorizationCodeGrant):
    """Codes in memory."""

    TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic",)

    def save_authorization_code(self, code, request):
        asked = request.payload.data
        CODES[code] = Code(
            code=code, user=request.user, nonce=asked.get("nonce"), auth_time=int(time.time()),
            redirect_uri=request.payload.redirect_uri, code_challenge=asked.get("code_challenge"),
            code_challenge_method=asked.get("code_challenge_method"),
        )  # fmt: skip

    def query_authorization_code(self, code, client):
        return CODES.get(code)

    def delete_authorization_code(self, authorization_code):
        CODES.pop(authorization_code.code, None)

    def authenticate_user(self, authorization_code):
        return authorization_code.user


class Claims(OpenIDCode):
    """What an ID token says."""

    def __init__(self, issuer: str, client_id: str) -> None:
        super().__init__(require_nonce=True)
        self.issuer, self.client_id = issuer, client_id

    def exists_nonce(self, nonce, request):
        return any(code.nonce == nonce for code in CODES.values())

    def resolve_client_private_key(self, client):
        return KEY

    def get_encode_header(self, client):
        return {"alg": "RS256", "kid": "k1"}

    def get_client_claims(self, client):
        return {"iss": self.issuer, "aud": [self.client_id]}

    def generate_user_info(self, user, scope):
        return UserInfo(user)


def provider(issuer: str, client: Client) -> Flask:
    """The provider's routes."""
    app = Flask(__name__)
    server = AuthorizationServer(
        app,
        query_client=lambda client_id: client if client_id == client.client_id else None,
        save_token=lambda token, request: None,
    )
    server.register_grant(Grant, [Claims(issuer, client.client_id), CodeChallenge(required=True)])

    @app.get("/.well-known/openid-configuration")
    def metadata():
        ends = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "jwks"}
        found = {name: f"{issuer}/{path}" for name, path in ends.items()}
        return jsonify(
            issuer=issuer,
            id_token_signing_alg_values_supported=["RS256"],
            response_types_supported=["code"],
            subject_types_supported=["public"],
            **found,
        )

    @app.get("/jwks")
    def jwks():
        return jsonify(keys=[KEY.as_dict(private=False)])

    @app.get("/authorize")
    def authorize():
        user = PEOPLE.get(request.args.get("login_hint", ""))
        if user is None:
            return redirect(request.url + "&login_hint=reyes")
        grant = server.get_consent_grant(end_user=user)
        return server.create_authorization_response(grant_user=user, grant=grant)

    @app.post("/token")
    def token():
        return server.create_token_response()

    return app


if __name__ == "__main__":
    port, client_id, secret = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    provider(f"http://127.0.0.1:{port}", Client(client_id, secret)).run("127.0.0.1", port)
