"""Checks compose.yaml and every file it names, without a container engine.

    check_compose.py ROOT              the repository as it is
    check_compose.py ROOT --as NAME    the same, but file NAME has the text on standard input

First the Compose specification's JSON schema (the copy inside the package check-jsonschema),
then this project's own rules: pinned images, unprivileged read-only containers, secrets only
from the environment, documented variables, ports on the loopback address, an order of starting
that can be kept, mounts that exist, and a Dockerfile that builds what compose asks for.

Prints one line for each problem and exits 1, or says what was checked and exits 0.
"""

import json
import re
import sys
from importlib.metadata import distribution
from pathlib import Path

import yaml
from jsonschema.validators import validator_for

from check_dockerfile import check_dockerfile, pinned

SERVICES = {"timescaledb", "migrate", "role-passwords", "receiver", "satsim", "grafana"}
# What the stack shows to the host, and nothing else: (service, host, container, protocol).
PUBLISHED = {
    ("receiver", 10015, 10015, "udp"),
    ("receiver", 3000, 3000, "tcp"),
    ("grafana", 3001, 3000, "tcp"),
}
ROLE_SCRIPT = "schema/docker-init/role-passwords.sql"
DATASOURCES = "grafana/provisioning/datasources/orbitstream.yaml"
DASHBOARDS = "grafana/provisioning/dashboards/orbitstream.yaml"

SECRET_NAME = re.compile(r"PASSWORD|PASSWD|SECRET|TOKEN|CREDENTIAL|API_?KEY", re.IGNORECASE)
VARIABLE = re.compile(
    r"\$(?:(?P<escaped>\$)|\{(?P<name>\w+)(?:(?P<op>:?[-?+])(?P<word>[^}]*))?\}|(?P<bare>\w+)|)"
)
# Stands in a string for the variable that was there; cannot occur in a text file.
REQUIRED, OTHER = "\0", "\1"


class Tree:
    """The repository, with the text of one file replaced if a test asks for it."""

    def __init__(self, root, replaced=None, text=None):
        self.root, self.replaced, self.text = Path(root), replaced, text

    def read(self, name):
        return self.text if name == self.replaced else (self.root / name).read_text("utf-8")

    def exists(self, name):
        return (self.root / name).exists()

    def load(self, name):
        return yaml.load(self.read(name), StrictLoader)  # noqa: S506, a SafeLoader


class StrictLoader(yaml.SafeLoader):
    """Refuses a key given twice, which YAML forbids and PyYAML lets pass."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key.value!r} given twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def strings(node, path=()):
    """Every value below `node` as text, with the keys that lead to it; a list of words as one."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from strings(value, (*path, str(key)))
    elif isinstance(node, list) and not all(isinstance(value, str) for value in node):
        for index, value in enumerate(node):
            yield from strings(value, (*path, str(index)))
    elif isinstance(node, list):
        yield path, " ".join(node)
    else:
        yield path, "" if node is None else str(node)


def mask(text):
    """`text` with each variable replaced by one mark, so that what is left is literal."""
    def mark(found):
        if found["escaped"]:
            return "$"
        return REQUIRED if found["op"] == ":?" and found["word"] else OTHER
    return VARIABLE.sub(mark, text)


def check_schema(compose):
    path = distribution("check-jsonschema").locate_file(
        "check_jsonschema/builtin_schemas/vendor/compose-spec.json"
    )
    schema = json.loads(Path(path).read_text("utf-8"))
    for error in validator_for(schema)(schema).iter_errors(compose):
        where = "/".join(map(str, error.absolute_path))
        yield f"compose specification: {where or 'top level'}: {error.message[:200]}"


def check_hardening(services):
    for name, service in services.items():
        if ("image" in service) == ("build" in service):
            yield f"{name}: wants an image or a build, and one of them"
        if "image" in service and not pinned(service["image"]):
            yield f"{name}: image {service['image']} is not pinned to a version"
        if not re.fullmatch(r"[1-9]\d*:\d+", str(service.get("user", ""))):
            yield f"{name}: user is not a numbered, unprivileged one"
        if service.get("read_only") is not True:
            yield f"{name}: read_only is not true"
        if service.get("cap_drop") != ["ALL"] or "cap_add" in service:
            yield f"{name}: keeps capabilities"
        if service.get("security_opt") != ["no-new-privileges:true"]:
            yield f"{name}: security_opt is not no-new-privileges alone"
        if not re.fullmatch(r"[1-9]\d*[mg]", str(service.get("mem_limit", ""))):
            yield f"{name}: no limit of memory"
        for key in ("privileged", "devices", "network_mode", "pid", "ipc", "userns_mode", "sysctls",
                    "volumes_from", "env_file", "secrets", "extends"):
            if key in service:
                yield f"{name}: {key} is not wanted here"


