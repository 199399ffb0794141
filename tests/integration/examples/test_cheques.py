"""The cheque reader with a database and its pages: two at once, labels, the trail, hostile requests."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import httpx
import pytest
from PIL import Image
from sqlalchemy import Connection, Executable, Table, delete, func, insert, select, text, update

pytest.importorskip("cv2", reason="examples/cheques needs OpenCV (pip install opencv-python-headless)")

from cheques import audit_chain, audit_verification, processing
from cheques.__main__ import main
from cheques.account_table import parse_accounts, put_accounts
from cheques.errors import AccountsError, AmountError, CodeLineError, ConflictError, ReaderUnavailableError
from cheques.label_sending import count_labels, let_refused_wait, send_labels, waiting_labels
from cheques.processing import ChequeProcessor, Verdict, find_cheque
from cheques.store import Store, accounts, audit_entries, cheques, insert_new, labels, pictures, presentations
from mlplatform.client import ApiRequestError, Prediction, PredictResponse
from tests.support.cheques_world import ACCOUNTS, NOW, FixedReader, cheque_picture, code_of, serving, settings, world
from tests.support.own_database import own_database
from tests.support.waiting import eventually

PICTURE = cheque_picture(code_of(1))


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'cheques.db'}"
        return
    with own_database() as own:
        yield own.url()


@pytest.fixture
def reader() -> FixedReader:
    return FixedReader()


@pytest.fixture
def processor(url: str, reader: FixedReader) -> Iterator[ChequeProcessor]:
    made = world(url, reader)
    yield made
    made.store.close()


@pytest.fixture
def local(tmp_path: Path, reader: FixedReader) -> Iterator[ChequeProcessor]:
    """A processor over SQLite, where the database makes no difference."""
    made = world(f"sqlite:///{tmp_path / 'cheques.db'}", reader)
    yield made
    made.store.close()


def outcome_of(processor: ChequeProcessor, cheque_id: str) -> str:
    with processor.store.read() as connection:
        return str(find_cheque(connection, cheque_id)["outcome"])


def rules_of(processor: ChequeProcessor, cheque_id: str) -> set[str]:
    with processor.store.read() as connection:
        return {reason["rule"] for reason in find_cheque(connection, cheque_id)["reasons"]}


def faults_of(processor: ChequeProcessor, head: str = "") -> tuple[str, ...]:
    with processor.store.read() as connection:
        return audit_verification.verify(connection, head, with_pictures=True).faults


def test_a_cheque_is_accepted_once_and_the_trail_says_so(processor: ChequeProcessor) -> None:
    first = processor.present(PICTURE)
    assert outcome_of(processor, first) == "accept"
    second = processor.present(PICTURE)
    assert outcome_of(processor, second) == "refuse"
    assert rules_of(processor, second) == {"presented-before"}
    with processor.store.read() as connection:
        [entry] = audit_chain.entries_of(connection, first)
        report = audit_verification.verify(connection)
    assert entry["details"]["amount"] == "120"
    assert entry["details"]["prediction_id"] == "prediction-1"
    assert report.faults == ()
    assert report.cheques == 2
    assert report.entries == len(ACCOUNTS) + 2


def test_of_one_cheque_presented_many_times_at_once_one_is_accepted(url: str, processor: ChequeProcessor) -> None:
    others = [ChequeProcessor(settings(), Store(url), FixedReader()) for _ in range(3)]
    start = threading.Barrier(8)

    def present(at: int) -> str:
        start.wait(30)
        return [processor, *others][at % 4].present(PICTURE)

    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(present, range(8)))
    outcomes = [outcome_of(processor, cheque_id) for cheque_id in ids]
    assert sorted(outcomes) == ["accept"] + ["refuse"] * 7
    assert faults_of(processor) == ()
    for other in others:
        other.store.close()


def test_a_trail_is_whole_at_every_moment_while_cheques_come(processor: ChequeProcessor) -> None:
    with ThreadPoolExecutor(3) as pool:
        coming = [pool.submit(processor.present, PICTURE) for _ in range(9)]
        while not all(one.done() for one in coming):
            assert faults_of(processor) == ()
    assert {outcome_of(processor, one.result()) for one in coming} == {"accept", "refuse"}


def test_two_processes_that_start_at_once_create_one_set_of_tables(url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        stores = list(pool.map(Store, [url] * 4))
    with stores[0].write() as connection:
        assert put_accounts(connection, ACCOUNTS, "test", NOW) == len(ACCOUNTS)
    for store in stores:
        store.close()


def test_accounts_decide_what_is_refused(local: ChequeProcessor) -> None:
    unknown = replace(ACCOUNTS[0], key="26000000000009")
    found = {
        name: rules_of(local, local.present(cheque_picture(code_of(serial, account))))
        for serial, (name, account) in enumerate(
            {"closed": ACCOUNTS[1], "small": ACCOUNTS[2], "unknown": unknown}.items()
        )
    }
    assert found == {"closed": {"account-closed"}, "small": {"over-account"}, "unknown": {"account-unknown"}}


def test_a_refused_cheque_may_come_again_once_the_account_is_mended(local: ChequeProcessor) -> None:
    picture = cheque_picture(code_of(3, ACCOUNTS[1]))
    assert outcome_of(local, local.present(picture)) == "refuse"
    with local.store.write() as connection:
        put_accounts(connection, [replace(ACCOUNTS[1], is_open=True)], "test", NOW)
    assert outcome_of(local, local.present(picture)) == "accept"
    assert faults_of(local) == ()


def test_a_person_decides_what_the_machine_does_not_and_the_platform_learns_it(
    processor: ChequeProcessor, reader: FixedReader
) -> None:
    reader.confidence = 0.4
    cheque_id = processor.present(PICTURE)
    assert outcome_of(processor, cheque_id) == "review"
    assert outcome_of(processor, processor.present(PICTURE)) == "refuse"  # one that waits holds its code line
    with pytest.raises(AmountError, match=r"1\.20"):
        processor.review(cheque_id, Verdict("1.20", code_of(1).text, "ada"))
    with pytest.raises(CodeLineError, match="check digits"):
        processor.review(cheque_id, Verdict("130", "000002<26000000000001<00", "ada"))
    assert processor.review(cheque_id, Verdict(" 130 ", code_of(1).text, "ada")).outcome == "accept"
    with pytest.raises(ConflictError, match="accept by ada"):
        processor.review(cheque_id, Verdict("140", code_of(1).text, "eve"))
    assert waiting_labels(processor.store) == 1
    assert send_labels(processor.store, reader) == 1
    [label] = reader.labels
    assert (label.prediction_id, label.label, label.source, label.reviewer) == (
        "prediction-1",
        "130",
        "correction",
        "ada",
    )
    assert send_labels(processor.store, reader) == 0
    assert faults_of(processor) == ()


def test_of_two_people_who_decide_at_once_one_is_told(processor: ChequeProcessor, reader: FixedReader) -> None:
    reader.confidence = 0.4
    cheque_id = processor.present(PICTURE)

    def review(amount: str) -> str:
        try:
            return processor.review(cheque_id, Verdict(amount, code_of(1).text, "ada")).outcome
        except ConflictError:
            return "conflict"

    with ThreadPoolExecutor(4) as pool:
        outcomes = sorted(pool.map(review, ["120", "130", "140", "150"]))
    assert outcomes == ["accept", "conflict", "conflict", "conflict"]
    assert waiting_labels(processor.store) == 1
    assert faults_of(processor) == ()


def test_a_person_may_refuse_what_the_rules_would_accept(local: ChequeProcessor, reader: FixedReader) -> None:
    reader.confidence = 0.4
    cheque_id = local.present(PICTURE)
    assert (
        local.review(cheque_id, Verdict("120", code_of(1).text, "ada", refuse=True, note="forged")).outcome == "refuse"
    )
    assert "person" in rules_of(local, cheque_id)


def test_what_is_no_cheque_is_refused_without_an_amount_and_leaves_the_queue(
    processor: ChequeProcessor, reader: FixedReader
) -> None:
    picture = BytesIO()
    Image.new("RGB", (600, 300), "grey").save(picture, "PNG")
    cheque_id = processor.present(picture.getvalue())
    assert outcome_of(processor, cheque_id) == "review"
    with pytest.raises(AmountError):
        processor.review(cheque_id, Verdict("", "?0", "ada"))
    assert processor.review(cheque_id, Verdict("", "?0", "ada", refuse=True, note="a wall")).outcome == "refuse"
    reader.confidence = 0.4
    doubted = processor.present(PICTURE)
    with pytest.raises(AmountError, match=r"1\.20"):
        processor.review(doubted, Verdict("1.20", code_of(1).text, "ada", refuse=True))
    processor.review(doubted, Verdict("", code_of(1).text, "ada", refuse=True))
    assert waiting_labels(processor.store) == 0
    assert faults_of(processor) == ()


@pytest.mark.parametrize("refused_by", ["person", "limit"])
def test_what_was_refused_for_what_is_written_on_it_is_not_accepted_unseen_later(
    processor: ChequeProcessor, reader: FixedReader, refused_by: str
) -> None:
    code = code_of(1, ACCOUNTS[2])
    picture = cheque_picture(code)
    if refused_by == "limit":
        assert outcome_of(processor, processor.present(picture)) == "refuse"  # 120 of 5 allowed
    else:
        reader.confidence = 0.4
        doubted = processor.present(picture)
        processor.review(doubted, Verdict("5", code.text, "ada", refuse=True, note="forged"))
    reader.text, reader.confidence = "1", 0.999
    again = processor.present(picture)
    assert outcome_of(processor, again) == "review"
    assert rules_of(processor, again) == {"refused-before"}
    assert processor.review(again, Verdict("1", code.text, "eve")).outcome == "accept"
    assert faults_of(processor) == ()


def test_a_hold_that_goes_while_it_is_looked_at_is_taken(
    processor: ChequeProcessor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another cheque holds the code line at the first statement, and was refused before the second."""
    tried: list[bool] = []

    def insert_late(connection: Connection, table: Table, values: dict[str, object]) -> bool:
        if table is presentations and not tried:
            tried.append(True)
            return False
        return insert_new(connection, table, values)

    monkeypatch.setattr(processing, "insert_new", insert_late)
    assert outcome_of(processor, processor.present(PICTURE)) == "accept"
    assert tried
    assert faults_of(processor) == ()


