"""A tenant is added as gitops/README.md says, and neither it nor the first one gets into the other's affairs."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from connectors import nkey
from connectors.connection import NatsUnavailable
from connectors.embedded import NatsSecurity
from flows.nats import nats_options
from flows.settings import Settings
from flows.topology import ACCOUNTS, GITOPS
from flows.users import AGENTS, User
from tests.secured import Client, Look, Ring, Secured
from tests.waiting import wait_until

TEAM_B = User("team-b", inbox_prefix="_INBOX_team-b")
MOST = 4


def with_team_b(accounts: str) -> str:
    """The accounts with what the README says to add, where it says so."""
    permissions, exports, account = re.findall(r"```conf\n(.*?)```", (GITOPS / "README.md").read_text(), re.DOTALL)
    for before, added in (
        ("\n# Nobody may log in to it.", permissions),
        ('      { service: "workflow.*.*.*.agent.person.message", accounts: [JANGAR] }', exports),
        ("  # Those who store and show", account),
    ):
        assert accounts.count(before) == 1
        accounts = accounts.replace(before, f"\n{added}\n{before}")
    return accounts


class TwoTenants(Secured):
    def __init__(self, folder: Path) -> None:
        self.seeds = {"TEAM_B_KEY": nkey.new_seed(), "TEAM_B_NEXT_KEY": nkey.new_seed()}
        super().__init__(folder)
        self.server.security = self._with_both(self.server.security or self.ring.security(), folder)
        (self.ring.folder / "team-b.nk").write_text(self.seeds["TEAM_B_KEY"])

    def _with_both(self, security: NatsSecurity, folder: Path) -> NatsSecurity:
        accounts = folder / "two.conf"
        both = with_team_b(ACCOUNTS.read_text())
        head, tail = both.split("\nteam-b {\n")
        # As many as are soon reached.
        accounts.write_text(f"{head}\nteam-b {{\n{tail.replace('4096', str(MOST), 1)}")
        keys = "".join(f"{name}: {nkey.public_key(seed)}\n" for name, seed in self.seeds.items())
        return replace(security, accounts=accounts, keys=security.keys + keys)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoTenants]:
    with TwoTenants(tmp_path_factory.mktemp("tenants")) as running:
        yield running


def client(server: TwoTenants, user: User) -> Client:
    environ = {
        "NATS_URL": server.server.url,
        "NATS_NKEY_SEED_FILE": str(server.ring.folder / f"{user.name}.nk"),
        "NATS_CA_FILE": str(server.ring.ca_file),
        **user.settings(),
    }
    return Client(nats_options(Settings.from_env(environ), user.name))


def is_connected(connected: ExitStack, server: TwoTenants) -> bool:
    try:
        connected.enter_context(client(server, TEAM_B))
    except NatsUnavailable:
        return False
    return True


def test_each_speaks_in_its_own_namespace_and_the_server_says_which(server: TwoTenants) -> None:
    with client(server, AGENTS) as agents, client(server, TEAM_B) as team_b, Look(server) as look:
        for speaker, namespace in ((agents, "agents"), (team_b, "team-b")):
            speaker.request(f"workflow.{namespace}.run.uid-1.agent.planner.message", b'{"content": "same names"}')
            speaker.request("workflow.general.message", b'{"content": "in the room"}')
        subjects = look.subjects()
    for namespace in ("agents", "team-b"):
        assert subjects[f"workflow.{namespace}.run.uid-1.agent.planner.message"] == 1
        assert subjects[f"workflow.general.{namespace}.message"] == 1


@pytest.mark.parametrize(("thief", "victim"), [(AGENTS, TEAM_B), (TEAM_B, AGENTS)], ids=lambda user: user.name)
def test_neither_speaks_or_listens_in_the_others(thief: User, victim: User, server: TwoTenants) -> None:
    run = f"workflow.{victim.name}.run.uid-1.agent.planner.message"
    own = f"workflow.{thief.name}.run.uid-1.agent.planner.message"
    with client(server, thief) as stealing, client(server, victim) as speaking, Look(server) as look:
        before = look.subjects()
        for subject in (
            run,
            f"workflow.general.{victim.name}.message",
            f"workflow.{thief.name}.run.uid-1.agent.person.message",
        ):
            assert stealing.may_not_publish(subject, b'{"content": "stolen"}')
        for subject in (run, f"workflow.{victim.name}.>", f"{victim.inbox_prefix}.>", "_INBOX.>", ">"):
            assert stealing.may_not_listen(subject)
        assert not stealing.may_not_listen(f"{thief.inbox_prefix}.>")
        for reply in (run, f"{victim.inbox_prefix}.x", f"workflow.general.{victim.name}.message"):
            stealing.may_not_publish(own, b'{"content": "a trick"}', reply)
        speaking.request(run, b'{"content": "heard by nobody"}')
        stealing.run(stealing.connection.client.flush())
        after = look.subjects()
        assert stealing.heard == []
    grown = {subject: count - before.get(subject, 0) for subject, count in after.items()}
    assert {subject for subject, count in grown.items() if count} == {run, own}
    assert grown[run] == 1


def test_a_tenant_who_takes_all_connections_that_it_may_leaves_the_others_theirs(server: TwoTenants) -> None:
    with ExitStack() as connected:
        for _ in range(MOST):
            # The server may not have noticed yet that others have left.
            wait_until(lambda: is_connected(connected, server), "a place")
        with pytest.raises(NatsUnavailable, match="maximum account active connections exceeded"):
            connected.enter_context(client(server, TEAM_B))
        for _ in range(2 * MOST):
            connected.enter_context(client(server, AGENTS))


def test_the_ring_of_the_first_tenant_stays_as_it_was(server: TwoTenants) -> None:
    assert isinstance(server.ring, Ring)
    with client(server, AGENTS) as agents:
        assert agents.request("workflow.agents.x", b"{}")["stream"] == "agent-comms"
