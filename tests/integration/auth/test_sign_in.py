"""People sign in at a provider on loopback: who comes in, with which scopes, and who does not."""

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import select

from mlplatform.audit import audit_entries
from mlplatform.auth.oidc import provider_connection
from mlplatform.auth.sign_in_errors import ProviderUnavailableError
from mlplatform.context import AppContext
from mlplatform.serve.api_server import SIGN_IN_THREADS, ApiServer
from mlplatform.store.tables.auth import spent_tokens
from tests.support.api_server import Flaky, running
from tests.support.guarded_server import guarded, key, shown
from tests.support.oidc_provider import CLIENT_ID, SECRET, LocalProvider, local_provider, signing_key
from tests.support.platform_world import picture
from tests.support.store_rows import saved

HTML = {"accept": "text/html"}
GROUPS = "ml-team=audit,review,operate:digits;cn=all,ou=groups=audit:churn;bosses=admin"


@pytest.fixture
def provider() -> Iterator[LocalProvider]:
    with local_provider() as made:
        yield made


def served(context: AppContext, provider: LocalProvider, **changes: object) -> ApiServer:
    settings = {
        "oidc_issuer": provider.issuer,
        "oidc_client_id": CLIENT_ID,
        "oidc_client_secret": SecretStr(SECRET),
        "oidc_groups": GROUPS,
        "public_url": "http://api",
        "allowed_receivers": (),
    }
    return guarded(context, **(settings | changes))


@pytest.fixture
def server(lite: AppContext, provider: LocalProvider) -> ApiServer:
    return served(lite, provider)


@pytest.fixture
def browser(server: ApiServer) -> Iterator[httpx.Client]:
    with running(server) as client:
        client.headers.update(HTML)
        yield client


def way_back(browser: httpx.Client, path: str = "/") -> str:
    """Begin a sign-in, give the password at the provider; returns the address that leads back."""
    begun = browser.get(f"/sign-in/start?next={path}")
    assert begun.status_code == 303, begun.text
    return httpx.get(begun.headers["location"]).headers["location"].removeprefix("http://api")


def sign_in(browser: httpx.Client, path: str = "/") -> httpx.Response:
    return browser.get(way_back(browser, path))


def refused(browser: httpx.Client, status: int = 403) -> str:
    """What somebody is told who is not let in; the browser gets no session."""
    answer = sign_in(browser)
    assert answer.status_code == status, answer.text
    assert "mlplatform_session" not in browser.cookies
    return answer.text


def form_token(browser: httpx.Client, path: str = "/account") -> dict[str, str]:
    [token, *_] = re.findall('name="form_token" value="([^"]+)"', browser.get(path).text)
    return {"form_token": token}


def actions(server: ApiServer) -> list[tuple[str, str]]:
    with server.context.database.read() as connection:
        return [
            (entry.actor, entry.action) for entry in (stored.entry for stored in audit_entries.iter_entries(connection))
        ]


def test_a_browser_is_sent_to_sign_in_and_comes_back_to_its_page(
    browser: httpx.Client, server: ApiServer, provider: LocalProvider
) -> None:
    sent = browser.get("/alerts?x=1")
    assert (sent.status_code, sent.headers["location"]) == (303, "/sign-in?next=/alerts%3Fx%3D1")
    page = browser.get(sent.headers["location"])
    assert page.status_code == 200
    assert "sign-in/start?next=/alerts%3Fx%3D1" in page.text
    assert "use an API key" in page.text
    answer = sign_in(browser, "/alerts%3Fx%3D1")
    assert (answer.status_code, answer.headers["location"]) == (303, "/alerts?x=1")
    assert browser.get("/alerts?x=1").status_code == 200
    account = browser.get("/account").text
    assert "ann@example.org" in account
    assert re.findall('data-name="scope">([a-z]+)<', account) == ["audit", "review", "operate"]
    assert ("ann@example.org", "sign-in") in actions(server)
    assert set(provider.asked) == {"/.well-known/openid-configuration", "/authorize", "/token", "/keys"}


