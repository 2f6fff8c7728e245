"""Which texts look like secrets, and which only seem to."""

from __future__ import annotations

import time

import pytest

from bundler.publish.rules.secret_values import in_text, of_key

HEX = "3f786850e387550fdab836ed7e6dc881de23001b"
BODY = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7"


def joined(*parts: str) -> str:
    """A token that does not stand in this file as such."""
    return "".join(parts)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (joined("AK", "IAIOSFODNN7QWERTYU"), "an AWS access key"),
        (joined("gh", "p_", "a1B2" * 9), "a GitHub token"),
        (joined("github", "_pat_", "a1B2" * 20), "a GitHub token"),
        (joined("gl", "pat-", "abcDEF12345_xyz-9876"), "a GitLab token"),
        (joined("xo", "xb-", "123456789012-123456789012-AbCdEfGhIjKlMnOp"), "a Slack token"),
        (joined("xo", "xp-", "123456789012-AbCdEfGhIjKlMnOp"), "a Slack token"),
        (joined("AI", "za", "a1B2c" * 7), "a Google API key"),
        (joined("sk", "_live_", "a1B2" * 6), "a Stripe key"),
        (
            joined("ey", "JhbGciOiJIUzI1NiJ9.ey", "JzdWIiOiIxMjM0In0.c2lnbmF0dXJl"),
            "a JSON Web Token",
        ),
        (joined("-----BEGIN ", "PRIVATE KEY-----\n", BODY), "a private key"),
        (joined("-----BEGIN RSA ", "PRIVATE KEY-----\n", BODY), "a private key"),
        (joined("-----BEGIN OPENSSH ", "PRIVATE KEY-----\n", BODY), "a private key"),
        (joined('{"k":"-----BEGIN ', "PRIVATE KEY-----\\n", BODY, '"}'), "a private key"),
        ("postgres://shop:S3cret@database/shop", "a URL with a password"),
        ("redis://:p4ssw0rd!@cache:6379", "a URL with a password"),
        ("jdbc:mysql://db/x?user=a&password=b4tterY", "a password"),
        ("Server=db;User=sa;Password=Pa55w.rd;", "a password"),
        ("--password=hunter22", "a password"),
        ("spring.datasource.password=S3cr3t!", "a password"),
        ('{"database": {"password": "S3cr3t99"}}', "a password"),
        ("export API_TOKEN=a8f5f167f44f4964e6c998dee827110c", "a token or key"),
    ],
)
def test_known_forms_and_assignments_are_found_anywhere_in_a_text(text: str, what: str) -> None:
    for around in (text, f"first: line\nurl: x {text}\nlast: line"):
        found = list(in_text(around))
        assert what in {each.what for each in found if not each.is_placeholder}
        assert not any(text in each.what for each in found)


@pytest.mark.parametrize(
    "text",
    [
        "postgres://$(USER):$(PASSWORD)@database/shop",
        "postgres://${USER}:${PASSWORD}@database/shop",
        "postgres://{user}:{password}@database/shop",
        "https://example.com:443/a?x=a@b",
        "git@github.com:shop/shop.git",
        "password: string",
        "password = getPassword()",
        'token := os.Getenv("TOKEN")',
        "connect(password=password)",
        "login.password=Password",
        "login.password.hint=Your password has 8 characters or more",
        "export TOKEN=$1",
        "if [ -z \"$PASSWORD\" ]; then echo 'password: missing'; fi",
        "set $token $arg_token;",
        "proxy_pass http://cart:8080;",
        "ssl_certificate_key /etc/tls/tls.key;",
        "secretName: cart-tls",
        "password_encryption = scram-sha-256",
        "token: abc",
        "# password=S3cr3t99 was here before",
        "grep -q 'BEGIN PRIVATE KEY' file",
        joined("-----BEGIN ", "CERTIFICATE-----\n", BODY),
        f"commit: {HEX}",
        f"image: registry.example.com/shop/token@sha256:{HEX}{HEX[:24]}",
        '{"nextToken": null, "tokenUrl": "https://login.example.com/token"}',
        "{{ .Values.password }}",
        "password: {{ .Values.password }}",
    ],
)
def test_what_only_speaks_of_secrets_is_none(text: str) -> None:
    assert list(in_text(text)) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("DB_PASSWORD", "hunter2"),
        ("dbPassword", "postgres"),
        ("MYSQL_ROOT_PASSWORD", "123456"),
        ("api_key", "sk_test_4eC39HqLyjWDarjtT1zdp7dc"),
        ("clientSecret", "4f9c2b7a1e8d6c5b4a3f2e1d"),
        ("SECRET_KEY", "django-insecure-x9#k2!mq@8"),
        ("JWT_SECRET", "dGhpc2lzYXNlY3JldA=="),
        ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYQWERTYUIOP"),
        ("requirepass", "foobared"),
    ],
)
def test_a_key_says_that_its_value_is_a_secret(key: str, value: str) -> None:
    found = of_key(key, value)
    assert found is not None
    assert not found.is_placeholder
    assert value not in found.what


@pytest.mark.parametrize(
    "value",
    [
        "changeme",
        "CHANGE_ME",
        "<your-password>",
        "xxxxxx",
        "******",
        "password",
        "your-password-here",
        "TODO",
        "replace-me",
    ],
)
def test_what_was_never_filled_in_is_a_placeholder(value: str) -> None:
    found = of_key("DB_PASSWORD", value)
    assert found is not None
    assert found.is_placeholder


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("DB_PASSWORD", "$(OTHER)"),
        ("DB_PASSWORD", "${OTHER}"),
        ("DB_PASSWORD", "/run/secrets/password"),
        ("DB_PASSWORD", "password.txt"),
        ("DB_PASSWORD", "vault:secret/data/shop#password"),
        ("DB_PASSWORD", "ENC[AES256_GCM,data:x]"),
        ("DB_PASSWORD", ""),
        ("ALLOW_EMPTY_PASSWORD", "yes"),
        ("PASSWORD_MIN_LENGTH", "123456"),
        ("PASSWORD_FILE", "secret-of-the-shop"),
        ("PWD", "/app"),
        ("SECRET_NAME", "a8f5f167f44f4964e6c998dee827110c"),
        ("TLS_SECRET", "shop-tls-cert-2024"),
        ("TOKEN", "kubernetes.io/service-account-token"),
        ("TOKEN_URL", "https://login.example.com/oauth/token"),
        ("KEYBOARD", "qwerty12345678901234"),
        ("MONKEY", "a8f5f167f44f4964e6c998dee827110c"),
    ],
)
def test_what_names_or_refers_to_a_secret_is_none(key: str, value: str) -> None:
    assert of_key(key, value) is None


@pytest.mark.parametrize(
    "text",
    ["-----BEGIN PRIVATE KEY-----", "-eyJaaaaaaaaaaa", ".eyJaaaaaaaaaaa", "password-", "password:",
     "a_", "://a:", "xoxb-a-", "SG.", "token=a1", '"password" ', "password: x1y2z3\n"],
)  # fmt: skip
def test_any_text_is_searched_in_linear_time(text: str) -> None:
    def seconds(length: int) -> float:
        long = text * (length // len(text)) + "@"
        start = time.process_time()
        list(in_text(long))
        of_key("password", long)
        of_key("token", long)
        return time.process_time() - start

    assert seconds(200_000) < 20 * seconds(20_000) + 0.5
