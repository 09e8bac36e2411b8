//! Kafka's rules for the names of topics.

/// The longest name; a partition's directory has a few characters more, and file systems allow 255.
const NAME_LEN_MAX: usize = 249;

/// Why a topic may not have this name, in Kafka's words.
pub(crate) fn invalid_reason(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some("Topic name is invalid: the empty string is not allowed".to_owned());
    }
    if name == "." || name == ".." {
        return Some(format!("Topic name is invalid: '{name}' is not allowed"));
    }
    if name.len() > NAME_LEN_MAX {
        return Some(format!(
            "Topic name is invalid: the length of '{name}' is longer than the max allowed length {NAME_LEN_MAX}"
        ));
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')) {
        return Some(format!(
            "Topic name is invalid: '{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' \
             and '-'"
        ));
    }
    None
}

/// Whether a metric of both names would be the same, since a metric has `_` for `.`.
pub(crate) fn collides(one: &str, other: &str) -> bool {
    let plain = |byte: u8| if byte == b'.' { b'_' } else { byte };
    one != other && one.len() == other.len() && one.bytes().map(plain).eq(other.bytes().map(plain))
}

/// Whether another name may collide with this one at all.
pub(crate) fn may_collide(name: &str) -> bool {
    name.contains(['.', '_'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_kafkas_rules() {
        for good in ["a", "A.b_c-9", &"x".repeat(249), "..."] {
            assert_eq!(invalid_reason(good), None);
        }
        for bad in ["", ".", "..", "a b", "a/b", "é", &"x".repeat(250)] {
            assert!(invalid_reason(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn dots_and_underscores_collide() {
        assert!(collides("a.b", "a_b"));
        assert!(!collides("a.b", "a.b"));
        assert!(!collides("a.b", "a-b"));
        assert!(!collides("a.b", "a_bc"));
    }
}
