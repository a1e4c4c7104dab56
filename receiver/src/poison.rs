//! Finds the rows of a batch that the database does not take, by halving: the others are stored, and
//! what was refused is set aside with its octets and the server's words.

use std::collections::BTreeMap;

use crate::{
    batch::{Batch, Form, Poison, Rows},
    chunk::Entry,
    store::{Class, Error, Store},
};

/// The refused entries, by their number among the batch's.
pub async fn find(
    store: &mut Store,
    batch: &Batch,
    form: &Form,
) -> Result<BTreeMap<usize, Poison>, Error> {
    let entries: Vec<_> = batch.entries().collect();
    let mut poison = BTreeMap::new();
    let mut parts = Vec::new();
    parts.push(0..entries.len());
    while let Some(part) = parts.pop() {
        let Some(refused) = refusal(store, &entries[part.clone()], form).await? else { continue };
        if part.len() <= 1 {
            poison.insert(part.start, refused);
            continue;
        }
        let middle = part.start + part.len() / 2;
        // The first half comes out of it first.
        parts.push(middle..part.end);
        parts.push(part.start..middle);
    }
    Ok(poison)
}

/// Why the database does not take these entries, if it does not because of them.
async fn refusal(
    store: &mut Store,
    entries: &[Entry<'_>],
    form: &Form,
) -> Result<Option<Poison>, Error> {
    let mut rows = Rows::new();
    for entry in entries {
        rows.push(entry, form, None);
    }
    match store.would_take(&rows).await {
        Ok(()) => Ok(None),
        Err(error) if error.class() == Class::Row => {
            let sqlstate = error.sqlstate().unwrap_or_default().to_owned();
            let reason = error.to_string();
            // NUL is no text to PostgreSQL.
            let reason = reason.chars().filter(|&c| c != '\0').take(REASON_CHARS_MAX).collect();
            Ok(Some(Poison { reason, sqlstate }))
        }
        Err(error) => Err(error),
    }
}

const REASON_CHARS_MAX: usize = 500;
