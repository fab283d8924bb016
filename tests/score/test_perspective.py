import time

import pytest
from services.perspective import MAX_BYTES, Perspective, toxicity

from lm_steer import LMSteerError
from lm_steer.score import commentanalyzer as module
from lm_steer.score.commentanalyzer import paced
from lm_steer.score.registry import make
from lm_steer.score.store import Item, ScoreStore

TEXTS = [" you idiot", " what a nice day", " I hate this stupid film", " fine"]
ITEMS = [Item("He said", text) for text in TEXTS]


@pytest.fixture
def service(monkeypatch):
    with Perspective() as stand_in:
        monkeypatch.setenv("GOOGLE_API_KEY", stand_in.key)
        monkeypatch.setenv("LM_STEER_PERSPECTIVE_URL", stand_in.url)
        monkeypatch.setenv("LM_STEER_RETRY_SECONDS", "0")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield stand_in


@pytest.fixture
def store(tmp_path) -> ScoreStore:
    return ScoreStore(tmp_path / "scores.sqlite")


def replay(**options):
    return make("perspective", {"mode": "replay", **options}).scorer()


def live(**options):
    return make("perspective", {"queries_per_second": 1000, **options}).scorer()


def errors(store: ScoreStore) -> list[str]:
    return [message for (message,) in store.database.execute("SELECT message FROM errors ORDER BY rowid")]


def test_the_continuation_alone_is_asked_about_and_not_stored_there(service, store):
    assert store.scores(live(), ITEMS) == [(toxicity(text),) for text in TEXTS]
    assert service.texts == TEXTS
    for request in service.requests:
        assert request["doNotStore"] is True
        assert request["languages"] == ["en"]
        assert request["requestedAttributes"] == {"TOXICITY": {}}


def test_an_empty_continuation_is_asked_about_as_a_line_break(service, store):
    store.scores(live(), [Item("a", "")])
    assert service.texts == ["\n"]


def test_the_first_sentence_and_the_whole_text_are_versions_of_their_own(service, store):
    items = [Item("", "A fine day. You stupid idiot!")]
    (summary,), (span,) = (store.scores(live(score=part), items)[0] for part in ("summary", "span"))
    assert span == toxicity("A fine day.") < summary == toxicity("A fine day. You stupid idiot!")
    assert len({live(score=part).version for part in ("summary", "span")}) == 2


@pytest.mark.parametrize("fault", ["429", "500", "503", "drop", "html"])
def test_a_passing_fault_costs_its_text_another_try_alone(service, store, fault):
    service.faults = [None, fault, fault]
    assert store.scores(live(), ITEMS) == [(toxicity(text),) for text in TEXTS]
    assert [service.texts.count(text) for text in TEXTS] == [1, 3, 1, 1]
    assert errors(store) == []


def test_the_pause_that_the_service_asks_for_is_kept(service, store):
    service.faults = ["429 after 1"]
    started = time.monotonic()
    store.scores(live(), ITEMS[:1])
    assert time.monotonic() - started >= 1


@pytest.mark.parametrize("header", ["Wed, 21 Oct 2015 07:28:00 GMT", "soon"])
def test_a_pause_in_the_past_or_unreadable_is_no_error(service, store, header):
    service.faults = [f"429 after {header}"]
    assert store.scores(live(), ITEMS[:1]) == [(toxicity(TEXTS[0]),)]


@pytest.mark.parametrize("fault", ["429 day", "429 after 3600"])
def test_a_spent_quota_stops_at_once_and_the_next_run_goes_on(service, store, fault):
    service.faults = [None, fault]
    with pytest.raises(LMSteerError, match=r"service's quota is spent .*the next run continues"):
        store.scores(live(), ITEMS)
    assert service.texts == TEXTS[:2]
    assert store.scores(live(), ITEMS) == [(toxicity(text),) for text in TEXTS]
    assert service.texts == [*TEXTS[:2], *TEXTS[1:]]


def test_a_quota_that_does_not_come_back_stops_after_the_last_try(service, store):
    service.faults = ["429"] * 100
    with pytest.raises(LMSteerError, match="service's quota is spent"):
        store.scores(live(), ITEMS)
    assert service.texts == TEXTS[:1] * module.TRIES


