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
        (&["--database-url", URL, "--listen", "10015"], "--listen"),
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
    ] {
        file(text);
        let line = read(&["--config", path, "--database-url", URL]).unwrap_err();
        assert!(line.contains(part) && !line.contains('\n'), "{line}");
    }
    let line = read(&["--database-url", "mysql://me:sEcret@host/x"]).unwrap_err();
    assert!(!line.contains("sEcret"), "{line}");
}
