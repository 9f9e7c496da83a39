"""A circuit opens after failures in a row, lets one try through when its time has come, and closes
on success.
"""

from knowgate.backends.circuit import Circuit


def test_failures_in_a_row_open_it_and_a_success_in_between_does_not() -> None:
    circuit = Circuit(open_after=2, open_for_s=10, clock=lambda: 0.0)
    circuit.failed()
    circuit.succeeded()
    circuit.failed()
    assert circuit.admits()
    circuit.failed()
    assert not circuit.admits()


def test_one_prompt_never_opens_it_and_different_ones_do() -> None:
    circuit = Circuit(open_after=3, open_for_s=10, clock=lambda: 0.0)
    for _ in range(50):
        circuit.failed(of="poison")
    assert circuit.admits()
    circuit.failed(of="another")
    assert circuit.admits()
    circuit.failed(of="a third")
    assert not circuit.admits()


def test_prompts_and_failures_of_the_servers_own_count_together() -> None:
    circuit = Circuit(open_after=3, open_for_s=10, clock=lambda: 0.0)
    circuit.failed()
    circuit.failed(of="poison")
    circuit.failed(of="poison")
    assert circuit.admits()
    circuit.failed()
    assert not circuit.admits()


def test_a_success_forgets_the_prompts_that_failed() -> None:
    circuit = Circuit(open_after=2, open_for_s=10, clock=lambda: 0.0)
    circuit.failed(of="poison")
    circuit.succeeded()
    circuit.failed(of="another")
    assert circuit.admits()


def test_an_open_one_whose_single_try_fails_stays_open_whatever_was_asked() -> None:
    now = [0.0]
    circuit = Circuit(open_after=2, open_for_s=10, clock=lambda: now[0])
    circuit.failed()
    circuit.failed()
    now[0] = 10.0
    assert circuit.admits()
    circuit.failed(of="poison")
    now[0] = 19.0
    assert not circuit.admits()


def test_after_a_while_one_query_at_a_time_tries_again() -> None:
    now = [0.0]
    circuit = Circuit(open_after=1, open_for_s=10, clock=lambda: now[0])
    circuit.failed()
    now[0] = 10.0
    assert [circuit.admits(), circuit.admits()] == [True, False]
    circuit.failed()
    now[0] = 19.9
    assert not circuit.admits()
    now[0] = 20.0
    assert circuit.admits()
    circuit.succeeded()
    assert circuit.admits() and circuit.admits()


def test_a_try_that_never_reports_back_does_not_keep_it_open_for_ever() -> None:
    now = [0.0]
    circuit = Circuit(open_after=1, open_for_s=10, clock=lambda: now[0])
    circuit.failed()
    now[0] = 11.0
    assert circuit.admits()
    now[0] = 22.0
    assert circuit.admits()
