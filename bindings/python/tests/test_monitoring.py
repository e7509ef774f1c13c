"""A real Prometheus scrapes a running node: the dashboard's queries and the alerts, as it evaluates them."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from terminal import Program, write_keys
from support import PATIENCE, REPOSITORY, free_port, keys, until_now

TEST = "test_dashboard_and_alerts_of_a_running_node_by_a_real_prometheus"


def prometheus() -> Path:
    """The server, which is fetched once together with promtool."""
    fetched = subprocess.run([REPOSITORY / "tests/monitoring/promtool.sh"], capture_output=True, text=True)
    server = Path(fetched.stdout.strip()) / "prometheus"
    if fetched.returncode == 0 and server.is_file():
        return server
    why = fetched.stderr.strip() or f"no {server}"
    if os.environ.get("MUSIG_REQUIRE_ALL") == "1":
        pytest.fail(why)
    print(f"SKIPPED {TEST}: {why}")
    pytest.skip(why)


def dashboard() -> list[str]:
    """The queries, with what Grafana puts into them."""
    panels = json.loads((REPOSITORY / "docs/monitoring/dashboard.json").read_text())["panels"]
    queries = [target["expr"] for panel in panels for target in panel["targets"]]
    for name, value in (("$__rate_interval", "1m"), ("$__range", "1h"), ("$instance", ".*")):
        queries = [query.replace(name, value) for query in queries]
    assert len(queries) > 20 and not any("$" in query for query in queries)
    return queries


class Server:
    """What the server answers."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def ask(self, path: str, **parameters: str) -> Any:
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=PATIENCE) as answer:
            said = json.load(answer)
        assert said["status"] == "success", said
        return said["data"]

    def results(self, query: str) -> list[Any]:
        results: list[Any] = self.ask("query", query=query)["result"]
        return results

    def value(self, query: str) -> float | None:
        results = self.results(query)
        return float(results[0]["value"][1]) if len(results) == 1 else None

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=PATIENCE) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError):
            return False

    def firing(self) -> set[str]:
        alerts = self.ask("alerts")["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}


def test_dashboard_and_alerts_of_a_running_node_by_a_real_prometheus(tmp_path: Path) -> None:
    program = prometheus()
    first, second = write_keys(tmp_path, 2)
    control = tmp_path / "own" / "control"
    ours = ("--key", first, "--store", tmp_path / "a.redb", "--listen", "/ip4/127.0.0.1/tcp/0")
    theirs = ("--key", second, "--store", tmp_path / "b.redb", "--listen", "/ip4/127.0.0.1/tcp/0")
    with Program("node", *ours, "--control", control, "--metrics", "127.0.0.1:0") as node:
        peer = node.wait(r"^listening +(\S+)")
        target = urllib.parse.urlsplit(node.wait(r"^metrics +(\S+)")).netloc
        port = free_port()
        # Every JSON text is YAML.
        scrape = {"job_name": "musig", "static_configs": [{"targets": [target]}]}
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(REPOSITORY / "docs/monitoring/alerts.yml")],
            "scrape_configs": [scrape],
        }
        (tmp_path / "prometheus.yml").write_text(json.dumps(config))
        log = (tmp_path / "prometheus.log").open("w")
        options = [
            f"--config.file={tmp_path / 'prometheus.yml'}",
            f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        running = subprocess.Popen([program, *options], stdout=log, stderr=log)
        try:
            server = Server(port)
            until_now("it is ready", server.is_ready)
            until_now("it has scraped the node", lambda: server.value('up{job="musig"}') == 1)
            until_now("all is at zero", lambda: server.value("musig_sessions_completed_total") == 0)
            assert "MusigFailoverExhausted" not in server.firing()
            # A session completes, and nobody broadcasts.
            signers = [word for each in keys(2) for word in ("--signer", each)]
            until = ("--until", "complete")
            terms = ("--text", "hello", "--sign-blind", "--timeout", 1, *until)
            with Program("join", *theirs, "--peer", peer, "--yes", *until) as joining:
                with Program("propose", "--control", control, *signers, *terms) as proposing:
                    proposing.wait(r"^signature +(\S+)")
                    assert (joining.end()[0], proposing.end()[0]) == (0, 0)
            until_now("it is counted", lambda: server.value("musig_sessions_completed_total") == 1)
            until_now("the alarm is scraped", lambda: server.value("musig_failover_exhaustions_total") == 1)
            until_now("the alert fires", lambda: "MusigFailoverExhausted" in server.firing())
            health = {rule["name"]: rule["health"] for group in server.ask("rules")["groups"] for rule in group["rules"]}
            assert len(health) >= 9 and set(health.values()) == {"ok"}, health
            # Every query has an answer, for all series are there from the start.
            unanswered = [query for query in dashboard() if not server.results(query)]
            assert unanswered == []
            assert server.results("musig_of_no_such_name") == [], "it would be noticed"
            with pytest.raises(urllib.error.HTTPError, match="400"):
                server.results("sum((musig_peers)")
            # And what a person would read off is what happened.
            exhausted = [query for query in dashboard() if "musig_failover_exhaustions_total" in query]
            assert len(exhausted) == 1 and (server.value(exhausted[0]) or 0) > 0
            assert server.value('musig_sessions_proposed_total{role="proposer"}') == 1
        except AssertionError:
            log.flush()
            print((tmp_path / "prometheus.log").read_text()[-4000:])
            raise
        finally:
            running.terminate()
            running.wait(PATIENCE)
            log.close()
