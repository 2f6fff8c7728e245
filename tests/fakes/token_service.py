"""A token service as registries name one: signed tokens for who logs in, over TLS.

Source: the distribution project's "Token Authentication Specification".
"""

from __future__ import annotations

import base64
import json
import secrets
import time
from pathlib import Path
from typing import Self
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from tests.fakes.scripted_server import Answer, Asked, ScriptedServer
from tests.fakes.tls import NAME, server_tls
from tools.registries import TokenAccess

SERVICE, ISSUER = "registry", "token-service"


class TokenService:
    """Runs inside `with`; gives everybody who logs in what he asks for, for a short time."""

    def __init__(self, tls_file: Path, user: str, password: str, identity_token: str) -> None:
        """`tls_file` has a key and certificate, which sign the tokens too."""
        pair = base64.b64encode(f"{user}:{password}".encode()).decode()
        self._basic = f"Basic {pair}"
        self._identity_token = identity_token
        self._file = tls_file
        content = tls_file.read_bytes()
        key = serialization.load_pem_private_key(content, None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self._key = key
        certificate = x509.load_pem_x509_certificate(content)
        self._chain = base64.b64encode(certificate.public_bytes(serialization.Encoding.DER))
        self.server = ScriptedServer(self._answer, server_tls(tls_file))
        self.seconds = 60

    @property
    def access(self) -> TokenAccess:
        """How a registry is told to take these tokens."""
        realm = f"https://{NAME}:{self.server.port}/token"
        return TokenAccess(realm, SERVICE, ISSUER, str(self._file))

    def __enter__(self) -> Self:
        self.server.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.__exit__()

    def _answer(self, asked: Asked) -> Answer:
        body = asked.body.decode() if asked.method == "POST" else urlsplit(asked.path).query
        form = parse_qs(body)
        is_known = asked.authorization == self._basic or form.get("refresh_token") == [
            self._identity_token
        ]
        if not is_known:
            return Answer(401, b'{"details":"incorrect username or password"}')
        scopes = " ".join(form.get("scope", [])).split()
        answer = {"token": self._token(scopes), "expires_in": self.seconds}
        return Answer(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _token(self, scopes: list[str]) -> str:
        now = int(time.time())
        access = []
        for scope in scopes:
            kind, _, rest = scope.partition(":")
            name, _, actions = rest.rpartition(":")
            access.append({"type": kind, "name": name, "actions": actions.split(",")})
        header = {"typ": "JWT", "alg": "ES256", "x5c": [self._chain.decode()]}
        claims = {
            "iss": ISSUER,
            "sub": "somebody",
            "aud": SERVICE,
            "exp": now + self.seconds,
            "nbf": now - 10,
            "iat": now,
            "jti": secrets.token_hex(8),
            "access": access,
        }
        signed = f"{_encoded(header)}.{_encoded(claims)}"
        signature = self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256()))
        numbers = b"".join(part.to_bytes(32) for part in decode_dss_signature(signature))
        return f"{signed}.{_url_safe(numbers)}"


def _encoded(value: object) -> str:
    return _url_safe(json.dumps(value).encode())


def _url_safe(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")