def test_a_model_that_reads_no_texts_decides_nothing(local: ChequeProcessor, monkeypatch: pytest.MonkeyPatch) -> None:
    """A platform that serves single digits answers "7" with confidence, and no confidence of each character."""
    single = Prediction("prediction", "7", 0.999, {"7": 0.999}, "digits", 4)
    answer = PredictResponse("request", (single,), 1.0, recorded=True)
    monkeypatch.setattr(local.client, "predict", lambda _images, **_given: answer)
    with pytest.raises(ReaderUnavailableError, match="digits version 4 reads no texts"):
        local.present(PICTURE)
    with local.store.read() as connection:
        assert connection.scalar(select(func.count()).select_from(cheques)) == 0


def test_labels_survive_what_is_not_about_them_and_refused_ones_can_be_sent_again(
    local: ChequeProcessor, reader: FixedReader
) -> None:
    reader.confidence = 0.4
    local.review(local.present(PICTURE), Verdict("120", code_of(1).text, "ada"))
    for status, kind in ((404, "unknown"), (422, "unknown"), (409, "conflict"), (403, "forbidden")):
        reader.fault = ApiRequestError(status, kind, "a proxy's page")
        assert send_labels(local.store, reader) == 0
        assert waiting_labels(local.store) == 1, (status, kind)
    reader.fault = ApiRequestError(422, "invalid", "its time cannot be")
    assert send_labels(local.store, reader) == 0
    assert (waiting_labels(local.store), count_labels(local.store, "refused")) == (0, 1)
    reader.fault = None
    assert let_refused_wait(local.store) == 1
    assert send_labels(local.store, reader) == 1
    assert [label.label for label in reader.labels] == ["120"]


