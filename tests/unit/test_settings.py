from typing import get_type_hints

import pytest

from flows.settings import SettingError, Settings, takes


def test_without_an_environment_every_setting_has_its_default() -> None:
    settings = Settings.from_env({})
    assert settings.nats_url == "nats://127.0.0.1:4222"
    assert settings.workflow_namespace == "agents"
    assert settings.agent_comms_max_message_bytes == 1024 * 1024


def test_an_empty_variable_counts_as_absent() -> None:
    assert Settings.from_env({"WORKFLOW_NAMESPACE": "", "RUN_ID": "  "}) == Settings()


@pytest.mark.parametrize(
    ("variable", "value", "takes"),
    [
        ("AGENT_COMMS_PORT", "http", "a whole number from 0 to 65535"),
        ("AGENT_COMMS_PORT", "70000", "a whole number from 0 to 65535"),
        ("AGENT_COMMS_SPOOL_BYTES", "0", "a whole number from 1 to 1125899906842624"),
        ("AGENT_COMMS_LIVE_CONNECTIONS", "99999999999999999999", "a whole number from 1 to 1000000"),
        ("AGENT_COMMS_RETENTION_DAYS", "999999999", "a whole number from 1 to 100000"),
        ("AGENT_COMMS_AUTH", "yes", "`none`, `proxy`, `token`"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_the_variable(variable: str, value: str, takes: str) -> None:
    with pytest.raises(SettingError) as raised:
        Settings.from_env({variable: value})
    line = str(raised.value)
    assert line.startswith(f"{variable}: ")
    assert repr(value) in line
    assert takes in line
    assert "\n" not in line


def test_every_number_has_an_end() -> None:
    for variable, hint in get_type_hints(Settings, include_extras=True).items():
        if "whole number" in takes(hint):
            with pytest.raises(SettingError, match=rf"^{variable.upper()}: .* to \d+, but got"):
                Settings.from_env({variable.upper(): "9" * 20})


def test_secrets_are_not_shown() -> None:
    settings = Settings.from_env(
        {
            "NATS_PASSWORD": "hunter2",
            "NATS_CREDS": "SUAM",
            "NATS_URL": "nats://me:hunter2@nats",
            "DATABASE_URL": "postgresql://me:hunter2@db",
        }
    )
    assert "hunter2" not in repr(settings)
    assert "SUAM" not in repr(settings)
    assert settings.nats_password == "hunter2"
