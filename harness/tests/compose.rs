//! `compose.yaml`, `Dockerfile` and the files they name, checked without a container engine.
//!
//! The rules are in `harness/oracles/check_compose.py`: the Compose specification's JSON schema
//! and what this project asks besides. The second test breaks each rule once, in memory, and
//! wants the check to say so: a check that cannot fail shows nothing.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

#[test]
fn the_stack_keeps_every_rule() {
    let output = check(&[], "");
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn every_broken_rule_is_refused() {
    let mut accepted = Vec::new();
    for &(file, from, to, complaint) in BREAKS {
        let original = fs::read_to_string(root().join(file)).expect("a file of the repository");
        assert!(original.contains(from), "{file} no longer has {from:?}: adapt this test");
        let output = check(&["--as", file], &original.replacen(from, to, 1));
        let said = text(&output);
        let refused = output.status.code() == Some(1) && !said.contains("Traceback");
        if !refused || !said.contains(complaint) {
            accepted
                .push(format!("{file}: {from:?} -> {to:?}\n  want: {complaint}\n  said: {said}"));
        }
    }
    assert!(accepted.is_empty(), "not refused as they should be:\n{}", accepted.join("\n"));
}

#[test]
fn env_has_random_passwords_and_is_never_overwritten() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    fs::create_dir(folder.path().join("scripts"))?;
    for name in [ENV, "scripts/env.sh"] {
        fs::copy(root().join(name), folder.path().join(name))?;
    }
    let env = folder.path().join(".env");
    let run = || Command::new(folder.path().join("scripts/env.sh")).output();

    let output = run()?;
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(fs::metadata(&env)?.permissions().mode() & 0o777, 0o600);
    let written = fs::read_to_string(&env)?;
    let passwords: BTreeSet<&str> = written
        .lines()
        .filter_map(|line| line.split_once("_PASSWORD="))
        .map(|(_, password)| password)
        .collect();
    assert_eq!(passwords.len(), 4, "{written}");
    for password in &passwords {
        assert!(
            password.len() == 48 && password.bytes().all(|c| c.is_ascii_hexdigit()),
            "{written}"
        );
        assert!(!text(&output).contains(password), "a password is printed");
    }
    // All else is as in the example.
    let emptied =
        passwords.iter().fold(written.clone(), |text, password| text.replace(password, ""));
    assert_eq!(emptied, fs::read_to_string(root().join(ENV))?);

    let output = run()?;
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains(".env is there already"), "{}", text(&output));
    assert_eq!(fs::read_to_string(&env)?, written);
    Ok(())
}

/// Runs the check on the repository, with `stdin` for the file that `arguments` name.
fn check(arguments: &[&str], stdin: &str) -> Output {
    let python = root().join("target/oracles/bin/python");
    assert!(
        python.exists(),
        "{} is missing: run `make test`, which installs the Python oracles first",
        python.display()
    );
    let mut child = Command::new(python)
        .arg(root().join("harness/oracles/check_compose.py"))
        .arg(root())
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the oracles' Python starts");
    // Taken and dropped, so that the end of the text is seen.
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(stdin.as_bytes()).expect("the check reads its input");
    drop(input);
    child.wait_with_output().expect("the check ends")
}

fn text(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&both).into_owned()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_path_buf()
}

const COMPOSE: &str = "compose.yaml";
const DOCKERFILE: &str = "Dockerfile";
const ENV: &str = ".env.example";
const IGNORE: &str = ".dockerignore";
const DATASOURCE: &str = "grafana/provisioning/datasources/orbitstream.yaml";
const PROVIDER: &str = "grafana/provisioning/dashboards/orbitstream.yaml";
const ROLES: &str = "schema/docker-init/role-passwords.sql";

