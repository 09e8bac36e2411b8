//! Properties files: any text gives settings or an error with its line.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    drop(rkafka_config::parse_properties(input));
});