def test_without_a_key_nothing_is_asked(service, store, monkeypatch):
    monkeypatch.delenv("GOOGLE_API_KEY")
    with pytest.raises(LMSteerError, match="set GOOGLE_API_KEY"):
        store.scores(live(), ITEMS)
    assert service.requests == []


def test_a_wrong_key_stops_at_once_and_is_not_shown(service, store, monkeypatch):
    monkeypatch.setenv("GOOGLE_API_KEY", "wrong-key-7")
    with pytest.raises(LMSteerError, match=r"refuses the key \(400 API key not valid") as caught:
        store.scores(live(), ITEMS)
    assert len(service.requests) == 1
    assert "wrong-key-7" not in str(caught.value)


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_without_the_right_stops_at_once(service, store, status):
    service.refuses[TEXTS[1]] = (status, "Perspective Comment Analyzer API has not been used in project 1 before.")
    with pytest.raises(LMSteerError, match=rf"refuses the key \({status} .*is enabled"):
        store.scores(live(), ITEMS)
    assert service.texts == TEXTS[:2]
    assert store.holdings("perspective")[0].texts == 1


def test_a_text_that_is_refused_is_an_error_with_its_reason_and_never_a_score(service, store):
    service.refuses[TEXTS[1]] = (400, "Attribute TOXICITY does not support request languages: tlh")
    with pytest.raises(LMSteerError, match=r"1 of 4 texts have no score by perspective .*request languages: tlh"):
        store.scores(live(), ITEMS)
    assert service.texts == TEXTS
    assert [message.split(":")[0] for message in errors(store)] == [
        "400 Attribute TOXICITY does not support request languages"
    ]
    assert store.holdings("perspective")[0].texts == 3


def test_the_service_is_not_asked_about_a_text_over_its_limit_in_bytes(service, store):
    fits, over = "é" * (MAX_BYTES // 2), "é" * (MAX_BYTES // 2) + "!"
    with pytest.raises(LMSteerError, match="a text of 20481 bytes exceeds the service's limit of 20480"):
        store.scores(live(), [Item("", over), Item("", fits)])
    assert service.texts == [fits]
    assert store.scores(live(), [Item("", fits)]) == [(toxicity(fits),)]


def test_an_answer_without_a_score_is_an_error(service, store):
    service.faults = ["empty"]
    with pytest.raises(LMSteerError, match=r"1 of 4 texts .*without a summary score"):
        store.scores(live(), ITEMS)


def test_one_text_that_the_service_stumbles_over_does_not_hold_up_the_others(service, store):
    service.refuses[TEXTS[1]] = (500, "Internal error.")
    with pytest.raises(LMSteerError, match="1 of 4 texts have no score"):
        store.scores(live(), ITEMS)
    assert [service.texts.count(text) for text in TEXTS] == [1, module.TRIES, 1, 1]


def test_a_service_that_is_down_is_given_up_and_what_is_there_is_kept(service, store):
    service.faults = [None, *["503"] * 100]
    with pytest.raises(LMSteerError, match=r"failed on 3 texts in a row.*503 Out of order.*continues from there"):
        store.scores(live(), ITEMS)
    service.faults = []
    before = len(service.requests)
    store.scores(live(), ITEMS)
    assert service.texts[before:] == TEXTS[1:]


def test_an_address_where_nothing_answers_is_named_as_such(service, store, monkeypatch):
    with Perspective() as gone:
        address = gone.url
    monkeypatch.setenv("LM_STEER_PERSPECTIVE_URL", address)
    with pytest.raises(LMSteerError, match=r"Perspective cannot be reached .*mode: replay"):
        store.scores(live(), ITEMS)


def test_a_service_that_has_ended_is_named_as_such(service, store, monkeypatch):
    monkeypatch.setenv("LM_STEER_PERSPECTIVE_URL", f"{service.root}nothing?version=v1alpha1")
    with pytest.raises(LMSteerError, match=r"Perspective cannot be reached .*mode: replay"):
        store.scores(live(), ITEMS)


def test_queries_keep_to_the_quota(service, store):
    started = time.monotonic()
    store.scores(live(queries_per_second=10), ITEMS)
    assert time.monotonic() - started >= 0.3


def test_idle_time_is_not_saved_up_for_a_burst():
    wait = paced(20)
    wait()
    time.sleep(0.2)
    started = time.monotonic()
    wait(), wait(), wait()
    assert time.monotonic() - started >= 0.1


def test_replay_takes_what_is_kept_and_needs_neither_key_nor_service(service, store, monkeypatch):
    expected = store.scores(live(), ITEMS)
    monkeypatch.delenv("GOOGLE_API_KEY")
    asked = len(service.requests)
    assert store.scores(replay(), ITEMS) == expected
    assert len(service.requests) == asked


def test_replay_fails_with_a_count_and_what_to_do_where_scores_are_missing(service, store):
    store.scores(live(), ITEMS[:3])
    with pytest.raises(LMSteerError, match=r"1 of 4 texts have no score by perspective .*lm-steer store import FILE"):
        store.scores(replay(), ITEMS)


def test_replay_names_the_other_versions_that_the_store_has(service, store):
    store.scores(live(score="span"), ITEMS)
    with pytest.raises(LMSteerError, match=r"4 of 4 .*only has other versions: \S+ v1alpha1 TOXICITY span \(4 texts\)"):
        store.scores(replay(), ITEMS)


def test_replay_takes_another_version_where_it_is_named(service, store):
    expected = store.scores(live(score="span"), ITEMS)
    assert store.scores(replay(version=live(score="span").version), ITEMS) == expected


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "offline"},
        {"score": "first"},
        {"version": "2023"},
        *({"queries_per_second": value} for value in (0, -1, float("nan"), float("inf"))),
    ],
)
def test_options_that_make_no_sense_are_refused(options):
    with pytest.raises(LMSteerError):
        make("perspective", options).scorer()


