//! A scenario file of any text: phases that can be planned, or one line that says what is wrong.
#![no_main]

use libfuzzer_sys::fuzz_target;
use satsim::scenario::Scenario;

fuzz_target!(|octets: &[u8]| {
    let text = String::from_utf8_lossy(octets).into_owned();
    if let Err(error) = Scenario::parse("fuzz.toml".into(), text) {
        let line = error.to_string();
        assert!(!line.is_empty() && !line.contains('\n'), "{line}");
    }
});
