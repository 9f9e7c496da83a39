"""A circuit opens after failures in a row, lets one try through when its time has come, and closes on success."""

from knowgate.backends.circuit import Circuit


def test_failures_in_a_row_open_it_and_a_success_in_between_does_not() -> None:
    circuit = Circuit(open_after=2, open_for_s=10, clock=lambda: 0.0)
    circuit.failed()
    circuit.succeeded()
    circuit.failed()
    assert circuit.admits()
    circuit.failed()
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