def test_a_corrected_code_line_that_another_cheque_holds_is_refused(
    local: ChequeProcessor, reader: FixedReader
) -> None:
    local.present(PICTURE)
    reader.confidence = 0.4
    waits = local.present(cheque_picture(code_of(2)))
    assert local.review(waits, Verdict("120", code_of(1).text, "ada")).outcome == "refuse"
    assert rules_of(local, waits) == {"presented-before"}
    with local.store.read() as connection:
        held = connection.execute(select(presentations.c.code)).scalars().all()
    assert held == [code_of(1).text]


def test_a_drawn_check_is_a_label_that_estimates_and_the_decision_stands(tmp_path: Path, reader: FixedReader) -> None:
    drawn = world(f"sqlite:///{tmp_path / 'drawn.db'}", reader, sample_share=1.0)
    cheque_id = drawn.present(PICTURE)
    assert not drawn.check(cheque_id, "121", "ada")
    with pytest.raises(ConflictError, match="somebody checked it"):
        drawn.check(cheque_id, "120", "eve")
    assert outcome_of(drawn, cheque_id) == "accept"
    assert send_labels(drawn.store, reader) == 1
    assert (reader.labels[0].source, reader.labels[0].label) == ("audit", "121")
    with drawn.store.read() as connection:
        assert audit_chain.entries_of(connection, cheque_id)[-1]["details"]["agrees"] is False
    drawn.store.close()


