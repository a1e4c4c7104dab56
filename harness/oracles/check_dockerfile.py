"""The Dockerfile's part of check_compose.py: it has the stages that compose builds, none of them
runs as root, and it copies what Cargo needs and .dockerignore lets through, no more and no less.
"""

import re


def pinned(image):
    """Whether an image is named by digest, or by a tag that says a version or a release."""
    _, _, tag = image.rpartition("/")[2].partition(":")
    return "@sha256:" in image or bool(re.search(r"\d+\.\d+\.\d+|^[a-z]+-slim$", tag))


def check_dockerfile(tree, services):
    stages, instructions = read_dockerfile(tree.read("Dockerfile"))
    yield from check_targets(stages, services)
    yield from check_instructions(stages, instructions)
    yield from check_context(tree, instructions)
    yield from check_packages(tree)
    installed = [rest for word, rest in instructions if word == "RUN" and "apt-get install" in rest]
    if not any("ca-certificates" in rest for rest in installed):
        yield "Dockerfile: no ca-certificates, so no hosted database can be reached by TLS"


def check_targets(stages, services):
    """What compose builds is there, and runs as the unprivileged user that compose says."""
    for name, service in services.items():
        if "build" not in service:
            continue
        build = service["build"]
        if not isinstance(build, dict) or build.keys() != {"context", "target"} \
                or build["context"] != "." or build["target"] not in stages:
            yield f"{name}: builds what the Dockerfile does not have"
            continue
        user = stages[build["target"]]["user"]
        if not re.fullmatch(r"[1-9]\d*:[1-9]\d*", user):
            yield f"Dockerfile: stage {build['target']} runs as {user or 'root'}"
        if user != service.get("user"):
            yield f"{name}: runs as another user than its image"


def check_instructions(stages, instructions):
    for word, rest in instructions:
        if word == "FROM" and rest.split()[0] not in stages and not pinned(rest.split()[0]):
            yield f"Dockerfile: {rest} is not pinned"
        elif word in ("ENV", "ARG", "ADD"):
            yield f"Dockerfile: {word} {rest} is not wanted"
        elif word == "ENTRYPOINT" and not rest.startswith('["/'):
            yield "Dockerfile: ENTRYPOINT goes through a shell, which takes the stop signal"
        elif word == "RUN" and "cargo build" in rest and " --locked" not in rest:
            yield "Dockerfile: builds without --locked"
        elif word == "COPY" and rest.startswith("--from="):
            if rest.split()[0].removeprefix("--from=") not in stages:
                yield f"Dockerfile: COPY {rest}: no such stage"


def check_context(tree, instructions):
    """The builder is sent what it copies and nothing else, every member of the workspace in it."""
    ignore = tree.read(".dockerignore").splitlines()
    ignore = [line for line in ignore if line and not line.startswith("#")]
    allowed = {line[1:] for line in ignore if line.startswith("!")}
    if ignore[0] != "*":
        yield ".dockerignore: does not begin by shutting everything out"
    copied = {path for word, rest in instructions if word == "COPY" and "--from=" not in rest
              for path in rest.split()[:-1]}
    for path in sorted(copied | allowed):
        if not tree.exists(path):
            yield f"Dockerfile: {path} is not in the repository"
        if path not in copied & allowed:
            yield f"Dockerfile and .dockerignore disagree about {path}"
    for member in sorted(members(tree) - copied):
        yield f"Dockerfile: does not copy {member}, a member of the workspace"


def check_packages(tree):
    packages = {re.search(r'^name = "(.*)"', tree.read(f"{member}/Cargo.toml"), re.M)[1]
                for member in members(tree)}
    for package in re.findall(r" -p (\S+)", tree.read("Dockerfile")):
        if package not in packages:
            yield f"Dockerfile: builds {package}, which is no package of the workspace"


def members(tree):
    listed = re.search(r"^members = \[(.*?)\]", tree.read("Cargo.toml"), re.S | re.M)[1]
    return set(re.findall(r'"([\w/-]+)"', listed))


def read_dockerfile(text):
    """The stages with the user each runs as, and all instructions as (word, rest)."""
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    stages, instructions, stage = {}, [], None
    for line in filter(None, map(str.strip, text.splitlines())):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            base, _, stage = rest.partition(" AS ")
            stages[stage] = {"user": stages.get(base, {}).get("user", "")}
        elif word == "USER":
            stages[stage]["user"] = rest
        instructions.append((word, rest))
    return stages, instructions