def test_the_provider_is_asked_with_state_nonce_and_a_challenge(browser: httpx.Client) -> None:
    query = parse_qs(urlsplit(browser.get("/sign-in/start").headers["location"]).query)
    assert query["response_type"] == ["code"]
    assert query["redirect_uri"] == ["http://api/sign-in/callback"]
    assert query["code_challenge_method"] == ["S256"]
    again = parse_qs(urlsplit(browser.get("/sign-in/start").headers["location"]).query)
    for name in ("state", "nonce", "code_challenge"):
        assert len(query[name][0]) >= 43
        assert query[name] != again[name]


def test_cookies_are_for_this_server_and_for_no_script(browser: httpx.Client) -> None:
    answer = sign_in(browser)
    [forgotten, session] = answer.headers.get_list("set-cookie")
    assert forgotten.startswith('mlplatform_sign_in=""')
    assert session.startswith("mlplatform_session=")
    assert "; HttpOnly; Max-Age=28800; Path=/; SameSite=lax" in session
    assert "Secure" not in session


def test_cookies_of_a_server_behind_https_are_secure(lite: AppContext, provider: LocalProvider) -> None:
    for prefix, name in (("", "__Host-mlplatform_sign_in="), ("/ml", "__Secure-mlplatform_sign_in=")):
        server = served(lite, provider, public_url=f"https://ml.example.org{prefix}", root_path=prefix)
        with running(server) as client:
            begun = client.get(f"{prefix}/sign-in/start")
        cookie = begun.headers["set-cookie"]
        assert cookie.startswith(name)
        assert "; Secure" in cookie
        assert f"; Path={prefix or '/'};" in cookie
        assert parse_qs(urlsplit(begun.headers["location"]).query)["redirect_uri"] == [
            f"https://ml.example.org{prefix}/sign-in/callback"
        ]


@pytest.mark.parametrize(
    "path",
    [
        "//evil.example.org",
        "https://evil.example.org",
        "/\\evil.example.org",
        "/%09/evil.example.org",
        "/%0d%0aset-cookie:a=b",
        "\\\\evil",
        "javascript:alert(1)",
        "/sign-in/start",
        "/sign-out",
        "",
        "/" + "a" * 600,
    ],
)
def test_nobody_is_sent_to_another_site(browser: httpx.Client, path: str) -> None:
    assert sign_in(browser, path).headers["location"] == "/"
    page = browser.get(f"/sign-in?next={path}").text
    assert 'href="./sign-in/start?next=/"' in page


def test_a_person_acts_under_their_name_by_forms_and_by_nothing_else(browser: httpx.Client, server: ApiServer) -> None:
    alert = saved(server.context.database)
    sign_in(browser)
    token = form_token(browser)
    answer = browser.post(f"/alerts/{alert.id}/acknowledge", data=token | {"note": "mine"})
    assert answer.status_code == 303, answer.text
    assert ("ann@example.org", "acknowledge") in actions(server)
    for forged in ({}, {"form_token": "1.x"}):
        assert browser.post(f"/alerts/{alert.id}/silence", data=forged).status_code == 403
    for method, path in (("POST", "/v1/retrain"), ("GET", "/v1/audit/next"), ("DELETE", "/v1/models/1/canary")):
        said = browser.request(method, path, headers={"accept": "*/*"})
        assert said.status_code == 403
        assert "by the forms of pages" in said.json()["detail"]
    foreign = {"sec-fetch-site": "cross-site", "origin": "https://evil.example.org"}
    assert browser.post(f"/alerts/{alert.id}/silence", data=token, headers=foreign).status_code == 403
    assert browser.get("/alerts", headers=foreign).status_code == 403


def test_a_form_of_one_session_is_none_of_another(browser: httpx.Client, server: ApiServer) -> None:
    sign_in(browser)
    token = form_token(browser)
    sign_in(browser)
    assert browser.post("/sign-out", data=token).status_code == 403
    assert browser.post("/sign-out", data=form_token(browser)).status_code == 303