def check_database(services):
    """TimescaleDB's jobs have the worker processes that they need."""
    command = " ".join(services["timescaledb"].get("command", []))
    settings = dict(re.findall(r"--([\w.]+)=(\d+)", command))
    names = ("max_worker_processes", "timescaledb.max_background_workers", "max_parallel_workers")
    processes, jobs, parallel = (int(settings.get(name, 0)) for name in names)
    if 0 in (processes, jobs, parallel) or processes < jobs + parallel + 3:
        yield "timescaledb: too few worker processes for its jobs"


def check_order(services):
    """Waiting: on services that exist, for states they can reach, and not in a circle."""
    awaited = {}
    for name, service in services.items():
        waits = service.get("depends_on", {})
        if not isinstance(waits, dict):
            yield f"{name}: depends_on without conditions"
            continue
        for other, condition in ((o, w.get("condition")) for o, w in waits.items()):
            awaited.setdefault(other, set()).add(condition)
            if other not in services:
                yield f"{name}: depends on {other}, which is no service"
            elif condition == "service_started":
                yield f"{name}: waits for {other} to be started, which says nothing"
    for name, service in services.items():
        conditions = awaited.get(name, set())
        ends = "service_completed_successfully" in conditions
        if service.get("restart") != ("no" if ends else "unless-stopped"):
            yield f"{name}: restart does not suit a service that {'ends' if ends else 'runs on'}"
        # A service that only sends, like satsim, is as healthy as its process.
        if "service_healthy" in conditions or "ports" in service:
            yield from check_health(name, service.get("healthcheck", {}))

    done, left = set(), set(services)
    while ready := {n for n in left if not set(services[n].get("depends_on", ())) & left}:
        done, left = done | ready, left - ready
    if left:
        yield f"services wait for each other: {', '.join(sorted(left))}"


def check_health(name, health):
    test = health.get("test")
    if not isinstance(test, list) or test[0] != "CMD" or health.get("disable"):
        yield f"{name}: no healthcheck with a command of its own"
    for key in ("interval", "timeout", "retries", "start_period"):
        if key not in health:
            yield f"{name}: healthcheck without {key}"


def check_secrets(where, node):
    """A secret is always a required variable: never literal, never with a default."""
    for path, text in strings(node):
        masked, place = mask(text), f"{where}: {'.'.join(path)}"
        if SECRET_NAME.search(path[-1]) and masked != REQUIRED:
            yield f"{place}: a secret that is not ${{NAME:?what to do}}"
        for user, password in re.findall(r"://([^/@\s:]*):([^@\s]*)@", masked):
            if password != REQUIRED:
                yield f"{place}: the URL of {user} holds a password"
        if re.search(rf"passw(or)?d[=\s]+[^\s{REQUIRED}]", masked, re.IGNORECASE):
            yield f"{place}: holds a password"


def check_variables(tree, compose):
    """The variables of compose.yaml are those of .env.example, with the same defaults."""
    used = {}
    for path, text in strings(compose):
        for found in VARIABLE.finditer(text):
            if found["escaped"]:
                continue
            if not found["name"] or found["op"] not in (":?", ":-"):
                yield f"{'.'.join(path)}: {found[0]!r} is neither ${{NAME:?..}} nor ${{NAME:-..}}"
                continue
            if found["op"] == ":?" and ".env.example" not in found["word"]:
                yield f"{'.'.join(path)}: the message of {found['name']} does not say what to do"
            used[found["name"]] = "" if found["op"] == ":?" else found["word"]
    documented = {}
    for line in tree.read(".env.example").splitlines():
        if found := re.fullmatch(r"(#?)(\w+)=(.*)", line):
            commented, name, value = found.groups()
            documented[name] = value
            if SECRET_NAME.search(name) and (value or commented):
                yield f".env.example: {name} must be there to fill in, and empty"
            if not SECRET_NAME.search(name) and not commented:
                yield f".env.example: {name} has a default, so it is shown commented out"
    for name in sorted(used.keys() - documented.keys()):
        yield f".env.example: does not document {name}"
    for name in sorted(documented.keys() - used.keys()):
        yield f".env.example: documents {name}, which compose.yaml does not use"
    for name in sorted(used.keys() & documented.keys()):
        if used[name] != documented[name]:
            yield f".env.example: {name} has another default than in compose.yaml"


