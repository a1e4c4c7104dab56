use super::*;

const URL: &str = "postgresql://a:b@localhost/orbitstream";

fn read(arguments: &[&str]) -> Result<Cli, String> {
    let arguments = ["receiver"].iter().chain(arguments).map(OsString::from);
    Cli::read(arguments).map_err(|error| match error {
        Error::Shown(shown) => format!("shown: {}", shown.kind()),
        Error::Wrong(line) => line,
    })
}

fn run(arguments: &[&str]) -> RunOptions {
    match read(arguments).unwrap().command {
        Command::Run(options) => *options,
        other => panic!("{other:?}"),
    }
}

#[test]
fn run_may_be_left_out() {
    for arguments in [&["run", "--database-url", URL][..], &["--database-url", URL]] {
        let options = run(arguments);
        assert_eq!(options.reception.station.name, "GS-01");
        assert_eq!(options.listen, ["127.0.0.1:10015".parse().unwrap()]);
    }
    assert!(read(&["--version"]).unwrap_err().starts_with("shown"));
}

#[test]
fn errors_are_one_line_and_say_what_to_do() {
    for (arguments, part) in [
        (&["--database-url", URL, "--lisen", "x"][..], "--listen"),
        (&[], "make demo"),
        (&["--database-url", "nonsense://"], DATABASE_FORM),
        (&["--database-url", "postgresql://"], DATABASE_FORM),
        (&["--database-url", URL, "--listen", "10015"], "such as 127.0.0.1:10015"),
        (&["--database-url", URL, "--listen", ":10015"], "such as 127.0.0.1:10015"),
        (&["--database-url", URL, "--http", "3000"], "such as 127.0.0.1:3000"),
        (&["--database-url", URL, "--http", "localhost:3000"], "such as 127.0.0.1:3000"),
        (&["--database-url", URL, "--allow", "localhost"], "192.0.2.1"),
        (&["--database-url", URL, "--gro", "maybe"], "true or false"),
        (&["--database-url", URL, "--migrate=maybe"], "true or false"),
        (&["--database-url", URL, "--multicast-interface", "a/b"], "eth0"),
        (&["--database-url", URL, "--batch-rows", "0"], "1..=1000000"),
        (&["--database-url", URL, "--spacecraft", "0"], "1-100,205"),
        (&["--database-url", URL, "--receive-buffer", "1TiB"], "1GiB"),
        (&["launch"], "launch"),
        (&["--database-url", URL, "--config", "/nowhere.toml"], "/nowhere.toml"),
    ] {
        let line = read(arguments).unwrap_err();
        assert!(line.contains(part), "{arguments:?}: {line}");
        assert!(!line.contains('\n'), "{line}");
    }
}

#[test]
fn the_file_gives_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("station.toml");
    let file = |text: &str| std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap();
    file(&format!(
        "database_url = '{URL}'\nstation = 'GS-07'\nbatch_rows = 7\n\
         listen = ['127.0.0.1:1', '127.0.0.1:2']\ngro = false\n"
    ));
    let options = run(&["--config", path, "--batch-rows", "8"]);
    assert_eq!(
        (&*options.reception.station.name, options.batch_rows, options.gro),
        ("GS-07", 8, false)
    );
    assert_eq!(options.listen.len(), 2);
    let config = format!("--config={path}");
    assert!(matches!(read(&["migrate", &config]).unwrap().command, Command::Migrate(_)));

    for (text, part) in [
        ("batch_row = 7", "`batch_row`"),
        ("[batch]\nrows = 7", "`batch`"),
        ("station = 1.5.2", "line 1"),
        ("batch_rows = 0", "1..=1000000"),
        ("config = 'x'", "`config`"),
        ("spacecraft = [1, 2]", "one value"),
        ("listen = []", "at least one"),
        ("batch-rows = 1\nbatch_rows = 2", "`batch-rows` and `batch_rows`"),
        ("gro = 'maybe'", "true or false"),
        ("gro = 2", "true or false"),
        ("[detect.channels.cpu_temp]\ndelta = 'maybe'", "true or false"),
    ] {
        file(text);
        let line = read(&["--config", path, "--database-url", URL]).unwrap_err();
        assert!(line.contains(part) && !line.contains('\n'), "{line}");
    }
    let line = read(&["--database-url", "mysql://me:sEcret@host/x"]).unwrap_err();
    assert!(!line.contains("sEcret"), "{line}");
}

#[test]
fn every_key_may_be_written_with_hyphens_but_not_twice() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("station.toml");
    let mut tried = 0;
    for command in Cli::command().get_subcommands() {
        for argument in command.get_arguments().filter(|argument| argument.get_long().is_some()) {
            let (hyphens, underscores) =
                (argument.get_long().unwrap(), argument.get_id().as_str().replace('-', "_"));
            if hyphens == underscores || hyphens == "help" {
                continue;
            }
            tried += 1;
            std::fs::write(&path, format!("{underscores} = '1'\n{hyphens} = '1'\n")).unwrap();
            let line = read(&["--config", path.to_str().unwrap()]).unwrap_err();
            for key in [hyphens, &underscores] {
                assert!(line.contains(&format!("`{key}`")), "{line}");
            }
            assert!(line.contains("same key"), "{line}");
        }
    }
    assert!(tried > 20, "{tried}");
}

#[test]
fn booleans_are_words_on_the_command_line_and_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("station.toml");
    for (words, expected) in
        [(["1", "yes", "ON", "True"], true), (["0", "No", "off", "FALSE"], false)]
    {
        for word in words {
            let options = run(&[
                "--database-url",
                URL,
                "--gro",
                word,
                "--detect",
                word,
                "--timescaledb",
                word,
                &format!("--migrate={word}"),
            ]);
            let found = [
                options.gro,
                options.reception.detect,
                options.database.timescaledb,
                options.migrate,
            ];
            assert_eq!(found, [expected; 4], "{word}");
            let keys = ["gro", "detect", "timescaledb", "migrate"];
            let text = keys.map(|key| format!("{key} = '{word}'\n")).concat();
            std::fs::write(&path, text).unwrap();
            let options = run(&["--database-url", URL, "--config", path.to_str().unwrap()]);
            let found = [
                options.gro,
                options.reception.detect,
                options.database.timescaledb,
                options.migrate,
            ];
            assert_eq!(found, [expected; 4], "{word}");
            let text = format!("once = '{word}'\nany_station = '{word}'\n");
            std::fs::write(&path, text).unwrap();
            let config = format!("--config={}", path.display());
            let cli = read(&["replay", "f", "--database-url", URL, &config]).unwrap();
            let Command::Replay(options) = cli.command else { panic!("{cli:?}") };
            assert_eq!((options.once, options.any_station), (expected, expected), "{word}");
        }
    }
    std::fs::write(&path, "gro = false\nmigrate = 1\n").unwrap();
    let options = run(&["--database-url", URL, "--config", path.to_str().unwrap()]);
    assert!(!options.gro && options.migrate);
    let options = run(&["--database-url", URL, "--migrate"]);
    assert!(options.migrate);
    assert!(!run(&["--database-url", URL]).migrate);
    // What follows the bare option is not its value.
    assert!(run(&["--migrate", "--database-url", URL]).migrate);
}