def test_groups_give_scopes_and_those_limited_to_a_model_show_that_model(
    browser: httpx.Client, provider: LocalProvider
) -> None:
    provider.claims = {"groups": ["cn=all,ou=groups", "unknown"]}
    sign_in(browser)
    assert browser.get("/").status_code == 200
    assert "audit:digits" in browser.get("/versions").text
    assert browser.get("/audit").status_code == 403
    assert browser.get("/models/digits").status_code == 403
    provider.claims = {"groups": "bosses"}
    sign_in(browser)
    assert browser.get("/audit").status_code == 200


def test_signing_out_ends_the_session_for_every_copy_of_it(
    browser: httpx.Client,
    server: ApiServer,
    lite: AppContext,
    provider: LocalProvider,
) -> None:
    sign_in(browser)
    [kept] = [cookie.value for cookie in browser.cookies.jar if cookie.name == "mlplatform_session"]
    with running(served(lite, provider)) as other:
        copy = {"cookie": f"mlplatform_session={kept}"} | HTML
        assert other.get("/account", headers=copy).status_code == 200
        answer = browser.post("/sign-out", data=form_token(browser))
        assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
        assert browser.get("/account").status_code == 303
        assert browser.get("/account", headers=copy).status_code == 303
    with running(served(lite, provider)) as other:
        assert other.get("/account", headers=copy).status_code == 303
    assert actions(server)[-1] == ("ann@example.org", "sign-out")


def test_a_session_that_was_changed_is_none(browser: httpx.Client) -> None:
    sign_in(browser)
    text = browser.cookies["mlplatform_session"]
    content, signature = text.split(".")
    browser.cookies.clear()
    changed = [
        f"{content[:-4]}AAAA.{signature}",
        f"{content}.",
        content,
        f"{content}.{signature[:-1]}",
        f".{signature}",
        "é",
        "",
        f"{text}; mlplatform_session={text}",
    ]
    for value in changed:
        cookie = f"mlplatform_session={value}".encode()
        assert browser.get("/account", headers=[(b"cookie", cookie), (b"accept", b"text/html")]).status_code == 303
    good = [(b"cookie", f"a=b; mlplatform_session={text}".encode()), (b"accept", b"text/html")]
    assert browser.get("/account", headers=good).status_code == 200


def test_what_was_kept_for_a_sign_in_is_no_session(browser: httpx.Client) -> None:
    browser.get("/sign-in/start")
    cookie = {"cookie": f"mlplatform_session={browser.cookies['mlplatform_sign_in']}"}
    browser.cookies.clear()
    assert browser.get("/account", headers=cookie | HTML).status_code == 303


def test_a_session_ends_with_its_time_and_with_its_groups_scopes(
    lite: AppContext,
    provider: LocalProvider,
) -> None:
    with running(served(lite, provider, oidc_session_hours=1e-7)) as client:
        client.headers.update(HTML)
        sign_in(client)
        client.cookies.set("mlplatform_session", client.cookies.get("mlplatform_session") or "x")
        assert client.get("/account").status_code == 303
    with running(served(lite, provider)) as client:
        client.headers.update(HTML)
        sign_in(client)
        kept = HTML | {"cookie": f"mlplatform_session={client.cookies['mlplatform_session']}"}
    with running(served(lite, provider, oidc_groups="others=audit")) as client:
        answer = client.get("/", headers=kept)
        assert answer.status_code == 403
        assert "ann@example.org has no scope" in answer.text
    with running(served(lite, provider, oidc_issuer="https://id.example.org")) as client:
        assert client.get("/", headers=kept).status_code == 303