def test_a_review_of_a_drawn_cheque_estimates_as_well(tmp_path: Path, reader: FixedReader) -> None:
    reader.confidence = 0.1
    drawn = world(f"sqlite:///{tmp_path / 'drawn.db'}", reader, sample_share=1.0)
    cheque_id = drawn.present(PICTURE)
    with pytest.raises(ConflictError, match="not drawn for a check"):
        drawn.check(cheque_id, "120", "ada")
    with serving(drawn) as address, httpx.Client(base_url=address) as web:
        hidden = web.get(f"/cheques/{cheque_id}?blind=1").text
        assert 'name="amount" value=""' in hidden
        assert ">120<" not in hidden
        assert "confidence" not in hidden
        assert f"{cheque_id}?blind=1" in web.get("/review").text
    drawn.review(cheque_id, Verdict("120", code_of(1).text, "ada"))
    assert send_labels(drawn.store, reader) == 1
    assert reader.labels[0].source == "audit"
    drawn.store.close()


def test_without_the_platform_nothing_is_kept_and_labels_wait(local: ChequeProcessor, reader: FixedReader) -> None:
    reader.confidence = 0.4
    cheque_id = local.present(PICTURE)
    reader.is_away = True
    with pytest.raises(ReaderUnavailableError, match="send the cheque again"):
        local.present(cheque_picture(code_of(2)))
    local.review(cheque_id, Verdict("120", code_of(1).text, "ada"))
    assert send_labels(local.store, reader) == 0
    assert waiting_labels(local.store) == 1
    reader.is_away, reader.fault = False, ApiRequestError(401, "unauthorized", "a wrong key")
    assert send_labels(local.store, reader) == 0
    assert waiting_labels(local.store) == 1
    reader.fault = ApiRequestError(404, "not-found", "no such prediction")
    assert send_labels(local.store, reader) == 0
    assert waiting_labels(local.store) == 0
    with local.store.read() as connection:
        assert connection.execute(select(labels.c.state, labels.c.note)).one() == (
            "refused",
            "no such prediction (HTTP 404)",
        )
        assert connection.scalar(select(func.count()).select_from(cheques)) == 1


def test_a_transaction_that_breaks_off_leaves_nothing(local: ChequeProcessor, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_given: object) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(audit_chain, "append", broken)
        with pytest.raises(OSError, match="no space"):
            local.present(PICTURE)
    with local.store.read() as connection:
        assert connection.scalar(select(func.count()).select_from(cheques)) == 0
        assert connection.scalar(select(func.count()).select_from(presentations)) == 0
    assert outcome_of(local, local.present(PICTURE)) == "accept"