def check_ports(services):
    published = set()
    for name, service in services.items():
        for port in service.get("ports", []):
            found = isinstance(port, str) and re.fullmatch(
                r"(?:127\.0\.0\.1|\$\{\w+:-127\.0\.0\.1\}):\$\{\w+_PORT:-(\d+)\}:(\d+)"
                r"(?:/(udp|tcp))?", port
            )
            if not found:
                yield f"{name}: port {port} is not bound to 127.0.0.1 by default, with a port that " \
                    ".env can change"
                continue
            published.add((name, int(found[1]), int(found[2]), found[3] or "tcp"))
    for name, host, container, protocol in sorted(published ^ PUBLISHED):
        yield f"{name}: port {host}:{container}/{protocol} should be published, and is not" \
            if (name, host, container, protocol) in PUBLISHED else \
            f"{name}: port {host}:{container}/{protocol} is published, and should not be"
    # In a container, 127.0.0.1 would be reachable by nobody.
    environment = services["receiver"].get("environment", {})
    for key, value in {"LISTEN": "0.0.0.0:10015", "HTTP": "0.0.0.0:3000"}.items():
        if environment.get(f"ORBITSTREAM_{key}") != value:
            yield f"receiver: ORBITSTREAM_{key} is not {value}"


def check_mounts(tree, compose):
    named = set()
    for name, service in compose["services"].items():
        for mount in service.get("volumes", []):
            if isinstance(mount, str):
                source = mount.split(":")[0]
                named.add(source)
                if source not in compose.get("volumes", {}):
                    yield f"{name}: {mount} is neither a declared volume nor written out"
            elif mount["type"] == "bind":
                source = mount["source"]
                path = tree.root / source
                if not source.startswith("./") or ".." in source or not path.exists():
                    yield f"{name}: mounts {source}, which is not in the repository"
                elif path.is_dir() and not any(path.iterdir()):
                    yield f"{name}: mounts {source}, an empty folder, which git does not keep"
                if mount.get("read_only") is not True:
                    yield f"{name}: may write to {source}"
                if mount.get("bind", {}).get("create_host_path") is not False:
                    yield f"{name}: would create {source} if it were missing"
            elif mount["type"] != "tmpfs":
                yield f"{name}: mount of type {mount['type']}"
    for volume in sorted(compose.get("volumes", {}).keys() - named):
        yield f"volume {volume} is used by no service"


def check_networks(compose):
    """Whoever names a service and a port has to be on a network with it."""
    services, networks = compose["services"], compose.get("networks", {})
    if services["satsim"].get("networks") != ["station"]:
        yield "satsim: can reach the database"
    for name, service in services.items():
        own = set(service.get("networks", []))
        if not own or own - networks.keys():
            yield f"{name}: is not on declared networks alone"
        if "ports" in service and all((networks.get(n) or {}).get("internal") for n in own):
            yield f"{name}: publishes a port from internal networks, which reaches nobody"
        named = set()
        for path, text in strings({k: service.get(k, {}) for k in ("environment", "command")}):
            named |= set(re.findall(r"(?:^|\s|@)([a-z][\w-]*):\d+(?:/|\s|$)", mask(text)))
            if path[-1] == "PGHOST":
                named.add(text)
        for other in sorted(named):
            if other not in services:
                yield f"{name}: names {other}, which is no service"
            elif not own & set(services[other].get("networks", [])):
                yield f"{name}: names {other} and is on no network with it"


def check_roles(tree, services):
    """Every role that logs in gets its password, from a variable that the script is given."""
    script = tree.read(ROLE_SCRIPT)
    set_by_script = set(re.findall(r"^ALTER ROLE (\w+) PASSWORD", script, re.MULTILINE))
    owner = services["timescaledb"]["environment"]["POSTGRES_USER"]
    users = {tree.load(DATASOURCES)["datasources"][0]["user"]}
    for service in services.values():
        for _, text in strings(service.get("environment", {})):
            users |= set(re.findall(r"^postgres(?:ql)?://(\w+):", mask(text)))
    for role in sorted(users - {owner} ^ set_by_script):
        yield f"{ROLE_SCRIPT}: {role} logs in and gets no password, or the reverse"
    migrations = "".join(p.read_text("utf-8") for p in (tree.root / "schema").rglob("*.sql")
                         if p.parent.name != "docker-init")
    for role in sorted(set_by_script):
        if not re.search(rf"\b{role}\b", migrations):
            yield f"{ROLE_SCRIPT}: no migration makes {role}"
    runner = services["role-passwords"]
    folders = {m["target"]: m["source"] for m in runner.get("volumes", []) if m["type"] == "bind"}
    named = [a.removeprefix("--file=") for a in runner.get("entrypoint", []) if "--file=" in a]
    if [f"{folders.get(str(Path(n).parent), '?')}/{Path(n).name}" for n in named] \
            != [f"./{ROLE_SCRIPT}"]:
        yield f"role-passwords: does not run {ROLE_SCRIPT}"
    for variable in re.findall(r"^\\getenv \w+ (\w+)", script, re.MULTILINE):
        if variable not in runner.get("environment", {}):
            yield f"role-passwords: is not given {variable}"


