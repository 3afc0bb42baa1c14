"""The fixtures lie in modules that are named for what they give."""

pytest_plugins = [
    "tests.servers",
    "tests.ingestion",
    "tests.webserver",
    "tests.sight",
    "tests.readers",
    "tests.nginx",
    "tests.artifacts",
    "tests.bucket",
    "tests.secured",
]
