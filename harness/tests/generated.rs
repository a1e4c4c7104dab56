//! Generated files are up to date, and the tables of the database are what the packet declarations
//! say.

use std::path::PathBuf;
use std::{fs, io};

use anyhow::{Context, Result};
use harness::{Cluster, generate};
use protocol::channel::Meaning;
use protocol::{KINDS, Kind};

#[test]
fn generated_files_are_up_to_date() -> Result<()> {
    let root = generate::root();
    for file in generate::files(&root)? {
        let present = match fs::read(root.join(&file.path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            present => present?,
        };
        assert!(
            present == file.octets,
            "{} is not what the declarations give: run `make generate`",
            file.path.display()
        );
    }
    Ok(())
}

#[test]
fn no_sample_is_left_over() -> Result<()> {
    let root = generate::root();
    let wanted: Vec<PathBuf> =
        generate::files(&root)?.into_iter().map(|file| root.join(file.path)).collect();
    for entry in root.join(generate::SAMPLES).read_dir()? {
        let path = entry?.path();
        assert!(wanted.contains(&path), "nothing writes {}", path.display());
    }
    Ok(())
}

#[test]
fn tables_are_what_the_declarations_say() -> Result<()> {
    let cluster = Cluster::start()?;
    let tables = Tables::migrated(&cluster, "declared")?;
    for kind in KINDS {
        tables.check(kind)?;
    }
    tables.check_modes()?;

    // The same checks see what they are for.
    for (database, change) in [
        ("type", "ALTER TABLE attitude ALTER q0 TYPE double precision"),
        ("extra", "ALTER TABLE attitude ADD COLUMN q4 real"),
        ("missing", "ALTER TABLE attitude DROP COLUMN q3"),
        ("unit", "COMMENT ON COLUMN attitude.rate_x IS 'Rate, radians per second'"),
        ("label", "UPDATE satellite_mode SET name = 'sleep' WHERE mode = 0"),
    ] {
        let tables = Tables::migrated(&cluster, database)?;
        cluster.sql(database, change)?;
        let checked = KINDS
            .iter()
            .try_for_each(|kind| tables.check(kind))
            .and_then(|()| tables.check_modes());
        assert!(checked.is_err(), "not noticed: {change}");
    }
    Ok(())
}

/// A database with the project's tables.
struct Tables<'a> {
    cluster: &'a Cluster,
    database: &'a str,
}

impl<'a> Tables<'a> {
    fn migrated(cluster: &'a Cluster, database: &'a str) -> Result<Self> {
        cluster.create_database(database)?;
        cluster.sql(database, &migrations()?)?;
        Ok(Self { cluster, database })
    }

    fn rows(&self, query: &str) -> Result<Vec<String>> {
        let rows = self.cluster.sql(self.database, query)?;
        Ok(rows.lines().map(str::to_owned).collect())
    }

    /// Names, types and order of the columns that hold user data, and the units in their comments.
    fn check(&self, kind: &Kind) -> Result<()> {
        let table = kind.table;
        let declared: Vec<_> =
            kind.columns().map(|(name, column)| format!("{name}|{}", column.sql())).collect();
        let present = self.rows(&format!(
            "SELECT column_name, data_type FROM information_schema.columns
             WHERE table_name = '{table}' AND column_name <> ALL ('{{{COLUMNS_OF_ALL}}}')
             ORDER BY ordinal_position"
        ))?;
        anyhow::ensure!(
            present == declared,
            "columns of table {table}: {present:?}, of kind {}: {declared:?}",
            kind.name
        );
        for (name, unit) in units(kind) {
            let comment = self.rows(&format!(
                "SELECT col_description(attrelid, attnum) FROM pg_attribute
                 WHERE attrelid = '{table}'::regclass AND attname = '{name}'"
            ))?;
            let words = words_for(unit);
            anyhow::ensure!(
                comment.iter().any(|comment| words.iter().any(|word| comment.contains(word))),
                "the comment on {table}.{name}, {comment:?}, should name its unit as one of {words:?}"
            );
        }
        Ok(())
    }

    fn check_modes(&self) -> Result<()> {
        let declared: Vec<_> = KINDS
            .iter()
            .flat_map(|kind| kind.fields)
            .filter(|field| field.name == "mode")
            .flat_map(|field| match field.meaning {
                Meaning::Channel(channel) => channel.labels,
                _ => &[],
            })
            .map(|(value, name)| format!("{value}|{name}"))
            .collect();
        let present = self.rows("SELECT mode, name FROM satellite_mode ORDER BY mode")?;
        anyhow::ensure!(
            present == declared && !declared.is_empty(),
            "satellite_mode has {present:?}, the declaration {declared:?}"
        );
        Ok(())
    }
}

/// Every channel that has a unit.
fn units(kind: &Kind) -> impl Iterator<Item = (&'static str, &'static str)> {
    kind.fields.iter().filter_map(|field| match field.meaning {
        Meaning::Channel(channel) if !channel.unit.is_empty() => Some((field.name, channel.unit)),
        _ => None,
    })
}

/// How a comment may say a unit: as the declaration does, or in words.
fn words_for(unit: &'static str) -> Vec<&'static str> {
    let words: &[&str] = match unit {
        "°C" => &["degrees Celsius"],
        "°" => &["degrees", "Degrees"],
        "°/s" => &["degrees per second"],
        "%" => &["percent", "Percent"],
        "rpm" => &["revolutions per minute"],
        _ => &[],
    };
    [&[unit], words].concat()
}

/// All migrations in their order, each in a transaction.
fn migrations() -> Result<String> {
    let folder = generate::root().join("schema/migrations");
    let mut files = Vec::new();
    for entry in folder.read_dir()? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let number: u32 = name
            .strip_prefix('V')
            .and_then(|rest| rest.split_once("__"))
            .and_then(|(number, _)| number.parse().ok())
            .with_context(|| format!("{name} is not named V<number>__<name>"))?;
        files.push((number, path));
    }
    files.sort();
    let mut script = String::new();
    for (_, path) in files {
        script.push_str(&["BEGIN;", &fs::read_to_string(path)?, "COMMIT;\n"].join("\n"));
    }
    Ok(script)
}

/// Columns of every sample table that do not come from the user data.
const COLUMNS_OF_ALL: &str = "time,satellite_id,station,received_at,sequence,boot_count";