def test_a_sign_in_is_completed_once_and_by_the_browser_that_began_it(
    browser: httpx.Client, server: ApiServer, provider: LocalProvider
) -> None:
    back = way_back(browser)
    kept = {"cookie": f"mlplatform_sign_in={browser.cookies['mlplatform_sign_in']}"} | HTML
    browser.cookies.clear()
    said = browser.get(back)
    assert said.status_code == 403
    assert "this browser began no sign-in here" in said.text
    assert browser.get(back.replace("state=", "state=x"), headers=kept).status_code == 403
    assert browser.get(back, headers=kept).status_code == 303
    again = browser.get(back, headers=kept)
    assert again.status_code == 403
    assert "completed before" in again.text
    with server.context.database.read() as connection:
        assert len(connection.execute(select(spent_tokens.c.id)).all()) == 1
    [session] = [name for name, _ in actions(server) if name == "ann@example.org"]
    assert session == "ann@example.org"


def test_another_browsers_answer_is_not_taken(browser: httpx.Client, provider: LocalProvider) -> None:
    stolen = way_back(browser)
    browser.get("/sign-in/start")
    said = browser.get(stolen)
    assert said.status_code == 403
    assert "for another sign-in" in said.text


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({"nonce": "another"}, "cannot be believed"),
        ({"iss": "https://evil.example.org"}, "cannot be believed"),
        ({"aud": "another"}, "cannot be believed"),
        ({"exp": 1_000}, "has expired"),
        ({"email_verified": False}, "has not verified"),
        ({"email": None}, "has no claim"),
        ({"groups": []}, "none of the groups"),
        ({"groups": None}, "none of the groups"),
        ({"groups": ["others"]}, "none of the groups"),
        ({"email": "<script>@x", "groups": []}, "&lt;script&gt;@x is in none"),
    ],
)
def test_whoever_the_provider_does_not_vouch_for_is_refused(
    browser: httpx.Client, provider: LocalProvider, server: ApiServer, claims: dict[str, object], said: str
) -> None:
    provider.claims = claims
    assert said in refused(browser)
    assert not [action for _, action in actions(server) if action == "sign-in"]


def test_tokens_of_other_keys_are_refused(browser: httpx.Client, provider: LocalProvider) -> None:
    published = provider.key
    provider.key = signing_key(str(published.kid))
    assert "cannot be believed" in refused(browser)
    provider.key = signing_key("key-2")
    assert "does not publish" in refused(browser)
    provider.sign = lambda _claims: "e30.e30."
    assert "must use one of" in refused(browser)


@pytest.mark.parametrize(("error", "said"), [("access_denied", "for access"), ("<b>x", "try again")])
def test_a_refusal_of_the_provider_is_told_in_our_words(
    browser: httpx.Client, provider: LocalProvider, error: str, said: str
) -> None:
    provider.refusal = error
    text = refused(browser)
    assert said in text
    assert "&lt;b" not in text


def test_a_wrong_secret_is_told(lite: AppContext, provider: LocalProvider) -> None:
    with running(served(lite, provider, oidc_client_secret=SecretStr("wrong"))) as client:
        client.headers.update(HTML)
        text = refused(client)
        assert "invalid_client" in text
        assert "wrong" not in text


def test_a_provider_that_is_away_leaves_keys_and_sessions_alone(
    browser: httpx.Client, server: ApiServer, provider: LocalProvider
) -> None:
    admin = key(server, "audit")
    provider.status = 500
    answer = browser.get("/sign-in/start")
    assert answer.status_code == 503
    assert "API keys still work" in answer.text
    assert "127.0.0.1" not in answer.text
    assert browser.get("/sign-in").status_code == 200
    challenge = browser.get("/sign-in-with-key?next=/alerts")
    assert challenge.status_code == 401
    assert challenge.headers["www-authenticate"].startswith("Basic ")
    went = browser.get("/sign-in-with-key?next=/alerts", headers=shown(admin, "basic"))
    assert (went.status_code, went.headers["location"]) == (303, "/alerts")
    assert browser.get("/alerts", headers=shown(admin, "basic")).status_code == 200
    provider.status = 200
    assert browser.get("/sign-in/start").status_code == 503  # it is asked again after some seconds


