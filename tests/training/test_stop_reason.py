"""What follows from why a training ended."""

from odenet._training.stop_reason import StopReason

CONCLUSIVE = {"early_stopping", "horizon", "stationary"}


def test_a_reason_is_the_word_that_estimators_show():
    for reason in StopReason:
        assert reason == str(reason) == reason.value
        assert isinstance(reason, str)
    words = {str(reason) for reason in StopReason}
    assert words == CONCLUSIVE | {
        *("max_evals", "max_epochs", "callback", "interrupted", "diverged")
    }


def test_what_a_reason_means():
    for reason in StopReason:
        assert reason.is_conclusive == (reason in CONCLUSIVE)
        assert reason.is_convergence == (reason in CONCLUSIVE | {"callback"})
        assert reason.is_failure == (reason in {"max_evals", "diverged"})


def test_a_user_is_told_what_to_do_where_something_is_to_be_done():
    advice = {reason: reason.advice for reason in StopReason if reason.advice}
    assert set(advice) == {"max_evals", "diverged", "interrupted"}
    assert "learning_rate" in advice[StopReason.DIVERGED]
    assert "Raise max_evals" in advice[StopReason.MAX_EVALS]
