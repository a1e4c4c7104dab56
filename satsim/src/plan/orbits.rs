//! The orbits that are flown: a Walker constellation, or those of a file.

use std::{fs::File, io::Read as _, path::Path};

use super::PlanError;
use crate::{
    options::Options,
    orbit::{Orbit, tle, walker},
};

/// One orbit for each satellite.
pub(super) fn orbits(options: &Options) -> Result<Vec<Orbit>, PlanError> {
    let wanted = options.satellites.map(usize::from);
    let Some(path) = &options.tle else {
        let count = wanted.unwrap_or(SATELLITES_DEFAULT);
        return (0..count)
            .map(|index| Ok(walker::orbit(index, count, walker::EPOCH_UNIX_US)?))
            .collect();
    };
    let name = path.display().to_string();
    let text = read(path).map_err(|error| PlanError::TleUnreadable(name.clone(), error))?;
    let mut orbits =
        tle::parse(&text).map_err(|error| PlanError::TleMalformed(name.clone(), error))?;
    match wanted {
        Some(wanted) if wanted > orbits.len() => {
            return Err(PlanError::TleTooFew(name, orbits.len()));
        }
        Some(wanted) => orbits.truncate(wanted),
        None if orbits.len() > usize::from(u16::MAX) => {
            return Err(PlanError::TleTooMany(name, orbits.len()));
        }
        None => {}
    }
    Ok(orbits)
}

/// Reads a text of at most [`TLE_OCTETS_MAX`], whatever the file claims to be.
fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let octets = File::open(path)?.take(TLE_OCTETS_MAX + 1).read_to_string(&mut text)?;
    if octets as u64 > TLE_OCTETS_MAX {
        return Err(std::io::Error::other("it is larger than 64 MiB"));
    }
    Ok(text)
}

const SATELLITES_DEFAULT: usize = 100;
/// Several times all that is in orbit.
const TLE_OCTETS_MAX: u64 = 64 << 20;
