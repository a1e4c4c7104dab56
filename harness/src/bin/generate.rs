//! Writes every generated file where it belongs; see [`harness::generate`].

use std::fs;

use anyhow::{Context, Result};
use harness::generate;

fn main() -> Result<()> {
    let root = generate::root();
    for file in generate::files(&root)? {
        let path = root.join(&file.path);
        if fs::read(&path).is_ok_and(|present| present == file.octets) {
            continue;
        }
        let written = path
            .parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| fs::write(&path, &file.octets));
        written.with_context(|| format!("cannot write {}", path.display()))?;
        println!("wrote {}", file.path.display());
    }
    Ok(())
}