def test_a_provider_that_hangs_is_given_up(
    browser: httpx.Client, server: ApiServer, provider: LocalProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert server.sign_in is not None
    provider.wait_seconds = 3.0
    connection = provider_connection.ProviderConnection(provider.issuer, (), 0.2)
    monkeypatch.setattr(server.sign_in.provider, "_connection", connection)
    assert browser.get("/sign-in/start").status_code == 503


def test_a_provider_that_hangs_holds_up_nobody_who_does_not_need_it(
    browser: httpx.Client, server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert server.sign_in is not None
    sign_in(browser)
    token, let_go = form_token(browser), threading.Event()
    monkeypatch.setattr(server.sign_in, "begin", lambda _path: (let_go.wait(30), ("/", "kept"))[1])
    with ThreadPoolExecutor(SIGN_IN_THREADS + 1) as waiting:
        begun = [waiting.submit(browser.get, "/sign-in/start") for _ in range(SIGN_IN_THREADS + 1)]
        try:
            assert next(as_completed(begun)).result().status_code == 503  # every thread for sign-ins is taken
            assert browser.get("/sign-in").status_code == 200
            assert browser.post("/sign-out", data=token).status_code == 303
            with_key = shown(key(server, "audit"), "basic")
            assert browser.get("/sign-in-with-key", headers=with_key).status_code == 303
        finally:
            let_go.set()


def test_a_browser_that_goes_on_with_a_key_forgets_its_session(browser: httpx.Client, server: ApiServer) -> None:
    sign_in(browser)
    assert "mlplatform_session" in browser.cookies
    browser.get("/sign-in-with-key", headers=shown(key(server, "audit"), "basic"))
    assert "mlplatform_session" not in browser.cookies


@pytest.mark.parametrize(
    "discovery",
    [
        {"issuer": "https://evil.example.org"},
        {"token_endpoint": "http://evil.example.org/token"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"jwks_uri": None},
        {"token_endpoint": "https://[bad"},
        {"jwks_uri": 7},
    ],
    ids=str,
)
def test_documents_that_lead_elsewhere_are_not_followed(
    browser: httpx.Client, provider: LocalProvider, discovery: dict[str, object]
) -> None:
    provider.discovery = discovery
    assert browser.get("/sign-in/start").status_code == 503


def test_addresses_inside_are_not_connected_to() -> None:
    connection = provider_connection.ProviderConnection("https://203.0.113.7", ())
    with pytest.raises(ProviderUnavailableError, match="is no public address"):
        connection.get_json("https://127.0.0.1:1/keys")


def test_programs_are_told_that_a_key_is_needed_and_sent_nowhere(browser: httpx.Client) -> None:
    for headers in ({"accept": "application/json"}, {"accept": "*/*"}):
        assert browser.get("/v1/models", headers=headers).status_code == 401
    assert browser.post("/v1/predict", json={"images": [picture(1).tolist()]}).status_code == 401
    assert browser.get("/", headers=HTML | shown("mlp_wrong")).status_code == 401


def test_sign_ins_of_one_address_are_slowed_down(browser: httpx.Client) -> None:
    statuses = [browser.get("/sign-in/callback?state=x&code=y").status_code for _ in range(25)]
    assert statuses[:20] == [403] * 20
    assert 429 in statuses


def test_without_a_database_nobody_is_let_in(lite: AppContext, provider: LocalProvider) -> None:
    with running(served(lite, provider)) as client:
        client.headers.update(HTML)
        back = way_back(client)
        assert isinstance(lite.database, Flaky)
        lite.database.away = True
        assert client.get(back).status_code == 503
        lite.database.away = False
        assert client.get(back).status_code == 303


def test_a_server_where_nobody_signs_in_loads_no_library_for_it() -> None:
    code = (
        "import sys, mlplatform.serve.run_server, mlplatform.auth.oidc.setup\n"
        "print([name for name in sys.modules if name.startswith(('authlib', 'joserfc'))])"
    )
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == "[]"
