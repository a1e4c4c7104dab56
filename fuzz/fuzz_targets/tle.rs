//! A TLE file of any text: orbits that can be flown, or an error that names a line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use satsim::orbit::tle::parse;

fuzz_target!(|octets: &[u8]| {
    let text = String::from_utf8_lossy(octets);
    match parse(&text) {
        Err(error) => assert!(error.line >= 1 && !error.what.is_empty()),
        Ok(orbits) => {
            for orbit in orbits {
                for unix_us in [0, 1_767_225_600_000_000, 4_000_000_000_000_000] {
                    // An orbit may be over by then; that is an error, and no panic.
                    let _motion = orbit.at(unix_us);
                }
            }
        }
    }
});