def test_every_change_behind_the_trails_back_is_found(local: ChequeProcessor, reader: FixedReader) -> None:
    first, second = local.present(PICTURE), local.present(cheque_picture(code_of(2)))
    reader.confidence = 0.4
    seen = local.present(cheque_picture(code_of(3)))
    local.review(seen, Verdict("77", code_of(3).text, "ada"))
    with local.store.read() as connection:
        head = audit_verification.verify(connection).head
    changes: dict[str, Executable] = {
        "does not hold its code line": delete(presentations).where(presentations.c.cheque_id == first),
        "is held by no cheque": insert(presentations).values(code="1", cheque_id="2"),
        f"account {ACCOUNTS[2].key} is not as the trail says": update(accounts)
        .where(accounts.c.key == ACCOUNTS[2].key)
        .values(largest_cheque=10**9),
        f"account {ACCOUNTS[1].key} is not as the trail says": delete(accounts).where(
            accounts.c.key == ACCOUNTS[1].key
        ),
        "the label of cheque": update(labels).values(label="78"),
        f"the picture of cheque {first} is not the one": update(pictures).values(flat=b"another"),
        f"the picture of cheque {second} is gone": delete(pictures).where(pictures.c.cheque_id == second),
        f"cheque {first} is not what": update(cheques).where(cheques.c.id == first).values(is_sampled=True),
        "are no JSON": text("UPDATE cheques SET reading = 'x'"),
        "entry 5": update(audit_entries).where(audit_entries.c.number == 5).values(details="no JSON"),
        "is not what was decided": update(cheques).where(cheques.c.id == first).values(amount="9120"),
        "is gone": delete(cheques).where(cheques.c.id == second),
        "is not what was written": update(audit_entries).where(audit_entries.c.number == 4).values(actor="eve"),
        "were removed": delete(audit_entries).where(audit_entries.c.number == 4),
    }
    for said, change in changes.items():
        with local.store.engine.connect() as connection:
            connection.exec_driver_sql("BEGIN")
            connection.exec_driver_sql("PRAGMA defer_foreign_keys=ON")
            connection.execute(change)
            report = audit_verification.verify(connection, with_pictures=True)
            assert any(said in fault for fault in report.faults), said
            connection.rollback()
    with local.store.engine.connect() as connection:
        connection.exec_driver_sql("BEGIN")
        connection.execute(delete(audit_entries).where(audit_entries.c.number == 7))
        assert any(
            "head of the chain says otherwise" in fault for fault in audit_verification.verify(connection).faults
        )
        connection.rollback()
    assert faults_of(local, head) == ()
    assert any("written anew" in fault for fault in faults_of(local, "0" * 64))


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["a,b"], "give the columns"),
        (["account,holder,open,largest_cheque", "26,x,yes,5"], "line 2: account '26'"),
        (["account,holder,open,largest_cheque", "26000000000001,x,maybe,5"], "open is 'maybe'"),
        (["account,holder,open,largest_cheque", "26000000000001,x\0,yes,5"], "line 2: holder"),
        (["account,holder,open,largest_cheque", "26000000000001,x,yes,5,more"], "line 2: holder"),
        (["account,holder,open,largest_cheque", '26000000000001,"x"y,yes,5'], "cannot be read"),
        (["account,holder,open,largest_cheque", "26000000000001,x,yes,-5"], "largest_cheque is '-5'"),
        (["account,holder,open,largest_cheque", *["26000000000001,x,yes,5"] * 2], "line 3: account .* twice"),
    ],
)
def test_a_file_of_accounts_is_refused_by_line_and_value(lines: list[str], said: str) -> None:
    with pytest.raises(AccountsError, match=said):
        parse_accounts(lines)