/// File, text in it, what replaces the text's first occurrence, what the check must then say.
#[rustfmt::skip]
const BREAKS: &[(&str, &str, &str, &str)] = &[
    // The Compose specification.
    (COMPOSE, "\nservices:", "\nservises:", "compose specification"),
    (COMPOSE, "    restart: unless-stopped", "    restrat: always", "'restrat' was unexpected"),
    (COMPOSE, "retries: 5", "retries: [5]", "healthcheck/retries"),
    (COMPOSE, "\nvolumes:\n", "\nvolumes: [database]\nx-volumes:\n", "compose specification"),
    (COMPOSE, "name: orbitstream", "name: orbitstream\nname: other", "given twice"),
    (COMPOSE, "services:", "services: {", "compose.yaml: while parsing"),
    (COMPOSE, "  satsim:", "  simulator:", "services are not"),
    // Images and privileges.
    (COMPOSE, "grafana/grafana:13.1.5", "grafana/grafana:latest", "not pinned"),
    (COMPOSE, "    image: grafana/grafana:13.1.5\n", "", "wants an image or a build"),
    (COMPOSE, "  read_only: true\n", "", "read_only is not true"),
    (COMPOSE, "  cap_drop: [ALL]\n", "", "keeps capabilities"),
    (COMPOSE, "    shm_size", "    cap_add: [SYS_PTRACE]\n    shm_size", "keeps capabilities"),
    (COMPOSE, "    shm_size", "    privileged: true\n    shm_size", "privileged is not wanted"),
    (COMPOSE, "no-new-privileges:true", "seccomp:unconfined", "security_opt"),
    (COMPOSE, "user: \"472:0\"", "user: \"0:0\"", "unprivileged"),
    (COMPOSE, "    user: \"70:70\"\n", "", "unprivileged"),
    (COMPOSE, "    mem_limit: 1g\n", "", "no limit of memory"),
    (COMPOSE, "max_worker_processes=32", "max_worker_processes=16", "too few worker processes"),
    (COMPOSE, "      - --max_worker_processes=32\n", "", "too few worker processes"),
    // Secrets and variables.
    (COMPOSE, "GF_SECURITY_ADMIN_PASSWORD: ${", "GF_SECURITY_ADMIN_PASSWORD: admin #{", "a secret"),
    (COMPOSE, "${ORBITSTREAM_GRAFANA_PASSWORD:?", "${ORBITSTREAM_GRAFANA_PASSWORD:-", "a secret"),
    (COMPOSE, "GF_SERVER_ROOT_URL: h", "API_TOKEN: 12345\n      GF_SERVER_ROOT_URL: h", "a secret"),
    (COMPOSE, "orbitstream_writer:${", "orbitstream_writer:hunter2@x/${", "holds a password"),
    (COMPOSE, "command: [run]", "command: [run, --password, hunter2]", "holds a password"),
    (COMPOSE, ":?make a .env first, see .env.example}", ":?missing}", "does not say what to do"),
    (COMPOSE, "UDP_BIND:-127.0.0.1}:", "UDP_BIND-127.0.0.1}:", "is neither"),
    (COMPOSE, "$$status", "$status", "is neither"),
    (ENV, "ORBITSTREAM_READER_PASSWORD=\n", "", "does not document"),
    (ENV, "ORBITSTREAM_READER_PASSWORD=", "ORBITSTREAM_READER_PASSWORD=orbit", "to fill in"),
    (ENV, "#ORBITSTREAM_UDP_BIND=127.0.0.1", "#ORBITSTREAM_UDP_BIND=0.0.0.0", "another default"),
    (ENV, "#ORBITSTREAM_UDP_BIND=", "#ORBITSTREAM_UDP=\n#ORBITSTREAM_UDP_BIND=", "does not use"),
    // What the host shows.
    (COMPOSE, "\"127.0.0.1:${ORBITSTREAM_GRAFANA", "\"${ORBITSTREAM_GRAFANA", "not bound to 127.0.0.1"),
    (COMPOSE, "UDP_BIND:-127.0.0.1}:", "UDP_BIND:-0.0.0.0}:", "not bound to 127.0.0.1"),
    (COMPOSE, "127.0.0.1:${ORBITSTREAM_HTTP_PORT:-3000}:", "127.0.0.1:3000:", "that .env can change"),
    (COMPOSE, "HTTP_PORT:-3000}:3000", "HTTP_PORT:-3333}:3000", "another default"),
    (
        COMPOSE,
        "      - \"127.0.0.1:${ORBITSTREAM_HTTP_PORT:-3000}:3000\"\n",
        "",
        "should be published",
    ),
    (
        COMPOSE,
        "    shm_size",
        "    ports: [\"127.0.0.1:${ORBITSTREAM_PORT:-5432}:5432\"]\n    shm_size",
        "should not be",
    ),
    (COMPOSE, "HTTP: 0.0.0.0:3000", "HTTP: 127.0.0.1:3000", "ORBITSTREAM_HTTP is not"),
    // The order of starting, and health.
    (COMPOSE, "timescaledb: {condition", "postgres: {condition", "which is no service"),
    (COMPOSE, "condition: service_healthy", "condition: service_started", "says nothing"),
    (COMPOSE, "restart: \"no\"", "restart: unless-stopped", "restart does not suit"),
    (
        COMPOSE,
        "    shm_size",
        "    depends_on: {receiver: {condition: service_healthy}}\n    shm_size",
        "wait for each other",
    ),
    (COMPOSE, "test: [CMD, wget", "test: [NONE, wget", "no healthcheck"),
    (COMPOSE, "      start_period: 2m\n", "", "healthcheck without start_period"),
    // Mounts and networks.
    (COMPOSE, "source: ./grafana/dashboards", "source: ./grafana/board", "not in the repository"),
    (COMPOSE, "source: ./grafana/dashboards", "source: /etc", "not in the repository"),
    (COMPOSE, "        read_only: true\n", "", "may write to"),
    (COMPOSE, "        bind: {create_host_path: false}\n", "", "would create"),
    (COMPOSE, "- grafana:/var/lib", "- graphs:/var/lib", "neither a declared volume"),
    (COMPOSE, "\nvolumes:\n", "\nvolumes:\n  other:\n", "used by no service"),
    (COMPOSE, "networks: [database]", "networks: [station]", "is on no network with it"),
    (COMPOSE, "networks: [station]", "networks: [database]", "can reach the database"),
    (COMPOSE, "@timescaledb:5432", "@db:5432", "names db, which is no service"),
    (COMPOSE, "  station:\n", "  station: {internal: true}\n", "reaches nobody"),
    // Roles and Grafana's provisioning.
    (ROLES, "ALTER ROLE orbitstream_reader", "ALTER ROLE orbitstream_viewer", "gets no password"),
    (ROLES, "\\getenv reader_password ORBIT", "\\getenv reader_password O", "is not given"),
    (COMPOSE, "--file=/docker-init/role", "--file=/docker-init/user", "does not run"),
    (COMPOSE, "      ORBITSTREAM_DB_NAME: orbitstream\n", "", "which grafana is not given"),
    (COMPOSE, "MIN_REFRESH_INTERVAL: 1s", "MIN_REFRESH_INTERVAL: 5s", "INTERVAL is not 1s"),
    (
        COMPOSE,
        "target: /etc/grafana/provisioning/datasources",
        "target: /etc/grafana/datasources",
        "does not mount grafana/provisioning/datasources",
    ),
    (DATASOURCE, "password: $ORBITSTREAM_READER_PASSWORD", "password: orbit", "variable alone"),
    (DATASOURCE, "timescaledb: true", "timescaledb: false", "timescaledb is not true"),
    (DATASOURCE, "      database: $ORBITSTREAM_DB_NAME\n", "", "jsonData.database"),
    (DATASOURCE, "uid: orbitstream", "uid: other", "uid is not orbitstream"),
    (PROVIDER, "path: $ORBITSTREAM_DASHBOARDS", "path: $ORBITSTREAM_DB_NAME", "not where"),
    // The Dockerfile.
    (DOCKERFILE, "USER 10001:10001", "USER 0:0", "stage receiver runs as 0:0"),
    (DOCKERFILE, "USER 10001:10001\n", "", "stage satsim runs as root"),
    (DOCKERFILE, "USER 10001:10001", "USER 10002:10002", "another user than its image"),
    (DOCKERFILE, "--no-install-recommends ca-certificates", "curl", "no ca-certificates"),
    (DOCKERFILE, "AS receiver", "AS station", "builds what the Dockerfile does not have"),
    (DOCKERFILE, "debian:bookworm-slim", "debian:latest", "not pinned"),
    (DOCKERFILE, "rust:1.95.0-slim-bookworm", "rust", "not pinned"),
    (DOCKERFILE, "--locked ", "", "without --locked"),
    (DOCKERFILE, "CMD [", "ENV DATABASE_URL=x\nCMD [", "is not wanted"),
    (DOCKERFILE, "ENTRYPOINT [\"/", "ENTRYPOINT sh [\"/", "through a shell"),
    (DOCKERFILE, "--from=build", "--from=builder", "no such stage"),
    (DOCKERFILE, "COPY schema schema\n", "", "disagree about schema"),
    (DOCKERFILE, "COPY harness harness\n", "", "does not copy harness"),
    (DOCKERFILE, "-p orbitstream-satsim", "-p satsim", "no package of the workspace"),
    (IGNORE, "*\n", "", "shutting everything out"),
    (IGNORE, "!schema\n", "!schema\n!.env\n", "disagree about .env"),
];
