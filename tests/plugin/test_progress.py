"""The one line of progress, in this process and by a clock of its own."""

import re
from itertools import pairwise
from typing import Any

import pytest

from tools.progress import Line
from tools.views import Job, Pause
from tools.wishes import Language
from tools.words import CHINESE, said, translated


class Clock:
    """Seconds that pass only where a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock that stands."""
    return Clock()


@pytest.fixture
def line(clock: Clock) -> Line:
    """The line of a call that has just begun."""
    return Line(clock=clock)


def job(state: str = "running", phase: str = "denoising", step: int = 0, **more: Any) -> Job:
    """A look at a job of twenty steps."""
    progress = {"phase": phase, "step": step, "steps": 20}
    return Job.model_validate({"id": "job_1", "operation": "generate", "model": "m", "state": state}
                              | {"progress": progress, **more})  # fmt: skip


def told(line: Line, clock: Clock, *looks: tuple[float, Job | Pause]) -> str:
    """The line after updates, each at a second since the beginning."""
    began = clock.now
    for second, update in looks:
        clock.now = began + second
        line.grown_by(update)
    return line.text


GONE = Pause(1.0, "unreachable", "127.0.0.1:8300 refused the connection: nothing listens there. Start the server.")


def test_a_call_of_less_than_three_seconds_says_nothing(line: Line, clock: Clock) -> None:
    """D7: most edits without a model and pictures of the miniature are there before anybody reads a line."""
    assert told(line, clock, (0, job("queued")), (1, job(step=4)), (2.9, job(step=19))) == ""
    assert line.ended() == ""


def test_progress_is_one_line_that_grows_and_names_the_job_first(line: Line, clock: Clock) -> None:
    """D7 and E5: one line in a chat; whoever loses the call fetches the result by the id."""
    looks = [(second, job(step=step)) for second, step in ((1, 1), (3.1, 5), (4, 7), (7, 11), (8, 13))]
    assert told(line, clock, *looks) == "Painting 5/20 (job job_1) · 11/20"
    clock.now += 1
    assert line.ended() == " · done, 9 s\n"


def test_every_phase_is_told_and_not_every_step(line: Line, clock: Clock) -> None:
    phases = ["", "loading", "encoding", "denoising", "decoding", "storing"]
    looks = [(3.0 + number, job(phase=phase, step=0)) for number, phase in enumerate(phases)]
    waiting = [(3.0, job("queued", queue_position=2)), (3.1, job("queued", queue_position=1))]
    assert told(line, clock, *waiting, *looks, (20, job("review"))) == (
        "Waiting, place 2 in the queue (job job_1) · waiting, next in the queue · starting · loading the model · "
        "reading the prompt · painting · turning the result into pixels · storing the images · "
        "waiting for a person to approve the result"
    )