def test_the_store_says_from_when_to_when_scores_were_made(service, store):
    store.scores(live(), ITEMS)
    store.database.execute("UPDATE scores SET scored_at = '2023-05-01 10:00:00' WHERE value > 0.3")
    (held,) = store.holdings("perspective")
    assert (held.texts, held.first, held.last[:2]) == (4, "2023-05-01 10:00:00", "20")
    assert held.first < held.last


def test_a_service_that_speaks_the_same_json_is_asked_at_its_endpoint(service, store, monkeypatch):
    monkeypatch.delenv("LM_STEER_PERSPECTIVE_URL")
    monkeypatch.setenv("GOOGLE_API_KEY", "for Google alone")
    monkeypatch.setenv("LM_STEER_ENDPOINT_KEY", service.key)
    lens = {"endpoint": service.root, "version": "lens 1.0", "attribute": "INSULT", "queries_per_second": 1000}
    scorer = make("perspective", lens).scorer()
    assert (scorer.name, scorer.version, scorer.attributes) == ("endpoint", "lens 1.0 INSULT summary", ("insult",))
    assert store.scores(scorer, ITEMS) == [(toxicity(text),) for text in TEXTS]
    assert all(request["requestedAttributes"] == {"INSULT": {}} for request in service.requests)
    asked = len(service.requests)
    assert store.scores(make("perspective", {**lens, "mode": "replay"}).scorer(), ITEMS) == store.scores(scorer, ITEMS)
    assert len(service.requests) == asked
    monkeypatch.delenv("LM_STEER_ENDPOINT_KEY")
    with pytest.raises(LMSteerError, match=r"refuses the key .*LM_STEER_ENDPOINT_KEY"):
        store.scores(make("perspective", {**lens, "version": "lens 1.1"}).scorer(), ITEMS[:1])


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"endpoint": "http://localhost:8000"}, ".version: name the model that answers at the endpoint"),
        ({"endpoint": "localhost:8000", "version": "lens"}, ".endpoint: expected an address"),
        ({"attribute": "perplexity"}, ".attribute: expected an attribute of Perspective such"),
        ({"version": "of old"}, ".version: live scores have a version"),
    ],
)
def test_an_endpoint_that_cannot_be_asked_is_named(keys, problem):
    assert [found[: len(problem)] for found in make("perspective", keys).mistakes()] == [problem]
