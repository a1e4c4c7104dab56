use std::path::Path;

use super::*;
use crate::config::read_detect;
use crate::detect::{Profile, Rulebook};

fn read(text: &str) -> Result<Settings, String> {
    let table: Table = text.parse().unwrap();
    settings(table["detect"].as_table().unwrap())
}

fn rules<'a>(settings: &'a Settings, satellite: &str, name: &str) -> &'a Rules {
    let (kind, place, _) = channel(name).unwrap();
    &settings.rules.of(satellite.parse().unwrap())[kind][place]
}

#[test]
fn what_is_not_named_keeps_the_shipped_value() {
    let shipped = Settings::default();
    let read = read(
        "[detect]\nmemory = '1MiB'\nevents = 7\nsilence = '90s'\norbit = '95m'
         [detect.channels.battery_temp]\nsoft = [-5, 40.5]\nunit = '°C'\ndelta_factor = 9
         [detect.channels.wheel_1]\nstuck = false\nsoft = 'none'\nhard = [-inf, 6000]
         [detect.satellites.SAT-07.battery_temp]\nhard = [-6, 41]\nwarm_up_orbits = 5",
    )
    .unwrap();
    assert_eq!((read.memory, read.events_max), (1 << 20, 7));
    assert_eq!((read.silence_us, read.orbit_us), (90_000_000, Some(5_700_000_000)));

    let was = rules(&shipped, "SAT-01", "battery_temp").clone();
    let of_all = Rules { soft: Some((-5.0, 40.5)), delta_factor: 9.0, ..was };
    assert_eq!(*rules(&read, "SAT-01", "battery_temp"), of_all);
    // On top of what holds for all.
    let of_one = Rules { hard: Some((-6.0, 41.0)), warm_up_orbits: 5, ..of_all };
    assert_eq!(*rules(&read, "SAT-07", "battery_temp"), of_one);

    let was = rules(&shipped, "SAT-07", "wheel_1").clone();
    let wheel = Rules { stuck: false, soft: None, hard: Some((f64::NEG_INFINITY, 6_000.0)), ..was };
    assert_eq!(*rules(&read, "SAT-07", "wheel_1"), wheel);
    assert_eq!(rules(&read, "SAT-07", "wheel_2"), rules(&shipped, "SAT-07", "wheel_2"));
}

#[test]
fn errors_name_the_key_and_what_is_allowed() {
    let of_battery = |line: &str| format!("[detect.channels.battery_temp]\n{line}");
    for (text, parts) in [
        ("[detect]\nmemroy = '1MiB'".to_owned(), &["`detect.memroy`", "memory, events"][..]),
        ("[detect]\nmemory = 5".into(), &["`detect.memory`", "64MiB"]),
        ("[detect]\nmemory = '1 parsec'".into(), &["`detect.memory`", "64MiB"]),
        ("[detect]\nevents = 0".into(), &["`detect.events`", "from 1 to"]),
        ("[detect]\nsilence = '1s'".into(), &["`detect.silence`", "30s"]),
        ("[detect]\norbit = 95".into(), &["`detect.orbit`", "95m"]),
        ("[detect]\nchannels = 5".into(), &["`detect.channels`", "table"]),
        ("[detect.channels]\nbattery_temp = 5".into(), &["channels.battery_temp`", "table"]),
        (
            "[detect.channels.battery_tmp]".into(),
            &["`detect.channels.battery_tmp`", "battery_temp, panel_temp", "wheel_4"],
        ),
        ("[detect.channels.in_eclipse]".into(), &["`detect.channels.in_eclipse`"]),
        (
            "[detect.satellites.SAT-7.battery_temp]".into(),
            &["`detect.satellites.SAT-7`", "such as SAT-01"],
        ),
        (
            "[detect.satellites.SAT-07.nothing]".into(),
            &["`detect.satellites.SAT-07.nothing`", "battery_temp"],
        ),
        (
            of_battery("sotf = [1, 2]"),
            &["`detect.channels.battery_temp.sotf`", "unit, soft, hard, delta,"],
        ),
        (of_battery("soft = 5"), &["battery_temp.soft` is 5", "[lowest, highest]"]),
        (of_battery("soft = [5]"), &["battery_temp.soft`", "[lowest, highest]"]),
        (of_battery("soft = [45, -10]"), &["battery_temp.soft`", "the lowest first"]),
        (of_battery("soft = [nan, 45]"), &["battery_temp.soft`", "the lowest first"]),
        (of_battery("soft = ['a', 'b']"), &["battery_temp.soft`", "[lowest, highest]"]),
        (of_battery("soft = [-50, 45]"), &["soft [-50, 45]", "hard [-20, 60]"]),
        (of_battery("hard = [0, 10]"), &["soft [-10, 45]", "hard [0, 10]"]),
        (of_battery("delta = 2"), &["battery_temp.delta` is 2", "true or false"]),
        (of_battery("delta_factor = -1"), &["battery_temp.delta_factor`", "from 0 on"]),
        (of_battery("delta_factor = nan"), &["battery_temp.delta_factor`", "from 0 on"]),
        (of_battery("delta_factor = 1e60"), &["battery_temp.delta_factor`", "from 0 on"]),
        (of_battery("delta_factor = '8'"), &["battery_temp.delta_factor`", "a number"]),
        (of_battery("stuck_samples = 1.5"), &["battery_temp.stuck_samples`", "whole number"]),
        (of_battery("stuck_samples = -1"), &["battery_temp.stuck_samples`", "whole number"]),
        (of_battery("unit = 'K'"), &["battery_temp.unit` is \"K\"", "\"°C\""]),
        (of_battery("step = 1"), &["`detect.channels.battery_temp.step`"]),
    ] {
        let line = read(&text).unwrap_err();
        assert!(parts.iter().all(|part| line.contains(part)), "{text}: {line}");
        assert!(!line.contains('\n'), "{line}");
    }
}

/// From rules that are all different, so that every value is seen to come from the file.
#[test]
fn the_example_is_what_ships() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/receiver.example.toml");
    let shipped = Settings::default();
    let example = read_detect(&path).unwrap();
    let all = |settings: &Settings| settings.rules.of(SpacecraftId::FIRST).to_vec();
    assert_eq!(all(&example), all(&shipped));
    assert_eq!(
        (example.memory, example.events_max, example.silence_us, example.orbit_us),
        (shipped.memory, shipped.events_max, shipped.silence_us, shipped.orbit_us)
    );

    let table: Table = std::fs::read_to_string(path).unwrap().parse().unwrap();
    let channels = table["detect"]["channels"].as_table().unwrap();
    let rulebook = Rulebook::shipped();
    for (kind, declared) in KINDS.iter().enumerate() {
        for (place, (name, channel)) in declared.channels().enumerate() {
            let rules = &rulebook.of(SpacecraftId::FIRST)[kind][place];
            let keys = channels[name].as_table().unwrap();
            assert_eq!(keys["unit"].as_str(), Some(channel.unit), "{name}");
            for key in KEYS {
                assert_eq!(keys.contains_key(key.name), key.is_of_use(rules), "{name}");
                let Some(value) = keys.get(key.name) else { continue };
                let mut other = Rules { delta: !rules.delta, ..Rules::of(Profile::Other) };
                key.set(&mut other, value).unwrap();
                assert_eq!(key.show(&other), key.show(rules), "{name}.{}", key.name);
            }
        }
    }
}