def check_grafana(tree, services):
    grafana = services["grafana"]
    environment = grafana["environment"]
    if environment.get("GF_DASHBOARDS_MIN_REFRESH_INTERVAL") != "1s":
        yield "grafana: GF_DASHBOARDS_MIN_REFRESH_INTERVAL is not 1s"
    targets = {m["source"]: m["target"] for m in grafana["volumes"] if isinstance(m, dict)}
    for folder in sorted((tree.root / "grafana/provisioning").iterdir()):
        if targets.get(f"./grafana/provisioning/{folder.name}") \
                != f"/etc/grafana/provisioning/{folder.name}":
            yield f"grafana: does not mount grafana/provisioning/{folder.name}"
    for file in (DATASOURCES, DASHBOARDS):
        for path, text in strings(tree.load(file)):
            for variable in re.findall(r"\$(?:\{|__env\{)?(\w+)", text):
                if variable not in environment:
                    yield f"{file}: {'.'.join(path)} wants {variable}, which grafana is not given"
    source = tree.load(DATASOURCES)["datasources"][0]
    wanted = {"type": "postgres", "uid": "orbitstream", "user": "orbitstream_reader",
              "url": "$ORBITSTREAM_DB_HOST", "database": "$ORBITSTREAM_DB_NAME"}
    for key, value in wanted.items():
        if source.get(key) != value:
            yield f"{DATASOURCES}: {key} is not {value}"
    if source["jsonData"].get("database") != source.get("database"):
        yield f"{DATASOURCES}: jsonData.database is not database"
    if source["jsonData"].get("timescaledb") is not True:
        yield f"{DATASOURCES}: timescaledb is not true"
    if source.get("secureJsonData") != {"password": "$ORBITSTREAM_READER_PASSWORD"}:
        yield f"{DATASOURCES}: the password is not the reader's variable alone"
    shown = tree.load(DASHBOARDS)["providers"][0]["options"]["path"].removeprefix("$")
    if environment.get(shown) != targets.get("./grafana/dashboards"):
        yield f"{DASHBOARDS}: {shown} is not where grafana/dashboards is mounted"


def problems(tree):
    try:
        compose = tree.load("compose.yaml")
    except yaml.YAMLError as error:
        return [f"compose.yaml: {' '.join(str(error).split())}"]
    # The rules below rely on the shapes that the schema promises.
    if found := list(check_schema(compose)):
        return found
    services = compose.get("services", {})
    if services.keys() != SERVICES:
        return [f"services are not {', '.join(sorted(SERVICES))}"]
    listed = [n for n, s in services.items() if not isinstance(s.get("environment", {}), dict)]
    if listed:
        return [f"{name}: environment is a list, not a mapping" for name in listed]
    return [
        *check_hardening(services),
        *check_database(services),
        *check_order(services),
        *check_secrets("compose.yaml", compose),
        *check_variables(tree, compose),
        *check_ports(services),
        *check_mounts(tree, compose),
        *check_networks(compose),
        *check_roles(tree, services),
        *check_grafana(tree, services),
        *check_dockerfile(tree, services),
    ]


def main(arguments):
    if len(arguments) == 1:
        tree = Tree(arguments[0])
    elif len(arguments) == 3 and arguments[1] == "--as":
        tree = Tree(arguments[0], arguments[2], sys.stdin.read())
    else:
        sys.exit(__doc__)
    found = problems(tree)
    for problem in found:
        print(problem)
    if found:
        sys.exit(1)
    print(f"compose.yaml: {len(tree.load('compose.yaml')['services'])} services, no problem")


if __name__ == "__main__":
    main(sys.argv[1:])
