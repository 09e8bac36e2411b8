//! Files of properties, as Java's clients and librdkafka's tools read them.

use std::path::Path;

use rkafka::config::parse_properties;

use crate::exit::Failure;

/// The entries of a file: name, value, line.
///
/// # Errors
/// It cannot be read, or is not in the form of such a file.
pub fn read(path: &Path) -> Result<Vec<(String, String, usize)>, Failure> {
    let file = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| Failure::usage(format!("cannot read {file}: {error}")))?;
    let properties = parse_properties(&text).map_err(|error| Failure::usage(format!("{file}, {error}")))?;
    // librdkafka's files may say of a setting that it is one of topics.
    let name = |key: String| {
        key.strip_prefix("topic.").filter(|rest| super::find(rest).is_some()).map(str::to_owned).unwrap_or(key)
    };
    Ok(properties.into_iter().map(|property| (name(property.key), property.value, property.line)).collect())
}