def test_nine_minutes_of_steps_stay_a_line_that_one_reads(line: Line, clock: Clock) -> None:
    looks = [(float(second), job(step=second // 27)) for second in range(540)]
    assert len(told(line, clock, *looks)) < 200


def test_a_server_that_is_gone_for_nine_minutes_is_told_once_and_then_by_the_time(line: Line, clock: Clock) -> None:
    """D5: no sentence of 190 characters every few seconds."""
    text = told(line, clock, (4, job(step=3)), *((5.0 + second, GONE) for second in range(0, 530, 8)))
    assert text.startswith("Painting 3/20 (job job_1) · no answer from the server, trying again · ")
    assert text.count("no answer") == 1
    assert "refused" not in text
    times = [int(second) for second in re.findall(r"· (\d+) s", text)]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert (gaps[0] < gaps[-1], min(gaps) >= 3) == (True, True)
    assert len(text) < 350


def test_a_job_that_waits_without_a_change_shows_that_it_goes_on(line: Line, clock: Clock) -> None:
    looks = [(float(second), job("queued", queue_position=3)) for second in (3, 5, 20, 24)]
    assert told(line, clock, *looks) == "Waiting, place 3 in the queue (job job_1) · 20 s"


def test_rows_are_counted(line: Line, clock: Clock) -> None:
    rows = [{"total": 9, "succeeded": done, "failed": failed} for done, failed in ((1, 0), (4, 1))]
    looks = [(3.0 + 5 * number, job("running", rows=each)) for number, each in enumerate(rows)]
    assert told(line, clock, *looks) == "1 of 9 rows done (job job_1) · 5 of 9 rows done, 1 failed"


@pytest.mark.parametrize(
    ("language", "words"), [("en", "waiting, a limit of the API key is reached"), ("zh", "已达到 API 密钥的上限")]
)
def test_a_call_that_waits_for_a_limit_says_so(clock: Clock, language: Language, words: str) -> None:
    pause = Pause(12.0, "limited", "The API key 'dify' may submit 60 jobs a minute, and has.")
    assert words in told(Line(language, clock), clock, (4, pause)).casefold().replace("api", "API")


def test_a_long_pause_is_told_when_it_begins_however_early(line: Line, clock: Clock) -> None:
    pause = Pause(55.0, "limited", "The API key 'dify' may submit 1 jobs a minute, and has.")
    assert told(line, clock, (0, pause)) == "Waiting, a limit of the API key is reached"


def test_a_chinese_call_speaks_chinese(clock: Clock) -> None:
    """D9: progress in the language of the prompt."""
    line = Line("zh", clock)
    looks: list[tuple[float, Job | Pause]] = [(4, job("queued", queue_position=2)), (5, job(step=5)), (9, job(step=9))]
    assert told(line, clock, *looks, (10, GONE)) == (
        "正在排队，第 2 位（作业 job_1） · 正在绘制 5/20 · 9/20 · 服务器没有响应，正在重试"
    )
    assert line.ended() == " · 完成，10 秒\n"


@pytest.mark.parametrize("english", CHINESE)
def test_both_languages_fill_in_the_same_names(english: str) -> None:
    names = set(re.findall(r"\{(\w+)\}", english))
    assert set(re.findall(r"\{(\w+)\}", CHINESE[english])) == names
    assert re.search("[\u4e00-\u9fff]", said("zh", english, **dict.fromkeys(names, "x")))


@pytest.mark.parametrize(
    ("message", "chinese"),
    [
        (
            "Job job0 failed: 64x64 does not fit into the memory of cuda:0; ask for 32x32 or smaller.",
            "作业 job0 失败：cuda:0 的显存放不下 64x64；请改用 32x32 或更小的尺寸。",
        ),
        ("steps: must be at least 2 (given: 1).", "steps: must be at least 2 (given: 1)."),
        ("Nobody knows this. Send it again later.", "Nobody knows this. 请稍后再试。"),
        (
            "channels: takes post, story, separated by commas; not tik tok.",
            "渠道（channels）可填 post, story，用逗号分隔；不支持“tik tok”。",
        ),
        (
            "The language model gave up; the campaign was put together by rules instead.",
            "语言模型未能给出可用的结果（gave up）；已改用规则编排营销方案。",
        ),
        (
            "The language model left out or changed the text “Dr. A: B”; the prompt was put together by rules instead.",
            "语言模型漏掉或改动了文字“Dr. A: B”；已改用规则撰写提示词。",
        ),
        (
            "The miniature left out what it knows no word of: 'it's; 3.5 dogs'. Send it again later.",
            "微型模型略去了它不认识的部分：“it's; 3.5 dogs”。请稍后再试。",
        ),
        (
            "save_style: takes letters, digits, - . and _, such as spring-2027 (given: a b).",
            "save_style：可用字母、数字、- . 和 _，例如 spring-2027（收到：a b）。",
        ),
        ("Cut off; the rest is gone. Send it again later.", "Cut off; the rest is gone. 请稍后再试。"),
        ("", ""),
    ],
)
def test_errors_are_told_in_chinese_sentence_by_sentence(message: str, chinese: str) -> None:
    """D9: what is not known in Chinese stays as it is."""
    assert translated(message, "zh") == chinese
    assert translated(message, "en") == message