def test_the_commands_take_accounts_and_verify(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CHEQUES_DATABASE_URL", f"sqlite:///{tmp_path / 'cheques.db'}")
    (tmp_path / "accounts.csv").write_text("account,holder,open,largest_cheque\n26000000000001,A,yes,5\n")
    assert main(["accounts", str(tmp_path / "accounts.csv")]) == 0
    assert main(["verify"]) == 0
    assert '"entries": 1' in capsys.readouterr().out
    assert main(["verify", "--head", "0" * 64]) == 3
    assert main(["accounts", str(tmp_path / "missing.csv")]) == 1
    monkeypatch.setenv("CHEQUES_THRESHOLD", "2")
    assert main(["verify"]) == 2
    assert "CHEQUES_THRESHOLD" in capsys.readouterr().err
    assert main(["render", str(tmp_path / "samples"), "--count", "2"]) == 2
    monkeypatch.delenv("CHEQUES_THRESHOLD")
    (tmp_path / "accounts.csv").write_bytes(
        "account,holder,open,largest_cheque\n26000000000001,Ä,yes,5\n".encode("latin-1")
    )
    assert main(["accounts", str(tmp_path / "accounts.csv")]) == 1
    assert "UTF-8" in capsys.readouterr().err
    for name, value, code, said in (
        ("CHEQUES_ALLOWED_HOSTS", "cheques.example", 2, "give JSON"),
        ("CHEQUES_DATABASE_URL", "nonsense", 2, "give sqlite:///FILE"),
        ("CHEQUES_DATABASE_URL", "sqlite:////nowhere/at/all.db", 1, "unable to open"),
    ):
        with monkeypatch.context() as changed:
            changed.setenv(name, value)
            assert main(["verify"]) == code
            assert said in capsys.readouterr().err


def test_the_pages_answer_and_refuse(local: ChequeProcessor, reader: FixedReader) -> None:
    with serving(local) as address, httpx.Client(base_url=address, follow_redirects=True) as web:
        shown = web.post("/cheques", files={"file": ("c.jpg", PICTURE)})
        assert shown.status_code == 200
        assert "accepted" in shown.text
        assert "script-src 'self'" in shown.headers["content-security-policy"]
        assert "style=" not in shown.text
        assert "<script" not in shown.text
        reader.confidence = 0.3
        said = web.post("/cheques", files={"file": ("c.jpg", cheque_picture(code_of(2)))}, headers=JSON)
        assert said.status_code == 201
        assert said.json()["outcome"] == "review"
        cheque = f"/cheques/{said.json()['id']}"
        form = {"amount": "77", "code": code_of(2).text, "reviewer": "<b>ada</b>"}
        assert web.post(f"{cheque}/review", data=form | {"reviewer": " \x00 "}).status_code == 422
        assert web.post(f"{cheque}/review", data=form, headers={"origin": "http://evil.example"}).status_code == 403
        assert web.post(f"{cheque}/review", data=form, headers={"sec-fetch-site": "cross-site"}).status_code == 403
        done = web.post(f"{cheque}/review", data=form)
        assert "&lt;b&gt;ada&lt;/b&gt;" in done.text
        assert web.post(f"{cheque}/review", data=form).status_code == 409
        assert [label.label for label in reader.labels] == ["77"]
        assert web.get(f"{cheque}/flat.jpg").content[:2] == b"\xff\xd8"
        assert "are as they were written" in web.get("/audit").text
        assert web.get("/review").status_code == web.get("/?outcome=refuse").status_code == 200
        assert web.get("/healthz").json() == {"status": "ok"}
        assert web.get("/cheques/nobody", headers=JSON).status_code == 404
        assert web.get("/cheques/%00", headers=JSON).status_code == 404
        assert web.post(f"{cheque}/review", data=form | {"reviewer": "Machine"}).status_code == 422
        assert web.get("/assets/..%2fpages.py").status_code == 404
        assert web.get("/", headers={"host": "evil.example"}).status_code == 400


def test_pages_answer_while_more_cheques_wait_than_there_are_threads(
    local: ChequeProcessor, reader: FixedReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, predict, asked = threading.Event(), reader.predict, list[str]()

    def slow(images: Sequence[object], *, client_id: str = "") -> PredictResponse:
        asked.append(client_id)
        go_on.wait(60)
        return predict(images, client_id=client_id)

    monkeypatch.setattr(reader, "predict", slow)
    with serving(local) as address, ThreadPoolExecutor(48) as pool:
        coming = [
            pool.submit(httpx.post, f"{address}/cheques", files=FILE, headers=JSON, timeout=90) for _ in range(48)
        ]
        try:
            eventually(lambda: len(asked) == 8, "as many uploads as have threads", 30)
            for _ in range(10):
                assert httpx.get(f"{address}/healthz", timeout=10).status_code == 200
                assert not any(one.done() for one in coming)
        finally:
            go_on.set()
        assert {one.result(90).status_code for one in coming} == {201}
    assert faults_of(local) == ()


JSON = {"accept": "application/json"}
FILE = {"file": ("c.jpg", PICTURE)}


def test_hostile_uploads_are_refused_and_keep_nothing(tmp_path: Path, reader: FixedReader) -> None:
    strict = world(f"sqlite:///{tmp_path / 'strict.db'}", reader, max_upload_bytes=1_000_000)
    with serving(strict) as address, httpx.Client(base_url=address) as web:
        answers = {
            "text": web.post("/cheques", files={"file": ("c.jpg", b"hello")}, headers=JSON),
            "truncated": web.post("/cheques", files={"file": ("c.jpg", PICTURE[:3000])}, headers=JSON),
            "large": web.post("/cheques", files={"file": ("c.jpg", bytes(1_100_000))}, headers=JSON),
            "nothing": web.post("/cheques", headers=JSON),
            "endless": web.post("/cheques", content=iter([b"x" * 1000] * 3), headers=JSON),
        }
        assert {name: answer.status_code for name, answer in answers.items()} == {
            "text": 422,
            "truncated": 422,
            "large": 413,
            "nothing": 422,
            "endless": 411,
        }
        assert all(answer.json()["detail"] for answer in answers.values())
        reader.is_away = True
        away = web.post("/cheques", files={"file": ("c.jpg", cheque_picture(code_of(5)))}, headers=JSON)
        assert (away.status_code, away.headers["retry-after"]) == (503, "5")
    with strict.store.read() as connection:
        assert connection.scalar(select(func.count()).select_from(cheques)) == 0
    strict.store.close()
